"""Every sample event gives its rule the verdict that its file name promises."""

import json
import re
from pathlib import Path

import pytest

from service.detect import Detector
from service.rules import EVERY_RULE, RULES, STAGED
from service.rules.federated_user_changes_iam import WRITING_OPERATIONS
from tests.rules.iam_api import OPERATIONS

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*/*.json"))
DETECTOR = Detector(EVERY_RULE)


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
    for rule in EVERY_RULE:
        kinds = {path.stem.partition("-")[0] for path in SAMPLES if path.parent.name == rule.id}
        assert kinds == {"fires", "quiet"}, rule.id
        for told in (rule.blind_spots, rule.evasions, rule.tuning_advice, rule.false_positives):
            assert told, rule.id
            assert all(line.strip() for line in told), rule.id


def test_a_staged_rule_says_so_and_is_not_applied_by_run_or_scan() -> None:
    """Until its findings have a topic of their own they would reach the SOAR."""
    assert not set(STAGED) & set(RULES)
    assert {rule.stage for rule in STAGED} == {"staged"}
    assert {rule.stage for rule in RULES} == {None}
    for path in SAMPLES:
        if path.parent.name in {rule.id for rule in STAGED} and path.stem.startswith("fires-"):
            record = json.loads(path.read_text(encoding="utf-8"))
            (finding,) = [found for found in DETECTOR.detect_record(record).findings if found.stage]
            assert (finding.rule_id, finding.stage) == (path.parent.name, "staged")
            assert not Detector(RULES).detect_record(record).findings


def test_every_writing_operation_of_iam_is_watched() -> None:
    """As AWS's own model of the API lists them, save those that only read or report."""
    reading = ("Get", "List", "Simulate", "Generate")
    assert [name for name in OPERATIONS if not name.startswith(reading)] == list(WRITING_OPERATIONS)


def test_every_sample_belongs_to_a_rule() -> None:
    """A folder left behind by a renamed rule would be run against nothing."""
    assert {path.parent.name for path in SAMPLES} == {rule.id for rule in EVERY_RULE}


def test_samples_hold_example_credentials_only() -> None:
    """A sample cut from a real event must not bring its keys along."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SAMPLES)
    assert {key[-7:] for key in re.findall(r"\bA[KS]IA[A-Z0-9]{16}\b", text)} == {"EXAMPLE"}
    assert set(re.findall(r'"sessionToken": "([^"]*)"', text)) == {"EXAMPLE-SESSION-TOKEN"}
