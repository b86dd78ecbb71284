"""`tokentrail scan`: files and folders through the detector."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from service import context_file, tuning_file
from service.backtest.compare import Change
from service.backtest.compare_published import Beside
from service.cli import complain
from service.cli.progress import progress
from service.cli.scan_views import BESIDE, CHANGES, FINDINGS, View
from service.cli.table import console
from service.context import NO_CONTEXT
from service.files import find_files
from service.finding import JSON, MAX_FINDING_BYTES, SEVERITIES, Finding, Severity
from service.ocsf_finding import OCSF
from service.scan import FileResult, ScanPlan, scan
from service.tuning import UNTUNED, Tuning

if TYPE_CHECKING:
    from service.cli.scan_report import Page

NO_TUNING: Final = "none"
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
@click.option(
    "--tuning", metavar="FILE", help="Apply this tuning. Without it none is applied, whatever `run` has."
)
@click.option("--staged", is_flag=True, help="Apply the rules on trial too; their findings have a stage.")
@click.option("--context", metavar="FILE", help="Add to findings what this file knows of accounts and brokers.")
@click.option(
    "--schemas",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Schemas (.avsc) of files that are an Avro single object.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="OLD NEW",
    help=f"In place of findings, what a change of tuning changes: two files, or {NO_TUNING} for no tuning.",
)
@click.option(
    "--compare-published", is_flag=True, help="In place of findings, the two published rules beside ours."
)
@click.option(
    "--report",
    metavar="FILE.html",
    help="Also write a page for people, with what the sessions did; replaces FILE.",
)
def command(  # noqa: PLR0913  one argument an option
    *,
    paths: tuple[str, ...],
    output: str,
    fail_on: Severity | None,
    since: datetime | None,
    until: datetime | None,
    processes: int | None,
    tuning: str | None,
    staged: bool,
    context: str | None,
    schemas: Path | None,
    compare: tuple[str, str] | None,
    compare_published: bool,
    report: str | None,
) -> int:
    """Detect in CloudTrail files: .json, .jsonl, .ndjson, each also .gz, folders of them, or - for standard input.

    Exits 0 when all was read, 1 when a file or a part of one could not be, 2 for wrong usage, 3 when --fail-on
    is met: by a finding that is neither suppressed nor staged; with --compare, by one that the change adds,
    removes or changes. A difference alone is no failure.
    """
    _check_usage(compare, tuning, context or report, output, published=compare_published)
    old, new = compare or (tuning, None)
    plan = ScanPlan(
        tuning=_tuning(old),
        newer=_tuning(new) if compare else None,
        published=compare_published,
        staged=staged,
        times=report is not None,
        context=context_file.read(Path(context)) if context else NO_CONTEXT,
    )
    _check_schemas(schemas)
    page = _page(report, since=since, until=until, tuning=tuning, staged=staged or None)
    files, problems = find_files(paths)
    for problem in problems:
        complain(problem)
    if not files:
        return 1
    view: View[Any] = CHANGES if compare else BESIDE if compare_published else FINDINGS
    totals, counts, levels = FileResult("all files"), Counter[str](), set[Severity]()
    shown: list[Finding | Change | Beside] = []
    for read in _with_progress(files, problems, processes, schemas, plan):
        kept = [row for row in view.rows(read) if _within(row, since, until)]
        for row in kept:
            counts.update(view.labels(row))
            levels.update(view.levels(row))
        _add(totals, read)
        if page:
            page.add(kept)
        told = filter(view.tells, kept)
        if output == "table":
            shown.extend(told)
        else:
            _write(told, output)
    if shown:
        view.show(shown, console())
    click.echo(_summary(len(files), len(problems), totals, view.said(counts)), err=True)
    if page:
        page.write(files, processes, problems, totals)
    if fail_on and not levels.isdisjoint(SEVERITIES[SEVERITIES.index(fail_on) :]):
        return 3
    return 1 if problems else 0


def _check_usage(
    compare: tuple[str, str] | None, tuning: str | None, added: str | None, output: str, *, published: bool
) -> None:
    if compare and (published or tuning):
        raise click.UsageError("--compare goes with neither --compare-published nor --tuning")
    if (compare or published) and (added or output == "ocsf"):
        raise click.UsageError("a comparison has no findings, so nothing for --context, --report or --output ocsf")


def _check_schemas(folder: Path | None) -> None:
    """Raises SettingsError: what is wrong with them is said before anything is read."""
    if folder is not None:
        from service.avro.messages import schemas_in  # noqa: PLC0415  fastavro, for those who have such files

        schemas_in(folder)


def _page(name: str | None, **options: object) -> "Page | None":
    """Raises UsageError. The page names the options that decided what was looked for."""
    if name is None:
        return None
    from service.cli.scan_report import Page  # noqa: PLC0415  only those who ask for a page pay for Jinja

    return Page(name, [(f"--{option}", str(value)) for option, value in options.items() if value is not None])


def _tuning(name: str | None) -> Tuning:
    """Raises SettingsError. A suppression that has expired suppresses nothing, in old events either."""
    if name in (None, NO_TUNING):
        return UNTUNED
    tuning = tuning_file.read(Path(name))
    for suppression in tuning.expired(datetime.now(UTC).date()):
        complain(f"{name}: suppression {suppression.name!r} has expired and suppresses nothing")
    return tuning


def _within(row: Finding | Change | Beside, since: datetime | None, until: datetime | None) -> bool:
    """What has no known time is kept: nothing says that it is out."""
    if row.event_time is None:
        return True
    moment = datetime.fromisoformat(row.event_time)
    return (since is None or moment >= since) and (until is None or moment < until)


def _write(rows: Iterable[Finding | Change | Beside], output: str) -> None:
    """A line each, at once: a reader downstream shall not wait for the next file."""
    for row in rows:
        line = (
            _FORMATS[output].encode(row, MAX_FINDING_BYTES)
            if isinstance(row, Finding)
            else msgspec.json.encode(row)
        )
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _add(totals: FileResult, report: FileResult) -> None:
    totals.records.update(report.records)
    totals.ignored.update(report.ignored)
    totals.rejected.update(report.rejected)
    totals.verdicts.update(report.verdicts)
    totals.near_misses += report.near_misses
    totals.bytes += report.bytes
    totals.times.add(report.times)


def _summary(files: int, bad: int, totals: FileResult, said: str) -> str:
    verdicts = Counter[str]()
    for (_, verdict), count in totals.verdicts.items():
        verdicts[verdict] += count
    parts = [
        f"{sum(totals.records.values()):,} records in {files:,} files",
        said,
        f"{verdicts['suppressed']:,} suppressed" if verdicts["suppressed"] else "",
        f"{verdicts['not_evaluable']:,} not evaluable" if verdicts["not_evaluable"] else "",
        f"{totals.near_misses:,} near misses by letter case" if totals.near_misses else "",
        f"{sum(totals.ignored.values()):,} ignored" if totals.ignored else "",
        f"{sum(totals.rejected.values()):,} unreadable parts" if totals.rejected else "",
        f"{bad:,} with problems" if bad else "",
    ]
    return ", ".join(part for part in parts if part)


def _with_progress(
    files: list[str], problems: list[str], processes: int | None, schemas: Path | None, plan: ScanPlan
) -> Iterator[FileResult]:
    """The reports as they come; what is wrong with a file is said at once, and added to `problems`."""
    with progress("scanning", len(files)) as advance:
        for report in scan(files, processes, schemas, plan):
            if report.problem is not None:
                problems.append(f"{report.file}: {report.problem}")
                complain(problems[-1])
            yield report
            advance()
