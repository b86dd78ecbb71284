"""The documents say what the code does."""

import re
from pathlib import Path

import pytest

from service.rules import RULES
from tests.generate_docs import DOCUMENTS, README, ROOT, between


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document, parts in DOCUMENTS.items() for name in parts],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_part_of_a_document_is_what_the_code_says(document: Path, name: str) -> None:
    assert between(document.read_text(), name) == DOCUMENTS[document][name](), "run `make docs`"


def test_every_link_to_a_file_of_the_project_leads_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README.read_text(), re.MULTILINE)) <= targets


def test_every_rule_is_in_the_readme() -> None:
    assert all(f"`{rule.id}`" in README.read_text() for rule in RULES)
