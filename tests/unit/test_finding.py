"""What a finding is called, which fields it has, and that it is small and valid whatever the event."""

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.detect import Detector
from service.finding import (
    MAX_FINDING_BYTES,
    NAMESPACE,
    RISK_SCORES,
    SEVERITIES,
    Finding,
    Origin,
    avro_schema,
    bounded_record,
    finding_id,
    json_schema,
    session_key,
    to_json,
)
from service.rules import RULES
from service.timestamps import rfc3339
from tests.unit.strategies import asking, console_exchange, issuance, oddities, paths, put, watched_records

ROOT = Path(__file__).parents[2]
DETECTOR = Detector(RULES)
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
NOON = datetime(2024, 11, 30, 12, tzinfo=UTC)

# The fields that SOAR playbooks map: none may go, or come unnoticed.
FIELDS = set(
    """
    schema_version finding_id rule_id rule_name rule_version severity severity_id risk_score title description
    clauses reasons not_evaluable outcome error_code mitre_version mitre runbook actions pivots false_positives
    references event_time detected_at principal_arn principal_type principal_name principal_id
    principal_access_key_id session_issuer_arn containment_arn root_caller federated_user_name
    federated_user_arn name_mismatch duration_seconds_requested duration_seconds_effective expires_at policy_arns
    inline_policy_grade policy_contents_unknown session_tags issued_access_key_id session_key related_finding_ids
    source_ip vpc_endpoint_id user_agent region account_id account_alias account_owner known_broker event_id
    request_id event_name event_source origin envelope stage canary suppressed_by event
    """.split()
)
# Session tags and the event may hold empty texts: a tag without a value is one.
WITHOUT_EMPTY_TEXT = FIELDS - {"event", "session_tags"}


def findings(record: dict[str, Any]) -> list[Finding]:
    origin = Origin(topic="cloudtrail.events", partition=3, offset=42, timestamp="2024-11-30T12:00:00Z")
    detection = DETECTOR.detect_record(record, envelope="records", origin=origin, detected_at=NOON)
    assert not detection.errors
    return list(detection.findings)


def suspicious() -> Finding:
    record = asking(policy=STAR, durationSeconds="86401", tags=[{"key": "team", "value": "red"}], policyArns=["x"])
    return findings(record)[1]


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule_id", "expected"),
    [
        ("sts-federation-token-issued", "39270ff7-e5d8-5890-9eb5-472d9134de6c"),
        ("sts-federation-token-suspicious", "b223f8a0-9e3d-55db-90ca-ce01977d216a"),
        ("signin-token-from-federated-session", "8da9143d-f006-562c-ada4-9146fbb1423f"),
    ],
)
def test_ids_are_stable_for_ever(rule_id: str, expected: str) -> None:
    """Written down once: a SOAR tells a repeat by the id, in a year's time too."""
    assert finding_id(rule_id, {"eventID": "6e882b9d-2af8-4c67-b91f-aeac6a0e5e70", "any": "thing"}) == expected


def test_the_name_space_and_session_keys_are_stable_for_ever() -> None:
    assert str(NAMESPACE) == "ae8b1e4d-4cc1-5558-89bf-d61698bfdb35"
    assert session_key("ASIAIOSFODNN7EXAMPLE") == "f3c1bf3b-9f14-563f-b209-c156090417d9"
    assert session_key(None) is None


@pytest.mark.parametrize("event_id", [None, "", 7, ["x"]])
def test_without_an_event_id_the_canonical_record_names_the_finding(event_id: object) -> None:
    record = {"eventName": "GetFederationToken", "requestParameters": {"name": "é", "n": 1}, "eventID": event_id}
    if event_id is None:
        del record["eventID"]
        expected = "487c10e4-f97a-5eb4-8063-5175c2b00bf9"
        assert finding_id("sts-federation-token-issued", record) == expected
    turned = dict(reversed(record.items()))
    turned["requestParameters"] = {"n": 1, "name": "é"}
    assert finding_id("r", turned) == finding_id("r", record)
    assert finding_id("r", {**record, "awsRegion": "x"}) != finding_id("r", record)
    assert finding_id("other", record) != finding_id("r", record)


