"""Files -> the same detector. One bad file, or one bad record in it, never stops the others."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from multiprocessing import active_children
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from threading import Event
from typing import IO, Final, TypeVar, cast

import msgspec
from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from service import published
from service.compare import Change, Side, changes
from service.compare_published import Beside, beside_published
from service.context import NO_CONTEXT, Context
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Ignored, Part, Record, load, unwrap
from service.errors import DecodeError, WorldError
from service.event_times import Times
from service.finding import Finding, Origin
from service.rules import RULES, STAGED
from service.tuning import UNTUNED, Tuning

SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".gz", ".avro")
STANDARD_INPUT: Final = "-"
_AVRO: Final = (b"Obj\x01", b"\xc3\x01")  # a container file, a single object
BLOCK_BYTES: Final = 16 * 1024 * 1024
_PIECE_BYTES: Final = 256 * 1024
MAX_DOCUMENT_BYTES: Final = 2 * 1024**3
_SERIAL_BYTES: Final = 4 * 1024 * 1024  # below it, starting processes costs more than it saves
told_to_end: Final = Event()  # set in a worker process only: nobody reads what it answers then
T = TypeVar("T")
_READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, EOFError, cast("type[Exception]", IsalError))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every file is asked. Plain data, since worker processes get it: rules do not travel.

    With `newer`, the changes from `tuning` to it are reported in place of findings; with `published`, the two
    published rules beside ours.
    """

    tuning: Tuning = UNTUNED
    newer: Tuning | None = None
    published: bool = False
    staged: bool = False  # apply the rules on trial too
    times: bool = False  # note when the records happened
    context: Context = NO_CONTEXT

    @property
    def compares(self) -> bool:
        return self.newer is not None or self.published


PLAIN: Final = Plan()


@dataclass(slots=True)
class FileReport:
    """What one file gave. `problem` says in a line what could not be read, None when all was."""

    file: str
    findings: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)  # by envelope
    ignored: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by rule and verdict
    near_misses: int = 0
    times: Times = field(default_factory=Times)
    bytes: int = 0
    problem: str | None = None


