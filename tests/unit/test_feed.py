"""Files become messages: what is sent, under which key, how many at once, how fast, how far."""

import gzip
import json
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from service.cli import progress
from service.envelopes import Record, load, unwrap
from service.feed.messages import MAX_RECORD_BYTES, Message, Reading, as_found, paced, wrapped
from service.feed.wrap import WRAPS
from tests.program import tokentrail
from tests.unit.strategies import base64_gzip, issuance


def event(event_id: Any, **changes: object) -> dict[str, Any]:
    return issuance(eventID=event_id, **changes)


def records(*events: dict[str, Any]) -> Iterator[Record]:
    for part in unwrap(json.dumps({"Records": events}).encode()):
        assert isinstance(part, Record)
        yield part


def none_lost(_records: int) -> None:
    pytest.fail("a record was left out")


def ids(message: Message) -> list[object]:
    return [load(part)["eventID"] for part in unwrap(message.value) if isinstance(part, Record)]


# --- messages ------------------------------------------------------------------------------------


def test_a_record_goes_as_it_stands_in_its_file() -> None:
    """Byte for byte, spaces and all, without what lay around it."""
    data = b'{"eventName": "A",  "eventSource": "b", "eventID":"1"}'
    (part,) = unwrap(b'{"Records": [' + data + b"]}")
    assert isinstance(part, Record)
    assert list(as_found([part])) == [Message(data, "1")]


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b'{"eventName": "A", "eventSource": "b", "eventID": "1"}', "1"),
        (b'{"eventName": "A", "eventSource": "b"}', None),
        (b'{"eventName": "A", "eventSource": "b", "eventID": null}', None),
        (b'{"eventName": "A", "eventSource": "b", "eventID": 7}', None),
        (b'{"eventName": "A", "eventSource": "b", "eventID": "\xff"}', "\ufffd"),
    ],
)
def test_the_key_is_the_event_id_where_it_can_be_had(data: bytes, key: str | None) -> None:
    """A record without one is spread like any message without a key."""
    record = Record(data, "b", "A", "record")
    assert [message.key for message in as_found([record])] == [key]


def test_the_key_of_a_record_in_another_shape_is_its_event_id_too() -> None:
    """Whatever the shape calls it."""
    record = Record(b"{}", "b", "A", "ecs", lambda _data: {"eventID": "1"})
    assert [message.key for message in as_found([record])] == ["1"]


def test_several_records_in_a_message_have_no_key() -> None:
    """They have no id in common; one that is left alone has its own."""
    messages = list(wrapped(records(*map(event, "abc")), WRAPS["records"], 2, none_lost))
    assert [(message.key, message.records) for message in messages] == [(None, 2), ("c", 1)]
    assert [ids(message) for message in messages] == [["a", "b"], ["c"]]


def test_a_message_is_closed_before_it_outgrows_what_a_topic_takes() -> None:
    """Even where more records were asked for; one that is too large by itself goes by itself."""
    sizes = {"a": 300_000, "b": 300_000, "c": 100_000, "d": 2 * MAX_RECORD_BYTES, "e": 1}
    events = [event(name, userAgent="x" * size) for name, size in sizes.items()]
    messages = wrapped(records(*events), WRAPS["cloudwatch"], 100, none_lost)
    assert [ids(message) for message in messages] == [["a"], ["b", "c"], ["d"], ["e"]]


def test_a_record_that_cannot_be_decoded_is_left_out_and_counted() -> None:
    """The others of its message go all the same."""
    bad = Record(b"{", "b", "A", "record")
    lost: list[int] = []
    messages = list(wrapped([*records(event("a")), bad, *records(event("b"))], WRAPS["records"], 10, lost.append))
    assert [ids(message) for message in messages] == [["a", "b"]]
    assert lost == [1]


def test_a_record_that_cannot_be_encoded_is_left_out_and_counted() -> None:
    """Nothing that a file holds may end the feed."""
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"": nested}
    deep = Record(b"", "b", "A", "record", lambda _data: nested)
    lost: list[int] = []
    for shape in WRAPS:
        messages = wrapped([deep, *records(event("a"))], WRAPS[shape], 1, lost.append)
        assert [message.key for message in messages] == ["a"], shape
    assert lost == [1] * len(WRAPS)


