"""Every envelope is told by its content; one bad part costs that part only; nothing raises."""

import base64
import contextlib
import gzip
import hashlib
import json
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import envelopes
from service.envelopes import (
    DEFAULT_LIMIT,
    REASONS,
    Envelope,
    Ignored,
    IgnoredKind,
    Part,
    Record,
    Rejected,
    load,
    unwrap,
)
from service.errors import DecodeError
from tests.unit.strategies import (
    COMPRESSIONS,
    JSON_WRAPS,
    base64_gzip,
    console_exchange,
    issuance,
    json_values,
    members,
    numbers,
    texts,
    wrapped,
)

STS, CONNECT = "sts.amazonaws.com", "connect.amazonaws.com"
# Pieces that a cut, a splice or a wrong guess would notice: braces, quotes and escapes inside of strings.
TRICKY = {"eventSource": CONNECT, "eventName": "X", "userAgent": '}]{["\\"\\\\ \n Records":[{ \u202f\U0001f600'}
RECORDS = [issuance(), TRICKY, console_exchange()]
DOCUMENTS = [json.dumps(record).encode() for record in RECORDS]


def names(parts: Sequence[Part]) -> list[str | None]:
    """What came out, in a few words: a record's event name, why a part was ignored or rejected."""
    return [
        part.name if isinstance(part, Record) else part.kind if isinstance(part, Ignored) else f"!{part.reason}"
        for part in parts
    ]


def only(parts: Sequence[Part]) -> Record:
    (part,) = parts
    assert isinstance(part, Record), part
    return part


def records(parts: Sequence[Part]) -> list[Record]:
    return [part for part in parts if isinstance(part, Record)]


# --- each envelope -------------------------------------------------------------------------------


def cloudwatch(*messages: str, kind: str = "DATA_MESSAGE") -> bytes:
    events = [{"id": str(number), "timestamp": 1, "message": text} for number, text in enumerate(messages)]
    return json.dumps({"messageType": kind, "owner": "1", "logGroup": "g", "logEvents": events}).encode()


def eventbridge(detail: Any, detail_type: str = "AWS API Call via CloudTrail") -> bytes:
    return json.dumps({"version": "0", "detail-type": detail_type, "source": "aws.sts", "detail": detail}).encode()


def sns(message: Any, kind: str = "Notification") -> bytes:
    return json.dumps({"Type": kind, "MessageId": "1", "TopicArn": "arn:x", "Message": message}).encode()


def indented(record: Any) -> bytes:
    return json.dumps(record, indent=4).encode()


