"""Where an Avro value ends, found without making it: what a glance at a record's two names needs.

A `Skip` is compiled once a schema. It takes the data and where the value begins, and returns where it ends, which
may lie beyond the data: who cares has to look. It raises DecodeError or IndexError for data that cannot be such a
value, RecursionError for one that is nested too deeply. It always ends: each step moves on, in what is there.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import Any, Final

from service.avro.schema import Schema, UnusableSchema, size_of
from service.errors import DecodeError

Skip = Callable[[bytes, int], int]
_SkipMany = Callable[[bytes, int, int], int]  # so many in a row

# By a length's first byte, how far to go when it is the only one, so below 64: itself and what it counts. 0: look
# closer. A call for each of a record's texts would take twice as long.
_STEP: Final = tuple(0 if byte & 1 or byte > 127 else 1 + (byte >> 1) for byte in range(256))
_PRESENT_STEP: Final = tuple(step and 1 + step for step in _STEP)  # the same after the byte of a union's branch
_MAX_SHIFT: Final = 63
_NULLABLE_TEXT: Final = (["null", "string"], ["null", "bytes"])
_RECORD: Final = ("record", "error")


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length zig-zag number of at most 64 bits, and where it ends."""
    number = shift = 0
    while (byte := data[at]) > 127:
        number |= (byte & 127) << shift
        shift += 7
        at += 1
        if shift > _MAX_SHIFT:
            raise DecodeError("avro", "a number of more than 64 bits")
    number |= byte << shift
    return (number >> 1) ^ -(number & 1), at + 1


def read_name(data: bytes, at: int) -> tuple[str, int]:
    """A text, and where it ends; it lies within the data."""
    step = _STEP[data[at]]
    if step:
        end = at + step
        at += 1
    else:
        length, at = read_long(data, at)
        end = at + length
    if not at <= end <= len(data):
        raise DecodeError("avro", "a text of an impossible length")
    return data[at:end].decode("utf-8", "replace"), end


def _null(_: bytes, at: int) -> int:
    return at


def _long(data: bytes, at: int) -> int:
    while data[at] > 127:
        at += 1
    return at + 1


def _text(data: bytes, at: int) -> int:
    step = _STEP[data[at]]
    return at + step if step else _long_text(data, at)


def _long_text(data: bytes, at: int) -> int:
    length, at = read_long(data, at)
    if length < 0:
        raise DecodeError("avro", "a text of negative length")
    return at + length


def _fixed(size: int) -> Skip:
    def skip(data: bytes, at: int) -> int:
        if at + size > len(data):
            raise DecodeError("avro", "the data ends too early")
        return at + size

    return skip


def _nullable_texts(count: int) -> Skip:
    """So many in a row, each a union of null and text in this order, as most fields of a record are."""

    def skip(data: bytes, at: int) -> int:
        for _ in repeat(None, count):
            branch = data[at]
            if branch == 2:
                step = _PRESENT_STEP[data[at + 1]]
                at = at + step if step else _long_text(data, at + 1)
            elif branch:
                raise DecodeError("avro", "no such branch of a union")
            else:
                at += 1
        return at

    return skip


def _sequence(skips: Sequence[Skip]) -> Skip:
    if not skips:
        return _null
    if len(skips) == 1:
        return skips[0]

    def skip(data: bytes, at: int) -> int:
        for each in skips:
            at = each(data, at)
        return at

    return skip


def _optional(value: Skip) -> Skip:
    """A union of null and something, in this order."""

    def skip(data: bytes, at: int) -> int:
        branch = data[at]
        if branch == 2:
            return value(data, at + 1)
        if branch:
            raise DecodeError("avro", "no such branch of a union")
        return at + 1

    return skip


def _union(branches: Sequence[Skip]) -> Skip:
    def skip(data: bytes, at: int) -> int:
        branch = data[at]
        if branch & 1 or branch > 127:
            branch, at = _branch(data, at), _long(data, at) - 1
        return branches[branch >> 1](data, at + 1)

    return skip


def _branch(data: bytes, at: int) -> int:
    """Twice the number of a branch that one byte does not hold."""
    number, _ = read_long(data, at)
    if number < 0:
        raise DecodeError("avro", "no such branch of a union")
    return 2 * number


def _each(item: Skip) -> _SkipMany:
    def skip(data: bytes, at: int, count: int) -> int:
        for _ in repeat(None, count):
            at = item(data, at)
        return at

    return skip


