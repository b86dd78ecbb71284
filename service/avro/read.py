"""Avro bytes -> a value as JSON has them: null, bool, numbers, text, list, dict.

Written for data that may be hostile, where fastavro's own reader is not: it recurses until the process dies, and
makes whatever an array's count says. Here nesting and size are bounded, and every byte must have its use.
"""

import base64
import struct
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from service.avro.schema import OBJECTS, Schema, UnusableSchema, fields_of, size_of
from service.avro.skip import read_long
from service.envelopes.mending import decode_json
from service.errors import DecodeError

MAX_DEPTH: Final = 64  # of records, arrays and maps; CloudTrail's have less than ten
_ITEM: Final = 24  # what an item counts for beside its content: even `null` takes a place in memory
_MAX_DECIMAL_BYTES: Final = 32
_MAX_DECIMAL_SCALE: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Cursor:
    """Where we are. `left` is how much more may be made, in characters of JSON, beyond the data's own bytes."""

    data: bytes
    at: int
    left: int
    depth: int = 0

    def long(self) -> int:
        number, self.at = read_long(self.data, self.at)
        return number

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise DecodeError("avro", "a length that cannot be")
        self.at += size
        return self.data[self.at - size : self.at]

    def text(self) -> str:
        return self.take(self.long()).decode("utf-8", "replace")

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DecodeError("too_large", "decodes to more than the limit")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise DecodeError("too_deep", f"nested more than {MAX_DEPTH} deep")


Read = Callable[[Cursor], object]


def read_whole(read: Read, data: bytes, start: int, limit: int) -> object:
    """The value that takes all the data from `start`. Raises DecodeError."""
    cursor = Cursor(data, start, limit)
    try:
        value = read(cursor)
    except (IndexError, struct.error):
        raise DecodeError("avro", "the data ends too early") from None
    except (TypeError, ValueError, LookupError, ArithmeticError):
        raise DecodeError("avro", "the data does not fit its schema") from None
    if cursor.at != len(data):
        raise DecodeError("avro", f"{len(data) - cursor.at:,} bytes left over")
    return value


# --- plain types -------------------------------------------------------------------------------


def _boolean(cursor: Cursor) -> bool:
    byte = cursor.take(1)
    if byte not in (b"\0", b"\1"):
        raise DecodeError("avro", "neither true nor false")
    return byte == b"\1"


def _number(form: str) -> Read:
    unpack, size = struct.Struct(form).unpack, struct.calcsize(form)
    return lambda cursor: unpack(cursor.take(size))[0]


