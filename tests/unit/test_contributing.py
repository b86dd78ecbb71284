"""CONTRIBUTING.md does what it says: its example of a rule, added to a copy of the project, finds its event."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.broker import ROOT
from tests.program import printed

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RULE = "caller-identity-of-federated-user"

# A path on a line of its own, and the block below it: the file itself, or a difference to it.
BLOCKS = re.findall(r"^`(\S+)`\n\n```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COPIED = ("service", "tests", "docs", "deploy", "config", "Makefile", "pyproject.toml")


def patched(text: str, difference: str) -> str:
    """Each part of the difference, between lines of `@@`, has one place in the text."""
    for part in difference.split("@@\n"):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert text.count(before) == 1, f"not once in the file:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the example's rule in it, and the documents made anew."""
    copy = tmp_path_factory.mktemp("project")
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    for document in ROOT.glob("*.md"):
        shutil.copy(document, copy)
    for name, kind, content in BLOCKS:
        path = copy / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(patched(path.read_text(), content) if kind == "diff" else content, encoding="utf-8")
    python(copy, "-m", "tests.generate_docs")
    return copy


def python(project: Path, *arguments: str) -> str:
    return printed(sys.executable, *arguments, cwd=project, PYTHONPATH=str(project))


def test_the_example_is_one_file_one_known_place_and_samples() -> None:
    """What a rule costs: should it become more, or less, the text has to say so."""
    assert [name for name, kind, _ in BLOCKS if kind == "python"] == ["service/rules/caller_identity_federated.py"]
    assert [name for name, kind, _ in BLOCKS if kind == "diff"] == ["service/rules/__init__.py"]
    added = [
        line for _, kind, content in BLOCKS if kind == "diff" for line in content.splitlines() if line[0] == "+"
    ]
    assert len(added) == 2
    assert {Path(name).name.partition("-")[0] for name, kind, _ in BLOCKS if kind == "json"} == {"fires", "quiet"}


def test_the_rule_of_the_example_finds_its_event(project: Path) -> None:
    """Of its two samples, the one that fires, with a severity and a runbook."""
    samples = f"tests/rules/samples/{RULE}"
    (line,) = python(project, "-m", "service", "scan", "--staged", "--output", "ndjson", samples).splitlines()
    finding = json.loads(line)
    assert (finding["rule_id"], finding["severity"], finding["stage"]) == (RULE, "low", "staged")
    assert finding["event_id"].endswith("901")
    assert finding["clauses"] == ["identity-asked"]
    assert finding["containment_arn"] == "arn:aws:iam::111122223333:user/synthetic-deploy"
    assert finding["runbook"]
    told = python(project, "-m", "service", "explain", "--staged", f"{samples}/fires-session-of-user.json")
    assert f"{RULE}: match, low, on trial" in told


def test_the_rule_of_the_example_passes_what_every_rule_has_to(project: Path) -> None:
    """The tests that CONTRIBUTING.md names for a rule's samples and documents, and the style of its file."""
    tests = (
        "tests/rules",
        "tests/unit/test_detect.py",
        "tests/unit/test_docs.py",
    )
    told = python(project, "-m", "pytest", "-v", *tests)
    assert f"[{RULE}/fires-session-of-user] PASSED" in told
    assert f"[{RULE}/quiet-iam-user] PASSED" in told
    python(project, "-m", "ruff", "check", "--no-cache", "service/rules")
    python(project, "-m", "ruff", "format", "--no-cache", "--check", "service/rules")


def test_every_file_that_is_named_exists() -> None:
    """Save those that the example adds."""
    added = {name for name, _, _ in BLOCKS}
    named = set(re.findall(r"`((?:service|tests|docs|deploy|\.ci)/[\w./-]*)`", TEXT)) - added
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets
