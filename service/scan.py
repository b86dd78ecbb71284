"""Files -> the same detector. One bad file, or one bad record in it, never stops the others."""

import io
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, cast

from isal import igzip
from isal.igzip_lib import IsalError

from service.detect import Detector
from service.envelopes import Ignored, Part, Record, load, unwrap
from service.errors import DecodeError
from service.finding import Finding, Origin
from service.rules import RULES

SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".gz")
STANDARD_INPUT: Final = "-"
BLOCK_BYTES: Final = 16 * 1024 * 1024
MAX_DOCUMENT_BYTES: Final = 2 * 1024**3
_SERIAL_BYTES: Final = 4 * 1024 * 1024  # below it, starting processes costs more than it saves
_READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, EOFError, cast("type[Exception]", IsalError))


@dataclass(slots=True)
class FileReport:
    """What one file gave. `problem` says in a line what could not be read, None when all was."""

    file: str
    findings: list[Finding] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)  # by envelope
    ignored: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by rule and verdict
    near_misses: int = 0
    bytes: int = 0
    problem: str | None = None


def find_files(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files below the paths, in a stable order, and a line for each path that is not there."""
    files: list[str] = []
    problems: list[str] = []
    for path in paths:
        if path == STANDARD_INPUT or Path(path).is_file():
            files.append(path)
        elif Path(path).is_dir():
            below = sorted(p for p in Path(path).rglob("*") if p.name.endswith(SUFFIXES) and p.is_file())
            files.extend(map(str, below))
            if not below:
                problems.append(f"{path}: no file ends in one of {', '.join(SUFFIXES)}")
        else:
            problems.append(f"{path}: no such file or folder")
    return list(dict.fromkeys(files)), problems


def scan(files: Sequence[str], processes: int | None = None) -> Iterator[FileReport]:
    """A report for each file, in the order given, as they come. Large input uses all cores."""
    processes = min(processes or os.cpu_count() or 1, len(files))
    size = sum(Path(file).stat().st_size for file in files if file != STANDARD_INPUT and Path(file).exists())
    if processes < 2 or size < _SERIAL_BYTES:
        yield from map(scan_file, files)
        return
    with ProcessPoolExecutor(processes) as pool:
        try:
            yield from pool.map(scan_file, files, chunksize=max(1, min(16, len(files) // (4 * processes))))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def scan_file(file: str) -> FileReport:
    """Read one file. Never raises for what the file holds or does not."""
    report = FileReport(file)
    detector = Detector(RULES)
    index = 0
    try:
        for block in blocks(file, report):
            for part in unwrap(block, MAX_DOCUMENT_BYTES):
                _take(report, detector, part, index)
                index += 1
    except RecursionError:
        report.problem = "nested too deeply"
    if report.rejected and report.problem is None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.rejected.items()))
        report.problem = f"parts that could not be read: {reasons}"
    return report


def _take(report: FileReport, detector: Detector, part: Part, index: int) -> None:
    if isinstance(part, Ignored):
        report.ignored[part.kind] += 1
    elif not isinstance(part, Record):
        report.rejected[part.reason] += 1
    elif not detector.watches(part.source, part.name):
        report.records[part.envelope] += 1
        report.near_misses += detector.is_near_miss(part.source, part.name)
    else:
        _detect(report, detector, part, index)


def _detect(report: FileReport, detector: Detector, record: Record, index: int) -> None:
    try:
        detection = detector.detect_record(
            load(record),
            envelope=record.envelope,
            origin=Origin(file=report.file, index=index),
            detected_at=datetime.now(UTC),
        )
    except DecodeError as error:
        report.rejected[error.reason] += 1
        return
    report.records[record.envelope] += 1
    report.findings.extend(detection.findings)
    report.verdicts.update(detection.verdicts.items())
    for rule_id, problem in detection.errors:
        report.problem = f"rule {rule_id} failed: {type(problem).__name__}"


# --- reading -----------------------------------------------------------------------------------


def blocks(file: str, report: FileReport) -> Iterator[bytes]:
    """The file's content: JSON lines in blocks of whole lines, anything else as a whole.

    What could be read of a file that is damaged further on is given out all the same.
    """
    pending = b""
    try:
        with _opened(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                report.bytes += len(block)
                pending += block
                if len(pending) >= BLOCK_BYTES and _is_lines(pending):
                    end = pending.rfind(b"\n") + 1
                    yield pending[:end]
                    pending = pending[end:]
                elif len(pending) > MAX_DOCUMENT_BYTES:
                    report.problem = f"one document of more than {MAX_DOCUMENT_BYTES >> 30} GiB"
                    return
    except _READ_ERRORS as error:
        report.problem = _said(error)
    if pending.strip():
        yield pending


def _opened(file: str) -> IO[bytes]:
    stream = sys.stdin.buffer if file == STANDARD_INPUT else Path(file).open("rb")  # noqa: SIM115  the caller closes
    if isinstance(stream, io.BufferedReader) and stream.peek(2)[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", igzip.open(stream, "rb"))  # type: ignore[no-untyped-call]  # isal has no types
    return stream


def _is_lines(data: bytes) -> bool:
    first = data.find(b"\n")
    if first < 0 or data[:1] != b"{":
        return False
    return not any(part for part in unwrap(data[:first]) if not isinstance(part, Record | Ignored))


def _said(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip stream ends too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "a damaged gzip stream"
