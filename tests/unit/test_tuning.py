"""Suppressions: what they cover, and above all what they do not."""

from datetime import date
from typing import Any

import msgspec
import pytest

from service.detect import Detector
from service.finding import Finding
from service.rules import RULES
from service.tuning import RuleTuning, Suppression, Tuning
from tests.unit.strategies import issuance

TODAY = date(2026, 6, 1)
CALLER = "arn:aws:iam::111122223333:user/portal"
SIGN_IN = {
    "eventSource": "signin.amazonaws.com",
    "eventName": "GetSigninToken",
    "eventID": "sign-in",
    "userIdentity": {
        "type": "FederatedUser",
        "arn": "arn:aws:sts::111122223333:federated-user/bob",
        "sessionContext": {"sessionIssuer": {"type": "IAMUser", "arn": CALLER}},
    },
}


def suppression(**changes: Any) -> Suppression:
    values = {
        "name": "portal",
        "rules": ["*"],
        "principal_arn": CALLER,
        "owner": "identity team",
        "reason": "the portal mints sessions",
        "expires": TODAY,
    }
    return msgspec.convert({**values, **changes}, Suppression)


def found(record: dict[str, Any], **changes: Any) -> Finding:
    """The first finding of a record, with fields changed."""
    finding = Detector(RULES).detect_record(record).findings[0]
    return msgspec.structs.replace(finding, principal_arn=CALLER, **changes)


def test_it_covers_what_its_principal_does() -> None:
    assert suppression().covers(found(issuance()), TODAY)
    assert not suppression().covers(msgspec.structs.replace(found(issuance()), principal_arn=CALLER + "2"), TODAY)


def test_it_ends_with_its_last_day() -> None:
    assert not suppression().covers(found(issuance()), date(2026, 6, 2))


@pytest.mark.parametrize(
    ("narrowing", "fields", "others"),
    [
        ({"rules": ["sts-federation-token-issued"]}, {}, {"rule_id": "sts-federation-token-suspicious"}),
        ({"federated_user_name": "svc-*"}, {"federated_user_name": "svc-1"}, {"federated_user_name": "eve"}),
        ({"federated_user_name": "svc-*"}, {"federated_user_name": "svc-1"}, {"federated_user_name": None}),
        ({"account_id": "111122223333"}, {"account_id": "111122223333"}, {"account_id": "444455556666"}),
        ({"networks": ["198.41.128.0/20"]}, {"source_ip": "198.41.130.9"}, {"source_ip": "198.41.0.9"}),
        ({"networks": ["198.41.128.0/20"]}, {"source_ip": "198.41.130.9"}, {"source_ip": "sts.amazonaws.com"}),
        ({"networks": ["198.41.128.0/20"]}, {"source_ip": "198.41.130.9"}, {"source_ip": "198.41.0130.9"}),
        ({"networks": ["2600:1f00::/24"]}, {"source_ip": "2600:1f00::1"}, {"source_ip": "198.41.130.9"}),
        (
            {"networks": ["198.41.128.0/20"]},
            {"source_ip": "198.41.130.9"},
            {"vpc_endpoint_id": "vpce-of-others"},
        ),
        (
            {"networks": ["10.0.0.0/8"], "vpc_endpoint_id": "vpce-1"},
            {"source_ip": "10.1.2.3", "vpc_endpoint_id": "vpce-1"},
            {"source_ip": "10.1.2.3", "vpc_endpoint_id": None},
        ),
    ],
)
def test_every_narrowing_has_to_hold(
    narrowing: dict[str, Any], fields: dict[str, Any], others: dict[str, Any]
) -> None:
    assert suppression(**narrowing).covers(found(issuance(), **fields), TODAY)
    assert not suppression(**narrowing).covers(found(issuance(), **fields | others), TODAY)


@pytest.mark.parametrize("change", [{"severity": "critical"}, {"root_caller": True}])
def test_critical_and_root_need_to_be_allowed(change: dict[str, Any]) -> None:
    finding = found(issuance(), **change)
    assert not suppression().covers(finding, TODAY)
    assert suppression(allow_critical=True).covers(finding, TODAY)


def test_a_milder_severity_of_the_operators_does_not_open_the_way_to_what_is_critical() -> None:
    finding = found(issuance(), severity="high")
    assert suppression().covers(finding, TODAY, "high")
    assert not suppression().covers(finding, TODAY, "critical")
    assert suppression(allow_critical=True).covers(finding, TODAY, "critical")


def test_a_session_that_root_made_is_roots() -> None:
    root = "arn:aws:iam::111122223333:root"
    finding = msgspec.structs.replace(
        Detector(RULES).detect_record(SIGN_IN).findings[0], principal_type="FederatedUser", session_issuer_arn=root
    )
    assert not suppression(principal_arn=root).covers(finding, TODAY)
    assert suppression(principal_arn=root, allow_critical=True).covers(finding, TODAY)


