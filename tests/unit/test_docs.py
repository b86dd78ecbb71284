"""The documents say what the code does."""

import re

import pytest

from service.rules import RULES
from tests.docs import README, ROOT, TABLES, between


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_readme_is_what_the_code_says(name: str) -> None:
    assert between(README.read_text(), name) == TABLES[name](), "run `make docs`"


def test_every_link_to_a_file_of_the_project_leads_somewhere() -> None:
    for document in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} links to {target}"


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README.read_text(), re.MULTILINE)) <= targets


def test_every_rule_is_in_the_readme() -> None:
    assert all(f"`{rule.id}`" in README.read_text() for rule in RULES)
