"""Our rules beside the two published ones: never narrower, and wider only where and why the tables say."""

import json
from collections import defaultdict
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from service.backtest import published
from service.backtest.compare import Side
from service.backtest.compare_published import ISSUED, SUSPICIOUS, Beside, beside_published
from service.detect import Detector
from service.finding import Origin
from service.rules import RULES
from service.tuning import UNTUNED

SAMPLES: dict[str, dict[str, object]] = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "samples").glob("*/*.json"))
}
DETECTOR = Detector(RULES)

# Clauses that ask what rule B asks too; where one of them holds and B is silent, B misread the event.
SHARED_CLAUSES = {"duration-over-24h", "administrator-access-policy", "administrator-access-lookalike"}

# Samples of the suspicious rule on which ours fires and rule B does not, by reason.
WIDER = {
    "whole-minutes": {
        "fires-duration-86401-one-second-over",
        "fires-duration-86459-last-second-of-minute-1440",
        "fires-duration-string-86401",
    },
    "no-comma": {
        "fires-duration-129600-last-key",
        "fires-duration-129600-only-key",
        "fires-duration-86460-last-key",
        "fires-duration-float-last-key",
        "fires-duration-string-last-key",
    },
    "no-comma + inline-policy": {"fires-inline-full-admin-and-36-hours-last-key"},
    "not-32-bits": {"fires-duration-beyond-32-bits", "fires-duration-beyond-64-bits"},
    "other-text": {"fires-duration-with-name-spelling-a-shorter-one"},
    "powerful-managed-policy": {
        "fires-powerful-as-string",
        "fires-powerful-beside-read-only",
        "fires-powerful-iam-full-access",
        "fires-powerful-in-aws-us-gov",
        "fires-powerful-organizations-full-access",
        "fires-powerful-power-user-access",
    },
    "powerful-managed-policy + inline-policy-iam-admin": {"fires-powerful-policy-and-inline-iam-power"},
    "inline-policy-full-admin": {
        "fires-inline-full-admin-access-denied",
        "fires-inline-full-admin-actions-and-resources-as-lists",
        "fires-inline-full-admin-allow-under-condition",
        "fires-inline-full-admin-and-policy-arns-unreadable",
        "fires-inline-full-admin-aws-vault-style",
        "fires-inline-full-admin-by-root",
        "fires-inline-full-admin-conditional-deny",
        "fires-inline-full-admin-deny-on-one-resource",
        "fires-inline-full-admin-double-star",
        "fires-inline-full-admin-lower-case-keys",
        "fires-inline-full-admin-one-hour-like-real-attacks",
        "fires-inline-full-admin-policy-as-object",
        "fires-inline-full-admin-resource-arn-aws-star",
        "fires-inline-full-admin-resource-arn-of-wildcards",
        "fires-inline-full-admin-resource-arn-star",
        "fires-inline-full-admin-second-statement",
        "fires-inline-full-admin-star",
        "fires-inline-full-admin-star-as-unicode-escape",
        "fires-inline-full-admin-star-colon-star",
        "fires-inline-full-admin-star-last-in-lists",
        "fires-inline-full-admin-statement-not-in-a-list",
        "fires-inline-full-admin-upper-case-keys",
        "fires-inline-full-admin-url-encoded",
        "fires-inline-full-admin-with-white-space",
    },
    "inline-policy-broad": {
        "fires-inline-broad-deny-iam-beside-allow-all",
        "fires-inline-broad-deny-one-action-beside-allow-all",
        "fires-inline-broad-everything-but-one-bucket-by-not-resource",
        "fires-inline-broad-not-action-iam",
        "fires-inline-broad-not-action-string",
        "fires-inline-broad-wildcards-a-to-z-add-up",
        "fires-inline-broad-wildcards-a-to-z-over-two-statements",
    },
    "inline-policy-iam-admin": {
        "fires-inline-iam-power-attach-user-policy",
        "fires-inline-iam-power-conditional-deny-does-not-help",
        "fires-inline-iam-power-create-access-key-on-one-user",
        "fires-inline-iam-power-create-login-profile",
        "fires-inline-iam-power-create-star",
        "fires-inline-iam-power-every-action-on-iam-users",
        "fires-inline-iam-power-iam-star",
        "fires-inline-iam-power-pass-role-on-star",
        "fires-inline-iam-power-put-role-policy-on-one-role",
        "fires-inline-iam-power-question-mark-in-service",
        "fires-inline-iam-power-update-assume-role-policy",
        "fires-inline-iam-power-upper-case-action",
    },
}

