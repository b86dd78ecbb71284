"""A progress bar on standard error where that is a terminal; nothing elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from service.cli.table import console

_REFRESH_SECONDS: Final = 0.1


@contextmanager
def progress(doing: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each of `total` steps; None when nobody knows how many."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  # only terminals pay for it

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def reading(doing: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to tell how many bytes of `total` were read and how many records came of them."""
    if not sys.stderr.isatty():
        yield lambda _position, _records: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415  # only terminals pay for it

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    shown = 0.0

    def tell(position: int, records: int) -> None:
        nonlocal shown
        if (now := time.monotonic()) - shown >= _REFRESH_SECONDS:  # a record takes less time than drawing does
            shown = now
            bar.update(task, completed=position, description=f"{doing} {records:,} records")

    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield tell