def _nothing(_: bytes, at: int, __: int) -> int:
    return at


def _texts(data: bytes, at: int, count: int) -> int:
    for _ in repeat(None, count):
        step = _STEP[data[at]]
        at = at + step if step else _long_text(data, at)
    return at


def _pairs_of_texts(data: bytes, at: int, count: int) -> int:
    return _texts(data, at, 2 * count)


def _blocks(many: _SkipMany) -> Skip:
    """An array, or a map, whose item is key and value."""

    def skip(data: bytes, at: int) -> int:
        while byte := data[at]:
            if _STEP[byte]:
                at = many(data, at + 1, byte >> 1)
                continue
            count, at = read_long(data, at)
            if count >= 0:
                at = many(data, at, count)
                continue
            size, at = read_long(data, at)  # of the block, in bytes
            if size < 0:
                raise DecodeError("avro", "a block of negative size")
            at += size
        return at + 1

    return skip


_SKIPS: Final[dict[str, Skip]] = {
    "null": _null,
    "boolean": _fixed(1),
    "int": _long,
    "long": _long,
    "float": _fixed(4),
    "double": _fixed(8),
    "bytes": _text,
    "string": _text,
    "enum": _long,
}


class Skips:
    """Compiles the types of one schema. Raises UnusableSchema, or one of schema.ODD for one of odd shape."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._records: dict[str, Skip] = {}
        self._empty: dict[str, bool | None] = {}  # None: looked at right now

    def of(self, schema: Any) -> Skip:
        word, definition = self._schema.type_of(schema)
        if word in _SKIPS:
            return _SKIPS[word]
        if self.takes_no_bytes(schema):
            return _null  # whatever it is made of: records of records of nothing may be exponentially many
        if word == "fixed":
            return _fixed(size_of(definition))
        return self._record(definition) if word in _RECORD else self._compound(word, definition)

    def several(self, schemas: Iterable[Any]) -> Skip:
        """Values one after the other, as a record's fields are."""
        skips: list[Skip] = []
        for nullable, run in groupby(self._flat(schemas), self._is_nullable_text):
            several = list(run)
            skips += [_nullable_texts(len(several))] if nullable else map(self.of, several)
        return _sequence(skips)

    def _flat(self, schemas: Iterable[Any]) -> Iterator[Any]:
        """With the fields of a record in its place, where it is defined there: a call less for each."""
        for schema in schemas:
            if isinstance(schema, dict) and schema["type"] in _RECORD and not self.takes_no_bytes(schema):
                yield from self._flat(each["type"] for each in schema["fields"])
            else:
                yield schema

    def takes_no_bytes(self, schema: Any) -> bool:
        """Whether every value of the type is written as nothing at all."""
        word, definition = self._schema.type_of(schema)
        if word == "fixed":
            return size_of(definition) == 0
        if word not in _RECORD:
            return word == "null"
        name = definition["name"]
        if name not in self._empty:
            self._empty[name] = None
            self._empty[name] = all(self.takes_no_bytes(each["type"]) for each in definition["fields"])
        empty = self._empty[name]
        if empty is None:
            raise UnusableSchema("a record that holds itself, so never ends")
        return empty

    def _is_nullable_text(self, schema: Any) -> bool:
        return isinstance(schema, list) and [self._schema.type_of(each)[0] for each in schema] in _NULLABLE_TEXT

    def _compound(self, word: str, definition: Any) -> Skip:
        if word == "array":
            item = self.of(definition["items"])
            return _blocks(_nothing if item is _null else _texts if item is _text else _each(item))
        if word == "map":
            value = self.of(definition["values"])
            return _blocks(_pairs_of_texts if value is _text else _each(_sequence((_text, value))))
        if self._is_nullable_text(definition):
            return _nullable_texts(1)
        branches = [self.of(branch) for branch in definition]
        return _optional(branches[1]) if len(branches) == 2 and branches[0] is _null else _union(branches)

    def _record(self, definition: Any) -> Skip:
        name = definition["name"]

        def later(data: bytes, at: int) -> int:
            return self._records[name](data, at)

        if name not in self._records:
            self._records[name] = later  # for what refers to it before it is made, itself for example
            self._records[name] = self.several(each["type"] for each in definition["fields"])
        return self._records[name]