# Samples on which rule B fires and ours does not: text that only looks like a field. Both are deliberate.
RULE_B_FOOLED = {
    # The session asks for an hour; its federated name spells out 36.
    f"{SUSPICIOUS}/quiet-name-spelling-a-long-duration": ["imitated-field"],
    # Parameters that are one string in a raw record are not evaluable, whatever the string spells.
    f"{SUSPICIOUS}/quiet-parameters-flattened-text": ["not-evaluable"],
}


def matched(rule_id: str) -> set[str]:
    return {name for name, event in SAMPLES.items() if DETECTOR.detect_record(event).verdicts[rule_id] == "match"}


def beside(event: dict[str, object]) -> Beside | None:
    return beside_published(event, Side(UNTUNED, DETECTOR.detect_record(event)), Origin())


def why_wider(event: dict[str, object]) -> str:
    """The clauses rule B does not have, or how it misread one that it has."""
    row = beside(event)
    assert row is not None
    (clauses,) = (ours.clauses for ours in row.ours if ours.rule_id == SUSPICIOUS)
    return " + ".join(clauses if SHARED_CLAUSES.isdisjoint(clauses) else row.reasons)


def test_the_samples_are_many_and_distinct() -> None:
    """The comparison stands on at least 80 different events of the two watched names."""
    watched = {"GetFederationToken", "GetSigninToken"}
    events = [event for event in SAMPLES.values() if isinstance(event.get("eventName"), str)]
    assert len({json.dumps(event, sort_keys=True) for event in events if event["eventName"] in watched}) >= 80


def test_ours_fires_exactly_where_rule_a_does() -> None:
    """Rule A asks for two names and nothing else, and so does `sts-federation-token-issued`."""
    assert matched(ISSUED) == {name for name, event in SAMPLES.items() if published.rule_a(event)}


def test_rule_b_never_fires_where_ours_is_silent_unless_text_fools_it() -> None:
    """Every true hit of rule B is one of ours too."""
    by_rule_b = {name for name, event in SAMPLES.items() if published.rule_b(event)}
    assert len(by_rule_b) >= 30
    narrower = by_rule_b - matched(SUSPICIOUS)
    reasons = {name: row.reasons for name in narrower if (row := beside(SAMPLES[name]))}
    assert reasons == RULE_B_FOOLED


def test_ours_is_wider_than_rule_b_only_for_the_reasons_listed() -> None:
    """Each event that ours finds beyond rule B is accounted for by a clause or by a reading."""
    wider: defaultdict[str, set[str]] = defaultdict(set)
    for name in matched(SUSPICIOUS):
        if not published.rule_b(SAMPLES[name]):
            wider[why_wider(SAMPLES[name])].add(name.removeprefix(f"{SUSPICIOUS}/"))
    assert wider == WIDER


# What the API lets through, without the equals sign: with it a name could spell out another field.
LETTERS = st.text("abcXYZ019_+,.@-", max_size=8)
SECONDS = st.integers(-1, 200_000) | st.integers(86_390, 86_470)
DURATIONS = SECONDS | SECONDS.map(str) | st.floats(900, 200_000) | st.floats(900, 200_000).map(str)
ARNS = st.builds(
    "arn:{}:iam::{}:policy/{}{}{}".format,
    st.sampled_from(["aws", "aws-cn", "aws-us-gov", "aws-iso"]),
    st.sampled_from(["aws", "111122223333"]),
    LETTERS,
    st.sampled_from(["AdministratorAccess", "ReadOnlyAccess", "IAMFullAccess"]),
    LETTERS,
)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "name": LETTERS,
    "durationSeconds": DURATIONS,
    "policyArns": st.lists(ARNS | st.fixed_dictionaries({"arn": ARNS}), max_size=10),
    "policy": st.just('{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}'),
    "tags": st.just([{"key": "team", "value": "synthetic"}]),
}


def in_any_order(fields: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    return st.permutations(list(fields.items())).map(dict)


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS).flatmap(in_any_order))
def test_whatever_rule_b_fires_on_so_does_ours(parameters: dict[str, object]) -> None:
    """Any duration, any policy ARNs, fields in any order: rule B's hits are a subset of ours."""
    event = {
        "eventName": "GetFederationToken",
        "eventSource": "sts.amazonaws.com",
        "requestParameters": parameters,
    }
    assume(published.rule_b(event))
    assert DETECTOR.detect_record(event).verdicts[SUSPICIOUS] == "match"
