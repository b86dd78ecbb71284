"""Avro container files -> the records and findings that the same in JSON gives, and containers that lie."""

import io
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest

from service.avro.container import unwrap_container
from service.avro.messages import AvroReader
from service.envelopes import Rejected
from service.errors import DecodeError
from service.files import find_files
from service.scan import scan_file
from service.settings import RegistrySettings
from tests.avro import TEXT_WRAPPER, V1, in_v1, zigzag
from tests.unit.strategies import issuance

LIMIT = 1_000_000
Json = dict[str, Any]


def container(events: list[Json], codec: str = "null", schema: Any = V1) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, events, codec=codec, sync_interval=2_000)
    return buffer.getvalue()


EVENTS = [in_v1(issuance(eventID=f"event-{number}")) for number in range(50)]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_file_gives_its_findings(tmp_path: Path, codec: str) -> None:
    file = tmp_path / "events.avro"
    file.write_bytes(container(EVENTS, codec))
    assert find_files([str(tmp_path)]) == ([str(file)], [])
    report = scan_file(str(file))
    assert report.problem is None
    assert report.records == {"avro": 50}
    assert report.bytes == file.stat().st_size
    assert {finding.event_id for finding in report.findings} == {f"event-{number}" for number in range(50)}
    assert report.findings[1].origin.index == 1


def test_a_container_that_arrives_as_a_message_is_none_since_it_brings_its_own_schema() -> None:
    (part,) = AvroReader(None, RegistrySettings()).unwrap(container(EVENTS), LIMIT)
    assert isinstance(part, Rejected)
    assert part.reason == "avro"


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_of_a_damaged_container_what_could_be_read_is_given_and_the_rest_told(tmp_path: Path, codec: str) -> None:
    data = container(EVENTS, codec)
    file = tmp_path / "damaged.avro"
    for missing in (1, 15, 17, 100):
        file.write_bytes(data[:-missing])
        report = scan_file(str(file))
        assert report.problem == "the container ends too early"
        assert 0 < report.records["avro"] < 50
    file.write_bytes(data[:-16] + bytes(16))
    report = scan_file(str(file))
    assert report.problem == "damaged: a block does not end with its mark"
    assert report.records["avro"] > 0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"Obj\x01", "ends too early"),
        (b"Obj\x01" + zigzag(2**40), "too many entries"),
        (b"Obj\x01" + zigzag(1) + zigzag(2**50), "impossible length"),
        (b"Obj\x01" + zigzag(1) + zigzag(-1), "impossible length"),
        (b"Obj\x01" + b"\xff" * 50, "impossible number"),
        (b"Obj\x01\0" + bytes(16), "no valid Avro schema"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x0csnappy\0" + bytes(16), "compressed with snappy"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x12zstandard\0" + bytes(16), "compressed with zstandard"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x0a\x1b[31m\0" + bytes(16), "a codec of its own"),
    ],
)
def test_a_container_that_cannot_be_read_is_told_in_a_line(tmp_path: Path, data: bytes, problem: str) -> None:
    file = tmp_path / "bad.avro"
    file.write_bytes(data)
    found = scan_file(str(file)).problem
    assert found is not None
    assert problem in found
    assert found.isprintable()


def _with_block(count: int, block: bytes, schema: str = '"string"', codec: bytes = b"null") -> bytes:
    text = schema.encode()
    entries = b"\x16avro.schema" + zigzag(len(text)) + text + b"\x14avro.codec" + zigzag(len(codec)) + codec
    sync = bytes(range(16))
    head = b"Obj\x01" + zigzag(2) + entries + b"\0" + sync
    return head + zigzag(count) + zigzag(len(block)) + block + sync


def deflated(megabytes: int, content: bytes = b"") -> bytes:
    """Without the mark at the end of a deflate stream, which all else is there without."""
    deflate = zlib.compressobj(wbits=-15)
    packed = [deflate.compress(bytes(1_000_000)) for _ in range(megabytes)]
    return b"".join([*packed, deflate.compress(content), deflate.flush(zlib.Z_SYNC_FLUSH)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_with_block(2**60, b"", '"null"'), "avro"),
        (_with_block(2**60, b"\0" * 9, '{"type": "array", "items": "null"}'), "avro"),
        (_with_block(1, b"\x02a", '{"type": "bytes", "logicalType": "decimal", "scale": null}'), "schema_unknown"),
        (_with_block(1, b"\x02a", '{"type": "bytes", "logicalType": "decimal", "scale": true}'), "schema_unknown"),
        (_with_block(1, b"\0", '{"type": "enum", "name": "E", "symbols": {"A": 1}}'), "schema_unknown"),
        (_with_block(2, b"\x02a"), "avro"),
        (_with_block(1, b"\x02a\x02b"), "avro"),
        (_with_block(-1, b"\x02a"), "avro"),
        (_with_block(1, deflated(100), codec=b"deflate"), "too_large"),
        (_with_block(1, deflated(0, b"\x02a"), codec=b"deflate"), "avro"),
        (_with_block(0, b"")[:-17] + zigzag(2**40), "too_large"),
        (_with_block(0, b"")[:-17] + zigzag(-1), "too_large"),
        (_with_block(1, b"\xff\xff", codec=b"deflate"), "avro"),
        (_with_block(1, zlib.compress(b"\x02a", wbits=-15)[:-2], codec=b"deflate"), "avro"),
        (
            _with_block(1, b"", '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "R"}]}'),
            "schema_unknown",
        ),
    ],
)
def test_a_container_that_lies_neither_hangs_nor_takes_room(data: bytes, reason: str) -> None:
    tracemalloc.start()
    with pytest.raises(DecodeError) as raised:
        list(unwrap_container([data], LIMIT))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.reason == reason
    assert peak < 50_000_000


def test_what_is_no_record_in_a_container_is_counted_as_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "events.avro"
    control = {"message": '{"messageType": "CONTROL_MESSAGE", "logEvents": []}', "host": "a"}
    other = {"message": "plain words", "host": "a"}
    file.write_bytes(container([control, other], schema=TEXT_WRAPPER))
    report = scan_file(str(file))
    assert (report.ignored, report.rejected) == ({"cloudwatch_control": 1}, {"not_a_record": 1})
