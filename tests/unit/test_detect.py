"""Verdicts, the severity table, and that one broken rule silences no other."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detect import Detection, Detector
from service.event import Event
from service.finding import Finding, NotEvaluable, Severity, to_json
from service.rules import EVERY_RULE, RULES, STAGED, federated_user_changes_iam, federation_token_issued
from service.rules.rule import Answer, Case, Clause, Held, Rule, Verdict, severity_by_cases
from tests.unit.strategies import asking, console_exchange, issuance, json_values, oddities, put, watched_records

DETECTOR = Detector(RULES)
ISSUED, SUSPICIOUS, SIGNIN = (rule.id for rule in RULES[:3])
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
BROAD = '{"Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}}'
IAM = '{"Statement": {"Effect": "Allow", "Action": "iam:*", "Resource": "*"}}'
ADMIN_ARN = "arn:aws:iam::aws:policy/AdministratorAccess"
LOOKALIKE = "arn:aws:iam::aws:policy/AdministratorAccess-Amplify"
POWERFUL = "arn:aws:iam::aws:policy/PowerUserAccess"
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
CLAUSES = [clause.name for clause in RULES[1].clauses]


def detect(record: dict[str, Any], detector: Detector = DETECTOR) -> Detection:
    return detector.detect_record(record)


def finding(record: dict[str, Any], rule_id: str) -> Finding:
    (found,) = [found for found in detect(record).findings if found.rule_id == rule_id]
    return found


def denied(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "errorCode": "AccessDenied", "responseElements": None}


def by_root(record: dict[str, Any]) -> dict[str, Any]:
    """The caller's type alone makes it root."""
    return {**record, "userIdentity": {**record["userIdentity"], "type": "Root"}}


# --- severity ------------------------------------------------------------------------------------


TABLE = [
    (ISSUED, asking(), "low"),
    (ISSUED, asking(policyArns=[]), "low"),
    (ISSUED, asking(policy="{}"), "medium"),
    (ISSUED, asking(policyArns=[ADMIN_ARN]), "medium"),
    (ISSUED, asking(policy=HIDDEN), "medium"),
    (ISSUED, asking(policyArns=[None]), "medium"),
    (ISSUED, issuance(requestParameters=None), "medium"),
    (SUSPICIOUS, asking(policyArns=[LOOKALIKE]), "medium"),
    (SUSPICIOUS, asking(policyArns=[POWERFUL]), "medium"),
    (SUSPICIOUS, asking(policyArns=[POWERFUL, LOOKALIKE], durationSeconds=86_400), "medium"),
    (SUSPICIOUS, asking(policyArns=[POWERFUL], durationSeconds=86_401), "high"),
    (SUSPICIOUS, asking(policyArns=[POWERFUL], policy=IAM), "high"),
    (SUSPICIOUS, asking(policyArns=[ADMIN_ARN], durationSeconds=86_401), "critical"),
    (SUSPICIOUS, asking(policy=STAR, durationSeconds="129600"), "critical"),
    (SUSPICIOUS, asking(policy=STAR, durationSeconds=10**12), "critical"),
    (SUSPICIOUS, asking(policy=STAR, durationSeconds=86_400), "high"),
    (SUSPICIOUS, asking(policy=STAR), "high"),
    (SUSPICIOUS, asking(policy=STAR, durationSeconds=HIDDEN), "high"),
    (SUSPICIOUS, asking(policyArns=[ADMIN_ARN]), "high"),
    (SUSPICIOUS, asking(policy=BROAD, durationSeconds=129_600), "high"),
    (SUSPICIOUS, asking(policy=IAM), "high"),
    (SUSPICIOUS, asking(durationSeconds=86_401), "high"),
    (SIGNIN, console_exchange(), "high"),
]


@pytest.mark.parametrize(("rule_id", "record", "expected"), TABLE)
def test_the_severity_table(rule_id: str, record: dict[str, Any], expected: str) -> None:
    assert finding(record, rule_id).severity == expected


@pytest.mark.parametrize(("rule_id", "record", "expected"), TABLE)
def test_a_failed_call_is_one_step_down(rule_id: str, record: dict[str, Any], expected: Severity) -> None:
    steps = {"critical": "high", "high": "medium", "medium": "low", "low": "informational"}
    assert finding(denied(record), rule_id).severity == steps[expected]


