"""Every envelope is told by its content, and gives its records in their order."""

import contextlib
import gzip
import json
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import envelopes
from service.envelopes import REASONS, Envelope, Ignored, IgnoredKind, Record, Rejected, load, unwrap
from service.errors import DecodeError
from tests.unit.enveloped import (
    CONNECT,
    DOCUMENTS,
    ENVELOPES,
    RECORDS,
    STS,
    TEXTS,
    cloudwatch,
    eventbridge,
    names,
    only,
    raw,
    records,
    sns,
)
from tests.unit.strategies import (
    COMPRESSIONS,
    JSON_WRAPS,
    base64_gzip,
    issuance,
    json_values,
    numbers,
    texts,
    wrapped,
)


@pytest.mark.parametrize(("data", "envelope"), ENVELOPES.values(), ids=ENVELOPES)
def test_an_envelope_gives_its_records_in_order(data: bytes, envelope: str) -> None:
    parts = unwrap(data)
    assert [load(part) for part in records(parts)] == RECORDS
    assert names(parts) == [record["eventName"] for record in RECORDS]
    assert {part.envelope for part in records(parts)} == {envelope}
    assert [part.source for part in records(parts)] == [record["eventSource"] for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["eventName"])
@pytest.mark.parametrize(
    ("wrap", "envelope"),
    [
        (json.dumps, "record"),
        (lambda record: json.dumps(record, indent=2), "record"),
        (lambda record: f" \n{json.dumps(record)}\r\n", "record"),
        (lambda record: f"\x0c{json.dumps(record)}\x0b", "record"),
        (lambda record: json.dumps(json.dumps(record)), "record"),
        (lambda record: eventbridge(record).decode(), "eventbridge"),
        (lambda record: eventbridge(record, "AWS Console Sign In via CloudTrail").decode(), "eventbridge"),
        (lambda record: json.dumps({"detail": record}), "eventbridge"),
        (lambda record: sns(json.dumps(record)).decode(), "sns"),
        (lambda record: sns(eventbridge(record).decode()).decode(), "sns"),
    ],
)
def test_an_envelope_of_one(record: dict[str, Any], wrap: Callable[[Any], str], envelope: str) -> None:
    for data in (wrap(record).encode(), gzip.compress(wrap(record).encode()), base64_gzip(wrap(record).encode())):
        part = only(unwrap(data))
        assert (part.source, part.name, part.envelope) == (record["eventSource"], record["eventName"], envelope)
        assert load(part) == record


def test_a_plain_record_is_handed_on_as_it_came() -> None:
    part = only(unwrap(DOCUMENTS[0]))
    assert part == Record(DOCUMENTS[0], STS, "GetFederationToken", "record")


def test_envelopes_may_be_nested_several_deep() -> None:
    """As from a subscription that a function forwards through a topic to a bus."""
    inner = base64_gzip(cloudwatch(*(eventbridge(record).decode() for record in RECORDS))).decode()
    parts = unwrap(gzip.compress(b"[" + sns(inner) + b"]"))
    assert [load(part) for part in records(parts)] == RECORDS
    assert len(parts) == len(RECORDS)


def test_an_empty_envelope_has_no_parts() -> None:
    for data in (b'{"Records": []}', b"[]", b"[][]", b'{"Records": []}\n{"Records": []}', cloudwatch()):
        assert list(unwrap(data)) == []


IGNORED: dict[str, tuple[bytes, IgnoredKind]] = {
    "control message": (
        cloudwatch("CWL CONTROL MESSAGE: Checking health", kind="CONTROL_MESSAGE"),
        "cloudwatch_control",
    ),
    "control message, gzip": (gzip.compress(cloudwatch("x", kind="CONTROL_MESSAGE")), "cloudwatch_control"),
    "digest": (b'{"awsAccountId":"1","digestStartTime":"x","digestS3Bucket":"b","logFiles":[]}', "digest"),
    "insight": (b'{"eventType":"AwsCloudTrailInsight","insightDetails":{"state":"Start"}}', "insight"),
    "insight by its details": (b'{"eventVersion":"1.07","insightDetails":{"state":"Start"}}', "insight"),
    "insight by category": (b'{"eventVersion":"1.07","eventCategory":"Insight"}', "insight"),
    "insight from a bus": (
        eventbridge({"eventType": "AwsCloudTrailInsight"}, "AWS Insight via CloudTrail"),
        "insight",
    ),
    "other event of a bus": (eventbridge({"instance-id": "i-1"}, "EC2 Instance State-change"), "not_cloudtrail"),
    "other event that looks like one": (eventbridge(issuance(), "My Own Event"), "not_cloudtrail"),
    "subscription": (sns("You have chosen to subscribe", "SubscriptionConfirmation"), "sns_control"),
    "end of a subscription": (sns("x", "UnsubscribeConfirmation"), "sns_control"),
    "pointer": (b'{"s3Bucket":"b","s3ObjectKey":["AWSLogs/1/x.json.gz"]}', "s3_pointer"),
    "pointer by sns": (sns('{"s3Bucket":"b","s3ObjectKey":["AWSLogs/1/x.json.gz"]}'), "s3_pointer"),
    "notification of S3": (
        b'{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{}}]}',
        "s3_pointer",
    ),
}


