"""The maps of `service/` are whole: the docstrings that say where things are, and the lists of what is pure."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.broker import ROOT

SERVICE = ROOT / "service"
PURE, _PIPELINE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
MAPPED = ("", "avro", "backtest", "envelopes", "feed", "kafka", "policy", "report")


def modules(folder: Path) -> set[str]:
    """The names of a folder's modules; those of its folders end with a slash."""
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    return files | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def mapped(folder: Path) -> list[str]:
    """The names that its docstring explains: those that two spaces or more divide from a text."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    found = re.findall(r"^ *((?:\w+/?, )*\w+/?) {2,}\S", docstring, re.MULTILINE)
    return [name for names in found for name in names.split(", ")]


@pytest.mark.parametrize("folder", MAPPED)
def test_every_module_stands_once_in_its_folders_map(folder: str) -> None:
    assert sorted(mapped(SERVICE / folder)) == sorted(modules(SERVICE / folder))


def test_every_module_is_either_pure_or_not() -> None:
    """A new one that stands in neither list could import anything, and be imported by the core."""
    lists = PURE["source_modules"], PURE["forbidden_modules"]
    paths = [path for path in SERVICE.rglob("*.py") if path.stem not in ("__init__", "__main__")]
    assert paths
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        holding = [each for each in lists if any(f"{name}.".startswith(f"{entry}.") for entry in each)]
        assert len(holding) == 1, name