@pytest.mark.parametrize(
    ("record", "issued", "suspicious"),
    [
        (asking(), "medium", None),
        (asking(policy="{}"), "high", None),
        (asking(policyArns=[LOOKALIKE]), "high", "high"),
        (asking(policy=STAR), "high", "critical"),
        # Root's session lives an hour whatever was asked: no case for critical, but one up from high.
        (asking(policy=STAR, durationSeconds=129_600), "high", "critical"),
        (denied(asking()), "low", None),
        (denied(asking(policy=STAR)), "medium", "high"),
        (denied(asking(policyArns=[POWERFUL])), "medium", "medium"),
    ],
)
def test_root_is_one_step_up(record: dict[str, Any], issued: str, suspicious: str | None) -> None:
    found = {one.rule_id: one.severity for one in detect(by_root(record)).findings}
    assert found == {ISSUED: issued} | ({SUSPICIOUS: suspicious} if suspicious else {})


def test_critical_for_root_is_by_the_step_not_by_the_duration_it_does_not_get() -> None:
    """Otherwise the failure of such a call would still be critical."""
    assert finding(denied(by_root(asking(policy=STAR, durationSeconds=129_600))), SUSPICIOUS).severity == "high"


@pytest.mark.parametrize(
    ("base", "record", "expected"),
    [
        ("critical", by_root(asking()), "critical"),
        ("informational", denied(asking()), "informational"),
        ("informational", asking(), "informational"),
        ("critical", denied(asking()), "high"),
    ],
)
def test_steps_stay_within_the_scale(base: Severity, record: dict[str, Any], expected: str) -> None:
    rule = replace(federation_token_issued.RULE, cases=(Case("always", base),))
    assert severity_by_cases(rule, Event(record), []) == expected


LOGIN, IAM_CHANGE = "console-login-of-federated-user", "federated-user-changes-iam"


def federated(source: str, name: str, **changes: Any) -> dict[str, Any]:
    return console_exchange(eventSource=source, eventName=name, **changes)


@pytest.mark.parametrize(
    ("rule_id", "record", "expected"),
    [
        (LOGIN, federated("signin.amazonaws.com", "ConsoleLogin"), "high"),
        (
            LOGIN,
            federated("signin.amazonaws.com", "ConsoleLogin", responseElements={"ConsoleLogin": "Failure"}),
            "medium",
        ),
        (IAM_CHANGE, federated("iam.amazonaws.com", "CreateAccessKey"), "critical"),
        (IAM_CHANGE, federated("iam.amazonaws.com", "CreateUser", errorCode="AccessDenied"), "high"),
        (IAM_CHANGE, federated("iam.amazonaws.com", "DeleteUser"), "high"),
        (IAM_CHANGE, federated("iam.amazonaws.com", "TagRole", errorCode="AccessDenied"), "medium"),
    ],
)
def test_the_severity_of_rules_on_trial(rule_id: str, record: dict[str, Any], expected: str) -> None:
    (found,) = Detector(STAGED).detect_record(record).findings
    assert (found.rule_id, found.severity, found.stage) == (rule_id, expected, "staged")


def test_every_rule_has_a_last_case_that_always_fits() -> None:
    for rule in EVERY_RULE:
        assert rule.cases[-1].fits(Event({}), ["no such clause"])


# --- verdicts ------------------------------------------------------------------------------------


UNREAD_POLICY = [
    NotEvaluable(SUSPICIOUS, f"inline-policy-{kind}", "policy_not_json")
    for kind in ("full-admin", "broad", "iam-admin")
]


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (asking(), "no_match"),
        (asking(durationSeconds=86_400), "no_match"),
        (asking(durationSeconds=86_401), "match"),
        (asking(durationSeconds="x"), "not_evaluable"),
        (asking(durationSeconds=86_401, policy="{"), "match"),
        (asking(durationSeconds="x", policy=STAR), "match"),
        (asking(policyArns=[None, ADMIN_ARN]), "match"),
        (asking(policyArns=[None]), "not_evaluable"),
        (asking(policy=HIDDEN), "not_evaluable"),
        (issuance(requestParameters=None), "not_evaluable"),
        (denied(issuance(requestParameters=None)), "not_evaluable"),
        (issuance(requestParameters={"omitted": True}), "not_evaluable"),
        (issuance(requestParameters="{name=alice}"), "not_evaluable"),
        (issuance(requestParameters={}), "no_match"),
    ],
)
def test_match_before_not_evaluable_before_no_match(record: dict[str, Any], verdict: Verdict) -> None:
    detection = detect(record)
    assert detection.verdicts == {ISSUED: "match", SUSPICIOUS: verdict, SIGNIN: "no_match"}
    assert [found.rule_id for found in detection.findings] == (
        [ISSUED, SUSPICIOUS] if verdict == "match" else [ISSUED]
    )