@pytest.mark.parametrize(("data", "kind"), IGNORED.values(), ids=IGNORED)
def test_what_is_no_record_is_ignored_for_a_reason(data: bytes, kind: str) -> None:
    assert list(unwrap(data)) == [Ignored(kind)]  # type: ignore[arg-type]  # any kind


def test_every_kind_but_the_tombstone_has_an_example() -> None:
    """A message without value never gets here."""
    assert {kind for _, kind in IGNORED.values()} == set(get_args(IgnoredKind)) - {"tombstone"}


ODD_NAMES = [
    ({"eventName": ["GetFederationToken"]}, STS, None),
    ({"eventName": {"a": 1}}, STS, None),
    ({"eventName": None}, STS, None),
    ({"eventName": 7}, STS, None),
    ({"eventSource": True}, None, "GetFederationToken"),
    ({"eventSource": None, "eventName": []}, None, None),
]


@pytest.mark.parametrize(("changes", "source", "name"), ODD_NAMES)
@pytest.mark.parametrize("wrap", sorted(JSON_WRAPS))
def test_a_name_that_is_no_text_costs_that_name_only(
    changes: dict[str, Any], source: str | None, name: str | None, wrap: str
) -> None:
    """One record with a list as its `eventName` fails a whole file that is decoded with types."""
    odd = json.dumps(issuance(**changes)).encode()
    parts = [part for data in JSON_WRAPS[wrap]([DOCUMENTS[1], odd]) for part in unwrap(data)]
    assert [(part.source, part.name) for part in records(parts)] == [(CONNECT, "X"), (source, name)]
    assert len(parts) == 2


@pytest.mark.parametrize(("key", "source", "name"), [("eventName", None, "X"), ("eventSource", "X", None)])
def test_one_name_makes_a_record_and_hides_no_envelope(key: str, source: str | None, name: str | None) -> None:
    alone, beside = b'{"%s":"X"}' % key.encode(), b'{"%s":"X","detail":%s}' % (key.encode(), DOCUMENTS[0])
    assert unwrap(alone) == (Record(alone, source, name, "record"),)
    assert only(unwrap(beside)) == Record(DOCUMENTS[0], STS, "GetFederationToken", "eventbridge")


def test_two_names_hide_no_records() -> None:
    """Else whoever can add a key to a file would hide all that is in it."""
    data = b'{"eventSource":"a","eventName":"b","Records":[%s]}' % DOCUMENTS[0]
    assert unwrap(data) == (Record(DOCUMENTS[0], STS, "GetFederationToken", "records"),)


def test_a_record_without_names_is_one_all_the_same() -> None:
    data = b'{"userIdentity":{}}'
    assert only(unwrap(data)) == Record(data, None, None, "record")
    assert only(unwrap(b'{"detail":%s}' % data)) == Record(data, None, None, "eventbridge")


@pytest.mark.parametrize("data", [DOCUMENTS[0], *(data for data, _ in ENVELOPES.values()), b"{}", b"x"])
def test_what_the_data_was_taken_out_of_is_the_outermost_envelope(data: bytes) -> None:
    parts = unwrap(data, envelope="avro")
    assert {part.envelope for part in records(parts)} <= {"avro"}
    assert names(parts) == names(unwrap(data))


def test_an_original_of_several_parts_gives_them_all() -> None:
    """A shipper that reads whole files may put more than one record into a document."""
    data = json.dumps({"event": {"original": f"{TEXTS[0]}\n{TEXTS[1][:-9]}\n{TEXTS[1]}"}}).encode()
    assert names(unwrap(data)) == ["GetFederationToken", "!json", "X"]


@pytest.mark.parametrize("field", ["provider", "action"])
def test_an_original_tells_the_name_that_the_fields_lack(field: str) -> None:
    event = {field: "other", "original": TEXTS[0]}
    part = only(unwrap(json.dumps({"aws": {"cloudtrail": {}}, "event": event}).encode()))
    assert part == Record(DOCUMENTS[0], STS, "GetFederationToken", "ecs")


@pytest.mark.parametrize(("field", "told"), [("provider", (STS, None)), ("action", (None, STS))])
def test_one_name_is_better_than_an_original_that_is_broken(
    field: str, told: tuple[str | None, str | None]
) -> None:
    event = {field: STS, "original": "{"}
    part = only(unwrap(json.dumps({"aws": {"cloudtrail": {}}, "event": event}).encode()))
    assert (part.source, part.name) == told


