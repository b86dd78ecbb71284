"""Several documents in one message, and broken ones: taken apart, or decoded as leniently as can be.

Knows JSON only: not what a document holds, nor what it is wrapped in.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Raw

from service.errors import DecodeError

# What msgspec raises on bytes that are no valid JSON, or JSON of another shape.
BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _LogEvent(msgspec.Struct):
    message: str


_MAX_DIGITS: Final = 400
_anything: Final = msgspec.json.Decoder().decode
_elements: Final = msgspec.json.Decoder(list[Raw]).decode
_log_event: Final = msgspec.json.Decoder(_LogEvent).decode
_raw: Final = msgspec.json.Decoder(Raw).decode
_text: Final = msgspec.json.Decoder(str).decode
OPENING_RECORDS: Final = re.compile(rb'\{\s*"Records"\s*:\s*\[')
_OPENING: Final = re.compile(rb'(?:\{\s*"Records"\s*:\s*)?\[')
# A string that is not closed ends with its line: taking it as one token keeps the scan linear.
_TOKEN: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|[{}\[\]]')
_SEPARATORS: Final = b" \t\r\n,\0"
_CLOSERS: Final = _SEPARATORS + b"]}"


def lines(data: bytes) -> list[bytes] | None:
    """The lines, if at least one that is not indented is a whole JSON object."""
    found = [line for line in data.split(b"\n") if line.strip()]
    if len(found) < 2 or not any(line[:1] == b"{" and is_json(line) for line in found):
        return None
    if _OPENING.match(found[0]) and not is_json(found[0]):
        return None  # one array over several lines, an element on each
    return found


def is_json(data: bytes) -> bool:
    try:
        _raw(data)
    except BROKEN:
        return False
    return True


def apart(data: bytes) -> list[bytes]:
    """Objects and arrays standing side by side, or the elements of one array that is broken somewhere."""
    pieces = list(_pieces(data, inside=False))
    opening = _OPENING.match(data)
    if len(pieces) > 1 or opening is None:
        return pieces
    return list(_pieces(data[opening.end() :], inside=True))


def _pieces(data: bytes, *, inside: bool) -> Iterator[bytes]:
    """Balanced objects and arrays, and what stands between them; `inside` an array, up to its end."""
    start = end = depth = 0
    for token in _TOKEN.finditer(data):
        symbol = token[0]
        if symbol in (b"{", b"["):
            if depth == 0:
                yield from _rest(data[end : token.start()])
                start = end = token.start()
            depth += 1
        elif symbol in (b"}", b"]"):
            if depth == 0 and inside:
                data = data[: token.start()]
                break
            if depth == 1:
                end = token.end()
                yield data[start:end]
            depth = max(0, depth - 1)
    # A document that is never closed hides those behind it, save where one starts a line.
    for rest in re.split(rb"\n(?=\{)", data[end:]):
        yield from _rest(rest)


def _rest(data: bytes) -> Iterator[bytes]:
    if data.strip(_CLOSERS):
        yield data.strip(_SEPARATORS)


def decode_json(data: bytes) -> object:
    """Decode in full, strictly if possible. Raises DecodeError."""
    try:
        return _anything(data)
    except BROKEN:
        return mended(data)


def mended(data: bytes) -> object:
    """Decode as leniently as the standard library can: a finding must not hang on a stray byte.

    Takes invalid UTF-8 and lone surrogates (as U+FFFD and `?`), control characters, NaN (as null) and numbers
    beyond a double, or of more digits than Python reads. Raises DecodeError.
    """
    try:
        return json.loads(
            data.decode(json.detect_encoding(data), "replace"),
            strict=False,
            parse_constant=lambda _name: None,
            parse_int=lambda digits: int(digits[:_MAX_DIGITS]),
            parse_float=lambda number: max(-1.7e308, min(float(number), 1.7e308)),
        )
    except (ValueError, RecursionError) as error:
        raise DecodeError("json", "the record cannot be decoded in full") from error


def _mended_or_none(data: bytes) -> object:
    try:
        return mended(data)
    except DecodeError:
        return None


def mended_text(data: bytes) -> bytes | None:
    """The document made well-formed; None when that is beyond us, or no object or array comes of it."""
    value = _mended_or_none(data)
    if not isinstance(value, dict | list):
        return None
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        return None


def quoted_text(data: bytes) -> bytes | None:
    try:
        return _text(data).encode()
    except BROKEN:
        return _utf8(_mended_or_none(data))


def message_of(log_event: bytes) -> bytes | None:
    try:
        return _log_event(log_event).message.encode()
    except BROKEN:
        mended = _mended_or_none(log_event)
        return _utf8(mended.get("message")) if isinstance(mended, dict) else None


def _utf8(value: object) -> bytes | None:
    return value.encode("utf-8", "replace") if isinstance(value, str) else None


def array_of(data: bytes) -> list[Raw] | None:
    try:
        return _elements(data)
    except BROKEN:
        return None