def test_of_a_session_only_the_issuer_counts_since_its_holder_chose_its_name() -> None:
    finding = Detector(RULES).detect_record(SIGN_IN).findings[0]
    assert suppression().covers(finding, TODAY)
    named = msgspec.structs.replace(finding, principal_arn=CALLER, session_issuer_arn=None)
    assert not suppression().covers(named, TODAY)
    role = msgspec.structs.replace(
        finding,
        principal_type="AssumedRole",
        principal_arn="arn:aws:sts::111122223333:assumed-role/x/portal",
        session_issuer_arn="arn:aws:iam::111122223333:role/x",
    )
    assert suppression(principal_arn="arn:aws:iam::111122223333:role/x").covers(role, TODAY)


@pytest.mark.parametrize(
    ("pattern", "arn", "covered"),
    [
        ("arn:aws:iam::111122223333:user/*", "arn:aws:iam::111122223333:user/a/b", True),
        ("arn:aws:iam::111122223333:user/app-?", "arn:aws:iam::111122223333:user/app-1", True),
        ("arn:aws:iam::111122223333:user/app-?", "arn:aws:iam::111122223333:user/app-12", False),
        ("arn:aws:iam::111122223333:user/[ab]", "arn:aws:iam::111122223333:user/a", False),
        ("arn:aws:iam::111122223333:user/*-svc", "arn:aws:iam::111122223333:user/a-svc-svc", True),
        ("arn:aws:iam::111122223333:user/A", "arn:aws:iam::111122223333:user/a", False),
    ],
)
def test_patterns_know_stars_and_question_marks_and_nothing_else(pattern: str, arn: str, covered: bool) -> None:  # noqa: FBT001  a column of the table
    finding = msgspec.structs.replace(found(issuance()), principal_arn=arn)
    assert suppression(principal_arn=pattern).covers(finding, TODAY) is covered


def test_hostile_names_and_patterns_take_no_time() -> None:
    long = msgspec.structs.replace(found(issuance()), principal_arn="arn:aws:iam::1:user/" + "a" * 100_000)
    assert not suppression(principal_arn="arn:aws:iam::1:user/" + "*a" * 200 + "b").covers(long, TODAY)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"principal_arn": "*"}, "matches everybody"),
        ({"principal_arn": "arn:aws:iam::*:user/*"}, "matches everybody"),
        ({"principal_arn": "arn:aws*:iam::*"}, "matches everybody"),
        ({"principal_arn": "?*:*/*"}, "matches everybody"),
        ({"principal_arn": "arn:aws:sts::111122223333:federated-user/bob"}, "no ARN of IAM"),
        ({"principal_arn": "arn:aws:iam::*:user/??????*"}, "fits too many"),
        ({"principal_arn": "arn:aws:iam::*:role/*"}, "fits too many"),
        ({"principal_arn": "arn:aws:iam::*:user/*e"}, "fits too many"),
        ({"principal_arn": "*:user/portal"}, "no ARN of IAM"),
        ({"principal_arn": " "}, "principal_arn is empty"),
        ({"owner": ""}, "owner is empty"),
        ({"reason": ""}, "reason is empty"),
        ({"rules": []}, "rules is empty"),
        ({"networks": ["10.0.0.0/8"]}, "10.0.0.0/8 is private"),
        ({"networks": ["10.0.0.1/8"], "vpc_endpoint_id": "vpce-1"}, "host bits"),
        ({"networks": ["office"]}, "office"),
        ({"expires": "soon"}, "expires"),
        ({"name_only": "x"}, "name_only"),
    ],
)
def test_what_says_too_little_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=line):
        suppression(**changes)


@pytest.mark.parametrize("field", ["principal_arn", "owner", "reason", "expires", "rules", "name"])
def test_what_makes_a_suppression_accountable_is_required(field: str) -> None:
    values = {name: value for name, value in msgspec.to_builtins(suppression()).items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(values, Suppression)


def test_the_limit_can_be_lowered_and_never_raised() -> None:
    assert RuleTuning(duration_over_seconds=3_600).duration_over_seconds == 3_600
    for limit in (86_401, 129_600, -1):
        with pytest.raises(ValueError, match="has to be 0 to 86400"):
            RuleTuning(duration_over_seconds=limit)


def test_the_first_suppression_that_covers_gives_its_name() -> None:
    tuning = Tuning(suppressions=[suppression(name="other", principal_arn=CALLER + "2"), suppression()])
    assert tuning.suppression(found(issuance()), TODAY) == "portal"
    assert Tuning().suppression(found(issuance()), TODAY) is None