@given(watched_records())
def test_every_request_for_a_token_gives_a_finding(record: dict[str, Any]) -> None:
    """However odd it is: what other tests say of the findings of such records is not said of none."""
    assert findings(record) or record["eventName"] == "GetSigninToken"


@given(watched_records(), st.data())
def test_a_replay_gives_the_same_findings(record: dict[str, Any], data: st.DataObject) -> None:
    """Encoded anew, its keys in another order, at another place and time."""
    turned = dict(data.draw(st.permutations(list(record.items()))))
    again = DETECTOR.detect_record(turned, envelope="sns", detected_at=NOON + timedelta(days=1)).findings
    assert [f.finding_id for f in again] == [f.finding_id for f in findings(record)]


def test_issuance_and_console_exchange_share_a_session_key() -> None:
    keys = {finding.session_key for record in (issuance(), console_exchange()) for finding in findings(record)}
    assert keys == {session_key("ASIAIOSFODNN7EXAMPLE")}


def test_an_attack_shares_a_message_key() -> None:
    """The identity to act on: the session's issuer once the session acts."""
    keys = {finding.key for record in (issuance(), console_exchange()) for finding in findings(record)}
    assert keys == {"arn:aws:iam::111122223333:user/alice"}


def test_without_an_identity_there_still_is_a_message_key() -> None:
    (of_account,) = findings(issuance(userIdentity={"type": "IAMUser"}))
    assert of_account.key == "111122223333"
    (of_nobody,) = findings(issuance(userIdentity=None, recipientAccountId=None))
    assert of_nobody.key == of_nobody.finding_id


def test_a_federated_user_without_issuer_has_no_identity_to_act_on() -> None:
    record = console_exchange()
    del record["userIdentity"]["sessionContext"]
    (finding,) = findings(record)
    assert finding.containment_arn is None
    assert finding.key == "arn:aws:sts::111122223333:federated-user/alice"


# --- fields --------------------------------------------------------------------------------------


def test_a_finding_has_exactly_these_fields() -> None:
    assert set(json.loads(to_json(suspicious()))) == FIELDS
    assert set(json_schema()["$defs"]["Finding"]["properties"]) == FIELDS
    assert {field["name"] for field in avro_schema()["fields"]} == FIELDS


