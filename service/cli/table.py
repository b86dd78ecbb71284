"""Findings as a table for people. Event text is escaped; where output is no terminal nothing is cut."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.escape import printable
from service.finding import Finding

STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "informational": "dim"}
_UNCUT = 10_000


def console(stream: TextIO | None = None) -> Console:
    """For a terminal as wide as it is; for a pipe or a file without colour, as wide as the values."""
    stream = stream or sys.stdout
    return Console(
        file=stream, width=None if stream.isatty() else _UNCUT, highlight=False, markup=False, emoji=False
    )


def cell(value: str | None, style: str = "") -> Text:
    return Text(printable(value, _UNCUT) if value else "-", style=style, overflow="fold")


def table(columns: Sequence[str], rows: Iterable[Sequence[Text]], out: Console) -> None:
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


COLUMNS = ("time", "severity", "rule", "who", "session", "outcome", "clauses", "source", "event")


def row(finding: Finding) -> list[Text]:
    return [
        cell(finding.event_time),
        cell(finding.severity, STYLES[finding.severity]),
        cell(finding.rule_id),
        cell(finding.containment_arn or finding.principal_arn),
        cell(finding.federated_user_name),
        cell(finding.outcome),
        cell(", ".join(finding.clauses)),
        cell(finding.source_ip),
        cell(finding.event_id or finding.finding_id),
    ]
