"""Measures, prints a table, keeps the figures.

    python -m tests.bench [--part live] [--rounds 3] [--quick] [--only 'Streams|loop']

Without `--quick` the results go to tests/bench/results/. `--rounds 0` makes ready all that is needed and measures
nothing.
"""

import argparse
import importlib
import importlib.util
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, Protocol, cast

from tests.bench.results import save
from tests.bench.table import Row, Scale, markdown

PARTS: Final = ("live", "latency", "files", "growth", "soak")


class Part(Protocol):
    NAME: str

    def measure(self, scale: Scale) -> list[Row]: ...


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=PARTS, help="may be given several times; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small: whether it works, not how fast it is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="REGEX", help="contestants whose name it is found in")
    parser.add_argument("--deadline", type=float, default=7_200, metavar="SECONDS", help="for each part")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # what was started is ended too
    scale = Scale(options.rounds, options.quick, options.seed, options.only)
    rows: list[Row] = []
    for part in map(_part, options.part or list(filter(_exists, PARTS))):
        with _deadline(options.deadline, part.NAME):
            rows += part.measure(scale)
    if not scale.rounds:
        return 0
    text = markdown(rows)
    print(text)
    save(f"{datetime.now(UTC):%Y-%m-%d}", rows, text, scale, sys.argv[1:] if arguments is None else arguments)
    return 0


def _part(name: str) -> Part:
    return cast("Part", importlib.import_module(f"tests.bench.{name}"))


def _exists(name: str) -> bool:
    return importlib.util.find_spec(f"tests.bench.{name}") is not None


@contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
    """Raises TimeoutError in the midst of what hangs, so that what it started is ended as for any other error."""

    def late(*_: object) -> None:
        raise TimeoutError(f"{what} did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main())
