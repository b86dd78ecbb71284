"""A match under two tunings, and ours beside the published rules: what differs, and whether the reason is true."""

import json
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backtest import published
from service.backtest.compare import Change, Side, Told, changes
from service.backtest.compare_published import ISSUED, REASONS, SUSPICIOUS, Beside, beside_published
from service.detect import Detector
from service.finding import SEVERITIES, Origin
from service.rules import EVERY_RULE, RULES
from service.tuning import UNTUNED, RuleTuning, Suppression, Tuning
from tests.unit.strategies import asking, console_exchange, issuance

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SIGN_IN = RULES[2].id
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
EVERYTHING = asking(durationSeconds=90_000, policy=STAR, policyArns=[{"arn": ADMIN}])
ASSUMED_ROLE = console_exchange(userIdentity={"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/r/s"})


def side(record: dict[str, Any], tuning: Tuning) -> Side:
    publishing = msgspec.structs.replace(tuning, publish_suppressed=True)
    return Side(tuning, Detector(EVERY_RULE, publishing).detect_record(record, detected_at=NOW))


def compared(record: dict[str, Any], old: Tuning, new: Tuning) -> list[Change]:
    return list(changes(side(record, old), side(record, new)))


def suppression(**values: Any) -> Suppression:
    given_values = {
        "name": "portal",
        "rules": frozenset({ISSUED}),
        "principal_arn": issuance()["userIdentity"]["arn"],
        "owner": "identity team",
        "reason": "mints sessions",
        "expires": date(2026, 12, 31),
    }
    return Suppression(**{**given_values, **values})


def of(rule_id: str, **values: Any) -> Tuning:
    return Tuning(rules={rule_id: RuleTuning(**values)})


# --- two tunings -----------------------------------------------------------------------------------------------

LOUD = suppression(rules=frozenset({"*"}), allow_critical=True)


@pytest.mark.parametrize(
    ("record", "new", "rule_id", "kind", "why"),
    [
        (EVERYTHING, of(ISSUED, enabled=False), ISSUED, "removed", ["rule disabled"]),
        (
            asking(policy=STAR),
            of(SUSPICIOUS, disabled_clauses=frozenset({"inline-policy-full-admin"})),
            SUSPICIOUS,
            "removed",
            ["clause inline-policy-full-admin disabled"],
        ),
        (
            EVERYTHING,
            of(SUSPICIOUS, disabled_clauses=frozenset({"duration-over-24h", "powerful-managed-policy"})),
            SUSPICIOUS,
            "changed",
            ["clause duration-over-24h disabled"],
        ),
        (
            EVERYTHING,
            of(
                SUSPICIOUS,
                disabled_clauses=frozenset({"inline-policy-full-admin"}),
                staged_clauses=frozenset({"duration-over-24h"}),
                duration_over_seconds=3_600,
            ),
            SUSPICIOUS,
            "changed",
            ["clause inline-policy-full-admin disabled"],
        ),
        (
            asking(durationSeconds=4_000),
            of(SUSPICIOUS, duration_over_seconds=3_600),
            SUSPICIOUS,
            "added",
            ["duration_over_seconds: the rule's own -> 3600"],
        ),
        (
            ASSUMED_ROLE,
            of(SIGN_IN, include_assumed_roles=True),
            SIGN_IN,
            "added",
            ["include_assumed_roles: false -> true"],
        ),
        (asking(), Tuning(suppressions=(suppression(),)), ISSUED, "removed", ["suppressed by 'portal'"]),
        (asking(), of(ISSUED, severity="high"), ISSUED, "changed", ["severity: the rule's own -> high"]),
        (asking(), of(ISSUED, stage="staged"), ISSUED, "changed", ["stage: the rule's own -> staged"]),
        (
            asking(policy=STAR),
            of(SUSPICIOUS, staged_clauses=frozenset({"inline-policy-full-admin", "inline-policy-broad"})),
            SUSPICIOUS,
            "changed",
            ["clause inline-policy-full-admin staged"],
        ),
        (
            asking(durationSeconds=90_000, policy=STAR),
            of(SUSPICIOUS, staged_clauses=frozenset({"inline-policy-full-admin"})),
            SUSPICIOUS,
            "changed",
            ["clause inline-policy-full-admin staged"],
        ),
    ],
)
def test_a_change_is_told_with_its_reason(
    record: dict[str, Any], new: Tuning, rule_id: str, kind: str, why: list[str]
) -> None:
    """And what has no part in it is not among the reasons; the other rules are the same."""
    by_rule = {change.rule_id: change for change in compared(record, UNTUNED, new)}
    assert (by_rule[rule_id].change, by_rule[rule_id].why) == (kind, why)
    assert {change.change for name, change in by_rule.items() if name != rule_id} <= {"same"}


