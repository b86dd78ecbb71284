"""An OCSF event gives the CloudTrail record that it was made of, wherever a version places its parts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.envelopes import Ignored, Record, load, unwrap
from tests.unit.shipped import (
    LOUD,
    TOKEN,
    as_ocsf,
    check_wrong_types,
    clauses,
    document,
    facts,
    findings,
    loaded,
    not_evaluable,
    only,
    parts,
)
from tests.unit.strategies import console_exchange, issuance, requests

ISSUANCES = ["ocsf-1.0.0-rc.2", "ocsf-bloblang-1.1", "ocsf-security-lake-1.1"]
EXCHANGE = "ocsf-authentication-1.5-console-exchange"


def event(**changes: Any) -> dict[str, Any]:
    """A watched event that says little else."""
    return {
        "class_uid": 6003,
        "api": {"operation": "GetFederationToken", "service": {"name": "sts.amazonaws.com"}},
        **changes,
    }


# --- events as products write them ---------------------------------------------------------------


@pytest.mark.parametrize("name", ISSUANCES)
def test_a_products_event_gives_what_the_record_does(name: str) -> None:
    shipped = document(name)
    assert only(shipped).envelope == "ocsf"
    assert (only(shipped).source, only(shipped).name) == ("sts.amazonaws.com", "GetFederationToken")
    assert facts(loaded(shipped)) == facts(document("record-issuance"))
    assert clauses(shipped) == LOUD


def test_a_console_exchange_may_be_an_authentication() -> None:
    """Its user's type stands in the ARN alone."""
    shipped = document(EXCHANGE)
    assert facts(loaded(shipped)) == facts(document("record-console-exchange"))
    assert clauses(shipped) == {"console-exchange"}
    issuer = loaded(shipped)["userIdentity"]["sessionContext"]["sessionIssuer"]
    assert issuer == document("record-console-exchange")["userIdentity"]["sessionContext"]["sessionIssuer"]


@pytest.mark.parametrize("name", ISSUANCES)
def test_fields_that_no_rule_reads_come_along(name: str) -> None:
    record, whole = loaded(document(name)), document("record-issuance")
    for key in ("awsRegion", "sourceIPAddress", "userAgent", "requestID", "eventID", "eventType", "eventVersion"):
        assert record[key] == whole[key]


@pytest.mark.parametrize("name", [*ISSUANCES, EXCHANGE])
def test_events_come_in_other_envelopes_too(name: str) -> None:
    data = json.dumps(document(name)).encode()
    for message in (
        b"[" + data + b"]",
        data + b"\n" + data,
        b'{"detail":' + data + b"}",
        json.dumps(data.decode()).encode(),
    ):
        found = unwrap(message)
        assert found
        for part in found:
            assert isinstance(part, Record)
            assert facts(load(part)) == facts(loaded(document(name)))


# --- placements ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"raw_data": json.dumps(issuance())}, issuance()),
        ({"raw_data": issuance()}, issuance()),
    ],
)
def test_the_raw_record_is_preferred(place: dict[str, Any], expected: dict[str, Any]) -> None:
    assert loaded(event(**place)) == expected


@pytest.mark.parametrize(
    "raw", [None, "", "x", json.dumps(issuance())[:-9], json.dumps(console_exchange()), 7, []]
)
def test_raw_data_that_is_not_the_record_is_passed_by(raw: Any) -> None:
    shipped = document("ocsf-security-lake-1.1") | {"raw_data": raw}
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


REQUEST = {"name": "adm", "durationSeconds": 129_600}


@pytest.mark.parametrize(
    "place",
    [
        {"request": {"data": REQUEST}},
        {"request": {"data": json.dumps(REQUEST)}},
        {"request.data": REQUEST},
        {"request": {"data": "{name=adm, durationSeconds=129600}"}},
    ],
)
def test_parameters_may_be_object_or_text(place: dict[str, Any]) -> None:
    shipped = event()
    shipped["api"] |= place
    assert clauses(shipped) == {"federation-token-requested", "duration-over-24h"}
    assert facts(loaded(shipped))["federated_user_name"] == "adm"