def test_what_could_not_be_read_is_on_the_finding_of_the_issued_rule() -> None:
    record = issuance(requestParameters=None)
    assert finding(record, ISSUED).not_evaluable == [
        NotEvaluable(SUSPICIOUS, clause, "request_parameters_null") for clause in CLAUSES
    ]
    assert finding(asking(policy="{"), ISSUED).not_evaluable == UNREAD_POLICY
    assert finding(asking(policy="{", durationSeconds=86_401), ISSUED).not_evaluable == UNREAD_POLICY
    assert finding(asking(), ISSUED).not_evaluable == []


def test_a_stronger_inline_clause_that_holds_leaves_no_weaker_one_open() -> None:
    """An unread part may hide a stronger one, never a weaker."""
    statement = json.loads(BROAD)["Statement"]
    found = finding(asking(policy={"Statement": [statement, 7]}), ISSUED)
    assert [item.clause for item in found.not_evaluable] == ["inline-policy-full-admin"]


@pytest.mark.parametrize(
    ("parameters", "clauses"),
    [
        ({"durationSeconds": 86_401}, ["duration-over-24h"]),
        ({"policyArns": [ADMIN_ARN]}, ["administrator-access-policy"]),
        ({"policyArns": [ADMIN_ARN.replace("aws:", "aws-iso-b:", 1)]}, ["administrator-access-policy"]),
        ({"policyArns": [LOOKALIKE]}, ["administrator-access-lookalike"]),
        ({"policyArns": ["administratoraccess"]}, ["administrator-access-lookalike"]),
        ({"policyArns": [ADMIN_ARN + "\n"]}, ["administrator-access-lookalike"]),
        ({"policyArns": [POWERFUL]}, ["powerful-managed-policy"]),
        ({"policyArns": ["arn:aws:iam::111122223333:policy/PowerUserAccess"]}, None),
        ({"policyArns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]}, None),
        ({"policy": STAR}, ["inline-policy-full-admin"]),
        ({"policy": BROAD}, ["inline-policy-broad"]),
        ({"policy": IAM}, ["inline-policy-iam-admin"]),
        ({"policy": '{"Statement": []}'}, None),
        (
            {"policy": STAR, "policyArns": [POWERFUL, LOOKALIKE, ADMIN_ARN], "durationSeconds": 90_000},
            [*CLAUSES[:4], "inline-policy-full-admin"],
        ),
    ],
)
def test_the_clauses_that_hold_are_listed(parameters: dict[str, Any], clauses: list[str] | None) -> None:
    found = [one.clauses for one in detect(asking(**parameters)).findings if one.rule_id == SUSPICIOUS]
    assert found == ([clauses] if clauses else [])


@pytest.mark.parametrize("kind", ["AssumedRole", "IAMUser", "Root", "federateduser", None, ["FederatedUser"]])
def test_a_console_exchange_of_another_identity_is_quiet(kind: object) -> None:
    record = put(console_exchange(), ("userIdentity", "type"), kind)
    assert detect(record).verdicts == {ISSUED: "no_match", SUSPICIOUS: "no_match", SIGNIN: "no_match"}


def test_two_findings_of_one_event_name_each_other() -> None:
    issued, suspicious = detect(asking(policy=STAR)).findings
    assert issued.related_finding_ids == [suspicious.finding_id]
    assert suspicious.related_finding_ids == [issued.finding_id]
    assert finding(asking(), ISSUED).related_finding_ids == []


def test_a_finding_on_trial_and_one_that_is_not_do_not_name_each_other() -> None:
    """They go to different topics: who reads one may never see the other."""
    detector = Detector([replace(RULES[0], stage="staged"), RULES[1]])
    assert [found.related_finding_ids for found in detect(asking(policy=STAR), detector).findings] == [[], []]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "name", "near"),
    [
        ("sts.amazonaws.com", "getFederationToken", True),
        ("STS.amazonaws.com", "GetFederationToken", True),
        ("signin.amazonaws.com", "GETSIGNINTOKEN", True),
        ("connect.amazonaws.com", "GetFederationToken", False),
        ("sts.aliyuncs.com", "GetFederationToken", False),
        ("signin.amazonaws.com", "GetFederationToken", False),
        ("sts.amazonaws.com", "GetFederationToken ", False),
        ("sts.amazonaws.com", "GetFederationToken\x00", False),
        ("sts.amazonaws.com.cn", "GetFederationToken", False),
        ("sts.amazonaws.com", "GetSessionToken", False),
        ("sts.amazonaws.com", None, False),
        (None, "GetFederationToken", False),
        ("sts.amazonaws.com", ["GetFederationToken"], False),
        ("sts.amazonaws.com", {"GetFederationToken": 1}, False),
        (7, True, False),
    ],
)
def test_names_are_compared_exactly(source: object, name: object, near: bool) -> None:  # noqa: FBT001  a column
    """A name that differs by letter case only is a near miss: counted, not matched."""
    detection = detect(issuance(eventSource=source, eventName=name))
    assert set(detection.verdicts.values()) == {"no_match"}
    assert not detection.findings
    near_miss = isinstance(source, str) and isinstance(name, str) and DETECTOR.is_near_miss(source, name)
    assert near_miss is near