def test_an_original_that_cannot_be_decoded_in_full_falls_back_to_the_fields() -> None:
    """Found by depth: the full decoding stands a little deeper in the stack than the glance."""
    kept = set()
    for depth in range(sys.getrecursionlimit() - 250, sys.getrecursionlimit()):
        original = raw(b"[" * depth + b"]" * depth).decode()
        fields = {"provider": STS, "action": "GetFederationToken", "original": original}
        record = load(only(unwrap(json.dumps({"aws": {"cloudtrail": {}}, "event": fields}).encode())))
        assert record["eventName"] == "GetFederationToken"
        kept.add("x" in record)
    assert kept == {True, False}


def test_an_ocsf_event_in_an_envelope_is_of_the_outermost() -> None:
    event = {"api": {"operation": "GetFederationToken", "service": {"name": STS}}}
    assert only(unwrap(json.dumps(event).encode())).envelope == "ocsf"
    assert only(unwrap(sns(event))).envelope == "sns"


def test_an_ocsf_event_of_dotted_keys_is_told_whatever_keys_stand_beside() -> None:
    event = {"metadata.uid": "1", "api.operation": "GetFederationToken", "api.service.name": STS, "time": 1}
    part = only(unwrap(json.dumps(event).encode()))
    assert (part.source, part.name, part.envelope) == (STS, "GetFederationToken", "ocsf")


def test_a_record_is_decoded_by_its_own_decoder() -> None:
    def decode(data: bytes) -> object:
        return {"length": len(data)} if data else []

    assert load(Record(b"abc", None, None, "avro", decode)) == {"length": 3}
    with pytest.raises(DecodeError):
        load(Record(b"", None, None, "avro", decode))


# --- properties ------------------------------------------------------------------------------------

NAMES = texts | st.none() | numbers | st.lists(texts, max_size=2)


@st.composite
def any_records(draw: st.DrawFn) -> dict[str, Any]:
    """An object that only its `eventVersion` makes a record for certain."""
    extra = st.dictionaries(texts.filter(lambda key: key not in ENVELOPE_KEYS), json_values, max_size=4)
    named = st.fixed_dictionaries({"eventVersion": texts}, optional={"eventSource": NAMES, "eventName": NAMES})
    return {**draw(extra), **draw(named)}


ENVELOPE_KEYS = {
    *("Records", "detail", "detail-type", "messageType", "logEvents", "Type", "Message"),
    *("event", "aws", "api", "message", "json"),
}


@given(st.lists(any_records(), min_size=1, max_size=4), st.data())
def test_whatever_is_wrapped_comes_out_in_order(chosen: list[dict[str, Any]], data: st.DataObject) -> None:
    message = data.draw(wrapped([json.dumps(record).encode() for record in chosen], most=2))
    parts = unwrap(message)
    assert [load(part) for part in records(parts)] == chosen
    assert len(parts) == len(chosen)
    for part, record in zip(records(parts), chosen, strict=True):
        expected = [
            value if isinstance(value, str) else None for value in map(record.get, ("eventSource", "eventName"))
        ]
        assert [part.source, part.name] == expected


def check_anything(data: bytes) -> None:
    parts = unwrap(data, 1_000_000)
    for part in parts:
        if isinstance(part, Record):
            assert part.envelope in get_args(Envelope)
            with contextlib.suppress(DecodeError):
                assert isinstance(load(part), dict)
        elif isinstance(part, Rejected):
            assert part.reason in REASONS
        else:
            assert part.kind in get_args(IgnoredKind)


@given(st.binary(max_size=200))
def test_any_bytes_have_parts(data: bytes) -> None:
    check_anything(data)
    check_anything(gzip.compress(data))
    check_anything(base64_gzip(data))
    assert unwrap(data) or data.strip()[:1] in (b"[", b"{")


@given(
    st.lists(any_records(), min_size=1, max_size=3).map(
        lambda chosen: [json.dumps(one).encode() for one in chosen]
    ),
    st.sampled_from(sorted(COMPRESSIONS)),
    st.data(),
)
def test_damaged_messages_have_parts(documents: list[bytes], compression: str, data: st.DataObject) -> None:
    message = data.draw(wrapped(documents))
    cut = data.draw(st.integers(0, len(message)))
    stray = data.draw(st.binary(max_size=3) | st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b",", b"\n"]))
    check_anything(COMPRESSIONS[compression](message[:cut] + stray + message[cut + len(stray) :]))
    check_anything(message[:cut])


@given(st.text('{}[]",:\\\n aR0', max_size=60))
def test_any_play_of_brackets_has_parts(text: str) -> None:
    check_anything(text.encode())
    check_anything(b'{"Records":[' + text.encode())


def test_all_envelopes_are_named_in_the_tests() -> None:
    assert {envelope for _, envelope in ENVELOPES.values()} | {
        "record",
        "eventbridge",
        "ecs",
        "ocsf",
        "avro",
    } == set(get_args(envelopes.Envelope))
