"""The documents say what the code does, and lead where they say."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from service.detect import Detector
from service.rules import RULES
from service.sample_day import sample_day
from tests.generate_docs import DOCUMENTS, README, ROOT, between

TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "deploy/**/*.md", "tests/bench/results/*.md")
    for path in ROOT.glob(pattern)
)
# What may name a heading of a document in a comment.
SOURCES = sorted(
    path
    for folder in ("service", "tests", "config", "deploy")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".toml", ".yaml"}
)

OTHERS = {"tests/backends/"}  # of the code bases that DESIGN.md compares with


@pytest.mark.parametrize(
    ("document", "name"),
    [(document, name) for document, parts in DOCUMENTS.items() for name in parts],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_part_of_a_document_is_what_the_code_says(document: Path, name: str) -> None:
    assert between(document.read_text(), name) == DOCUMENTS[document][name](), "run `make docs`"


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """The files of the project that it links to, itself too, each with the anchor, or an empty text."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_code(document.read_text())):
        target, _, anchor = link.partition("#")
        yield (document.parent / target if target else document), anchor


def anchors(document: Path) -> set[str]:
    """Those of its headings, as GitHub makes them: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_of_the_project_and_to_a_heading_in_it(document: Path) -> None:
    for target, anchor in links(document):
        assert target.exists(), f"no {target}"
        assert not anchor or anchor in anchors(target), f"no heading #{anchor} in {target}"


def test_every_heading_that_the_code_names_exists() -> None:
    for source in SOURCES:
        for name, anchor in re.findall(r"\b([A-Z]+\.md)#([\w-]+)", source.read_text(encoding="utf-8")):
            assert anchor in anchors(ROOT / name), f"{source} names {name}#{anchor}"


@pytest.mark.parametrize("name", ["README.md", "DESIGN.md", "SECURITY.md"])
def test_every_file_that_is_named_exists(name: str) -> None:
    named = re.findall(r"`((?:service|tests|docs|deploy|config)/[\w./-]*)`", (ROOT / name).read_text())
    assert named
    assert [path for path in named if path not in OTHERS and not (ROOT / path).exists()] == []


def test_every_panel_that_a_runbook_names_is_on_the_dashboard() -> None:
    named = set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", (ROOT / "docs" / "runbooks.md").read_text()))
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "tokentrail.json").read_text())
    panels = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", ()))]
    assert len(named) > 3
    assert {" ".join(name.split()) for name in named} <= {panel["title"] for panel in panels}


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README.read_text(), re.MULTILINE)) <= targets


def test_every_rule_is_in_the_readme() -> None:
    assert all(f"`{rule.id}`" in README.read_text() for rule in RULES)


def test_what_the_readme_shows_of_the_demo_is_found_in_its_day() -> None:
    shown = re.findall(
        r"^(\d\d:\d\d) (\w+) +(\S+) +(\S+) +(\S+) +(.+?)(?: \(failed\))?$", README.read_text(), re.MULTILINE
    )
    detect = Detector(RULES).detect_record
    findings = [finding for event in sample_day(date(2026, 1, 5)) for finding in detect(event).findings]
    found = {
        (
            (each.event_time or "")[11:16],
            each.severity,
            each.rule_id,
            (each.containment_arn or "").rpartition("/")[2],
            each.federated_user_name or "-",
            ", ".join(each.clauses),
        )
        for each in findings
    }
    assert len(shown) > 3
    assert set(shown) <= found
