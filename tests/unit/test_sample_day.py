"""The sample day is repeatable, honest about being invented, and holds exactly the story it tells."""

import datetime as dt
import ipaddress
import json
import re
import uuid
from collections import Counter
from typing import Any

import pytest

from service.detect import Detector
from service.finding import Finding
from service.rules import RULES
from service.sample_day import CAST, FEDERATION_TOKEN_REQUESTS, SYNTHETIC, sample_day
from service.sample_day_data import ACCOUNT_ID, REGIONS, SESSION_TOKEN

DAY = dt.date(2025, 3, 12)
DOCUMENTATION_NETWORKS = [
    ipaddress.ip_network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
]
Record = dict[str, Any]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return sample_day(DAY)


def named(records: list[Record], source: str, name: str) -> list[Record]:
    return [
        record
        for record in records
        if (record["eventSource"], record["eventName"]) == (f"{source}.amazonaws.com", name)
    ]


def actor(record: Record) -> str | None:
    """The user name or, of a temporary session, the name at the end of its ARN."""
    identity = record["userIdentity"]
    name = identity.get("userName") or identity.get("arn", "").rpartition("/")[2]
    return name if isinstance(name, str) else None


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def values_of(value: object, name: str) -> list[object]:
    """Every value of the fields called `name`, however deep."""
    if isinstance(value, dict):
        here = [value[name]] if name in value else []
        return here + [found for item in value.values() for found in values_of(item, name)]
    if isinstance(value, list):
        return [found for item in value for found in values_of(item, name)]
    return []


# --- the day as a whole -------------------------------------------------------------------------


def test_the_same_day_and_seed_give_the_same_records(records: list[Record]) -> None:
    assert sample_day(DAY) == records


def test_another_seed_gives_another_day(records: list[Record]) -> None:
    other = sample_day(DAY, seed=2)
    assert [record["eventName"] for record in other] != [record["eventName"] for record in records]


def test_no_event_id_comes_back_with_another_seed_or_day(records: list[Record]) -> None:
    ids = {record["eventID"] for record in records}
    for others in (sample_day(DAY, seed=2), sample_day(DAY + dt.timedelta(days=1))):
        assert ids.isdisjoint(record["eventID"] for record in others)


def test_records_are_in_order_and_within_the_day(records: list[Record]) -> None:
    times = [record["eventTime"] for record in records]
    assert times == sorted(times)
    assert {time[:10] for time in times} == {"2025-03-12"}


def test_there_are_about_six_thousand_records_of_a_realistic_size(records: list[Record]) -> None:
    assert 5_000 <= len(records) <= 8_000
    sizes = [len(json.dumps(record)) for record in records]
    assert min(sizes) >= 700
    assert max(sizes) <= 2_400


def test_event_ids_are_unique_and_can_be_recognised_as_synthetic(records: list[Record]) -> None:
    expected = [str(uuid.uuid5(SYNTHETIC, f"{DAY} seed 1 record {position}")) for position in range(len(records))]
    assert [record["eventID"] for record in records] == expected
    assert len(set(expected)) == len(expected)


def test_every_key_account_token_and_address_is_a_documentation_example(records: list[Record]) -> None:
    keys = set(values_of(records, "accessKeyId"))
    assert keys
    assert [key for key in keys if not re.fullmatch(r"A[KS]IA[A-Z0-9]{9}EXAMPLE", str(key))] == []
    assert set(values_of(records, "sessionToken")) == {SESSION_TOKEN}
    assert set(values_of(records, "accountId")) == {ACCOUNT_ID}
    assert {record["recipientAccountId"] for record in records} == {ACCOUNT_ID}
    people = [record for record in records if record["userIdentity"]["type"] != "AWSService"]
    assert people
    for record in people:
        address = ipaddress.ip_address(record["sourceIPAddress"])
        assert any(address in network for network in DOCUMENTATION_NETWORKS)


def test_every_blank_of_the_tables_is_filled(records: list[Record]) -> None:
    assert [text for record in records for text in strings(record) if "$" in text] == []


