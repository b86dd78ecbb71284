"""`tokentrail scan --report`: what the page needs is kept while files are read, then the page is written."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from service.cli.progress import progress
from service.files import STANDARD_INPUT
from service.finding import Finding
from service.report.follow_ups import follow_ups, sought_of
from service.report.page import Scanned, check_target, render, write
from service.scan import FileResult


class Page:
    def __init__(self, name: str, options: Iterable[tuple[str, str]]) -> None:
        """Raises UsageError when no page could be written: better told before the files are read than after."""
        self._path = Path(name)
        self._scanned = Scanned(options=list(options))
        try:
            check_target(self._path)
        except (OSError, ValueError) as error:
            raise click.UsageError(f"--report {name}: {_said(error)}") from None

    def add(self, findings: Sequence[Finding]) -> None:
        self._scanned.add(findings)

    def write(
        self, files: Sequence[str], processes: int | None, problems: Sequence[str], totals: FileResult
    ) -> None:
        """Reads the files again, for what the sessions did that findings tell of."""
        scanned = self._scanned
        scanned.files, scanned.problems, scanned.totals = len(files), list(problems), totals
        scanned.sought = sought_of(scanned.findings.kept)
        scanned.unread_again = STANDARD_INPUT in files
        with progress("looking for what sessions did", len(files)) as advance:
            for followed in follow_ups(files, scanned.sought, processes):
                scanned.followed.merge(followed)
                advance()
        page = render(scanned, datetime.now(UTC).replace(microsecond=0))
        write(self._path, page)
        click.echo(f"report: {self._path} ({len(page.encode()) / 1_000:,.0f} kB)", err=True)


def _said(error: Exception) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
