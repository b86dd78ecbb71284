"""Avro object container files -> records. Knows no files: it takes their content in pieces.

https://avro.apache.org/docs/1.12.0/specification/#object-container-files
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from service.avro.plan import Plan, compile_plan
from service.avro.schema import MAX_SCHEMA_BYTES, UnusableSchema, parse
from service.avro.skip import Skip, Skips
from service.envelopes import Part
from service.errors import DecodeError

MAGIC: Final = b"Obj\x01"
_SYNC_BYTES: Final = 16
_MAX_ENTRIES: Final = 1_000  # of the header's metadata
_MAX_SHIFT: Final = 63


def unwrap_container(pieces: Iterable[bytes], limit: int) -> Iterator[Part]:
    """The parts of its records, in order. Raises DecodeError where it cannot be read further.

    `limit` bounds a block's bytes, compressed and not.
    """
    content = _Content(pieces)
    if content.take(len(MAGIC)) != MAGIC:
        raise DecodeError("avro", "no Avro container file")
    metadata = _metadata(content)
    sync = content.take(_SYNC_BYTES)
    codec = metadata.get("avro.codec", b"null")
    if codec not in (b"null", b"deflate"):
        known = "snappy, zstandard, bzip2, xz".split(", ")
        name = next((name for name in known if codec == name.encode()), "a codec of its own")
        raise DecodeError("avro", f"compressed with {name}: only null and deflate can be read")
    skip, plan = _compiled(metadata.get("avro.schema", b""))
    while not content.at_end():
        count, size = content.long(), content.long()
        if not 0 <= size <= limit:
            raise DecodeError("too_large", "a block of more than the limit")
        block = content.take(size)
        if content.take(_SYNC_BYTES) != sync:
            raise DecodeError("avro", "damaged: a block does not end with its mark")
        yield from _records(_inflated(block, limit) if codec == b"deflate" else block, count, limit, skip, plan)


def _compiled(schema: bytes) -> tuple[Skip, Plan]:
    try:
        parsed = parse(schema.decode("utf-8", "replace"))
        return Skips(parsed).of(parsed.root), compile_plan(parsed, 0)
    except UnusableSchema as error:
        raise DecodeError("schema_unknown", str(error)) from None


def _records(data: bytes, count: int, limit: int, skip: Skip, plan: Plan) -> Iterator[Part]:
    at = 0
    for _ in range(count):
        try:
            end = skip(data, at)
        except (IndexError, RecursionError):
            raise DecodeError("avro", "damaged: a record does not fit the schema") from None
        if not at < end <= len(data):
            raise DecodeError("avro", "damaged: a record does not fit its block")
        yield from plan(data[at:end], limit)
        at = end
    if at != len(data):
        raise DecodeError("avro", "damaged: bytes left over in a block")


def _inflated(block: bytes, limit: int) -> bytes:
    inflating = zlib.decompressobj(wbits=-15)
    try:
        data = inflating.decompress(block, limit + 1)
    except zlib.error:
        raise DecodeError("avro", "damaged: a block that cannot be decompressed") from None
    if len(data) > limit:
        raise DecodeError("too_large", "a block that decompresses to more than the limit")
    if not inflating.eof:
        raise DecodeError("avro", "damaged: a compressed block ends too early")
    return data


def _metadata(content: "_Content") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    while count := content.long():
        if count < 0:
            count = -count
            content.long()
        if len(found) + count > _MAX_ENTRIES:
            raise DecodeError("avro", "a header of too many entries")
        for _ in range(count):
            name = content.take(content.long(), MAX_SCHEMA_BYTES).decode("utf-8", "replace")
            found[name] = content.take(content.long(), MAX_SCHEMA_BYTES)
    return found


class _Content:
    """What comes in pieces, taken in sizes of our own."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self._at = 0

    def at_end(self) -> bool:
        return self._missing(1)

    def take(self, size: int, most: int | None = None) -> bytes:
        if size < 0 or (most is not None and size > most):
            raise DecodeError("avro", "damaged: an impossible length")
        if self._missing(size):
            raise DecodeError("avro", "the container ends too early")
        self._at += size
        return self._held[self._at - size : self._at]

    def long(self) -> int:
        number = shift = 0
        while (byte := self.take(1)[0]) > 127:
            number |= (byte & 127) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise DecodeError("avro", "damaged: an impossible number")
        number |= byte << shift
        return (number >> 1) ^ -(number & 1)

    def _missing(self, size: int) -> bool:
        """Whether less than that is left, after reading on."""
        have = len(self._held) - self._at
        if have >= size:
            return False
        held = [self._held[self._at :]]
        while have < size and (piece := next(self._pieces, None)) is not None:
            held.append(piece)
            have += len(piece)
        self._held, self._at = b"".join(held), 0
        return have < size
