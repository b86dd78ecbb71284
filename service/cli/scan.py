"""`tokentrail scan`: files and folders through the detector."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from service.cli import complain
from service.cli.progress import progress
from service.cli.table import console, findings_table
from service.finding import JSON, MAX_FINDING_BYTES, SEVERITIES, Finding, Severity
from service.ocsf_finding import OCSF
from service.scan import FileReport, find_files, scan

_FORMATS: Final = {"ndjson": JSON, "ocsf": OCSF}
_AGO: Final = re.compile(r"(\d{1,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither an age such as 7d or 12h nor an RFC 3339 time", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command("scan")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--output",
    type=click.Choice(["table", *_FORMATS]),
    default="table",
    show_default=True,
    help="ndjson: one finding a line on standard output, the summary on standard error. ocsf: the same, as OCSF.",
)
@click.option("--fail-on", type=click.Choice(SEVERITIES), help="Exit 3 when a finding is that severe or more.")
@click.option("--since", type=Moment(), help="Only findings of events after: an age (7d, 12h) or a time.")
@click.option("--until", type=Moment(), help="Only findings of events before.")
@click.option("--processes", type=click.IntRange(min=1), help="How many; all cores by default.")
def command(  # noqa: PLR0913, PLR0917  one argument an option
    paths: tuple[str, ...],
    output: str,
    fail_on: Severity | None,
    since: datetime | None,
    until: datetime | None,
    processes: int | None,
) -> int:
    """Detect in CloudTrail files: .json, .jsonl, .ndjson, each also .gz, folders of them, or - for standard input.

    Exits 0 when all was read, 1 when a file or a part of one could not be, 2 for wrong usage, 3 when --fail-on
    is met.
    """
    files, problems = find_files(paths)
    for problem in problems:
        complain(problem)
    if not files:
        return 1
    totals, severities = FileReport("all files"), Counter[Severity]()
    bad = len(problems)
    for report in _with_progress(files, processes):
        bad += report.problem is not None
        if report.problem is not None:
            complain(f"{report.file}: {report.problem}")
        kept = [finding for finding in report.findings if _within(finding, since, until)]
        severities.update(finding.severity for finding in kept)
        _add(totals, report)
        if output == "table":
            totals.findings.extend(kept)
        if output in _FORMATS:
            for finding in kept:
                sys.stdout.buffer.write(_FORMATS[output].encode(finding, MAX_FINDING_BYTES) + b"\n")
            sys.stdout.buffer.flush()
    if output == "table" and totals.findings:
        findings_table(totals.findings, console())
    click.echo(_summary(len(files), bad, totals, severities), err=True)
    if fail_on and any(severities[level] for level in SEVERITIES[SEVERITIES.index(fail_on) :]):
        return 3
    return 1 if bad else 0


def _within(finding: Finding, since: datetime | None, until: datetime | None) -> bool:
    """A finding whose time is unknown is kept: nothing says that it is out."""
    if finding.event_time is None:
        return True
    moment = datetime.fromisoformat(finding.event_time)
    return (since is None or moment >= since) and (until is None or moment < until)


def _add(totals: FileReport, report: FileReport) -> None:
    totals.records.update(report.records)
    totals.ignored.update(report.ignored)
    totals.rejected.update(report.rejected)
    totals.verdicts.update(report.verdicts)
    totals.near_misses += report.near_misses
    totals.bytes += report.bytes


def _summary(files: int, bad: int, totals: FileReport, severities: Counter[Severity]) -> str:
    by_severity = ", ".join(f"{severities[name]} {name}" for name in reversed(SEVERITIES) if severities[name])
    unread = sum(count for (_, verdict), count in totals.verdicts.items() if verdict == "not_evaluable")
    parts = [
        f"{sum(totals.records.values()):,} records in {files:,} files",
        f"{severities.total():,} findings" + (f" ({by_severity})" if by_severity else ""),
        f"{unread:,} not evaluable" if unread else "",
        f"{totals.near_misses:,} near misses by letter case" if totals.near_misses else "",
        f"{sum(totals.ignored.values()):,} ignored" if totals.ignored else "",
        f"{sum(totals.rejected.values()):,} unreadable parts" if totals.rejected else "",
        f"{bad:,} with problems" if bad else "",
    ]
    return ", ".join(part for part in parts if part)


def _with_progress(files: list[str], processes: int | None) -> Iterator[FileReport]:
    with progress("scanning", len(files)) as advance:
        for report in scan(files, processes):
            yield report
            advance()
