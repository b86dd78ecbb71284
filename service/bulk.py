"""Many ordinary records told at once, by their names. Pure, and only a shortcut: what `unwrap` makes of a document
is what counts, so whatever is not ordinary here is left to it.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec

from service.envelopes.mending import BROKEN

_SPACE: Final = b" \t\r\n"
# An event of S3 that tells of a file has the same shape. CloudTrail's sources are longer than its "aws:s3".
_SOURCE_CHARACTERS: Final = len("aws:s3") + 1
# The start of a CloudTrail file, and how its first record begins.
_START: Final = re.compile(rb'[ \t\r\n]*\{\s*"Records"\s*:\s*\[\s*(\{\s*"[^"\\]{1,100}"\s*:)')


class Unusual(Exception):
    """Not what the shortcut is for. Says nothing about whether the document can be read."""


class _Absent:
    """No JSON decodes to it, so a field of this type has to be absent."""


_ABSENT: Final = _Absent()


class OrdinaryNames(msgspec.Struct, gc=False, rename="camel"):
    """What makes an object a record, and nothing else that `unwrap` would look at first."""

    event_name: str
    event_source: Annotated[str, msgspec.Meta(min_length=_SOURCE_CHARACTERS)]
    records: _Absent = msgspec.field(name="Records", default=_ABSENT)


_record: Final = msgspec.json.Decoder(OrdinaryNames).decode
_array: Final = msgspec.json.Decoder(list[OrdinaryNames]).decode


def pages(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut one `{"Records": [...]}`, given in pieces, into arrays of the same records in the same order.

    A page ends where another record seems to begin. It does begin there if every page is a JSON array: arrays
    that are joined by commas make one array, in one way only. Raises Unusual.
    """
    rest = iter(pieces)
    first = next(rest, b"")
    start = _START.match(first)
    if start is None:
        raise Unusual
    pending = [first[start.start(1) :]]
    for piece in rest:
        comma = _comma_before(piece, start[1])
        if comma < 0:
            pending.append(piece)
        else:
            yield b"".join((b"[", *pending, memoryview(piece)[:comma], b"]"))
            pending = [piece[comma + 1 :]]
    end = b"".join(pending).rstrip(_SPACE)
    if not end.endswith(b"}"):
        raise Unusual
    yield b"[" + end[:-1]


def _comma_before(piece: bytes, opening: bytes) -> int:
    """Of the last record that begins in the piece; -1 where none does, as far as can be told."""
    begins = piece.rfind(opening)
    if begins < 0:
        return -1
    near = piece[max(0, begins - 100) : begins].rstrip(_SPACE)
    return max(0, begins - 100) + len(near) - 1 if near.endswith(b",") else -1


def in_array(array: bytes) -> list[OrdinaryNames]:
    """The names of an array's records. Raises Unusual unless all are ordinary."""
    try:
        return _array(array)
    except BROKEN:
        raise Unusual from None


def in_lines(lines: bytes) -> tuple[list[OrdinaryNames], list[int]]:
    """The names of records that stand one a line, and where each line ends. Raises Unusual unless all are
    ordinary, and there are two.
    """
    if not lines.startswith(b"{"):
        raise Unusual
    view, begin = memoryview(lines), 0
    names, ends = [], []
    try:
        while begin < len(lines):
            end = lines.find(b"\n", begin)
            end = len(lines) if end < 0 else end
            names.append(_record(view[begin:end]))
            ends.append(end)
            begin = end + 1
    except BROKEN:
        raise Unusual from None
    if len(names) < 2:  # one alone is no line of many
        raise Unusual
    return names, ends
