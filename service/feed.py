"""CloudTrail files -> messages on a topic, one record each: for backfills, tests and demos."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from service.envelopes import Ignored, Record, unwrap
from service.scan import MAX_DOCUMENT_BYTES, FileReport, blocks

_SLICE_SECONDS: Final = 0.05


class _Identity(msgspec.Struct, rename={"event_id": "eventID"}):
    event_id: str | None = None


_identity: Final = msgspec.json.Decoder(_Identity).decode


def records(files: Iterable[str], on_report: Callable[[FileReport], None]) -> Iterator[bytes]:
    """Every record of the files, as it stands there; `on_report` hears of each file when it is done."""
    for file in files:
        report = FileReport(file)
        for block in blocks(file, report):
            for part in unwrap(block, MAX_DOCUMENT_BYTES):
                if isinstance(part, Record):
                    report.records[part.envelope] += 1
                    yield part.data
                elif isinstance(part, Ignored):
                    report.ignored[part.kind] += 1
                else:
                    report.rejected[part.reason] += 1
        on_report(report)


def key_of(record: bytes) -> str | None:
    """The record's eventID: it spreads the load and keeps repeats of an event in one partition."""
    try:
        return _identity(record).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def paced(values: Iterable[bytes], per_second: float | None) -> Iterator[bytes]:
    """The values, no faster than asked for on average."""
    started = time.monotonic()
    for number, value in enumerate(values):
        early = started + number / per_second - time.monotonic() if per_second else 0.0
        if early > _SLICE_SECONDS:
            time.sleep(early)
        yield value