TEXTS = [data.decode() for data in DOCUMENTS]
ENVELOPES: dict[str, tuple[bytes, Envelope]] = {
    "records": (json.dumps({"Records": RECORDS}).encode(), "records"),
    "records, indented": (indented({"Records": RECORDS}), "records"),
    "records beside another key": (json.dumps({"Owner": "x", "Records": RECORDS, "More": {}}).encode(), "records"),
    "lines": (b"\n".join(DOCUMENTS), "documents"),
    "lines that end with one": (b"\n".join(DOCUMENTS) + b"\n", "documents"),
    "lines of Windows": (b"\r\n".join(DOCUMENTS) + b"\r\n", "documents"),
    "lines with empty ones": (b"\n\n".join(DOCUMENTS) + b"\n\n\n", "documents"),
    "lines of Windows with empty ones": (b"\r\n\r\n".join(DOCUMENTS) + b"\r\n\r\n", "documents"),
    "concatenated": (b"".join(DOCUMENTS), "documents"),
    "concatenated with spaces": (b" \t ".join(DOCUMENTS), "documents"),
    "indented, concatenated": (b"\n".join(map(indented, RECORDS)), "documents"),
    "indented, with nothing between": (b"".join(map(indented, RECORDS)), "documents"),
    "NUL between": (b"\x00".join(DOCUMENTS), "documents"),
    "array": (json.dumps(RECORDS).encode(), "documents"),
    "array, indented": (indented(RECORDS), "documents"),
    "arrays one after the other": (b"[" + DOCUMENTS[0] + b"][" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "arrays on lines": (b"[" + DOCUMENTS[0] + b"]\n[" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "record, then array": (DOCUMENTS[0] + b"[" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "array, then record": (b"[" + b",".join(DOCUMENTS[:2]) + b"]" + DOCUMENTS[2], "documents"),
    "array of arrays": (b"[[" + DOCUMENTS[0] + b"],[" + b",".join(DOCUMENTS[1:]) + b"]]", "documents"),
    "files one after the other": (
        b"".join(json.dumps({"Records": [record]}).encode() for record in RECORDS),
        "records",
    ),
    "files on lines": (b"\n".join(json.dumps({"Records": [record]}).encode() for record in RECORDS), "records"),
    "files indented": (b"\n".join(indented({"Records": [record]}) for record in RECORDS), "records"),
    "files in members of gzip": (
        b"".join(gzip.compress(json.dumps({"Records": [record]}).encode()) for record in RECORDS),
        "records",
    ),
    "the tail of a file": (b",".join(DOCUMENTS) + b"]}", "documents"),
    "stray ends between": (b"]}".join(DOCUMENTS), "documents"),
    "a file, then a record": (json.dumps({"Records": RECORDS[:2]}).encode() + DOCUMENTS[2], "records"),
    "cloudwatch": (cloudwatch(*TEXTS), "cloudwatch"),
    "cloudwatch, gzip": (gzip.compress(cloudwatch(*TEXTS)), "cloudwatch"),
    "cloudwatch, base64 of gzip": (base64_gzip(cloudwatch(*TEXTS)), "cloudwatch"),
    "cloudwatch, base64 on lines": (base64.encodebytes(gzip.compress(cloudwatch(*TEXTS))), "cloudwatch"),
    "sns around lines": (sns("\n".join(TEXTS)), "sns"),
    "sns around records": (sns(json.dumps({"Records": RECORDS})), "sns"),
    "sns around cloudwatch": (sns(cloudwatch(*TEXTS).decode()), "sns"),
    "sns around base64 of cloudwatch": (sns(base64_gzip(cloudwatch(*TEXTS)).decode()), "sns"),
    "sns with the raw object": (sns({"Records": RECORDS}), "sns"),
    "array of event bridge": (b"[" + b",".join(map(eventbridge, RECORDS)) + b"]", "documents"),
    "gzip": (gzip.compress(b"\n".join(DOCUMENTS)), "documents"),
    "gzip of gzip": (gzip.compress(gzip.compress(json.dumps({"Records": RECORDS}).encode())), "records"),
    "gzip in two members": (members(json.dumps({"Records": RECORDS}).encode()), "records"),
    "gzip with padding": (gzip.compress(json.dumps({"Records": RECORDS}).encode()) + b"\x00" * 99, "records"),
    "gzip behind a line's end": (b"\r\n" + gzip.compress(json.dumps({"Records": RECORDS}).encode()), "records"),
    "gzip with a line's end": (gzip.compress(json.dumps({"Records": RECORDS}).encode()) + b"\r\n", "records"),
}


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


# --- one bad part --------------------------------------------------------------------------------


BAD = {
    "value missing": b'{"eventName":}',
    "comma doubled": b'{"eventName":"a",,"eventSource":"b"}',
    "no JSON": b'{"eventName": GetFederationToken}',
    "object that is no record": b'{"hello":"world"}',
    "empty object": b"{}",
    "number": b"7",
}
# Cut records: a reader finds the next one only where something tells where that begins.
CUT = {
    "bracket of another kind": b'{"eventName": [1, 2}',
    "cut in a value": DOCUMENTS[0][:-90],
    "cut in an object": b'{"eventName":"a","requestParameters":{"x":1',
    "cut in a key": b'{"eventName":"a","req',
    "cut in a string": b'{"eventName":"a","userAgent":"aws',
    "cut at once": b"{",
}
BAD_OR_CUT = BAD | CUT
SHAPES: dict[str, Callable[[list[bytes]], bytes]] = {
    "lines": b"\n".join,
    "lines of Windows": b"\r\n".join,
    "records": lambda documents: b'{"Records":[' + b",".join(documents) + b"]}",
    "records on lines": lambda documents: b'{"Records":[\n' + b",\n".join(documents) + b"\n]}",
    "records beside another key": lambda documents: b'{"Records":[' + b",".join(documents) + b'],"a":{"b":1}}',
    "array": lambda documents: b"[" + b",".join(documents) + b"]",
    "array on lines": lambda documents: b"[\n" + b",\n".join(documents) + b"\n]\n",
    "concatenated": b" ".join,
    "array in an array": lambda documents: b"[[" + b",".join(documents) + b"]]",
}


def around(bad: bytes, place: int) -> list[bytes]:
    documents = list(DOCUMENTS[:2])
    documents.insert(place, bad)
    return documents


def check_one_bad(data: bytes, place: int) -> None:
    parts = unwrap(data)
    good = [record["eventName"] for record in RECORDS[:2]]
    assert [part.name for part in records(parts)] == good
    (rejected,) = [part for part in parts if isinstance(part, Rejected)]
    assert rejected.reason in REASONS
    assert len(parts) == 3
    assert list(parts).index(rejected) == place


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_bad_record_costs_that_record_only(shape: str, bad: str, place: int) -> None:
    data = SHAPES[shape](around(BAD[bad], place))
    check_one_bad(data, place)
    check_one_bad(gzip.compress(data), place)
    check_one_bad(sns(data.decode()), place)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("bad", CUT)
def test_a_cut_line_costs_that_line_only(bad: str, place: int) -> None:
    check_one_bad(b"\n".join(around(CUT[bad], place)), place)


def test_a_cut_line_hides_no_array_behind_it() -> None:
    data = b"\n".join([CUT["cut in an object"], b"[" + DOCUMENTS[0] + b"]", DOCUMENTS[1]])
    assert names(unwrap(data)) == ["!json", "GetFederationToken", "X"]


def test_cut_lines_hide_no_array_between_them_though_a_file_comes_first() -> None:
    """Not taken for one array over several lines, which would be read past its line ends."""
    cut = CUT["cut in an object"]
    data = b"\n".join([b'{"Records":[%s]}' % DOCUMENTS[0], cut, b"[%s]" % DOCUMENTS[1], cut])
    assert names(unwrap(data)) == ["GetFederationToken", "!json", "X", "!json"]


def test_a_line_of_prose_is_one_dead_letter_whatever_is_in_it() -> None:
    assert names(unwrap(b"once { more\n" + DOCUMENTS[0])) == ["!not_json", "GetFederationToken"]


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD_OR_CUT)
def test_a_cut_message_of_a_log_costs_that_message_only(bad: str, place: int) -> None:
    """CloudWatch Logs cuts a long message: the rest of its batch must not suffer."""
    messages = [data.decode() for data in around(BAD_OR_CUT[bad], place)]
    check_one_bad(cloudwatch(*messages), place)
    check_one_bad(base64_gzip(cloudwatch(*messages)), place)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize(
    "bad", [b'{\n    "eventName": "a",\n    "x": {', b'{\n    "eventName": "a', BAD["value missing"]]
)
def test_a_bad_document_among_indented_ones_costs_itself(bad: bytes, place: int) -> None:
    check_one_bad(b"\n".join([indented(json.loads(d)) if d != bad else d for d in around(bad, place)]), place)


@pytest.mark.parametrize("shape", ["records", "array", "concatenated"])
@pytest.mark.parametrize("bad", ["cut in an object", "cut in a value"])
def test_a_message_that_ends_too_early_keeps_what_was_whole(shape: str, bad: str) -> None:
    whole = SHAPES[shape](around(CUT[bad], 2))
    data = whole[: whole.rindex(CUT[bad]) + len(CUT[bad])]
    check_one_bad(data, 2)


def test_log_events_without_message_are_rejected_one_by_one() -> None:
    events = b",".join(
        [b"7", b"{}", b'{"message":7}', b'{"message":null}', json.dumps({"message": TEXTS[1]}).encode()]
    )
    parts = unwrap(b'{"messageType":"DATA_MESSAGE","logEvents":[' + events + b"]}")
    assert names(parts) == ["!not_a_record"] * 4 + ["X"]
    assert all(part.detail for part in parts if isinstance(part, Rejected))


@pytest.mark.parametrize(
    "data",
    [
        b'{"Records": 7}',
        b'{"Records": {"eventName":"a","eventSource":"b"}}',
        b'{"Records": null}',
        b'{"messageType":"DATA_MESSAGE"}',
        b'{"messageType":"DATA_MESSAGE","logEvents":7}',
        b'{"Type":"Notification"}',
        b'{"Type":"Something","Message":"{}"}',
        b'{"Type":"Something","Message":%s}' % DOCUMENTS[0],
        b'{"detail":7}',
        b'{"detail":null}',
        b'{"detail-type":"AWS API Call via CloudTrail","detail":"text"}',
    ],
)
def test_an_envelope_without_contents_is_rejected(data: bytes) -> None:
    (part,) = unwrap(data)
    assert isinstance(part, Rejected)
    assert part.reason in ("not_a_record", "not_json")
    assert part.detail


# --- rubbish -------------------------------------------------------------------------------------

RUBBISH: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "empty"),
    "white space": (b" \r\n\t", "empty"),
    "mark alone": (b"\xef\xbb\xbf", "empty"),
    "prose": (b"hello, world", "not_json"),
    "random bytes": (hashlib.sha512(b"7").digest(), "not_json"),
    "zeros": (b"\x00" * 99, "not_json"),
    "XML": (b"<Records><eventName>a</eventName></Records>", "not_json"),
    "CSV": (b"eventName,eventSource\na,b\n", "not_json"),
    "Avro of a registry": (b"\x00\x00\x00\x00\x07abc", "not_json"),
    "key and value": (b"eventName=GetFederationToken", "not_json"),
    "number": (b"7", "not_a_record"),
    "null": (b"null", "not_a_record"),
    "true": (b"true", "not_a_record"),
    "text": (b'"hello"', "not_json"),
    "empty text": (b'""', "empty"),
    "empty object": (b"{}", "not_a_record"),
    "another object": (b'{"hello":"world"}', "not_a_record"),
    "cut object": (b'{"eventName":"a', "json"),
    "cut array": (b'[{"eventName":', "json"),
    "cut file": (b'{"Records":[', "json"),
    "cut text": (b'"{\\"eventName\\"', "json"),
    "brackets": (b"[[[[", "json"),
    "wrong brackets": (b"]}]}", "not_json"),
    "key that is no UTF-8": (b'{"a\xff":1}', "not_a_record"),
    "event of a shipper without any": (b'{"aws":{"cloudtrail":{}},"event":{"original":"{"}}', "json"),
    "another one": (b'{"aws":{"cloudtrail":{}},"event":{"original":"{}"}}', "not_a_record"),
    "one that may hold it in two places": (
        b'{"aws":{"cloudtrail":{}},"event":{"original":"{"},"message":"{}"}',
        "json",
    ),
    "one that may hold broken text": (
        b'{"aws":{"cloudtrail":{}},"event":{"original":"[\\"{\\",7]"}}',
        "json",
    ),
    "API without names": (b'{"api":{}}', "not_a_record"),
    "names that nothing says are of AWS": (
        b'{"event":{"provider":"sts.amazonaws.com","action":"GetFederationToken"}}',
        "not_a_record",
    ),
    "such names beside broken text": (
        b'{"event":{"provider":"sts.amazonaws.com","action":"GetFederationToken","original":"{"}}',
        "json",
    ),
    "cut gzip": (gzip.compress(DOCUMENTS[0])[:-4], "gzip"),
    "head of gzip": (b"\x1f\x8b", "gzip"),
    "gzip with a wrong sum": (gzip.compress(DOCUMENTS[0])[:-8] + b"\x00" * 8, "gzip"),
    "gzip with more behind": (gzip.compress(DOCUMENTS[0]) + b"more", "gzip"),
    "second member cut": (members(DOCUMENTS[0])[:-9], "gzip"),
    "gzip of nothing": (gzip.compress(b""), "empty"),
    "gzip of rubbish": (gzip.compress(b"hello"), "not_json"),
    "base64 that is none": (b"H4sI!!!!", "base64"),
    "base64 cut": (base64_gzip(DOCUMENTS[0])[:-9], "base64"),
    "base64 of cut gzip": (base64.b64encode(gzip.compress(DOCUMENTS[0])[:-5]), "gzip"),
    "zlib without gzip": (zlib.compress(DOCUMENTS[0]), "not_json"),
    "too deep": (b"[" * 99 + b"]" * 99, "too_deep"),
}