@pytest.mark.parametrize(
    ("new", "kind", "why"),
    [
        (UNTUNED, "added", ["suppression 'portal' is gone"]),
        (Tuning(suppressions=(suppression(expires=date(2026, 5, 31)),)), "added",
         ["suppression 'portal' no longer covers it"]),
        (Tuning(suppressions=(suppression(name="other"),)), None, []),
        (of(ISSUED, enabled=False), None, []),
    ],
)  # fmt: skip
def test_a_suppressed_match_counts_as_none(new: Tuning, kind: str | None, why: list[str]) -> None:
    """So one that stays suppressed, or is then not asked for, is no change."""
    found = compared(asking(), Tuning(suppressions=(suppression(),)), new)
    assert [(change.change, change.why) for change in found] == ([(kind, why)] if kind else [])


def test_a_change_says_what_was_and_what_would_be() -> None:
    new = Tuning(rules={SUSPICIOUS: RuleTuning(severity="low", stage="staged")})
    (found,) = (change for change in compared(EVERYTHING, UNTUNED, new) if change.rule_id == SUSPICIOUS)
    clauses = ["duration-over-24h", "administrator-access-policy", "inline-policy-full-admin"]
    assert found.before == Told("critical", clauses, None)
    assert found.after == Told("low", clauses, "staged")
    assert found.why == ["severity: the rule's own -> low", "stage: the rule's own -> staged"]
    assert (found.event_id, found.event_time) == (EVERYTHING["eventID"], EVERYTHING["eventTime"])
    assert found.principal_arn == EVERYTHING["userIdentity"]["arn"]


def test_a_milder_severity_lets_no_suppression_through_to_what_is_critical() -> None:
    quiet = suppression(rules=frozenset({SUSPICIOUS}))
    new = Tuning(rules={SUSPICIOUS: RuleTuning(severity="high")}, suppressions=(quiet,))
    (found,) = (change for change in compared(EVERYTHING, UNTUNED, new) if change.rule_id == SUSPICIOUS)
    assert (found.change, found.why) == ("changed", ["severity: the rule's own -> high"])


def some_of(names: list[str]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(names), max_size=2)


def tunings_of(number: int) -> st.SearchStrategy[RuleTuning]:
    clauses = [clause.name for clause in RULES[number].clauses]
    options: dict[str, st.SearchStrategy[Any]] = {
        "enabled": st.booleans(),
        "severity": st.none() | st.sampled_from(SEVERITIES),
        "stage": st.sampled_from([None, "live", "staged"]),
        "disabled_clauses": some_of(clauses),
        "staged_clauses": some_of(clauses),
    }
    if number == 1:
        options["duration_over_seconds"] = st.none() | st.sampled_from([900, 43_200])
    if number == 2:
        options["include_assumed_roles"] = st.booleans()
    return st.builds(RuleTuning, **options)


