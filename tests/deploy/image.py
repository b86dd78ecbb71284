"""The Dockerfile built, and run as a cluster would, where there is neither Docker nor an image registry.

A minimal Debian with its own Python stands in for the official Python image; buildah follows the Dockerfile;
runc, which Docker and containerd use too, runs the result. All is kept in `.cache/image`: remove it to begin anew.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.broker import ROOT, poll_until

CACHE = ROOT / ".cache" / "image"
BASE = "localhost/debian-python"
TAG = "localhost/tokentrail"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")

NAMESPACES = ("pid", "ipc", "uts", "mount")
MOUNTS: tuple[tuple[str, str, list[str]], ...] = (
    ("proc", "/proc", []),
    ("tmpfs", "/dev", ["nosuid", "mode=755"]),
    ("tmpfs", "/dev/shm", ["nosuid", "nodev", "noexec", "mode=1777"]),  # noqa: S108  for multiprocessing
    ("tmpfs", "/tmp", ["nosuid", "nodev", "mode=1777"]),  # noqa: S108  the chart's emptyDir
)


def missing() -> str | None:
    """What building and running an image lacks on this machine; None when nothing."""
    if os.geteuid() != 0:
        return "building an image here needs root"
    absent = [program for program in ("buildah", "mmdebstrap", "runc") if shutil.which(program) is None]
    return f"to build and run an image: apt-get install {' '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Image:
    """`root` is its mounted file system, `config` what OCI calls its configuration (User, Env, Entrypoint, …)."""

    root: Path
    config: Mapping[str, Any]

    @contextmanager
    def container(
        self,
        folder: Path,
        *command: str,
        entrypoint: tuple[str, ...] | None = None,
        environment: Mapping[str, str] | None = None,
        network: bool = False,
    ) -> Iterator["Container"]:
        """The image started as its own user: no capability, nothing to write to but /tmp, no network but loopback.

        With `network` it shares this machine's. `folder` is new; what the container prints goes there.
        """
        start = entrypoint or self.config["Entrypoint"]
        user, group = map(int, self.config["User"].split(":"))
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        spec = {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.root), "readonly": True},
            "process": {
                "args": [*start, *(command or self.config["Cmd"])],
                "cwd": self.config["WorkingDir"],
                "env": [*self.config["Env"], *given],
                "user": {"uid": user, "gid": group},
                "noNewPrivileges": True,
            },
            "mounts": [
                {"type": kind, "source": kind, "destination": place, "options": options}
                for kind, place, options in MOUNTS
            ],
            "linux": {"namespaces": [{"type": kind} for kind in (*NAMESPACES, *([] if network else ["network"]))]},
        }
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(spec), encoding="utf-8")
        container = Container(folder)
        try:
            yield container
        finally:
            container.end()

    def run(self, folder: Path, *command: str, entrypoint: tuple[str, ...] | None = None) -> str:
        """What it prints, until it ends with exit code 0; AssertionError with its complaint otherwise."""
        with self.container(folder, *command, entrypoint=entrypoint) as container:
            code = container.wait()
            assert code == 0, container.printed()
            return container.printed()


class Container:
    def __init__(self, bundle: Path) -> None:
        self._output = bundle / "output"
        self._runc = ["runc", "--root", str(CACHE / "runc")]
        self._name = f"{bundle.parent.name}-{bundle.name}"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*self._runc, "run", f"--bundle={bundle}", self._name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def printed(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="backslashreplace")

    def signal(self, name: str) -> None:
        """To its process 1."""
        subprocess.run([*self._runc, "kill", self._name, name], check=True, timeout=10)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code; TimeoutExpired when it does not end."""
        return self._process.wait(seconds)

    def end(self) -> None:
        poll_until(self._killed, f"the end of the container {self._name}")

    def _killed(self) -> bool:
        if self._process.poll() is None:  # it may not be there yet: then runc refuses, and is asked again
            subprocess.run([*self._runc, "kill", self._name, "KILL"], capture_output=True, timeout=10, check=False)
        return self._process.poll() is not None


@contextmanager
def built(*options: str) -> Iterator[Image]:
    """The Dockerfile of this checkout, built with the further options of `buildah build`."""
    if BASE not in buildah("images", "--format", "{{.Name}}").split():
        _make_base()
    buildah("build", "--isolation=chroot", "--pull-never", "--layers", f"--build-arg=BASE={BASE}", f"--tag={TAG}",
            *options, str(ROOT))  # fmt: skip
    config = json.loads(buildah("inspect", "--type=image", TAG))["OCIv1"]["config"]
    with mounted(TAG) as root:
        yield Image(root, config)


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The file system of an image, until the end of the block."""
    container = buildah("from", "--pull-never", image)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("rm", container)


def buildah(*arguments: str) -> str:
    """What it prints on standard output; RuntimeError with the end of what else it said when it fails."""
    store = [f"--root={CACHE / 'storage'}", f"--runroot={CACHE / 'run'}"]
    return _run("buildah", *store, *arguments)


def _make_base() -> None:
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    unread = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")]
    packages = "--include=ca-certificates,python3,python3-venv"
    _run("mmdebstrap", "--quiet", "--variant=minbase", packages, *unread, "bookworm", str(root))
    # A proxy between here and the package registry may have an authority of its own.
    shutil.copyfile("/" / CERTIFICATES, root / CERTIFICATES)
    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = /{CERTIFICATES}\n", encoding="utf-8")
    buildah("commit", "--quiet", "--rm", container, BASE)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return done.stdout.strip()