@pytest.mark.parametrize(("data", "reason"), RUBBISH.values(), ids=RUBBISH)
def test_rubbish_is_rejected_for_a_reason(data: bytes, reason: str) -> None:
    (part,) = unwrap(data)
    assert isinstance(part, Rejected)
    assert part.reason == reason
    assert part.detail


# What another decoder says of bytes, before they are JSON.
OF_AVRO = {"avro", "glue_schema", "schema_unavailable", "schema_unknown"}


def test_the_reasons_are_those_that_have_an_example() -> None:
    """Each is a metric's label: one that is not listed has no series before it is met."""
    bomb = unwrap(gzip.compress(b"x" * 100), 99)
    found = {part.reason for data, _ in RUBBISH.values() for part in unwrap(data) if isinstance(part, Rejected)}
    found |= {part.reason for part in bomb if isinstance(part, Rejected)}
    assert sorted(found | OF_AVRO) == sorted(REASONS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(range(256)) * 40, "not_json"),
        (b"{}" * 1_000, "not_a_record"),
        (b'{"hello":"world"}\n' * 1_000, "not_a_record"),
        (b"{]" * 1_000, "json"),
        (b"one two\n{three\n" * 1_000, "not_json"),
    ],
)
def test_rubbish_of_many_pieces_is_one_dead_letter(data: bytes, reason: str) -> None:
    """A thousand of them for one message would bury the topic that an operator looks through."""
    (part,) = unwrap(data)
    assert isinstance(part, Rejected)
    assert (part.data, part.reason) == (data, reason)
    assert part.detail


