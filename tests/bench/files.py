"""How fast files are read: `tokentrail scan` beside what people count GetFederationToken calls with.

Each runs from process start to exit, on all cores, the page cache warm, in turns. Slow ones read fewer files: the
rate is per byte of decompressed records. Who does not find the calls that are there is not measured.
"""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import truediv
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tests.bench.data import records
from tests.bench.table import Row, Scale

NAME: Final = "files"
OURS: Final = "tokentrail scan"
ROOT: Final = Path(__file__).parents[2]
CACHE: Final = ROOT / ".cache" / "bench"
LOCK: Final = ROOT / "requirements" / "peers-files.txt"
DUCK: Final = ROOT / "tests" / "bench" / "peers" / "duck.py"
CORES: Final = os.cpu_count() or 1
PEERS: Final = ("jq", "DuckDB")
Kind = Literal["json.gz", "jsonl.gz", "jsonl"]

# Records of a file: CloudTrail closes one after five minutes or some megabytes; busy accounts have large ones.
_USUAL, _SMALL, _LARGE = 1_900, 15, 62_000
_LEVEL: Final = 6  # gzip's own, and close to what CloudTrail's files have
_JQ: Final = 'select(.eventSource == "sts.amazonaws.com" and .eventName == "GetFederationToken") | .eventID'


class File(NamedTuple):
    """`bytes` are those of the records, decompressed; `calls` of GetFederationToken are among them."""

    path: str
    bytes: int
    calls: int


@dataclass(frozen=True)
class Folder:
    kind: Kind
    files: Sequence[File]

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def calls(self) -> int:
        return sum(file.calls for file in self.files)

    def first(self, size: int) -> "Folder":
        """As many of the files as together have that many bytes, none of them a large one."""
        files, left = [], size
        for file in self.files:
            if file.bytes < 16_000_000 and left > 0:
                files.append(file)
                left -= file.bytes
        return Folder(self.kind, files)


# --- the files ---------------------------------------------------------------------------------------


def folder(kind: Kind, size: int, seed: int) -> Folder:
    """Files of about `size` bytes of records; made once, then found again."""
    where = CACHE / "files" / f"{kind}-{size}-{seed}"
    index = where.with_name(f"{where.name}.index")
    if not index.exists():
        where.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(CORES) as pool:
            made = list(pool.map(partial(_make, where, kind, seed), *zip(*_batches(size), strict=True)))
        index.write_text(json.dumps([each for batch in made for each in batch]))
    files = json.loads(index.read_text())
    return Folder(kind, [File(str(where / name), size, calls) for name, size, calls in files])


def _batches(size: int) -> Iterator[tuple[int, list[int]]]:
    """A batch's number, and how many records each of its files has: one of 240 is large, one of 12 small."""
    number, left = 0, size
    while left > 0:
        counts = [_SMALL, *[_USUAL] * 11, _LARGE if number % 20 == 7 else _USUAL]
        yield number, counts
        number, left = number + 1, left - sum(counts) * 1_590


def _make(where: Path, kind: Kind, seed: int, number: int, counts: Sequence[int]) -> list[tuple[str, int, int]]:
    """The first record of a batch is a call."""
    found = records(sum(counts), seed * 1_000_000 + number, watched_every=sum(counts), mix="real")
    made = []
    for place, count in enumerate(counts):
        several = islice(found, count)
        content = (
            b'{"Records":[' + b",".join(several) + b"]}" if kind == "json.gz" else b"\n".join(several) + b"\n"
        )
        name = f"{number:04}-{place:02}.{kind}"
        (where / name).write_bytes(gzip.compress(content, _LEVEL, mtime=0) if kind.endswith("gz") else content)
        made.append((name, len(content), int(place == 0)))
    return made


# --- who reads them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contestant:
    """`run` reads the files and says how many calls it found; None of one that only decompresses. `bytes` is how
    much of the records it is given in a round, None for all.
    """

    name: str
    run: Callable[[Folder], int | None]
    bytes: int | None = None
    missing: str = ""


def tokentrail(found: Folder) -> int:
    """The whole detector; rule A is one of its rules."""
    folders = {str(Path(path).parent) for path in found.paths}
    output = _output([sys.executable, "-m", "service", "scan", *folders, "--output", "ndjson"])
    return output.count(b'"rule_id":"sts-federation-token-issued"')


