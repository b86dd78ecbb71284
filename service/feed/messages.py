"""CloudTrail files -> messages on a topic, as they stand or wrapped anew: for backfills, tests and demos.

It copies events: the session token stays in them, so the topic needs the access control of the events topic.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from service.envelopes import Ignored, Record, load, unwrap
from service.errors import DecodeError
from service.feed.wrap import Wrap
from service.files import MAX_DOCUMENT_BYTES, STANDARD_INPUT, blocks
from service.scan import FileResult

MAX_RECORD_BYTES: Final = 512 * 1024  # in a message of several: half of what a topic takes by default
_SLICE_SECONDS: Final = 0.05


class _Identity(msgspec.Struct, rename={"event_id": "eventID"}):
    event_id: str | None = None


_identity: Final = msgspec.json.Decoder(_Identity).decode


class Message(msgspec.Struct, frozen=True):
    """`records` is how many the value holds. The key is the eventID of a single one: it spreads the load and keeps
    repeats of an event in one partition. Several have no id in common, so the producer spreads them.
    """

    value: bytes
    key: str | None
    records: int = 1


@dataclass(slots=True)
class Reading:
    """The records of files, one after the other, and how far that came."""

    files: Sequence[str]
    reports: list[FileResult] = field(default_factory=list)  # of each file that was begun
    _finished: int = 0  # bytes of the files before the present one, as they lie on disk
    _present: int = 0  # bytes of the present one
    _given: int = 0  # bytes of the records given out of it

    def records(self) -> Iterator[Record]:
        """Every record of the files; what is none is counted in the file's report."""
        for file in self.files:
            report = FileResult(file)
            self.reports.append(report)
            self._present = _size(file)
            for block in blocks(file, report):
                for part in unwrap(block, MAX_DOCUMENT_BYTES):
                    if isinstance(part, Record):
                        self._given += len(part.data)
                        report.records[part.envelope] += 1
                        yield part
                    elif isinstance(part, Ignored):
                        report.ignored[part.kind] += 1
                    else:
                        report.rejected[part.reason] += 1
            self._finished, self._given = self._finished + self._present, 0

    @property
    def size(self) -> int | None:
        """Bytes of all files as they lie on disk; None where one is standard input."""
        return None if STANDARD_INPUT in self.files else sum(map(_size, self.files))

    @property
    def position(self) -> int:
        """How many of these bytes are dealt with, as far as that can be told in the midst of a compressed file."""
        if not self._given:
            return self._finished
        unpacked = self.reports[-1].bytes  # of the blocks that were read; their records come after
        return self._finished + int(min(unpacked, self._present) * min(1.0, self._given / unpacked))


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError:  # standard input, or a file that has gone meanwhile
        return 0


def as_found(records: Iterable[Record]) -> Iterator[Message]:
    """A message of each record as it stands in its file, whatever lay around it there."""
    for record in records:
        yield Message(record.data, _key(record))


def wrapped(
    records: Iterable[Record], wrap: Wrap, most: int, on_unreadable: Callable[[int], None]
) -> Iterator[Message]:
    """Messages of up to `most` records. `on_unreadable` hears how many could not be decoded, so were left out."""
    batch: list[dict[str, object]] = []
    size = 0
    for record in records:
        try:
            loaded = load(record)
        except DecodeError:
            on_unreadable(1)
            continue
        if batch and (len(batch) == most or size + len(record.data) > MAX_RECORD_BYTES):
            yield from _message(batch, wrap, on_unreadable)
            batch, size = [], 0
        batch.append(loaded)
        size += len(record.data)
    if batch:
        yield from _message(batch, wrap, on_unreadable)


def _message(
    batch: list[dict[str, object]], wrap: Wrap, on_unreadable: Callable[[int], None]
) -> Iterator[Message]:
    event_id = batch[0].get("eventID") if len(batch) == 1 else None
    try:
        value = wrap(batch)
    except RecursionError:  # nested more deeply than can be written again
        on_unreadable(len(batch))
    else:
        yield Message(value, event_id if isinstance(event_id, str) else None, len(batch))


def _key(record: Record) -> str | None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if (found := _identity(record.data).event_id) is not None:
            return found
    try:
        event_id = load(record).get("eventID")  # mended, or found where another shape has it
    except DecodeError:
        return None
    return event_id if isinstance(event_id, str) else None


def paced(messages: Iterable[Message], per_second: float | None) -> Iterator[Message]:
    """The messages, with no more records a second than asked for, on average."""
    started = time.monotonic()
    records = 0
    for message in messages:
        early = started + records / per_second - time.monotonic() if per_second else 0.0
        if early > _SLICE_SECONDS:
            time.sleep(early)
        records += message.records
        yield message