def test_an_ordinary_day_has_its_variety(records: list[Record]) -> None:
    identities = Counter(record["userIdentity"]["type"] for record in records)
    assert set(identities) == {"IAMUser", "AssumedRole", "AWSService", "WebIdentityUser", "FederatedUser"}
    assert {record["awsRegion"] for record in records} == set(REGIONS)
    assert {"AccessDenied", "ThrottlingException"} <= {record.get("errorCode") for record in records}
    assert {"Management", "Data"} == {record["eventCategory"] for record in records}
    hours = Counter(record["eventTime"][11:13] for record in records)
    assert hours["10"] > 1.5 * hours["02"]
    assert len(hours) == 24


def test_a_failed_call_has_no_response(records: list[Record]) -> None:
    failed = [record for record in records if "errorCode" in record]
    assert failed
    assert all(record["responseElements"] is None and record["errorMessage"] for record in failed)


def test_near_misses_of_an_ordinary_day_are_there(records: list[Record]) -> None:
    """Amazon Connect's API of the same name, and single sign-on's console exchange."""
    assert len(named(records, "connect", "GetFederationToken")) > 10
    exchanges = Counter(record["userIdentity"]["type"] for record in named(records, "signin", "GetSigninToken"))
    assert exchanges["AssumedRole"] > 10
    assert exchanges["FederatedUser"] == 1


# --- the story ----------------------------------------------------------------------------------


def test_federation_tokens_are_the_intended_ones(records: list[Record]) -> None:
    requests = named(records, "sts", "GetFederationToken")
    assert len(requests) == FEDERATION_TOKEN_REQUESTS
    assert Counter(actor(record) for record in requests) == {
        CAST.portal_user: 4,
        CAST.weak_user: 1,
        CAST.stolen_user: 2,
    }


def test_the_story_happens_in_its_order(records: list[Record]) -> None:
    """By the intruder's address, and the one call of the security team in between."""
    story = [
        (actor(record), record["eventName"], record.get("errorCode"))
        for record in records
        if record["sourceIPAddress"] == CAST.intruder_address or record["eventName"] == "UpdateAccessKey"
    ]
    weak, stolen, console, long = CAST.weak_user, CAST.stolen_user, CAST.console_session, CAST.long_session
    assert story[:18] == [
        (weak, "GetCallerIdentity", None),
        (weak, "ListUsers", "AccessDenied"),
        (weak, "GetFederationToken", "AccessDenied"),
        (stolen, "GetCallerIdentity", None),
        (stolen, "GetFederationToken", None),
        (stolen, "GetFederationToken", None),
        ("ines.duarte@example.com", "UpdateAccessKey", None),
        (console, "GetSigninToken", None),
        (console, "ConsoleLogin", None),
        (console, "ListUsers", None),
        (console, "CreateUser", None),
        (console, "AttachUserPolicy", None),
        (console, "CreateAccessKey", None),
        (console, "ListBuckets", None),
        (console, "GetSecretValue", None),
        (console, "GetObject", None),
        (long, "GetCallerIdentity", None),
        (long, "ListBuckets", None),
    ]
    assert set(story[18:]) == {(long, "GetObject", None)}


def test_the_stolen_key_works_all_morning_and_is_never_used_after_its_deactivation(
    records: list[Record],
) -> None:
    uses = [record for record in records if record["userIdentity"].get("accessKeyId") == CAST.stolen_key_id]
    assert Counter(record["sourceIPAddress"] for record in uses)["198.51.100.10"] == 80
    (deactivation,) = named(records, "iam", "UpdateAccessKey")
    assert deactivation["requestParameters"] == {
        "userName": CAST.stolen_user,
        "accessKeyId": CAST.stolen_key_id,
        "status": "Inactive",
    }
    assert max(record["eventTime"] for record in uses) < deactivation["eventTime"]