def _xargs(command: str, found: Folder) -> bytes:
    """A shell's command for each few files, as many at once as there are cores."""
    few = str(max(1, min(16, len(found.files) // (2 * CORES))))
    every = ["xargs", "-0", "-P", str(CORES), "-n", few, "sh", "-c", command, "sh"]
    return _output(every, b"\0".join(map(os.fsencode, found.paths)))


def _decompressed(tool: str, found: Folder) -> None:
    _xargs(f'{tool} -dc "$@" > /dev/null', found)


def jq(found: Folder) -> int:
    within = ".Records[] | " if found.kind == "json.gz" else ""
    unpack = f"{_unpacker()} -dc" if found.kind.endswith("gz") else "cat"
    return _xargs(f"{unpack} \"$@\" | jq -c '{within}{_JQ}'", found).count(b"\n")


def _unpacker() -> str:
    return "igzip" if shutil.which("igzip") else "gzip"


def duckdb(found: Folder) -> int:
    return int(_output([str(_peers()), str(DUCK), str(CORES), found.kind, *found.paths]))


def _peers() -> Path:
    """An interpreter with the peers, in an environment of its own."""
    python = CACHE / "peers-files" / "bin" / "python"
    if not python.exists():
        _output([sys.executable, "-m", "venv", str(python.parents[1])])
        _output([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)])
    return python


def _output(command: Sequence[str], stdin: bytes = b"") -> bytes:
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout


def contestants(slow: int) -> list[Contestant]:
    return [
        Contestant(OURS, tokentrail),
        Contestant("igzip -dc", partial(_decompressed, "igzip"), missing=_missing("igzip")),
        Contestant("gzip -dc", partial(_decompressed, "gzip"), 4 * slow),
        Contestant("jq", jq, slow, missing=_missing("jq")),
        Contestant("DuckDB", duckdb, slow),
    ]


def _missing(tool: str) -> str:
    return "" if shutil.which(tool) else f"no {tool} here"


# --- a round -----------------------------------------------------------------------------------------


def measure(scale: Scale) -> list[Row]:
    whole, slow = (60_000_000, 20_000_000) if scale.quick else (5_300_000_000, 400_000_000)
    kinds: list[tuple[Kind, int]] = [("json.gz", whole), ("jsonl.gz", whole // 5), ("jsonl", whole // 5)]
    return [row for kind, size in kinds for row in _of_kind(folder(kind, size, scale.seed), slow, scale)]


def _of_kind(everything: Folder, slow: int, scale: Scale) -> list[Row]:
    compressed = everything.kind.endswith("gz")
    field = [each for each in contestants(slow) if re.search(scale.only, each.name)]
    field = [each for each in field if compressed or not each.name.endswith("-dc")]
    given = {each.name: everything.first(each.bytes) if each.bytes else everything for each in field}
    values: dict[str, list[float]] = {each.name: [] for each in field}
    for number in range(scale.rounds + 1 if scale.rounds else 0):  # the first only makes the page cache warm
        for each in field:
            if not each.missing:
                rate = _rate(each, given[each.name])
                values[each.name] += [rate] if number else []
    rates = {each.name: _row(each, values[each.name], given[each.name]) for each in field}
    return [*rates.values(), *_factors(rates)]


def _rate(contestant: Contestant, found: Folder) -> float:
    """MB/s. Raises ValueError for a wrong count."""
    began = time.perf_counter()
    calls = contestant.run(found)
    seconds = time.perf_counter() - began
    if calls is not None and calls != found.calls:
        raise ValueError(f"{contestant.name} found {calls} calls of {found.calls}")
    return found.bytes / seconds / 1e6


def _row(contestant: Contestant, values: Sequence[float], found: Folder) -> Row:
    size = f"{found.bytes / 1e6:,.0f} MB of records in {len(found.files):,} files, {found.calls} calls"
    return Row(
        part=f"{NAME}: .{found.kind}",
        name=contestant.name,
        unit="MB/s",
        values=tuple(values),
        of=None if contestant.name == OURS else OURS,
        goal=">= 1,000" if contestant.name == OURS else "",
        note=contestant.missing or size,
    )


def _factors(rates: Mapping[str, Row]) -> list[Row]:
    """How many times their rate ours is."""
    return [
        Row(ours.part, f"{OURS} / {name}", "times", tuple(map(truediv, ours.values, theirs.values)), goal=">= 15")
        for name in PEERS
        if (ours := rates.get(OURS)) and (theirs := rates.get(name)) and theirs.values
    ]
