"""The image: built from the Dockerfile and run as a cluster would, read-only and without rights."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from tests.broker import ROOT, poll_until
from tests.conftest import cannot_run
from tests.deploy.image import Image, buildah, built, missing, mounted

UNREACHABLE = {"TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
CONTEXT = "LICENSE README.md config pyproject.toml requirements service".split()


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if lack := missing():
        cannot_run(lack)
    with built() as image:
        yield image


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def in_image(image: Image, bundle: Path, code: str) -> str:
    """What that Python code prints inside, started as the service is."""
    return image.run(bundle, "-c", code, entrypoint=("python3",))


def test_the_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    """Hadolint, all rules on."""
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if hadolint is None:
        cannot_run("no hadolint in the virtual environment: make setup")
    done = subprocess.run(
        [hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.long
@pytest.mark.timeout(600)
class TestImage:
    def test_it_says_who_runs_what_where(self, image: Image) -> None:
        """A cluster reads user, port and command from the configuration: a number, the default port, no shell."""
        assert image.config["User"] == "65532:65532"
        assert list(image.config["ExposedPorts"]) == [f"{Settings().http.port}/tcp"]
        assert (image.config["Entrypoint"], image.config["Cmd"]) == (["tokentrail"], ["run"])
        assert image.config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"

    def test_it_helps(self, image: Image, bundle: Path) -> None:
        """`--help` reaches the program and names its commands."""
        assert "pre-flight" in image.run(bundle, "--help")

    def test_it_has_no_rights(self, image: Image, bundle: Path) -> None:
        """The program is process 1 of a user that is nobody, and can do nothing that a user cannot."""
        printed = in_image(
            image,
            bundle,
            "import os; print(os.getpid(), os.getuid(), os.getgid()); print(*open('/proc/self/status'))",
        )
        assert printed.startswith("1 65532 65532\n")
        assert re.search(r"CapBnd:\s+0{16}\n", printed)

    def test_nothing_but_tmp_can_be_written(self, image: Image, bundle: Path) -> None:
        """A read-only root refuses writes everywhere; the empty directory at /tmp takes them."""
        code = """
import pathlib
for folder in ("/", "/app", "/app/config", "/opt/tokentrail", "/tmp"):
    try:
        pathlib.Path(folder, "new").write_text("x")
        print(folder, "written")
    except OSError as error:
        print(folder, error.strerror)
"""
        refused = ["/", "/app", "/app/config", "/opt/tokentrail"]
        expected = [*(f"{folder} Read-only file system" for folder in refused), "/tmp written"]  # noqa: S108  inside
        assert in_image(image, bundle, code).splitlines() == expected

    def test_no_file_belongs_to_its_user(self, image: Image) -> None:
        """Without a read-only root too, the program could not change itself."""
        ours = [path for folder in ("app", "opt") for path in (image.root / folder).rglob("*")]
        assert len(ours) > 100
        assert not [path for path in ours if path.lstat().st_uid != 0 or _writable_by_others(path)]

    def test_the_attack_is_found(self, image: Image, bundle: Path) -> None:
        """The demo ends well inside: client library, threads and sockets need nothing that is not there."""
        assert "sts-federation-token-suspicious" in image.run(bundle, "demo")

    def test_sigterm_to_process_1_ends_it_well(self, image: Image, bundle: Path) -> None:
        """The service, waiting for brokers that do not answer, exits 0 on a cluster's word: no init is needed."""
        with image.container(bundle, environment=UNREACHABLE) as container:
            poll_until(lambda: "waiting for the brokers" in container.printed(), "the service's first complaint")
            container.signal("TERM")
            assert container.wait(30) == 0, container.printed()

    def test_it_finds_its_configuration(self, image: Image, bundle: Path) -> None:
        """The folder it starts in holds config/, as this checkout does."""
        printed = in_image(image, bundle, "print(open('config/tokentrail.toml').read(), end='')")
        assert printed == (ROOT / "config" / "tokentrail.toml").read_text(encoding="utf-8")

    def test_all_that_it_imports_is_compiled(self, image: Image, bundle: Path) -> None:
        """A read-only file system never gains bytecode, so what is missing now costs time at every start."""
        code = """
import json, os, sys
import service.cli.run
found = {name: getattr(module, "__cached__", None) for name, module in sys.modules.items()}
print(json.dumps({name: os.path.exists(path) for name, path in found.items() if path}))
"""
        compiled: dict[str, bool] = json.loads(in_image(image, bundle, code))
        assert len(compiled) > 100
        assert [name for name, there in compiled.items() if not there] == []

    def test_it_holds_what_the_lock_names(self, image: Image, bundle: Path) -> None:
        """Every installed distribution is pinned in the lock, at that version; no pip, no build backend."""
        code = "import importlib.metadata as m; print(*{d.name + '==' + d.version for d in m.distributions()})"
        installed = set(map(_normal, in_image(image, bundle, code).split()))
        lock = (ROOT / "requirements" / "run.txt").read_text(encoding="utf-8")
        pinned = set(map(_normal, re.findall(r"^\S+==[^\s;]+", lock, re.MULTILINE)))
        ours = {name for name in installed if name.startswith("tokentrail==")}
        assert len(ours) == 1
        assert len(installed) > 10
        assert installed - ours <= pinned


@pytest.mark.long
def test_the_context_is_what_the_dockerfile_copies(tmp_path: Path) -> None:
    """No history, cache, test or secret of a checkout is sent to the builder."""
    if lack := missing():
        cannot_run(lack)
    all_of_it = tmp_path / "Dockerfile"
    all_of_it.write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
    tag = "localhost/context"
    buildah("build", "--isolation=chroot", f"--file={all_of_it}", f"--tag={tag}", str(ROOT))
    with mounted(tag) as root:
        assert sorted(path.name for path in root.iterdir()) == CONTEXT
        assert not [*root.rglob("__pycache__"), *root.rglob(".*")]
    buildah("rmi", tag)


def _normal(pin: str) -> str:
    return re.sub(r"[-_.]+(?=.*==)", "-", pin).lower()


def _writable_by_others(path: Path) -> bool:
    return not path.is_symlink() and bool(path.stat().st_mode & 0o022)