def test_a_finding_says_what_the_event_said() -> None:
    found = json.loads(to_json(suspicious()))
    expected = {
        "schema_version": "1.1",
        "rule_id": "sts-federation-token-suspicious",
        "severity": "critical",
        "severity_id": 5,
        "risk_score": 99,
        "clauses": ["duration-over-24h", "inline-policy-full-admin"],
        "outcome": "success",
        "error_code": None,
        "mitre_version": "17.1",
        "event_time": "2024-11-30T08:43:17Z",
        "detected_at": "2024-11-30T12:00:00Z",
        "principal_arn": "arn:aws:iam::111122223333:user/alice",
        "principal_type": "IAMUser",
        "principal_name": "alice",
        "principal_id": "AIDAEXAMPLEEXAMPLE01",
        "principal_access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "session_issuer_arn": None,
        "containment_arn": "arn:aws:iam::111122223333:user/alice",
        "root_caller": False,
        "federated_user_name": "alice",
        "federated_user_arn": "arn:aws:sts::111122223333:federated-user/alice",
        "name_mismatch": False,
        "duration_seconds_requested": 86_401,
        "duration_seconds_effective": 86_401,
        "expires_at": "2024-11-30T20:43:17Z",
        "policy_arns": ["x"],
        "inline_policy_grade": "full_admin",
        "policy_contents_unknown": True,
        "session_tags": [{"key": "team", "value": "red"}],
        "issued_access_key_id": "ASIAIOSFODNN7EXAMPLE",
        "source_ip": "203.0.113.7",
        "vpc_endpoint_id": None,
        "user_agent": "aws-cli/2.22.7",
        "region": "us-east-1",
        "account_id": "111122223333",
        "event_id": "00000000-0000-4000-8000-000000000001",
        "request_id": "00000000-0000-4000-9000-000000000001",
        "event_name": "GetFederationToken",
        "event_source": "sts.amazonaws.com",
        "envelope": "records",
        "stage": None,
        "canary": False,
        "suppressed_by": None,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["origin"]["topic"] == "cloudtrail.events"
    assert found["origin"]["offset"] == 42
    assert [(reason["path"], reason["value"]) for reason in found["reasons"]] == [
        ("requestParameters.durationSeconds", "86401"),
        ("requestParameters.policy", STAR),
    ]
    assert found["event"]["responseElements"]["credentials"]["sessionToken"] == "[redacted]"


def test_what_an_event_is_not_about_is_null() -> None:
    """A console exchange asks for no session, so it has no duration, grade or expiry of one."""
    (finding,) = findings(console_exchange())
    assert finding.duration_seconds_requested is None
    assert finding.duration_seconds_effective is None
    assert finding.expires_at is None
    assert finding.inline_policy_grade is None
    assert finding.federated_user_name == "alice"


@given(watched_records())
def test_absent_is_null_never_an_empty_text(record: dict[str, Any]) -> None:
    for finding in findings(record):
        found = json.loads(to_json(finding))
        top = {name: found[name] for name in WITHOUT_EMPTY_TEXT}
        assert not [path for path in paths(top) if _at(top, path) == ""]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_risk_follows_severity() -> None:
    assert SEVERITIES == ("informational", "low", "medium", "high", "critical")
    assert sorted(RISK_SCORES.values()) == [RISK_SCORES[severity] for severity in SEVERITIES]
    assert all(0 <= score <= 100 for score in RISK_SCORES.values())


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (NOON, "2024-11-30T12:00:00Z"),
        (NOON.replace(microsecond=123_456), "2024-11-30T12:00:00.123Z"),
        (NOON.astimezone(timezone(timedelta(hours=-5))), "2024-11-30T12:00:00Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(moment: datetime | None, text: str | None) -> None:
    assert rfc3339(moment) == text


# --- schemas -------------------------------------------------------------------------------------


def test_the_avro_schema_on_file_is_in_step() -> None:
    """Made by `tokentrail schema --format avro`; registries and consumers take the file."""
    on_file = json.loads((ROOT / "config" / "schemas" / "finding.avsc").read_text(encoding="utf-8"))
    assert on_file == avro_schema()


def problems(value: Any, schema: dict[str, Any], definitions: dict[str, Any], path: str = "$") -> list[str]:
    """Where a value breaks a JSON schema, of which it knows what ours uses, and nothing else."""
    known = {"$ref", "anyOf", "enum", "type", "properties", "required", "items", "additionalProperties"}
    silent = {"title", "description", "default", "$defs", "$schema"}
    assert set(schema) <= known | silent, schema
    if "$ref" in schema:
        return problems(value, definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, path)
    if "anyOf" in schema:
        tried = [problems(value, option, definitions, path) for option in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{path}: {value!r} is not among {schema['enum']}"]
    kinds = {"string": str, "integer": int, "boolean": bool, "null": type(None), "object": dict, "array": list}
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (kind == "integer" and isinstance(value, bool))):
        return [f"{path}: {value!r} is no {kind}"]
    found = [f"{path}: {name} is missing" for name in schema.get("required", []) if name not in value]
    for name, inner in schema.get("properties", {}).items():
        found += problems(value[name], inner, definitions, f"{path}.{name}") if name in value else []
    if "items" in schema:
        found += [
            p for n, one in enumerate(value) for p in problems(one, schema["items"], definitions, f"{path}[{n}]")
        ]
    return found


@given(watched_records())
def test_every_finding_is_valid_by_both_schemas(record: dict[str, Any]) -> None:
    schema, avro = json_schema(), fastavro.parse_schema(avro_schema())
    for finding in findings(record):
        found = json.loads(to_json(finding))
        assert problems(found, schema, schema["$defs"]) == []
        flat = {**found, "event": json.dumps(found["event"])}
        encoded = io.BytesIO()
        fastavro.schemaless_writer(encoded, avro, flat, strict=True)
        assert fastavro.schemaless_reader(io.BytesIO(encoded.getvalue()), avro, None) == flat


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"severity": "fatal"}, "$.severity"),
        ({"severity_id": "4"}, "$.severity_id"),
        ({"outcome": None}, "$.outcome"),
        ({"reasons": [{"clause": "x"}]}, "path is missing"),
        ({"clauses": [None]}, "$.clauses[0]"),
    ],
)
def test_the_schema_check_of_this_file_can_fail(changes: dict[str, Any], problem: str) -> None:
    schema = json_schema()
    found = json.loads(to_json(suspicious())) | changes
    assert problem in "\n".join(problems(found, schema, schema["$defs"]))


