"""What is broken, cut or no JSON: one bad part costs that part only, and nothing raises."""

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from service.envelopes import REASONS, Record, Rejected, load, unwrap
from service.errors import DecodeError
from tests.unit.enveloped import (
    DOCUMENTS,
    ENVELOPES,
    RECORDS,
    STS,
    TEXTS,
    cloudwatch,
    indented,
    names,
    only,
    raw,
    records,
    sns,
)
from tests.unit.strategies import base64_gzip, members

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


def test_what_stands_before_a_cut_document_comes_once() -> None:
    data = DOCUMENTS[0] + json.dumps(TEXTS[1]).encode() + b'{"cut'
    assert names(unwrap(data)) == ["GetFederationToken", "X", "!json"]


# --- lenient decoding ------------------------------------------------------------------------------


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


def test_a_lone_surrogate_in_an_original_costs_no_record() -> None:
    original = raw(b'"\\ud800"').decode().replace("\\ud800", "\ud800")
    fields = {"provider": STS, "action": "GetFederationToken", "original": original}
    part = only(unwrap(json.dumps({"aws": {"cloudtrail": {}}, "event": fields}).encode()))
    assert load(part)["x"] == "?"