def test_rubbish_of_many_pieces_is_what_the_first_of_them_is() -> None:
    pieces = [b'{"hello":"world"}', b'{"cut']
    found, first = [unwrap(data)[0] for data in (b"\n".join(pieces), pieces[0])]
    assert isinstance(found, Rejected)
    assert isinstance(first, Rejected)
    assert (found.reason, found.detail) == (first.reason, first.detail)


def test_a_line_in_front_of_a_record_costs_itself_only() -> None:
    """As of syslog, which puts a header before the record."""
    assert names(unwrap(b"<134>1 2024-11-30 host app: " + DOCUMENTS[0])) == ["!not_json", "GetFederationToken"]


def test_a_rejected_part_is_what_came_and_its_detail_quotes_nothing() -> None:
    parts = unwrap(b"\n".join([DOCUMENTS[0], b'{"sessionToken":"IQoJb3JpZ2lu', DOCUMENTS[1]]))
    (rejected,) = [part for part in parts if isinstance(part, Rejected)]
    assert rejected.data == b'{"sessionToken":"IQoJb3JpZ2lu'
    assert "IQoJ" not in rejected.detail


def test_a_rejected_element_is_what_came_without_the_commas_around_it() -> None:
    _, rejected, _ = unwrap(b"[%s, \r\n nul, %s]" % (DOCUMENTS[0], DOCUMENTS[1]))
    assert rejected == Rejected(b"nul", "not_json", "neither JSON nor gzip")
    _, rejected = unwrap(b"[%s, nul]" % DOCUMENTS[0])
    assert rejected == Rejected(b"nul", "not_json", "neither JSON nor gzip")