# --- pace ----------------------------------------------------------------------------------------


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("records", [1, 50])
def test_the_rate_is_in_records_however_many_a_message_holds(
    monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    """1,000 records at 100 a second take 10 s, less what the last message may come early."""
    clock = Clock(monkeypatch)
    began = clock.now
    messages = [Message(b"", None, records)] * (1_000 // records)
    assert list(paced(messages, 100)) == messages
    assert clock.now - began == pytest.approx((1_000 - records) / 100, abs=0.06)


def test_without_a_rate_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as it goes."""
    clock = Clock(monkeypatch)
    began = clock.now
    assert len(list(paced([Message(b"", None)] * 1_000, None))) == 1_000
    assert clock.now == began


# --- how far -------------------------------------------------------------------------------------


def lines(*names: str) -> bytes:
    return b"".join(json.dumps(event(name)).encode() + b"\n" for name in names)


def test_reading_gives_the_records_of_every_file_in_order_and_reports_each(tmp_path: Path) -> None:
    """What is no record is in its file's report."""
    first, second, missing = tmp_path / "a.jsonl", tmp_path / "b.json.gz", tmp_path / "none"
    first.write_bytes(lines("a") + b"{broken\n" + lines("b"))
    second.write_bytes(gzip.compress(json.dumps({"Records": [event("c")]}).encode()))
    reading = Reading([str(first), str(second), str(missing)])
    assert [load(record)["eventID"] for record in reading.records()] == ["a", "b", "c"]
    assert [dict(report.rejected) for report in reading.reports] == [{"json": 1}, {}, {}]
    assert [report.problem for report in reading.reports] == [None, None, "no such file or directory"]


def test_the_position_grows_from_nothing_to_the_size_of_all_files(tmp_path: Path) -> None:
    """Record by record, in compressed files too."""
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(lines(*"abcd"))
    packed.write_bytes(gzip.compress(lines(*"efgh")))
    reading = Reading([str(plain), str(packed)])
    size = plain.stat().st_size + packed.stat().st_size
    assert (reading.position, reading.size) == (0, size)
    found = reading.records()
    positions = [reading.position for _ in found]
    assert positions == sorted(set(positions))
    assert positions[3] == pytest.approx(plain.stat().st_size, abs=8)
    assert 0 < positions[0] < positions[3] < positions[4] < size
    assert reading.position == size


def test_the_position_never_passes_the_size(tmp_path: Path) -> None:
    """Records may take more bytes than they did in their file, as in base64 of gzip."""
    file = tmp_path / "a.json"
    file.write_bytes(base64_gzip(lines(*"abcdefgh")))
    reading = Reading([str(file)])
    positions = [reading.position for _ in reading.records()]
    assert len(positions) == 8
    assert max(positions) <= file.stat().st_size


def test_the_size_of_standard_input_is_not_known(tmp_path: Path) -> None:
    """So the bar has no end."""
    file = tmp_path / "a.json"
    file.write_bytes(lines("a"))
    assert Reading([str(file)]).size == file.stat().st_size
    assert Reading(["-", str(file)]).size is None


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("total", "shown"), [(2_000, "0.5/2.0 kB"), (None, "500/? bytes")])
def test_on_a_terminal_a_bar_shows_how_much_was_read(
    monkeypatch: pytest.MonkeyPatch, total: int | None, shown: str
) -> None:
    """Of how much, only where that is known."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.reading("feeding", total) as tell:
        tell(500, 1_234)
    drawn = terminal.getvalue()
    assert "feeding 1,234 records" in drawn
    assert shown in drawn


def test_elsewhere_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is not to be filled with it."""
    monkeypatch.setattr(sys, "stderr", log := StringIO())
    with progress.reading("feeding", 1_000) as tell:
        tell(500, 1)
    assert log.getvalue() == ""


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), ("--as", "ecs")])
def test_a_batch_of_a_shape_that_holds_one_record_is_refused(shape: tuple[str, ...]) -> None:
    """Rather than sent in a shape that no product has."""
    done = tokentrail("feed", "-", *shape, "--batch", "2")
    assert done.returncode == 2
    assert "--batch is for --as cloudwatch or records" in done.stderr
