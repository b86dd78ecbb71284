"""Every sample event gives its rule the verdict that its file name promises."""

import json
import re
from pathlib import Path

import pytest

from service.detect import Detector
from service.rules import RULES

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*/*.json"))
DETECTOR = Detector(RULES)


def label(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", SAMPLES, ids=label)
def test_a_sample_fires_or_stays_quiet_as_named(path: Path) -> None:
    """A `fires-` sample matches its rule, a `quiet-` one does not, and neither makes any rule fail."""
    verdicts = DETECTOR.detect_record(json.loads(path.read_text(encoding="utf-8"))).verdicts
    assert "error" not in verdicts.values()
    assert (verdicts[path.parent.name] == "match") is path.stem.startswith("fires-")


def test_every_rule_has_both_kinds_of_samples_and_states_its_blind_spots() -> None:
    """A rule without a counter-example, or that claims to miss nothing, is not finished."""
    for rule in RULES:
        kinds = {path.stem.partition("-")[0] for path in SAMPLES if path.parent.name == rule.id}
        assert kinds == {"fires", "quiet"}, rule.id
        assert rule.blind_spots, rule.id
        assert all(blind_spot.strip() for blind_spot in rule.blind_spots), rule.id


def test_every_sample_belongs_to_a_rule() -> None:
    """A folder left behind by a renamed rule would be run against nothing."""
    assert {path.parent.name for path in SAMPLES} == {rule.id for rule in RULES}


def test_samples_hold_example_credentials_only() -> None:
    """A sample cut from a real event must not bring its keys along."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SAMPLES)
    assert {key[-7:] for key in re.findall(r"\bA[KS]IA[A-Z0-9]{16}\b", text)} == {"EXAMPLE"}
    assert set(re.findall(r'"sessionToken": "([^"]*)"', text)) == {"EXAMPLE-SESSION-TOKEN"}