# --- limits --------------------------------------------------------------------------------------


def test_a_bomb_is_too_large() -> None:
    bomb = gzip.compress(b"\x00" * (DEFAULT_LIMIT + 1), compresslevel=1)
    for data in (bomb, base64.b64encode(bomb), gzip.compress(bomb), members(b"\x00" * (DEFAULT_LIMIT + 1))):
        (part,) = unwrap(data)
        assert isinstance(part, Rejected)
        assert (part.reason, bool(part.detail)) == ("too_large", True)


def test_the_limit_is_exact() -> None:
    data = DOCUMENTS[0]
    assert names(unwrap(gzip.compress(data), len(data))) == ["GetFederationToken"]
    assert names(unwrap(gzip.compress(data), len(data) - 1)) == ["!too_large"]
    assert names(unwrap(members(data), len(data))) == ["GetFederationToken"]
    assert names(unwrap(members(data), len(data) - 1)) == ["!too_large"]
    assert names(unwrap(data, 0)) == ["GetFederationToken"]


def test_parts_share_one_budget() -> None:
    """Each fits by itself; together they do not. What is not compressed costs nothing."""
    part = base64_gzip(DOCUMENTS[0])
    data = b'["' + part + b'","' + part + b'","' + part + b'",' + DOCUMENTS[1] + b"]"
    limit = 2 * len(DOCUMENTS[0])
    assert names(unwrap(data, limit)) == ["GetFederationToken", "GetFederationToken", "!too_large", "X"]
    nested = gzip.compress(gzip.compress(DOCUMENTS[0]))
    assert names(unwrap(nested, len(DOCUMENTS[0]))) == ["!too_large"]