def test_a_finding_is_read_back_as_it_was_written() -> None:
    finding = suspicious()
    assert msgspec.json.decode(to_json(finding), type=Finding) == finding


# --- size ----------------------------------------------------------------------------------------

# Each larger than what a finding may show of an event, or of very many parts.
HUGE: dict[str, Any] = {
    "text": "x" * 200_000,
    "control characters": "\x01" * 150_000,
    "emoji": "\U0001f600" * 120_000,
    "texts": ["\x00" * 2_000] * 100,
    "empty lists": [[[]] * 150] * 150,
    "arns": [{"arn": "arn:aws:iam::1:policy/" + "\x02" * 1_000}] * 100,
    "long keys": {f"{'k' * 3_000}{n}": "v" for n in range(100)},
    "objects": {f"key {n}": {f"key {m}": m for m in range(50)} for n in range(250)},
    "large numbers": [10**400] * 1_000,
    "numbers": [1.5e300] * 10_000,
}
PLACES = [
    ("eventTime",),
    ("userIdentity",),
    ("userIdentity", "arn"),
    ("requestParameters",),
    ("requestParameters", "name"),
    ("requestParameters", "policy"),
    ("requestParameters", "policyArns"),
    ("requestParameters", "tags"),
    ("responseElements", "credentials", "accessKeyId"),
    ("errorCode",),
    ("extra",),
]
LOUD = asking(policy=STAR, policyArns=[], tags=[], durationSeconds=90_000) | {"extra": None, "errorCode": None}


@pytest.mark.parametrize("huge", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_huge_value_anywhere_gives_a_small_finding(huge: Any, place: tuple[str, ...]) -> None:
    found = findings(put(LOUD, place, huge))
    assert found
    assert max(len(to_json(finding)) for finding in found) <= MAX_FINDING_BYTES
    assert not any(b'"omitted":true' in to_json(finding) for finding in found)  # cut is enough


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(sorted(HUGE))), max_size=15))
def test_many_huge_values_give_a_small_finding(chosen: list[tuple[tuple[str, ...], str]]) -> None:
    record = LOUD
    for number, (place, name) in enumerate(chosen):
        if place in paths(record):
            record = put(record, place, HUGE[name])
        record = {**record, f"extra {number}": HUGE[name]}
    assert max(len(to_json(finding)) for finding in findings(record)) <= MAX_FINDING_BYTES


def test_an_event_that_no_cut_makes_small_is_left_out() -> None:
    """Containers cost nothing in the cut; the finding itself still gets through."""
    wide: Any = []
    for _ in range(3):
        wide = [wide] * 100
    finding = msgspec.structs.replace(suspicious(), event={"wide": wide})
    assert len(msgspec.json.encode(finding)) > MAX_FINDING_BYTES
    assert json.loads(to_json(finding))["event"] == {"omitted": True}


def test_a_finding_larger_than_its_topic_takes_goes_without_its_event() -> None:
    finding = suspicious()
    size = len(to_json(finding))
    assert json.loads(to_json(finding, size))["event"]["eventName"] == "GetFederationToken"
    shrunk = to_json(finding, size - 1)
    assert len(shrunk) < size
    assert json.loads(shrunk) == {**json.loads(to_json(finding)), "event": {"omitted": True}}


@given(st.dictionaries(st.text(max_size=9), oddities, max_size=9))
def test_a_small_record_is_left_whole(record: dict[str, Any]) -> None:
    """Save numbers that no JSON reader of 64 bits takes."""
    expected = _readable(record)
    assert repr(bounded_record(record)) == repr(expected)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return str(value)[:100] if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