TUNINGS = st.builds(
    Tuning,
    rules=st.fixed_dictionaries({}, optional={rule.id: tunings_of(n) for n, rule in enumerate(RULES)}),
    suppressions=st.sampled_from([(), (LOUD,), (suppression(),), (suppression(rules=frozenset({SUSPICIOUS})),)]),
    publish_suppressed=st.booleans(),
)
RECORDS = st.sampled_from(
    [
        EVERYTHING,
        ASSUMED_ROLE,
        console_exchange(),
        asking(durationSeconds=50_000),
        asking(policyArns=["arn:aws:iam::aws:policy/PowerUserAccess"], durationSeconds=129_600),
        issuance(errorCode="AccessDenied", requestParameters=None),
    ]
)


@given(RECORDS, TUNINGS, TUNINGS)
def test_every_difference_has_a_reason_and_nothing_else_has(
    record: dict[str, Any], old: Tuning, new: Tuning
) -> None:
    for change in compared(record, old, new):
        assert (change.change == "same") is (change.before == change.after) is (change.why == [])


@given(RECORDS, TUNINGS, TUNINGS)
def test_the_way_back_is_the_mirror_image(record: dict[str, Any], old: Tuning, new: Tuning) -> None:
    opposite = {"added": "removed", "removed": "added", "changed": "changed", "same": "same"}
    there = {each.rule_id: (opposite[each.change], each.after, each.before) for each in compared(record, old, new)}
    assert {each.rule_id: (each.change, each.before, each.after) for each in compared(record, new, old)} == there


@given(RECORDS, TUNINGS, TUNINGS)
def test_the_new_findings_are_the_old_ones_with_the_changes(
    record: dict[str, Any], old: Tuning, new: Tuning
) -> None:
    """What a detector publishes under each tuning, save what is suppressed, is what the comparison says."""
    for tuning, which in ((old, "before"), (new, "after")):
        found = Detector(EVERY_RULE, tuning).detect_record(record, detected_at=NOW).findings
        expected = {
            finding.rule_id: Told(finding.severity, finding.clauses, finding.stage)
            for finding in found
            if finding.suppressed_by is None
        }
        told = {change.rule_id: getattr(change, which) for change in compared(record, old, new)}
        assert {rule_id: value for rule_id, value in told.items() if value is not None} == expected


# --- the published rules ---------------------------------------------------------------------------------------


def beside(record: dict[str, Any], tuning: Tuning = UNTUNED) -> Beside:
    row = beside_published(record, side(record, tuning), Origin())
    assert row is not None
    return row


def arns(*names: str) -> dict[str, Any]:
    """With a field after it, so that the comma is there."""
    return {"policyArns": [{"arn": f"arn:aws:iam::111122223333:policy/{name}"} for name in names]}


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"in": value}
    return value


OFF = of(SUSPICIOUS, disabled_clauses=frozenset({"administrator-access-policy"}))
CASES: list[tuple[dict[str, Any], Tuning, bool | None, list[str]]] = [
    (asking(durationSeconds=86_401, tags=[]), UNTUNED, False, ["whole-minutes"]),
    (asking(durationSeconds=86_459, tags=[]), UNTUNED, False, ["whole-minutes"]),
    (asking(durationSeconds=86_460, tags=[]), UNTUNED, True, []),
    (asking(durationSeconds=86_460), UNTUNED, False, ["no-comma"]),
    (asking(durationSeconds=2**31, tags=[]), UNTUNED, False, ["not-32-bits"]),
    (issuance(requestParameters={"name": "durationSeconds=900,", "durationSeconds": 90_000, "tags": []}), UNTUNED,
     False, ["other-text"]),
    (issuance(requestParameters={"policy": "policyArns=[]", **arns("AdministratorAccess2")}), UNTUNED,
     False, ["other-text"]),
    (asking(policyArns=ADMIN), UNTUNED, False, ["arns-no-list"]),
    (asking(**arns("my-administratoraccess")), UNTUNED, False, ["letter-case"]),
    (asking(durationSeconds=4_000, tags=[]), of(SUSPICIOUS, duration_over_seconds=3_600), False, ["own-limit"]),
    (asking(policy=STAR), UNTUNED, False, ["inline-policy"]),
    (asking(policyArns=["arn:aws:iam::aws:policy/IAMFullAccess"]), UNTUNED, False, ["powerful-policy"]),
    (asking(policy=STAR, durationSeconds=90_000), UNTUNED, False, ["no-comma", "inline-policy"]),
    (asking(**arns("MyAdministratorAccess")), UNTUNED, True, ["lookalike"]),
    (asking(name="durationSeconds=99999,"), UNTUNED, True, ["imitated-field"]),
    (issuance(errorCode="AccessDenied", requestParameters=None), UNTUNED, False, ["failed-call"]),
    (issuance(requestParameters=None), UNTUNED, False, ["not-evaluable"]),
    (issuance(requestParameters="{policyArns=[AdministratorAccess]}"), UNTUNED, True, ["not-evaluable"]),
    (console_exchange(), UNTUNED, False, ["not-covered"]),
    (asking(), Tuning(suppressions=(suppression(),)), False, ["suppressed"]),
    (EVERYTHING, Tuning(suppressions=(LOUD,)), True, ["suppressed"]),
    (asking(), of(ISSUED, enabled=False), False, ["tuned-off"]),
    (EVERYTHING, of(SUSPICIOUS, enabled=False), True, ["tuned-off"]),
    (asking(policyArns=[{"arn": ADMIN}]), OFF, True, ["tuned-off"]),
    (asking(unknown=deep(600)), UNTUNED, None, ["too-deep"]),
    (asking(), UNTUNED, False, []),
    (EVERYTHING, UNTUNED, True, []),
]  # fmt: skip