@pytest.mark.parametrize(
    "unmapped",
    [
        {"requestParameters": REQUEST},
        {"requestParameters": json.dumps(REQUEST)},
        {"requestParameters.name": "adm", "requestParameters.durationSeconds": "129600"},
        json.dumps({"requestParameters": REQUEST}),
    ],
)
def test_parameters_may_be_unmapped(unmapped: Any) -> None:
    shipped = event(unmapped=unmapped)
    assert clauses(shipped) == {"federation-token-requested", "duration-over-24h"}
    assert facts(loaded(shipped))["federated_user_name"] == "adm"


ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.mark.parametrize(
    "unmapped",
    [
        {"requestParameters.policyArns": json.dumps([{"arn": ADMIN}])},
        {"requestParameters.policyArns.0.arn": ADMIN},
        {"requestParameters.policyArns[0].arn": ADMIN, "requestParameters.policyArns[1].arn": "arn:x"},
    ],
)
def test_arns_may_be_flattened(unmapped: dict[str, Any]) -> None:
    assert "administrator-access-policy" in clauses(event(unmapped=unmapped))


@pytest.mark.parametrize(
    "unmapped",
    [
        {"requestParameters.policyArns{}.arn": ADMIN},
        {"requestParameters.policyArns": "[{arn=" + ADMIN + "}]"},
        {"requestParameters.policyArns": "[{"},
        {"requestParameters.policyArns": [], "requestParameters.policyArns.0.arn": ADMIN},
        {"requestParameters.policyArns.0.arn": ADMIN, "requestParameters.policyArns": []},
    ],
)
def test_arns_that_cannot_be_told_are_unknown(unmapped: dict[str, Any]) -> None:
    assert "administrator-access-policy" in not_evaluable(event(unmapped=unmapped))


@pytest.mark.parametrize("data", [None, "rubbish", '{"name": "al', "", 7, ["x"]])
def test_parameters_that_are_absent_or_unreadable_are_unknown(data: Any) -> None:
    shipped = event()
    shipped["api"]["request"] = {"data": data}
    assert "duration-over-24h" in not_evaluable(shipped)


ARN = "arn:aws:iam::111122223333:user/alice"


@pytest.mark.parametrize(
    "place",
    [
        {"actor": {"user": {"uid": ARN, "uid_alt": "AIDA1", "name": "alice", "account": {"uid": "1"}}}},
        {"actor": {"user": {"uuid": ARN, "uid": "AIDA1", "name": "alice", "account_uid": "1"}}},
        {"identity": {"user": {"uuid": ARN, "uid": "AIDA1", "name": "alice", "account_uid": "1"}}},
        {
            "actor.user.uid": ARN,
            "actor.user.uid_alt": "AIDA1",
            "actor.user.name": "alice",
            "actor.user.account.uid": "1",
        },
        {"user": {"uid": ARN, "uid_alt": "AIDA1", "name": "alice", "account": {"uid": "1"}}},
    ],
)
def test_the_caller_is_found(place: dict[str, Any]) -> None:
    identity = loaded(event(**place))["userIdentity"]
    assert identity == {
        "type": "IAMUser",
        "arn": ARN,
        "principalId": "AIDA1",
        "userName": "alice",
        "accountId": "1",
    }


@pytest.mark.parametrize(
    ("stated", "resource", "kind"),
    [
        ("IAMUser", "iam::1:root", "IAMUser"),
        ("User", "iam::1:user/path/alice", "IAMUser"),
        ("Admin", "iam::1:root", "Root"),
        (None, "sts::1:federated-user/user/x", "FederatedUser"),
        ("Unknown", "sts::1:assumed-role/admin/x", "AssumedRole"),
        (["x"], "iam::1:user/alice", "IAMUser"),
        ("User", "iam::1:role/x", "User"),
        (None, "rootless", None),
    ],
)
def test_the_callers_type_may_stand_in_the_arn_alone(stated: Any, resource: str, kind: str | None) -> None:
    shipped = event(actor={"user": {"type": stated, "type_id": 99, "uid": f"arn:aws:{resource}"}})
    assert loaded(shipped)["userIdentity"].get("type") == kind


@pytest.mark.parametrize(
    ("place", "time"),
    [
        ({"time": 1_732_956_197_000}, "2024-11-30T08:43:17Z"),
        ({"time": 1_732_956_197_250.0}, "2024-11-30T08:43:17.250000Z"),
        ({"time": 1, "time_dt": "2024-11-30T08:43:17.000Z"}, "2024-11-30T08:43:17.000Z"),
        ({"time": "2024-11-30T08:43:17Z"}, "2024-11-30T08:43:17Z"),
        ({"time": 10**30}, None),
        ({"time": True}, True),
        ({}, None),
    ],
)
def test_the_time_is_in_milliseconds_or_text(place: dict[str, Any], time: object) -> None:
    assert loaded(event(**place))["eventTime"] == time


