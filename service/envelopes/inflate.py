"""Gzip -> bytes, never more than a limit."""

import zlib
from typing import Final

GZIP: Final = b"\x1f\x8b"
DEFLATE_RATIO: Final = 1_032  # the most bytes that deflate makes of one


class Bomb(Exception):
    pass


def gunzip(data: bytes, limit: int) -> bytes:
    """All members of a gzip stream. Raises zlib.error, or Bomb beyond `limit` bytes."""
    pieces: list[bytes] = []
    made = 0
    while data.startswith(GZIP):
        member = zlib.decompressobj(wbits=31)
        pieces.append(member.decompress(data, limit - made + 1))
        made += len(pieces[-1])
        if made > limit:
            raise Bomb
        if not member.eof:
            raise zlib.error("truncated")
        data = member.unused_data.lstrip(b"\0 \t\r\n")  # some writers pad
    if data:
        raise zlib.error("trailing bytes")
    return b"".join(pieces)