@pytest.mark.parametrize(("record", "tuning", "rule_b", "reasons"), CASES, ids=lambda value: str(value)[:40])
def test_each_difference_from_the_published_rules_has_its_reason(
    *, record: dict[str, Any], tuning: Tuning, rule_b: bool | None, reasons: list[str]
) -> None:
    found = beside(record, tuning)
    assert (found.rule_b, found.reasons) == (rule_b, reasons)
    assert found.rule_a is (record["eventName"] == "GetFederationToken")


def test_every_reason_is_shown_by_a_case() -> None:
    """Save a failure of a rule, which none of them does."""
    assert {reason for *_, reasons in CASES for reason in reasons} == REASONS.keys() - {"rule-failed"}


@given(
    st.dictionaries(
        st.sampled_from(["durationSeconds", "policyArns", "policy", "name", "tags"]), st.none()
    ).flatmap(
        lambda names: st.fixed_dictionaries(
            {
                "durationSeconds": st.integers(86_300, 86_500) | st.integers(900, 2**32),
                "policyArns": st.lists(st.sampled_from([ADMIN, ADMIN.lower(), f"{ADMIN}s", "arn:x"]), max_size=2),
                "policy": st.just(STAR),
                "name": st.just("alice"),
                "tags": st.just([]),
            }
        ).map(lambda values: {name: values[name] for name in names})
    )
)
def test_ours_and_rule_b_differ_exactly_where_a_reason_is_given(parameters: dict[str, Any]) -> None:
    """Save for the lookalike, which both find, but do not take for the same."""
    record = issuance(requestParameters=parameters)
    found = beside(record)
    ours = any(each.rule_id == SUSPICIOUS and each.verdict == "match" for each in found.ours)
    assert (ours != published.rule_b(record)) is bool(set(found.reasons) - {"lookalike"})


def test_an_event_of_no_interest_has_no_row() -> None:
    record = console_exchange(userIdentity={"type": "AssumedRole"})
    assert beside_published(record, side(record, UNTUNED), Origin()) is None


def test_a_row_holds_no_secret() -> None:
    token = "IQoJb3JpZ2luX2VjEXAMPLETOKENOFALENGTH"
    record = issuance(eventID=f"sessionToken={token}", responseElements={"credentials": {"sessionToken": token}})
    for encoded in (beside(record), *compared(record, UNTUNED, of(ISSUED, severity="high"))):
        assert token not in msgspec.json.encode(encoded).decode()
    assert token in json.dumps(record)