def readable(content: bytes) -> str:
    """JSON has no bytes: as UTF-8 where they are that, else in base64, as compressed JSON is known in, too."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return base64.b64encode(content).decode()


def _bytes(cursor: Cursor) -> str:
    return readable(cursor.take(cursor.long()))


_PLAIN: Final[dict[str, Read]] = {
    "null": lambda _: None,
    "boolean": _boolean,
    "int": Cursor.long,
    "long": Cursor.long,
    "float": _number("<f"),
    "double": _number("<d"),
    "bytes": _bytes,
    "string": Cursor.text,
}


# --- logical types -----------------------------------------------------------------------------


def _moment(**unit: float) -> Callable[[Any], object]:
    """RFC 3339. What no calendar holds stays the number it is."""

    def convert(count: int) -> object:
        try:
            moment = _EPOCH + count * timedelta(**unit)
        except OverflowError:
            return count
        return moment.isoformat().replace("+00:00", "Z")

    return convert


def _day(count: int) -> object:
    try:
        return date.fromordinal(count + date(1970, 1, 1).toordinal()).isoformat()
    except (OverflowError, ValueError):
        return count


def _decimal(scale: int) -> Callable[[Any], object]:
    def convert(content: bytes) -> object:
        if len(content) > _MAX_DECIMAL_BYTES or not 0 <= scale <= _MAX_DECIMAL_SCALE:
            return readable(content)
        unscaled = int.from_bytes(content, signed=True)
        if scale == 0 and -(2**63) <= unscaled < 2**63:
            return unscaled
        return str(Decimal(f"{unscaled}e-{scale}"))

    return convert


_LOGICAL: Final[dict[tuple[str, str], Callable[[Any], object]]] = {
    ("int", "date"): _day,
    ("long", "timestamp-millis"): _moment(milliseconds=1),
    ("long", "timestamp-micros"): _moment(microseconds=1),
    ("long", "timestamp-nanos"): lambda count: _moment(microseconds=1)(count // 1000),
    ("long", "local-timestamp-millis"): _moment(milliseconds=1),
    ("long", "local-timestamp-micros"): _moment(microseconds=1),
}


def _converted(read: Read, convert: Callable[[Any], object]) -> Read:
    return lambda cursor: convert(read(cursor))


def _leaf(word: str, definition: Any) -> Read:
    """A type without others inside. A logical type that is not listed is read as what it is written as."""
    logical = definition.get("logicalType")
    scale = definition.get("scale", 0)
    if word == "enum":
        return _enum(definition["symbols"])
    if logical == "decimal" and type(scale) is not int:
        raise UnusableSchema("a decimal of no possible scale")
    if word == "fixed":
        size = size_of(definition)
        if logical == "uuid" and size == 16:
            return lambda cursor: str(uuid.UUID(bytes=cursor.take(16)))
        convert = _decimal(scale) if logical == "decimal" else readable
        return lambda cursor: convert(cursor.take(size))
    if word == "bytes" and logical == "decimal":
        convert = _decimal(scale)
        return lambda cursor: convert(cursor.take(cursor.long()))
    known = _LOGICAL.get((word, logical))
    return _converted(_PLAIN[word], known) if known else _PLAIN[word]


def _enum(symbols: object) -> Read:
    if not isinstance(symbols, list):
        raise UnusableSchema("an enum without a list of symbols")
    return lambda cursor: _chosen(symbols, cursor.long())


def _chosen(choices: Sequence[Any], index: int) -> Any:
    if not 0 <= index < len(choices):
        raise DecodeError("avro", "no such branch of a union, or symbol of an enum")
    return choices[index]


# --- types with others inside ------------------------------------------------------------------


def _union(branches: Sequence[Read]) -> Read:
    return lambda cursor: _chosen(branches, cursor.long())(cursor)


def _blocks(cursor: Cursor) -> int:
    """How many items the next block has; 0 at the end. One that says its size in bytes is believed its items."""
    count = cursor.long()
    if count < 0:
        count = -count
        cursor.long()
    cursor.spend(count * _ITEM)
    return count


def _array(item: Read) -> Read:
    def read(cursor: Cursor) -> object:
        cursor.enter()
        items: list[object] = []
        while count := _blocks(cursor):
            items += [item(cursor) for _ in range(count)]
        cursor.depth -= 1
        return items

    return read


def _map(value: Read) -> Read:
    def read(cursor: Cursor) -> object:
        cursor.enter()
        items: dict[str, object] = {}
        while count := _blocks(cursor):
            for _ in range(count):
                key = cursor.text()
                found = value(cursor)
                items[key] = _parsed(found) if key in OBJECTS else found
        cursor.depth -= 1
        return items

    return read


def _record(fields: Sequence[tuple[str, Read]]) -> Read:
    size = sum(len(name) + _ITEM for name, _ in fields) + _ITEM

    def read(cursor: Cursor) -> object:
        cursor.enter()
        cursor.spend(size)
        values = {name: read(cursor) for name, read in fields}
        cursor.depth -= 1
        return values

    return read


def _parsed(value: object) -> object:
    """What JSON text in an object's place says. A text that is none stays: unreadable is not absent."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", "n"):
        return value
    try:
        parsed = decode_json(value.encode())
    except DecodeError:
        return value
    return parsed if isinstance(parsed, dict | list | None) else value


class Reads:
    """Compiles the types of one schema. Raises UnusableSchema, or one of schema.ODD for one of odd shape."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._records: dict[str, Read] = {}

    def of(self, schema: Any) -> Read:
        word, definition = self._schema.type_of(schema)
        match word:
            case "union":
                return _union([self.of(branch) for branch in definition])
            case "array":
                return _array(self.of(definition["items"]))
            case "map":
                return _map(self.of(definition["values"]))
            case "record" | "error":
                return self._record(definition)
            case _:
                return _leaf(word, definition)

    def _record(self, definition: Any) -> Read:
        name = definition["name"]

        def later(cursor: Cursor) -> object:
            return self._records[name](cursor)

        if name not in self._records:
            self._records[name] = later  # for what refers to it before it is made, itself for example
            fields = ((called, self.of(schema)) for called, schema in fields_of(definition))
            self._records[name] = _record(
                [(called, _converted(read, _parsed) if called in OBJECTS else read) for called, read in fields]
            )
        return self._records[name]