def test_the_endpoint_has_several_places() -> None:
    assert (
        loaded(event(src_endpoint={"domain": "signin.amazonaws.com"}))["sourceIPAddress"] == "signin.amazonaws.com"
    )
    assert loaded(event(src_endpoint={"ip": "203.0.113.7", "uid": "vpce-1"}))["vpcEndpointId"] == "vpce-1"
    assert "vpcEndpointId" not in loaded(event(src_endpoint={"uid": "i-1"}))


# --- telling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shipped",
    [
        {"api": {"operation": "X", "service": {"name": "sts.amazonaws.com"}}},
        {"api.operation": "X", "api.service.name": "sts.amazonaws.com"},
        {"api": {"operation": "X", "service.name": "sts.amazonaws.com"}, "class_uid": 3002},
    ],
)
def test_an_event_is_told_by_the_names_of_its_api(shipped: dict[str, Any]) -> None:
    part = only(shipped)
    assert (part.source, part.name, part.envelope) == ("sts.amazonaws.com", "X", "ocsf")


def test_one_name_is_better_than_none() -> None:
    part = only({"api": {"operation": 7, "service": {"name": "sts.amazonaws.com"}}})
    assert (part.source, part.name) == ("sts.amazonaws.com", None)


def test_an_event_of_another_source_is_ignored() -> None:
    assert parts({"class_uid": 4001, "metadata": {"product": {}}, "time": 1}) == [Ignored("not_cloudtrail")]


# --- outcome -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        ({"status": "Success", "status_id": 1, "status_code": "200"}, None, None),
        ({"status": None, "status_id": 99}, None, None),
        ({"status": "Failure"}, None, "the event's status says failure, without a reason"),
        ({"status_id": 2}, None, "the event's status says failure, without a reason"),
        ({"status_id": "2", "status_code": "AccessDenied", "status_detail": "no"}, "AccessDenied", "no"),
        ({"status": "Failure", "status_detail": "not allowed"}, None, "not allowed"),
        ({"unmapped": {"errorCode": "AccessDenied"}}, "AccessDenied", None),
    ],
)
def test_a_failure_stays_one(place: dict[str, Any], code: str | None, message: str | None) -> None:
    record = loaded(event(**place))
    assert (record.get("errorCode"), record.get("errorMessage")) == (code, message)
    failed = "failure" if code or message else "success"
    assert {finding["outcome"] for finding in findings(event(**place))} == {failed}


def test_an_error_of_the_response_is_the_error() -> None:
    shipped = event(status="Failure")
    shipped["api"]["response"] = {"error": "AccessDenied", "message": "no"}
    record = loaded(shipped)
    assert (record["errorCode"], record["errorMessage"]) == ("AccessDenied", "no")


# --- secrets, properties -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ISSUANCES)
def test_the_session_token_never_gets_into_a_finding(name: str) -> None:
    assert TOKEN in json.dumps(document(name))
    assert TOKEN not in json.dumps(findings(document(name)))


@pytest.mark.parametrize("end", range(1, 40))
def test_nor_out_of_a_text_that_is_cut(end: int) -> None:
    shipped = document("ocsf-security-lake-1.1")
    whole = shipped["api"]["response"]["data"]
    start = whole.index(TOKEN)
    for text in (whole[: start + end], whole[end:], json.dumps({"credentials": whole[: start + end]})):
        shipped["api"]["response"]["data"] = text
        assert TOKEN[:8] not in json.dumps(findings(shipped))


@given(requests(), st.sampled_from(["object", "text", "unmapped", "dotted"]))
def test_a_random_record_comes_back(record: dict[str, Any], form: str) -> None:
    assert facts(loaded(as_ocsf(record, form))) == facts(record)


def test_console_exchanges_come_back() -> None:
    expected = facts(console_exchange(eventTime="2024-11-30T08:43:17Z"))
    for form in ("object", "text", "unmapped", "dotted"):
        assert facts(loaded(as_ocsf(console_exchange(), form))) == expected


@given(st.sampled_from([*ISSUANCES, EXCHANGE]), st.data())
def test_wrong_types_anywhere_raise_nothing(name: str, data: st.DataObject) -> None:
    check_wrong_types(document(name), data)