def test_a_bomb_spends_the_whole_budget() -> None:
    """A message full of bombs that each just miss what is left would be worked through one by one."""
    bomb, good = base64_gzip(b"\x00" * 8_000), base64_gzip(DOCUMENTS[0])
    data = b'["' + bomb + b'","' + good + b'",' + DOCUMENTS[1] + b"]"
    assert names(unwrap(data, 7_999)) == ["!too_large", "!too_large", "X"]


def test_damaged_bombs_spend_the_budget_too() -> None:
    """What a damaged stream made before it broke was work as well."""
    damaged = base64.b64encode(gzip.compress(b"\x00" * 8_000_000)[:-8] + b"\x01" * 8)
    data = b"[" + b",".join([b'"' + damaged + b'"'] * 20) + b"]"
    found = [str(name) for name in names(unwrap(data))]
    assert found == sorted(found)
    assert set(found) == {"!gzip", "!too_large"}


def test_a_damaged_stream_leaves_most_of_the_budget_to_others() -> None:
    damaged, good = base64_gzip(DOCUMENTS[0])[:-8], base64_gzip(DOCUMENTS[1])
    data = b'["' + damaged + b'","' + good + b'"]'
    assert names(unwrap(data)) == ["!gzip", "X"]


def test_a_damaged_stream_costs_the_most_that_it_may_have_made() -> None:
    """A token of two bits stands for at most 258 bytes (RFC 1951, 3.2.5): 1,032 of each byte."""
    damaged, good = base64_gzip(DOCUMENTS[0])[:-8], base64_gzip(DOCUMENTS[1])
    data = b'["' + damaged + b'","' + good + b'"]'
    limit = 1_032 * len(base64.b64decode(damaged)) + len(DOCUMENTS[1])
    assert names(unwrap(data, limit)) == ["!gzip", "X"]
    assert names(unwrap(data, limit - 1)) == ["!gzip", "!too_large"]