def find_files(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files below the paths, in a stable order, and a line for each path that cannot be had."""
    files: list[str] = []
    problems: list[str] = []
    for path in paths:
        if path == STANDARD_INPUT or Path(path).is_file():
            files.append(path)
        elif Path(path).is_dir():
            below = _below(path, problems)
            files.extend(below)
            if not below:
                problems.append(f"{path}: no file ends in one of {', '.join(SUFFIXES)}")
        else:
            problems.append(f"{path}: no such file or folder")
    return list(dict.fromkeys(files)), problems


def _below(folder: str, problems: list[str]) -> list[str]:
    walk = os.walk(folder, onerror=lambda error: problems.append(f"{error.filename}: {_said(error)}"))
    named = (Path(where, name) for where, _, names in walk for name in names if name.endswith(SUFFIXES))
    # A link that leads nowhere is kept, to be reported; a pipe or a device would be waited for.
    return sorted(str(path) for path in named if path.is_file() or not path.exists())


def scan(
    files: Sequence[str], processes: int | None = None, schemas: Path | None = None, plan: Plan = PLAIN
) -> Iterator[FileReport]:
    """A report for each file, in the order given, as they come. Large input uses all cores.

    `schemas` is a folder as the setting registry.schemas names one, for files that are an Avro single object.
    """
    yield from each(files, partial(scan_file, schemas=schemas, plan=plan), processes)


def each(files: Sequence[str], one: Callable[[str], T], processes: int | None = None) -> Iterator[T]:
    """What `one` makes of each file, in their order. It and its answers may travel between processes."""
    processes = min(processes or os.cpu_count() or 1, len(files))
    size = sum(Path(file).stat().st_size for file in files if file != STANDARD_INPUT and Path(file).exists())
    if processes < 2 or size < _SERIAL_BYTES:
        yield from map(one, files)
        return
    with ProcessPoolExecutor(processes, initializer=_heed_signals) as pool:
        try:
            yield from pool.map(one, files, chunksize=max(1, min(16, len(files) // (4 * processes))))
        except BrokenProcessPool as broken:
            raise WorldError(
                "a process of the scan was ended from outside, perhaps for want of memory"
            ) from broken
        except BaseException:
            for worker in active_children():
                worker.terminate()
            raise


def _heed_signals() -> None:
    """A worker told to end leaves its file where it is: killed amid its answer it would block the others."""
    for number in (SIGINT, SIGTERM):
        signal(number, lambda *_: told_to_end.set())


def scan_file(file: str, schemas: Path | None = None, plan: Plan = PLAIN) -> FileReport:
    """Read one file. Never raises for what the file holds or does not."""
    report = FileReport(file)
    applied = _Applied(plan)
    index = 0
    try:
        for part in parts(file, report, schemas):
            if told_to_end.is_set():
                return report
            if plan.times and isinstance(part, Record):
                report.times.note(part.data)
            _take(report, applied, part, index)
            index += 1
    except RecursionError:
        report.problem = "nested too deeply"
    if report.rejected and report.problem is None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.rejected.items()))
        report.problem = f"parts that could not be read: {reasons}"
    return report


def parts(file: str, report: FileReport, schemas: Path | None = None) -> Iterator[Part]:
    """All that the file holds, as far as it can be read; `report` hears its size and what is wrong with it."""
    pieces = _content(file, report)
    first = next(pieces, b"")
    pieces = chain((first,), pieces)
    if first.startswith(_AVRO):
        yield from _avro_parts(pieces, report, schemas)
        return
    for block in _blocks(pieces, report):
        yield from unwrap(block, MAX_DOCUMENT_BYTES)


def _avro_parts(pieces: Iterator[bytes], report: FileReport, schemas: Path | None) -> Iterator[Part]:
    from service.avro import unwrap_file  # noqa: PLC0415  fastavro, for those who have such files

    try:
        yield from unwrap_file(pieces, DEFAULT_LIMIT, schemas)
    except DecodeError as error:
        report.problem = report.problem or str(error)


class _Applied:
    """A plan's detectors: one for each of its tunings."""

    def __init__(self, plan: Plan) -> None:
        rules = (*RULES, *STAGED) if plan.staged else RULES
        self.plan = plan
        self.tunings = [tuning for tuning in (plan.tuning, plan.newer) if tuning is not None]
        if plan.compares:  # which has to see what a tuning suppresses
            self.tunings = [msgspec.structs.replace(tuning, publish_suppressed=True) for tuning in self.tunings]
        self.detectors = [Detector(rules, tuning) for tuning in self.tunings]
        watched = {name for detector in self.detectors for rule in detector.rules for name in rule.watches}
        self.watched = frozenset(watched | ({published.WATCHED} if plan.published else set()))
        self.is_near_miss = self.detectors[0].is_near_miss


def _take(report: FileReport, applied: _Applied, part: Part, index: int) -> None:
    if isinstance(part, Ignored):
        report.ignored[part.kind] += 1
    elif not isinstance(part, Record):
        report.rejected[part.reason] += 1
    elif (part.source, part.name) not in applied.watched:
        report.records[part.envelope] += 1
        report.near_misses += applied.is_near_miss(part.source, part.name)
    else:
        _detect(report, applied, part, index)


def _detect(report: FileReport, applied: _Applied, record: Record, index: int) -> None:
    try:
        loaded = load(record)
    except DecodeError as error:
        report.rejected[error.reason] += 1
        return
    report.records[record.envelope] += 1
    origin, now = Origin(file=report.file, index=index), datetime.now(UTC)
    sides = [
        Side(tuning, detector.detect_record(loaded, envelope=record.envelope, origin=origin, detected_at=now))
        for tuning, detector in zip(applied.tunings, applied.detectors, strict=True)
    ]
    for side in sides:
        for rule_id, problem in side.detection.errors:
            report.problem = f"rule {rule_id} failed: {type(problem).__name__}"
    if applied.plan.newer is not None:
        report.changes.extend(changes(*sides))
    elif applied.plan.published:
        if row := beside_published(loaded, sides[0], origin):
            report.beside.append(row)
    else:
        report.findings.extend(map(applied.plan.context.of, sides[0].detection.findings))
        report.verdicts.update(sides[0].detection.verdicts.items())


# --- reading -----------------------------------------------------------------------------------


def blocks(file: str, report: FileReport) -> Iterator[bytes]:
    """The file's content: JSON lines in blocks of whole lines, anything else as a whole.

    What could be read of a file that is damaged further on is given out all the same.
    """
    yield from _blocks(_content(file, report), report)


def _blocks(pieces: Iterable[bytes], report: FileReport) -> Iterator[bytes]:
    pending = bytearray()
    enough = BLOCK_BYTES
    for piece in pieces:
        pending += piece
        if len(pending) < enough:
            continue
        if len(pending) > MAX_DOCUMENT_BYTES:
            report.problem = f"one document of more than {MAX_DOCUMENT_BYTES >> 30} GiB"
            return
        enough = 2 * len(pending)  # one large document is not looked at over and over
        if _is_lines(pending):
            end = pending.rfind(b"\n") + 1
            yield bytes(pending[:end])
            del pending[:end]
            enough = BLOCK_BYTES
    if pending.strip():
        yield bytes(pending)


def _content(file: str, report: FileReport) -> Iterator[bytes]:
    """The file in pieces, as far as it can be read."""
    try:
        for piece in _pieces(file):
            report.bytes += len(piece)
            yield piece
    except _READ_ERRORS as error:
        report.problem = _said(error)


def _pieces(file: str) -> Iterator[bytes]:
    with sys.stdin.buffer if file == STANDARD_INPUT else Path(file).open("rb") as stream:
        first = stream.read(_PIECE_BYTES)
        if first.startswith(b"\x1f\x8b"):
            yield from _gunzipped(first, stream)
        else:
            yield first
            while piece := stream.read(_PIECE_BYTES):
                yield piece


def _gunzipped(data: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """The members of a gzip file, as far as they can be read. Raises EOFError for a truncated one."""
    while data:
        member = IgzipDecompressor(flag=DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not (data := data or stream.read(_PIECE_BYTES)):
                raise EOFError
            yield member.decompress(data, BLOCK_BYTES)
            data = b""
        data = (member.unused_data or stream.read(_PIECE_BYTES)).lstrip(b"\0")  # some writers pad


def _is_lines(data: bytearray) -> bool:
    first = data.find(b"\n")
    if first < 0 or data[:1] != b"{":
        return False
    return all(isinstance(part, Record | Ignored) for part in unwrap(bytes(data[:first])))


def _said(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip stream ends too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "a damaged gzip stream"