def test_a_match_is_no_near_miss() -> None:
    assert not DETECTOR.is_near_miss("sts.amazonaws.com", "GetFederationToken")
    assert not DETECTOR.is_near_miss("sts.amazonaws.com", None)
    assert not DETECTOR.is_near_miss(None, "GetFederationToken")
    assert DETECTOR.watches("sts.amazonaws.com", "GetFederationToken")
    assert not DETECTOR.watches("sts.amazonaws.com", "getFederationToken")


def test_a_record_is_searched_for_the_needles_of_a_rule_else_for_the_names_it_watches() -> None:
    assert DETECTOR.needles == {"GetFederationToken", "GetSigninToken"}
    assert Detector(STAGED).needles == {"ConsoleLogin", "FederatedUser"}


@given(st.text(max_size=30) | st.none(), st.text(max_size=30) | st.none())
def test_any_names_may_be_asked_about(source: str | None, name: str | None) -> None:
    assert not DETECTOR.watches(source, name)
    DETECTOR.is_near_miss(source, name)


# --- a rule that raises ----------------------------------------------------------------------------


class Broken(Exception):
    pass


def breaks(*_: object) -> Any:
    raise Broken


def broken_clause(rule: Rule) -> Rule:
    return replace(rule, clauses=(*rule.clauses, Clause(name="broken", holds_when="never", check=breaks)))


BREAKS: dict[str, Callable[[Rule], Rule]] = {
    "a clause": broken_clause,
    "title": lambda rule: replace(rule, title=breaks),
    "description": lambda rule: replace(rule, describe=breaks),
    "runbook": lambda rule: replace(rule, runbook=breaks),
    "severity": lambda rule: replace(rule, cases=()),
}


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("where", BREAKS)
def test_a_rule_that_raises_is_an_error_of_its_own(where: str, broken: int) -> None:
    """Wherever it does: the other rule goes on, and names no finding that was never made."""
    rules = list(RULES)
    rules[broken] = BREAKS[where](rules[broken])
    bad, good = rules[broken].id, rules[1 - broken].id
    detection = detect(asking(policy=STAR), Detector(rules))
    assert detection.verdicts == {bad: "error", good: "match", SIGNIN: "no_match"}
    assert [rule_id for rule_id, _ in detection.errors] == [bad]
    assert [(found.rule_id, found.related_finding_ids) for found in detection.findings] == [(good, [])]


def test_an_error_of_a_rule_is_kept_for_the_log() -> None:
    detection = detect(asking(), Detector([broken_clause(RULES[0])]))
    ((rule_id, error),) = detection.errors
    assert rule_id == ISSUED
    assert isinstance(error, Broken)


