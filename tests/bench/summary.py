"""Several runs taken together: their table, and the picture that the README shows.

    python -m tests.bench.summary tests/bench/results/2026-11-23*.json

A ratio is to the row of the same round: what the machine does from one hour to the next is left out of it.
"""

import argparse
import sys
from pathlib import Path

from tests.bench.plot import draw
from tests.bench.results import RESULTS, load
from tests.bench.table import markdown, merged


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    runs = [load(file) for file in parser.parse_args().files]
    print(markdown(*runs))
    draw(merged(runs), RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