def test_a_bomb_behind_another_member_takes_no_more_memory_than_one_member() -> None:
    """Which takes twice what it makes, while zlib joins its blocks."""
    limit = 10_000_000
    data = gzip.compress(b"\x00" * limit) + gzip.compress(b"\x00" * 3 * limit)
    tracemalloc.start()
    try:
        assert names(unwrap(data, limit)) == ["!too_large"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * limit


def test_gzip_that_refers_far_back_is_read() -> None:
    """Compressors look 32 KiB back (RFC 1951, 2)."""
    noise = random.Random(7).randbytes(15_000).hex()
    record = issuance(one=noise, other=noise)
    assert load(only(unwrap(gzip.compress(json.dumps(record).encode())))) == record


def quoted(data: bytes) -> bytes:
    return json.dumps(data.decode()).encode()


# How often each may stand around itself: some count twice, as a text in an object does.
NESTED: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "gzip": (gzip.compress, 8),
    "base64 of gzip": (base64_gzip, 4),
    "byte order mark": (b"\xef\xbb\xbf".__add__, 8),
    "text": (quoted, 8),
    "array": (lambda data: b"[%s]" % data, 8),
    "records": (lambda data: b'{"Records":[%s]}' % data, 8),
    "event bridge": (lambda data: b'{"detail":%s}' % data, 8),
    "event bridge, mended": (lambda data: b'{"x":NaN,"detail":%s}' % data, 7),
    "sns": (lambda data: b'{"Type":"Notification","Message":%s}' % data, 8),
    "sns around text": (lambda data: b'{"Type":"Notification","Message":%s}' % quoted(data), 4),
    "cloudwatch": (lambda data: cloudwatch(data.decode()), 8),
    "ecs": (lambda data: b'{"event":{"original":%s}}' % data, 8),
    "ecs around text": (lambda data: b'{"event":{"original":%s}}' % quoted(data), 4),
    "one of two lines": (lambda data: quoted(b"{}\n" + data), 4),
}


@pytest.mark.parametrize(("wrap", "most"), NESTED.values(), ids=NESTED)
def test_envelopes_are_followed_to_a_depth_of_eight(wrap: Callable[[bytes], bytes], most: int) -> None:
    data = DOCUMENTS[0]
    for _ in range(most):
        data = wrap(data)
    assert [part.name for part in records(unwrap(data))] == ["GetFederationToken"]
    data = wrap(data)
    assert records(unwrap(data)) == []
    assert names(unwrap(data))[0] in ("!too_deep", "!not_a_record")


@pytest.mark.parametrize(
    "data",
    [
        b'{"' + b'\\"' * 200_000,
        b'{"a":"' + b'\\"{' * 200_000,
        b'"' * 100_000,
        b"[" * 20_000,
        b'{"a":' * 50_000,
        b'[{"a":[' * 30_000,
        b'{"Records":[' * 10_000,
        b"{\n" * 10_000,
        b"\n{" * 10_000,
        b"}" * 100_000,
        b"{}" * 20_000,
        b"{},\n" * 20_000,
        b"1e" * 100_000,
        b"9" * 300_000,
        b"-" * 100_000,
        b"\\u" * 100_000,
    ],
    ids=lambda data: repr(data[:9]),
)
def test_hostile_text_is_read_in_good_time(data: bytes) -> None:
    """Not asserted but for the test's own timeout: time that grows by the square would exceed it."""
    for part in unwrap(data):
        assert isinstance(part, Rejected)


# --- lenient decoding ------------------------------------------------------------------------------


def raw(middle: bytes) -> bytes:
    return b'{"eventSource":"sts.amazonaws.com","eventName":"GetFederationToken","x":' + middle + b"}"


