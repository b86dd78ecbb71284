"""Which files there are, their content, and the processes that read many. Knows nothing of rules."""

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from threading import Event
from typing import IO, Final, TypeVar, cast

from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError

from service.envelopes import Ignored, Record, unwrap
from service.errors import WorldError

SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".gz", ".avro")
STANDARD_INPUT: Final = "-"
BLOCK_BYTES: Final = 16 * 1024 * 1024
PIECE_BYTES: Final = 128 * 1024  # a piece stays in a core's cache from one step to the next
SERIAL_BYTES: Final = 4 * 1024 * 1024  # below it, starting processes costs more than it saves
BATCH_BYTES: Final = 1024 * 1024  # of the files that a process reads in one go
BATCH_FILES: Final = 64
MAX_DOCUMENT_BYTES: Final = 2 * 1024**3
READ_ERRORS: Final[tuple[type[Exception], ...]] = (OSError, EOFError, cast("type[Exception]", IsalError))
_KEPT_BYTES: Final = 16 * 1024 * 1024
_SHARES: Final = 16  # of a process's work: less than one is little enough to come last
told_to_end: Final = Event()  # set in a worker process only: nobody reads what it answers then
T = TypeVar("T")


@dataclass(slots=True)
class FileRead:
    """How much was read of a file. `problem` says in a line what could not be, None when all was."""

    file: str
    bytes: int = 0
    problem: str | None = None


def find_files(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files below the paths, in a stable order, and a line for each path that cannot be had."""
    files: list[str] = []
    problems: list[str] = []
    for path in paths:
        if path == STANDARD_INPUT or Path(path).is_file():
            files.append(path)
        elif Path(path).is_dir():
            below = _below(path, problems)
            files.extend(below)
            if not below:
                problems.append(f"{path}: no file ends in one of {', '.join(SUFFIXES)}")
        else:
            problems.append(f"{path}: no such file or folder")
    return list(dict.fromkeys(files)), problems


def _below(folder: str, problems: list[str]) -> list[str]:
    walk = os.walk(folder, onerror=lambda error: problems.append(f"{error.filename}: {_said(error)}"))
    named = (Path(where, name) for where, _, names in walk for name in names if name.endswith(SUFFIXES))
    # A link that leads nowhere is kept, to be reported; a pipe or a device would be waited for.
    return sorted(str(path) for path in named if path.is_file() or not path.exists())


def each(files: Sequence[str], one: Callable[[str], T], processes: int | None = None) -> Iterator[T]:
    """What `one` makes of each file, in their order. It and its answers may travel between processes."""
    processes = min(processes or os.cpu_count() or 1, len(files))
    sizes = [Path(file).stat().st_size if file != STANDARD_INPUT and Path(file).exists() else 0 for file in files]
    if processes < 2 or sum(sizes) < SERIAL_BYTES:
        yield from map(one, files)
        return
    found = batches(sizes)
    share = sum(sizes) // (_SHARES * processes)
    with ProcessPoolExecutor(processes, initializer=_begin_worker) as pool:
        answers: dict[range, Future[list[T]]] = {}
        try:
            # What takes long begins first, lest it is all that is left at the end; the others keep their order.
            for batch in sorted(found, key=lambda batch: -max(share, sum(sizes[place] for place in batch))):
                answers[batch] = pool.submit(_all_of, one, [files[place] for place in batch])
            for batch in found:
                yield from answers.pop(batch).result()
        except BrokenProcessPool as broken:
            raise WorldError(
                "a process of the scan was ended from outside, perhaps for want of memory"
            ) from broken
        except BaseException:
            for worker in active_children():
                worker.terminate()
            raise


def batches(sizes: Sequence[int]) -> list[range]:
    """The places of files that one process reads in one go: handing over takes as long as a small file does."""
    found, begin, size = [], 0, 0
    for place, each_size in enumerate(sizes):
        if place > begin and (size + each_size > BATCH_BYTES or place - begin >= BATCH_FILES):
            found.append(range(begin, place))
            begin, size = place, 0
        size += each_size
    return [*found, range(begin, len(sizes))]


def _all_of(one: Callable[[str], T], files: Sequence[str]) -> list[T]:
    return [one(file) for file in files]


def _begin_worker() -> None:
    """A worker told to end leaves its file where it is: killed amid its answer it would block the others."""
    gc.freeze()  # what was imported stays
    # Freed at once, which tells glibc to keep memory of such sizes: else pages of the kernel's are asked for, and
    # cleared, for every piece. https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD
    bytes(_KEPT_BYTES)
    for number in (SIGINT, SIGTERM):
        signal(number, lambda *_: told_to_end.set())


# --- content -----------------------------------------------------------------------------------


def blocks(file: str, report: FileRead) -> Iterator[bytes]:
    """The file's content: JSON lines in blocks of whole lines, anything else as a whole.

    What could be read of a file that is damaged further on is given out all the same.
    """
    yield from blocks_of(content(file, report), report)


def blocks_of(pieces: Iterable[bytes], report: FileRead) -> Iterator[bytes]:
    pending = bytearray()
    enough = BLOCK_BYTES
    for piece in pieces:
        pending += piece
        if len(pending) < enough:
            continue
        if len(pending) > MAX_DOCUMENT_BYTES:
            report.problem = f"one document of more than {MAX_DOCUMENT_BYTES >> 30} GiB"
            return
        enough = 2 * len(pending)  # one large document is not looked at over and over
        if _is_lines(pending):
            end = pending.rfind(b"\n") + 1
            with memoryview(pending) as view:
                block = bytes(view[:end])
            yield block
            del pending[:end]
            enough = BLOCK_BYTES
    if pending.strip():
        yield bytes(pending)


def content(file: str, report: FileRead) -> Iterator[bytes]:
    """The file in pieces, as far as it can be read."""
    try:
        for piece in pieces(file):
            report.bytes += len(piece)
            yield piece
    except READ_ERRORS as error:
        report.problem = _said(error)


def pieces(file: str) -> Iterator[bytes]:
    with sys.stdin.buffer if file == STANDARD_INPUT else Path(file).open("rb") as stream:
        first = stream.read(PIECE_BYTES)
        if first.startswith(b"\x1f\x8b"):
            yield from _gunzipped(first, stream)
        else:
            yield first
            while piece := stream.read(PIECE_BYTES):
                yield piece


def _gunzipped(data: bytes, stream: IO[bytes]) -> Iterator[bytes]:
    """The members of a gzip file, as far as they can be read. Raises EOFError for a truncated one."""
    while data:
        member = IgzipDecompressor(flag=DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not (data := data or stream.read(PIECE_BYTES)):
                raise EOFError
            yield member.decompress(data, PIECE_BYTES)
            data = b""
        data = (member.unused_data or stream.read(PIECE_BYTES)).lstrip(b"\0")  # some writers pad


def _is_lines(data: bytearray) -> bool:
    first = data.find(b"\n")
    if first < 0 or data[:1] != b"{":
        return False
    return all(isinstance(part, Record | Ignored) for part in unwrap(bytes(data[:first])))


def _said(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "the gzip stream ends too early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "a damaged gzip stream"
