"""What `scan` tells of each event: a finding, a change of tuning, or the published rules beside ours."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from rich.console import Console
from rich.text import Text

from service.backtest.compare import Change, Told
from service.backtest.compare_published import REASONS, Beside, Ours
from service.cli.table import COLUMNS, STYLES, cell, row, table
from service.finding import SEVERITIES, Finding, Severity
from service.scan import FileResult

Row = TypeVar("Row", Finding, Change, Beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[Row]):
    """`labels` is what the summary counts of a row, for `said`; `levels` what --fail-on looks at; a row that
    `tells` nothing is counted, not printed.
    """

    rows: Callable[[FileResult], Sequence[Row]]
    labels: Callable[[Row], Iterator[str]]
    levels: Callable[[Row], Iterator[Severity]]
    said: Callable[[Counter[str]], str]
    show: Callable[[Sequence[Row], Console], None]
    tells: Callable[[Row], bool] = lambda _row: True


# --- findings ----------------------------------------------------------------------------------


def _finding_labels(finding: Finding) -> Iterator[str]:
    if finding.suppressed_by is None:
        yield finding.severity
        if finding.stage is not None:
            yield "staged"


def _finding_levels(finding: Finding) -> Iterator[Severity]:
    if finding.suppressed_by is None and finding.stage is None:
        yield finding.severity


def _findings_said(counts: Counter[str]) -> str:
    by_severity = [f"{counts[name]:,} {name}" for name in reversed(SEVERITIES) if counts[name]]
    staged = f", {counts['staged']:,} of them staged" if counts["staged"] else ""
    count = sum(counts[name] for name in SEVERITIES)
    return f"{count:,} findings" + (f" ({', '.join(by_severity)})" if by_severity else "") + staged


def _show_findings(findings: Sequence[Finding], out: Console) -> None:
    """With a column for what is no alert, where there is such a finding."""
    notes = [_note(finding) for finding in findings]
    if any(notes):
        rows = ([*row(finding), cell(note)] for finding, note in zip(findings, notes, strict=True))
        table((*COLUMNS, "no alert"), rows, out)
    else:
        table(COLUMNS, map(row, findings), out)


def _note(finding: Finding) -> str | None:
    return f"suppressed by {finding.suppressed_by}" if finding.suppressed_by else finding.stage


FINDINGS: Final = View(
    rows=lambda report: report.findings,
    labels=_finding_labels,
    levels=_finding_levels,
    said=_findings_said,
    show=_show_findings,
)

# --- two tunings -------------------------------------------------------------------------------

_KINDS: Final = {"added": "green", "removed": "red", "changed": "yellow"}


def _change_levels(change: Change) -> Iterator[Severity]:
    for told in (change.before, change.after):
        if told is not None and told.stage is None and change.change != "same":
            yield told.severity


def _changes_said(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in (*_KINDS, "same"))


def _show_changes(changes: Sequence[Change], out: Console) -> None:
    """Each match that would differ, then how many there are for each reason."""
    table(("change", "time", "rule", "before", "after", "why", "who", "event"), map(_change_row, changes), out)
    out.print()
    counts = Counter((change.change, change.rule_id, "; ".join(change.why)) for change in changes)
    totals = ([cell(f"{count:,}"), *map(cell, parts)] for parts, count in counts.most_common())
    table(("matches", "change", "rule", "why"), totals, out)


def _change_row(change: Change) -> list[Text]:
    return [
        cell(change.change, _KINDS[change.change]),
        cell(change.event_time),
        cell(change.rule_id),
        _told(change.before),
        _told(change.after),
        cell("; ".join(change.why)),
        cell(change.principal_arn),
        cell(change.event_id or change.finding_id),
    ]


def _told(told: Told | None) -> Text:
    if told is None:
        return cell(None)
    stage = f" ({told.stage})" if told.stage else ""
    return cell(f"{told.severity}{stage}: {', '.join(told.clauses)}", STYLES[told.severity])


CHANGES: Final = View(
    rows=lambda report: report.changes,
    labels=lambda change: iter((change.change,)),
    levels=_change_levels,
    said=_changes_said,
    show=_show_changes,
    tells=lambda change: change.change != "same",
)

# --- the published rules -----------------------------------------------------------------------

_PUBLISHED: Final = ("rule A", "rule B")


def _beside_labels(beside: Beside) -> Iterator[str]:
    yield "events"
    yield from (name for name, fires in zip(_PUBLISHED, (beside.rule_a, beside.rule_b), strict=True) if fires)
    yield from (ours.rule_id for ours in beside.ours if ours.verdict == "match")
    if beside.reasons:
        yield "differ"


def _beside_levels(beside: Beside) -> Iterator[Severity]:
    for ours in beside.ours:
        if ours.severity is not None and ours.verdict == "match" and ours.stage is None:
            yield ours.severity


def _beside_said(counts: Counter[str]) -> str:
    names = [*_PUBLISHED, *sorted(counts.keys() - {*_PUBLISHED, "events", "differ"})]
    found = ", ".join(f"{counts[name]:,} by {name}" for name in names)
    return f"{counts['events']:,} events compared ({found}), {counts['differ']:,} differ"


def _show_beside(rows: Sequence[Beside], out: Console) -> None:
    """Each event, then how many there are for each reason."""
    columns = ("time", *_PUBLISHED, "ours", "outcome", "differs by", "who", "event")
    table(columns, map(_beside_row, rows), out)
    counts = Counter(reason for beside in rows for reason in beside.reasons)
    if counts:
        out.print()
        reasons = ((cell(f"{count:,}"), cell(name), cell(REASONS[name])) for name, count in counts.most_common())
        table(("events", "differs by", "which means"), reasons, out)


def _beside_row(beside: Beside) -> list[Text]:
    return [
        cell(beside.event_time),
        cell("match" if beside.rule_a else None),
        cell("unknown" if beside.rule_b is None else "match" if beside.rule_b else None),
        cell("; ".join(map(_ours, beside.ours))),
        cell(beside.outcome),
        cell(", ".join(beside.reasons)),
        cell(beside.principal_arn),
        cell(beside.event_id),
    ]


def _ours(ours: Ours) -> str:
    if ours.severity is None or ours.verdict != "match":
        return f"{ours.rule_id} {ours.verdict}"
    return f"{ours.rule_id} {ours.severity}: {', '.join(ours.clauses)}"


BESIDE: Final = View(
    rows=lambda report: report.beside,
    labels=_beside_labels,
    levels=_beside_levels,
    said=_beside_said,
    show=_show_beside,
)
