"""Files -> the same detector. One bad file, or one bad record in it, never stops the others."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from service import bulk
from service.backtest import published
from service.backtest.compare import Change, Side, changes
from service.backtest.compare_published import Beside, beside_published
from service.context import NO_CONTEXT, Context
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Envelope, Ignored, Part, Record, Rejected, load, unwrap
from service.envelopes.mending import array_of
from service.errors import DecodeError
from service.event_times import Times
from service.files import (
    MAX_DOCUMENT_BYTES,
    READ_ERRORS,
    STANDARD_INPUT,
    FileRead,
    blocks_of,
    content,
    each,
    pieces,
    told_to_end,
)
from service.finding import Finding, Origin
from service.rules import EVERY_RULE, RULES
from service.tuning import UNTUNED, Tuning

_AVRO: Final = (b"Obj\x01", b"\xc3\x01")  # a container file, a single object


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
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


PLAIN: Final = ScanPlan()


@dataclass(slots=True)
class FileResult(FileRead):
    """What one file gave."""

    findings: list[Finding] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    beside: list[Beside] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)  # by envelope
    ignored: Counter[str] = field(default_factory=Counter)  # by kind
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)  # by rule and verdict
    near_misses: int = 0
    times: Times = field(default_factory=Times)


def scan(
    files: Sequence[str], processes: int | None = None, schemas: Path | None = None, plan: ScanPlan = PLAIN
) -> Iterator[FileResult]:
    """A report for each file, in the order given, as they come. Large input uses all cores.

    `schemas` is a folder as the setting registry.schemas names one, for files that are an Avro single object.
    """
    yield from each(files, partial(scan_file, schemas=schemas, plan=plan), processes)


def scan_file(file: str, schemas: Path | None = None, plan: ScanPlan = PLAIN) -> FileResult:
    """Read one file. Never raises for what the file holds or does not."""
    report = _by_pages(file, plan) or _by_blocks(file, schemas, plan)
    if report.rejected and report.problem is None:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.rejected.items()))
        report.problem = f"parts that could not be read: {reasons}"
    return report


def _by_pages(file: str, plan: ScanPlan) -> FileResult | None:
    """The shortcut for CloudTrail's own files; None where it is none. The file is read again then."""
    if file == STANDARD_INPUT or plan.times:  # times are in the bytes of every record
        return None
    reading = _Reading(file, plan)
    with suppress(bulk.Unusual, RecursionError, *READ_ERRORS):
        reading.pages()
        return reading.report
    return None


def _by_blocks(file: str, schemas: Path | None, plan: ScanPlan) -> FileResult:
    reading = _Reading(file, plan)
    try:
        reading.blocks(schemas)
    except RecursionError:
        reading.report.problem = "nested too deeply"
    return reading.report


def parts(file: str, report: FileRead, schemas: Path | None = None) -> Iterator[Part]:
    """All that the file holds, as far as it can be read; `report` hears its size and what is wrong with it."""
    begin, found = _begun(file, report)
    if begin.startswith(_AVRO):
        yield from _avro_parts(found, report, schemas)
        return
    for block in blocks_of(found, report):
        yield from unwrap(block, MAX_DOCUMENT_BYTES)


def _begun(file: str, report: FileRead) -> tuple[bytes, Iterator[bytes]]:
    """The first piece, and all of them."""
    found = content(file, report)
    begin = next(found, b"")
    return begin, chain((begin,), found)


def _avro_parts(found: Iterator[bytes], report: FileRead, schemas: Path | None) -> Iterator[Part]:
    from service.avro.messages import unwrap_file  # noqa: PLC0415  fastavro, for those who have such files

    try:
        yield from unwrap_file(found, DEFAULT_LIMIT, schemas)
    except DecodeError as error:
        report.problem = report.problem or str(error)