def test_a_rule_that_raises_on_one_event_still_finds_the_next() -> None:
    def touchy(event: Event) -> Answer:
        return breaks() if event.text("awsRegion") == "nowhere" else Held("awsRegion", "x", "it is there")

    rule = replace(RULES[0], clauses=(Clause(name="touchy", holds_when="not nowhere", check=touchy),))
    detector = Detector([rule])
    assert detect(issuance(awsRegion="nowhere"), detector).verdicts[rule.id] == "error"
    assert detect(issuance(), detector).verdicts[rule.id] == "match"


def test_explain_tells_of_a_broken_rule() -> None:
    told = Detector([broken_clause(RULES[0])]).explain(asking(), "record")
    (rule,) = told["rules"]
    assert rule["verdict"] == "error"
    assert {(clause["answer"], clause["explanation"]) for clause in rule["clauses"]} == {("error", "Broken")}


def test_explain_asks_no_rule_about_an_event_that_it_does_not_watch() -> None:
    (rule,) = Detector([broken_clause(RULES[0])]).explain(console_exchange(), "record")["rules"]
    assert {clause["answer"] for clause in rule["clauses"]} == {"not asked"}


# --- what a finding shows ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, None), ("", None), ("x", "x"), (7, "7"), (["x", None], '["x", null]'), ([b"x"], """["b'x'"]""")],
)
def test_a_reason_shows_the_value_that_made_its_clause_hold(value: object, shown: str | None) -> None:
    clause = Clause(name="own", holds_when="always", check=lambda _: Held("there", value, "it is there"))
    (found,) = detect(issuance(), Detector([replace(RULES[0], clauses=(clause,))])).findings
    assert [(reason.path, reason.value) for reason in found.reasons] == [("there", shown)]


def test_a_record_that_nothing_is_said_about_came_as_a_record() -> None:
    assert finding(issuance(), ISSUED).envelope == "record"


def test_a_finding_of_a_failed_call_names_the_error() -> None:
    assert finding(denied(issuance()), ISSUED).error_code == "AccessDenied"


def test_a_finding_has_whole_seconds_no_fewer_than_were_asked_for() -> None:
    assert finding(asking(durationSeconds=86_400.5), SUSPICIOUS).duration_seconds_requested == 86_401


def test_an_event_that_asks_for_no_session_has_no_seconds_of_one() -> None:
    record = federated("iam.amazonaws.com", "CreateUser", requestParameters={"userName": "mallory"})
    (found,) = Detector(STAGED).detect_record(record).findings
    assert found.duration_seconds_effective is None


def test_a_finding_names_the_endpoint_that_a_call_came_through() -> None:
    assert finding(issuance(vpcEndpointId="vpce-0abc"), ISSUED).vpc_endpoint_id == "vpce-0abc"


# --- explain ---------------------------------------------------------------------------------------


def test_explain_answers_for_every_clause() -> None:
    record = asking(policyArns=[ADMIN_ARN], policy="{")
    told = DETECTOR.explain(record, "sns")
    assert (told["envelope"], told["outcome"], told["event_id"]) == ("sns", "success", record["eventID"])
    assert (told["event_source"], told["event_name"]) == ("sts.amazonaws.com", "GetFederationToken")
    assert told["event_time"] == "2024-11-30T08:43:17Z"
    issued, suspicious, signin = told["rules"]
    assert issued["verdict"] == suspicious["verdict"] == "match"
    found = finding(record, SUSPICIOUS)
    assert (suspicious["severity"], suspicious["title"]) == (found.severity, found.title)
    assert [clause["answer"] for clause in suspicious["clauses"]] == [
        "not held",
        "held",
        "not held",
        "not held",
        "not evaluable",
        "not evaluable",
        "not evaluable",
    ]
    assert suspicious["clauses"][0]["explanation"] == "holds when requested seconds are more than 86,400"
    assert suspicious["clauses"][1]["value"] == ADMIN_ARN
    assert suspicious["clauses"][1]["path"] == "requestParameters.policyArns[0]"
    assert suspicious["clauses"][4]["explanation"] == "policy_not_json"
    assert signin["verdict"] == "no_match"
    assert (signin["severity"], signin["title"]) == (None, None)
    assert [clause["answer"] for clause in signin["clauses"]] == ["not asked"]
    assert suspicious["runbook"] == issued["runbook"]
    assert [action["operation"] for action in suspicious["actions"]] == ["PutUserPolicy", "UpdateAccessKey"]
    assert {pivot["system"] for pivot in suspicious["pivots"]} == {"athena", "esql", "spl"}
    assert (signin["runbook"], signin["actions"], signin["pivots"]) == ([], [], [])
    json.dumps(told)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained_on_every_kind_of_event(rule: Rule) -> None:
    for record in (asking(policy=STAR), console_exchange(), denied(asking()), {}):
        (told,) = [one for one in DETECTOR.explain(record, "record")["rules"] if one["rule_id"] == rule.id]
        assert [clause["name"] for clause in told["clauses"]] == [clause.name for clause in rule.clauses]


