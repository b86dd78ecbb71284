"""Every dependency is used, everything used is a dependency, and DESIGN.md tells why each was chosen."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from tests.broker import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOLD = (ROOT / "DESIGN.md").read_text(encoding="utf-8").partition("\n## Dependencies\n")[2].partition("\n## ")[0]

# Nothing of ours imports these: the registry's client, part of confluent-kafka, does, and does not ask for them.
FOR_THE_REGISTRY = {"attrs", "authlib", "cachetools", "certifi"}
# What a dependency hands out as part of its own interface, and so asks for itself.
PART_OF = {"markupsafe": "jinja2", "pydantic-core": "pydantic"}


def normal(name: str) -> str:
    """As in https://packaging.python.org/en/latest/specifications/name-normalization/ ."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: Iterable[str]) -> set[str]:
    return {normal(found[0]) for line in requirements if (found := re.match(r"[\w.-]+", line))}


DEPENDENCIES = names(PROJECT["project"]["dependencies"])
EXTRAS = {name for extra in PROJECT["project"]["optional-dependencies"].values() for name in names(extra)}
TOOLS = {name for group in PROJECT["dependency-groups"].values() for name in names(group)}


def imported(folder: Path) -> set[str]:
    """The distributions that the modules below a folder import."""
    known = packages_distributions()
    return {normal(name) for module in _modules(folder) for name in known.get(module, ())}


def _modules(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield node.module.partition(".")[0]


def test_every_dependency_is_imported() -> None:
    """One that is not would be installed, locked and watched for nothing."""
    assert imported(ROOT / "service") | FOR_THE_REGISTRY >= DEPENDENCIES | EXTRAS


def test_every_module_that_is_imported_comes_from_a_dependency() -> None:
    """Not from what a dependency happens to bring, which may leave with its next version."""
    foreign = {*_modules(ROOT / "service")} - {*sys.stdlib_module_names, "service"}
    assert foreign <= packages_distributions().keys()
    assert imported(ROOT / "service") - {"tokentrail", *PART_OF} <= DEPENDENCIES | EXTRAS
    for part, whole in PART_OF.items():
        assert whole in DEPENDENCIES
        assert part in names(requires(whole) or ())


def test_the_registrys_client_still_imports_what_we_install_for_it() -> None:
    """Should it need one no longer, it can go."""
    client = importlib.util.find_spec("confluent_kafka.schema_registry")
    assert client is not None
    assert client.origin is not None
    assert imported(Path(client.origin).parent) >= FOR_THE_REGISTRY


def test_the_design_tells_of_each_dependency_what_it_is_for_its_licence_and_what_it_was_chosen_over() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", TOLD, re.MULTILINE)
    ]
    assert rows[0] == ["package", "what for", "licence", "instead of"]
    listed = [normal(name.partition(" (")[0]) for row in rows[2:] for name in row[0].split(", ")]
    assert sorted(listed) == sorted(DEPENDENCIES | EXTRAS)
    assert all(len(row) == 4 and all(row) for row in rows)


def test_the_design_names_every_tool() -> None:
    said = {normal(word) for word in re.findall(r"[\w-]+", TOLD)}
    assert said >= TOOLS - EXTRAS