def test_issued_sessions_have_the_shape_of_a_success(records: list[Record]) -> None:
    console, long = [
        record for record in named(records, "sts", "GetFederationToken") if actor(record) == CAST.stolen_user
    ]
    assert console["requestParameters"] == {
        "name": "support-session",
        "policy": '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
    }
    assert console["responseElements"] == {
        "credentials": {
            "accessKeyId": CAST.console_session_key_id,
            "sessionToken": "EXAMPLE-SESSION-TOKEN",
            "expiration": "Mar 13, 2025, 3:58:26 AM",
        },
        "federatedUser": {
            "federatedUserId": "111122223333:support-session",
            "arn": "arn:aws:sts::111122223333:federated-user/support-session",
        },
        "packedPolicySize": 4,
    }
    assert long["requestParameters"] == {
        "name": "backup-sync",
        "durationSeconds": 129_600,
        "policyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
    }
    assert long["responseElements"]["credentials"]["expiration"] == "Mar 14, 2025, 4:04:49 AM"


def test_a_federated_session_acts_with_the_key_that_was_issued(records: list[Record]) -> None:
    issued = {
        record["responseElements"]["credentials"]["accessKeyId"]: record["requestParameters"]["name"]
        for record in named(records, "sts", "GetFederationToken")
        if "errorCode" not in record
    }
    acting = [record for record in records if record["userIdentity"]["type"] == "FederatedUser"]
    assert {record["userIdentity"]["accessKeyId"] for record in acting} == set(issued)
    for record in acting:
        identity = record["userIdentity"]
        assert identity["principalId"] == f"{ACCOUNT_ID}:{issued[identity['accessKeyId']]}"
        assert identity["sessionContext"]["sessionIssuer"]["type"] == "IAMUser"
        assert identity["sessionContext"]["attributes"]["creationDate"] < record["eventTime"]


def test_what_the_console_session_does_is_marked_as_from_the_console(records: list[Record]) -> None:
    actions = [record for record in records if actor(record) == CAST.console_session]
    marked = {record["eventName"] for record in actions if record.get("sessionCredentialFromConsole") == "true"}
    assert {record["eventName"] for record in actions} - marked == {"GetSigninToken", "ConsoleLogin"}


# --- what the detector makes of it --------------------------------------------------------------

ISSUED, SUSPICIOUS = "sts-federation-token-issued", "sts-federation-token-suspicious"
REQUESTED = ("federation-token-requested",)
EXPECTED_FINDINGS = [
    # rule id, clauses, outcome, the IAM user to act on
    (ISSUED, REQUESTED, "success", "reporting-portal"),
    (ISSUED, REQUESTED, "success", "reporting-portal"),
    (ISSUED, REQUESTED, "success", "reporting-portal"),
    (ISSUED, REQUESTED, "failure", "ci-cache-reader"),
    (ISSUED, REQUESTED, "success", "ci-artifacts-upload"),
    (SUSPICIOUS, ("inline-policy-full-admin",), "success", "ci-artifacts-upload"),
    (ISSUED, REQUESTED, "success", "ci-artifacts-upload"),
    (
        SUSPICIOUS,
        ("duration-over-24h", "administrator-access-policy"),
        "success",
        "ci-artifacts-upload",
    ),
    ("signin-token-from-federated-session", ("console-exchange",), "success", "ci-artifacts-upload"),
    (ISSUED, REQUESTED, "success", "reporting-portal"),
]


@pytest.fixture(scope="module")
def findings(records: list[Record]) -> list[Finding]:
    detector = Detector(RULES)
    return [finding for record in records for finding in detector.detect_record(record).findings]


def test_the_day_gives_exactly_the_intended_findings(findings: list[Finding]) -> None:
    found = [
        (
            finding.rule_id,
            tuple(finding.clauses),
            finding.outcome,
            (finding.containment_arn or "").rpartition("/")[2],
        )
        for finding in findings
    ]
    assert found == EXPECTED_FINDINGS


def test_issuance_and_console_exchange_share_their_session_key(findings: list[Finding]) -> None:
    by_name = [finding.session_key for finding in findings if finding.federated_user_name == CAST.console_session]
    assert len(by_name) == 3
    assert len(set(by_name)) == 1
    assert by_name[0] is not None
    assert by_name[0] not in {
        finding.session_key for finding in findings if finding.federated_user_name != CAST.console_session
    }