def test_a_clause_that_was_not_asked_names_three_of_what_its_rule_watches() -> None:
    told = Detector(EVERY_RULE).explain(asking(), "record")
    why = {rule["rule_id"]: rule["clauses"][0]["explanation"] for rule in told["rules"]}
    names = ", ".join(f"{name} of iam.amazonaws.com" for _, name in federated_user_changes_iam.RULE.watches[:3])
    assert why[IAM_CHANGE] == f"watches {names}, …"
    assert why[LOGIN] == "watches ConsoleLogin of signin.amazonaws.com"


@pytest.mark.parametrize(("count", "more"), [(3, ""), (4, ", …")])
def test_a_rule_that_watches_more_than_three_names_says_so(count: int, more: str) -> None:
    rule = replace(RULES[0], watches=tuple(("x.amazonaws.com", f"Do{number}") for number in range(count)))
    (told,) = Detector([rule]).explain(asking(), "record")["rules"]
    shown = "Do0 of x.amazonaws.com, Do1 of x.amazonaws.com, Do2 of x.amazonaws.com"
    assert told["clauses"][0]["explanation"] == f"watches {shown}{more}"


def test_a_finding_shows_twenty_policy_arns_and_every_one_is_judged() -> None:
    arns = [f"arn:aws:iam::aws:policy/Policy{number}" for number in range(25)]
    assert finding(asking(policyArns=[*arns, ADMIN_ARN]), SUSPICIOUS).policy_arns == arns[:20]


def test_a_finding_shows_512_characters_of_a_policy_arn() -> None:
    arn = "arn:aws:iam::111122223333:policy/"
    whole, long = arn.ljust(512, "x"), arn.ljust(513, "x")
    shown = finding(asking(policyArns=[whole, long]), ISSUED).policy_arns
    assert shown == [whole, f"{whole[:-6]}…[cut]"]


# --- anything at all -----------------------------------------------------------------------------


EVERY_RULES_DETECTOR = Detector(EVERY_RULE)


def check(record: dict[str, Any]) -> None:
    detection = EVERY_RULES_DETECTOR.detect_record(record, detected_at=datetime(2024, 11, 30, tzinfo=UTC))
    assert set(detection.verdicts) == {rule.id for rule in EVERY_RULE}
    assert not detection.errors
    matched = [rule_id for rule_id, verdict in detection.verdicts.items() if verdict == "match"]
    assert [found.rule_id for found in detection.findings] == matched
    for found in detection.findings:
        json.loads(to_json(found))
    EVERY_RULES_DETECTOR.explain(record, "record")


@given(st.dictionaries(st.text(max_size=9), json_values, max_size=6))
def test_any_object_is_judged(record: dict[str, Any]) -> None:
    check(record)


FIELDS = st.sampled_from([*issuance(), *console_exchange(), "errorCode", "errorMessage", "vpcEndpointId"])
NAMES = st.sampled_from([name for rule in EVERY_RULE for name in rule.watches[:3]])


@given(st.dictionaries(FIELDS, oddities, max_size=12), NAMES)
def test_a_watched_event_of_odd_parts_is_judged(record: dict[str, Any], names: Sequence[str]) -> None:
    check({**record, "eventSource": names[0], "eventName": names[1]})


@given(watched_records())
def test_a_watched_event_with_odd_parts_is_judged(record: dict[str, Any]) -> None:
    check(record)