LENIENT: dict[str, tuple[bytes, Any]] = {
    "invalid UTF-8": (b'"a\xffb"', "a\ufffdb"),
    "cut UTF-8": (b'"\xe2\x82"', "\ufffd"),
    "lone surrogate": (b'"\\ud800"', "?"),
    "low surrogate": (b'"\\udc00x"', "?x"),
    "surrogate in bytes": (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
    "NaN": (b"NaN", None),
    "infinity": (b"-Infinity", None),
    "control characters": (b'"a\tb\x00c\x1bd"', "a\tb\x00c\x1bd"),
    "1e400": (b"1e400", 1.7e308),
    "-1e400": (b"-1e400", -1.7e308),
    "5,000 digits": (b"9" * 5_000, int("9" * 400)),
}


@pytest.mark.parametrize(("middle", "expected"), LENIENT.values(), ids=LENIENT)
def test_a_stray_byte_costs_no_record(middle: bytes, expected: Any) -> None:
    part = only(unwrap(raw(middle)))
    assert (part.source, part.name) == (STS, "GetFederationToken")
    assert load(part)["x"] == expected


@pytest.mark.parametrize("middle", [middle for middle, _ in LENIENT.values()], ids=LENIENT)
@pytest.mark.parametrize("shape", SHAPES)
def test_nor_its_neighbours(middle: bytes, shape: str) -> None:
    parts = unwrap(SHAPES[shape]([DOCUMENTS[0], raw(middle), DOCUMENTS[1]]))
    assert names(parts) == ["GetFederationToken", "GetFederationToken", "X"]
    for part in records(parts):
        load(part)


@pytest.mark.parametrize("middle", [b'"\xff"', b'"\\ud800"', b'"\\u0000"'])
def test_nor_inside_a_text(middle: bytes) -> None:
    """A record as a string, with the stray byte in the string that holds it."""
    text = raw(middle).replace(b'"', b'\\"')
    for data in (
        b'{"Type":"Notification","Message":"' + text + b'"}',
        b'{"messageType":"DATA_MESSAGE","logEvents":[{"message":"' + text + b'"}]}',
        b'"' + text + b'"',
    ):
        part = only(unwrap(data))
        assert part.name == "GetFederationToken"
        load(part)


@pytest.mark.parametrize("data", [data for data, _ in ENVELOPES.values() if data[:2] != b"\x1f\x8b"])
def test_a_byte_order_mark_is_no_matter(data: bytes) -> None:
    with_mark = unwrap(b"\xef\xbb\xbf" + data)
    assert [load(part) for part in records(with_mark)] == RECORDS
    assert len(with_mark) == len(RECORDS)
    assert names(unwrap(gzip.compress(b"\xef\xbb\xbf" + data))) == names(with_mark)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_utf_16_is_read(encoding: str, end: str) -> None:
    for text in (TEXTS[0], json.dumps({"Records": RECORDS[:1]})):
        part = only(unwrap((text + end).encode(encoding)))
        assert load(part) == RECORDS[0]


@pytest.mark.parametrize("key", ["eventType", "eventCategory", "eventName", "eventSource"])
@pytest.mark.parametrize("value", [b'"\xff"', b'"\\ud800"', b"NaN", b"1e999", b'"\x01"'])
def test_a_stray_byte_in_a_telltale_costs_no_record(key: str, value: bytes) -> None:
    """The few keys that tell what a record without names is are decoded early."""
    part = only(unwrap(b'{"eventVersion":"1","' + key.encode() + b'":' + value + b"}"))
    assert load(part)["eventVersion"] == "1"


def test_what_cannot_be_decoded_in_full_is_a_decode_error() -> None:
    for data in (b"[]", b"7", b'{"a":', b"", b'{"a":' * 9_000):
        with pytest.raises(DecodeError) as caught:
            load(Record(data, None, None, "record"))
        assert caught.value.reason in REASONS
        assert str(caught.value)


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


def test_a_lone_surrogate_in_an_original_costs_no_record() -> None:
    original = raw(b'"\\ud800"').decode().replace("\\ud800", "\ud800")
    fields = {"provider": STS, "action": "GetFederationToken", "original": original}
    part = only(unwrap(json.dumps({"aws": {"cloudtrail": {}}, "event": fields}).encode()))
    assert load(part)["x"] == "?"


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


def test_what_stands_before_a_cut_document_comes_once() -> None:
    data = DOCUMENTS[0] + json.dumps(TEXTS[1]).encode() + b'{"cut'
    assert names(unwrap(data)) == ["GetFederationToken", "X", "!json"]
