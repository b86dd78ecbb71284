"""What is built works by itself: the sdist gives the wheel, and the wheel gives the program."""

import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.broker import ROOT
from tests.program import printed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

# A wheel brings code, what the code reads beside itself, and PEP 561's mark.
SUFFIXES = {".py", ".css", ".html", ".typed"}
# What `make test` and `make image` need, and whoever reads the sources.
IN_SDIST = """
    .ci/run .ci/test .dockerignore CHANGELOG.md CONTRIBUTING.md DESIGN.md Dockerfile LICENSE Makefile README.md
    SECURITY.md config/tokentrail.toml deploy/chart/Chart.yaml docs/rules.md pyproject.toml requirements/run.txt
    service/report/page.html tests/conftest.py
""".split()


def build(project: Path, kind: str, into: Path) -> Path:
    printed(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", into, cwd=project)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from nothing but the sdist."""
    folder = tmp_path_factory.mktemp("sources")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (sources,) = folder.iterdir()
    return build(sources, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of a new virtual environment, which has the locked dependencies and the wheel."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    printed(sys.executable, "-m", "venv", environment, cwd=wheel.parent)
    install = (environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    printed(*install, "--require-hashes", "-r", ROOT / "requirements" / "run.txt", cwd=wheel.parent)
    printed(*install, "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    return environment / "bin" / "tokentrail"


def test_the_sdist_holds_what_tests_and_image_need_and_nothing_that_is_not_ours(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert set(IN_SDIST) <= files
    assert not [name for name in files if name.startswith((".cache", ".venv", "dist")) or "__pycache__" in name]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of `service/` that is no leftover, the licence, and the wheel's own description."""
    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if ".dist-info/" not in name]
        described = [name.partition(".dist-info/")[2] for name in archive.namelist() if ".dist-info/" in name]
    ours = [path for path in (ROOT / "service").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sorted(files) == sorted(path.relative_to(ROOT).as_posix() for path in ours)
    assert {PurePosixPath(name).suffix for name in files} == SUFFIXES
    assert "service/py.typed" in files
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= set(described)


def test_every_dependency_that_the_wheel_asks_for_is_locked(installed: Path) -> None:
    """It was installed without looking for any."""
    printed(installed.with_name("python"), "-m", "pip", "check", cwd=installed.parent)


def test_the_installed_program_finds_the_attack_of_the_demo(installed: Path, tmp_path: Path) -> None:
    """Started in an empty folder: no configuration, schema or sample of the checkout is in reach."""
    shown = printed(installed, "demo", cwd=tmp_path)
    assert "sts-federation-token-suspicious" in shown
    assert "The worst: " in shown


def test_the_installed_program_scans_reports_and_explains_itself(installed: Path, tmp_path: Path) -> None:
    """The page's template and style come with it; a sample, which fires, does not."""
    sample = ROOT / "tests/rules/samples/sts-federation-token-issued/fires-plain-session-no-policy.json"
    (tmp_path / "event.json").write_bytes(sample.read_bytes())
    assert "--fail-on" in printed(installed, "scan", "--help", cwd=tmp_path)
    found = printed(installed, "scan", "--output", "ndjson", "--report", "page.html", "event.json", cwd=tmp_path)
    assert '"rule_id":"sts-federation-token-issued"' in found
    assert "</html>" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"finding_id"' in printed(installed, "schema", "avro", cwd=tmp_path)
