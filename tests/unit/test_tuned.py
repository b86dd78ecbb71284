"""What the detector makes of an operator's tuning."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from service.detect import Detection, Detector
from service.rules import RULES
from service.tuning import RuleTuning, Suppression, Tuning
from tests.unit.strategies import issuance

ISSUED, SUSPICIOUS, SIGN_IN = (rule.id for rule in RULES[:3])
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ADMIN = [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]


def asked(**parameters: object) -> dict[str, Any]:
    return issuance(requestParameters={"name": "bob", **parameters})


def detect(
    record: dict[str, Any], *, suppressions: list[Suppression] | None = None, **rules: RuleTuning
) -> Detection:
    names = {"issued": ISSUED, "suspicious": SUSPICIOUS, "sign_in": SIGN_IN}
    tuning = Tuning(rules={names[name]: own for name, own in rules.items()}, suppressions=suppressions or [])
    return Detector(RULES, tuning).detect_record(record, detected_at=NOW)


def suppressing(expires: date) -> list[Suppression]:
    caller = issuance()["userIdentity"]["arn"]
    return [
        Suppression(
            name="portal",
            rules=frozenset({ISSUED}),
            principal_arn=caller,
            owner="identity team",
            reason="mints sessions",
            expires=expires,
        )
    ]


def test_a_rule_that_is_off_says_nothing() -> None:
    detection = detect(asked(policyArns=ADMIN), suspicious=RuleTuning(enabled=False))
    assert [finding.rule_id for finding in detection.findings] == [ISSUED]
    assert SUSPICIOUS not in detection.verdicts


def test_a_clause_that_is_off_is_not_asked_and_the_others_are() -> None:
    off = RuleTuning(disabled_clauses=frozenset({"administrator-access-policy"}))
    assert detect(asked(policyArns=ADMIN), suspicious=off).verdicts[SUSPICIOUS] == "no_match"
    found = detect(asked(policyArns=ADMIN, durationSeconds=129_600), suspicious=off).findings[1]
    assert found.clauses == ["duration-over-24h"]


def test_a_lower_limit_catches_more_and_says_so() -> None:
    limit = RuleTuning(duration_over_seconds=3_600)
    assert detect(asked(durationSeconds=3_600), suspicious=limit).verdicts[SUSPICIOUS] == "no_match"
    found = detect(asked(durationSeconds=3_601), suspicious=limit).findings[1]
    assert found.clauses == ["duration-over-24h"]
    assert "the limit of 3,600 s" in found.reasons[0].explanation
    assert "24 hours" not in found.title


def test_a_severity_is_overridden_for_every_match_of_the_rule() -> None:
    for parameters in ({}, {"policyArns": ADMIN, "durationSeconds": 129_600}):
        found = detect(asked(**parameters), issued=RuleTuning(severity="informational")).findings[0]
        assert (found.severity, found.severity_id, found.risk_score) == ("informational", 1, 10)


def test_roles_count_for_the_sign_in_rule_where_they_are_asked_for() -> None:
    identity = {
        "type": "AssumedRole",
        "arn": "arn:aws:sts::111122223333:assumed-role/r/s",
        "sessionContext": {"sessionIssuer": {"type": "Role", "arn": "arn:aws:iam::111122223333:role/r"}},
    }
    record = {"eventSource": "signin.amazonaws.com", "eventName": "GetSigninToken", "userIdentity": identity}
    assert detect(record).verdicts[SIGN_IN] == "no_match"
    assert detect(record, sign_in=RuleTuning(include_assumed_roles=True)).verdicts[SIGN_IN] == "match"


def test_a_staged_rule_or_clause_marks_its_findings_unless_another_clause_holds_too() -> None:
    assert detect(asked(), issued=RuleTuning(stage="staged")).findings[0].stage == "staged"
    staged = RuleTuning(staged_clauses=frozenset({"duration-over-24h"}))
    alone = detect(asked(durationSeconds=129_600), suspicious=staged).findings[1]
    assert (alone.stage, alone.severity) == ("staged", "high")
    both = detect(asked(durationSeconds=129_600, policyArns=ADMIN), suspicious=staged).findings[1]
    assert both.stage is None
    assert "duration-over-24h" in both.clauses


@pytest.mark.parametrize(("expires", "verdict"), [(date(2026, 6, 1), "suppressed"), (date(2026, 5, 31), "match")])
def test_a_suppressed_match_is_a_verdict_of_its_own_until_it_expires(expires: date, verdict: str) -> None:
    detection = detect(asked(policyArns=ADMIN), suppressions=suppressing(expires))
    assert detection.verdicts[ISSUED] == verdict
    assert detection.verdicts[SUSPICIOUS] == "match"
    found = [finding.rule_id for finding in detection.findings]
    assert found == ([SUSPICIOUS] if verdict == "suppressed" else [ISSUED, SUSPICIOUS])


def test_a_suppressed_match_is_published_where_that_is_asked_for() -> None:
    tuning = Tuning(suppressions=suppressing(date(2026, 6, 1)), publish_suppressed=True)
    detection = Detector(RULES, tuning).detect_record(asked(policyArns=ADMIN), detected_at=NOW)
    assert [finding.suppressed_by for finding in detection.findings] == ["portal", None]
    assert detection.verdicts[ISSUED] == "suppressed"