class _Reading:
    """One file under a plan, and what it gave so far. `index` counts its parts."""

    def __init__(self, file: str, plan: ScanPlan) -> None:
        rules = EVERY_RULE if plan.staged else RULES
        self.report = FileResult(file)
        self.index = 0
        self.plan = plan
        self.tunings = [tuning for tuning in (plan.tuning, plan.newer) if tuning is not None]
        if plan.compares:  # which has to see what a tuning suppresses
            self.tunings = [msgspec.structs.replace(tuning, publish_suppressed=True) for tuning in self.tunings]
        self.detectors = [Detector(rules, tuning) for tuning in self.tunings]
        watched = {name for detector in self.detectors for rule in detector.rules for name in rule.watches}
        self.watched = frozenset(watched | ({published.WATCHED} if plan.published else set()))
        self.is_near_miss = self.detectors[0].is_near_miss
        self.watched_names = frozenset(name.lower() for _, name in self.watched)

    def pages(self) -> None:
        """The shortcut for CloudTrail's own files. Raises Unusual, and what reading raises."""
        for page in bulk.pages(self._pieces()):
            if told_to_end.is_set():
                return
            self._page(page)

    def _pieces(self) -> Iterator[bytes]:
        for piece in pieces(self.report.file):
            self.report.bytes += len(piece)
            if self.report.bytes > MAX_DOCUMENT_BYTES:
                raise bulk.Unusual
            yield piece

    def _page(self, page: bytes) -> None:
        with suppress(bulk.Unusual):
            names = bulk.in_array(page)
            if self._are_dull(names):
                self._count(names, "records")
                return
        if array_of(page) is None:
            raise bulk.Unusual
        for part in unwrap(b'{"Records":' + page + b"}", 0):
            if isinstance(part, Rejected) and part.reason == "too_large":  # the limit is the whole file's
                raise bulk.Unusual
            self._take(part)

    def blocks(self, schemas: Path | None) -> None:
        """Any file. Raises RecursionError."""
        begin, found = _begun(self.report.file, self.report)
        if begin.startswith(_AVRO):
            self._take_all(_avro_parts(found, self.report, schemas))
            return
        for block in blocks_of(found, self.report):
            if self.plan.times or not self._lines(block):
                self._take_all(unwrap(block, MAX_DOCUMENT_BYTES))

    def _lines(self, block: bytes) -> bool:
        """The shortcut for records that stand one a line; False, and nothing counted, where they do not."""
        try:
            names, ends = bulk.in_lines(block)
        except bulk.Unusual:
            return False
        if self._are_dull(names):
            self._count(names, "documents")
            return True
        begin = 0
        for record, end in zip(names, ends, strict=True):
            if record.event_name.lower() in self.watched_names:
                self._take_all(unwrap(block[begin:end], 0, "documents"))
            else:
                self._count((record,), "documents")
            begin = end + 1
        return True

    def _take_all(self, found: Iterable[Part]) -> None:
        for part in found:
            if told_to_end.is_set():
                return
            self._take(part)

    def _are_dull(self, names: Sequence[bulk.OrdinaryNames]) -> bool:
        """Whether none is watched, nor a near miss."""
        return self.watched_names.isdisjoint(map(str.lower, {each.event_name for each in names}))

    def _count(self, names: Sequence[bulk.OrdinaryNames], envelope: Envelope) -> None:
        self.report.records[envelope] += len(names)
        self.index += len(names)

    def _take(self, part: Part) -> None:
        report, index = self.report, self.index
        self.index += 1
        if isinstance(part, Ignored):
            report.ignored[part.kind] += 1
            return
        if isinstance(part, Rejected):
            report.rejected[part.reason] += 1
            return
        if self.plan.times:
            report.times.note(part.data)
        if (part.source, part.name) in self.watched:
            self._detect(part, index)
        else:
            report.records[part.envelope] += 1
            report.near_misses += self.is_near_miss(part.source, part.name)

    def _detect(self, record: Record, index: int) -> None:
        report = self.report
        try:
            loaded = load(record)
        except DecodeError as error:
            report.rejected[error.reason] += 1
            return
        report.records[record.envelope] += 1
        origin, now = Origin(file=report.file, index=index), datetime.now(UTC)
        sides = [
            Side(tuning, detector.detect_record(loaded, envelope=record.envelope, origin=origin, detected_at=now))
            for tuning, detector in zip(self.tunings, self.detectors, strict=True)
        ]
        for side in sides:
            for rule_id, problem in side.detection.errors:
                report.problem = f"rule {rule_id} failed: {type(problem).__name__}"
        if self.plan.newer is not None:
            report.changes.extend(changes(*sides))
        elif self.plan.published:
            if row := beside_published(loaded, sides[0], origin):
                report.beside.append(row)
        else:
            report.findings.extend(map(self.plan.context.of, sides[0].detection.findings))
            report.verdicts.update(sides[0].detection.verdicts.items())
