"""A schema -> how its messages are taken apart. Knows neither wire formats nor registries."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from service.avro.read import Reads, read_whole
from service.avro.schema import ODD, Schema, UnusableSchema, fields_of
from service.avro.skip import Skips, read_name
from service.envelopes import DEFAULT_LIMIT, Part, Record, Rejected, unwrap
from service.errors import DecodeError

# A message, and how many bytes it may decode to -> its parts. Never raises.
Plan = Callable[[bytes, int], Sequence[Part]]
_ReadName = Callable[[bytes, int], tuple[str | None, int]]

_NAMES: Final = ("eventSource", "eventName")
_WRAPPERS: Final = ("message", "value")  # fields whose text may be the document itself
_DOCUMENT: Final = ("{", "[", '"', "H4sI")  # how JSON begins, and base64 of gzip


def compile_plan(schema: Schema, start: int) -> Plan:
    """For messages whose value begins at `start`. Raises UnusableSchema.

    A record with CloudTrail's two names is read up to these. All else becomes JSON and goes through the envelopes:
    `Records`, an ECS or OCSF document, a text or bytes, a record that holds one of these as `message` or `value`.
    """
    try:
        read = Reads(schema).of(schema.root)
        word, root = schema.type_of(schema.root)
        fields = list(fields_of(root)) if word == "record" else []
        named = [(place, name, type_) for place, (name, type_) in enumerate(fields) if name in _NAMES]
        readers = [reader for _, _, type_ in named if (reader := _name_reader(schema, type_))]
        if len(readers) != 2 or {name for _, name, _ in named} != set(_NAMES):
            return _whole(read, start)
        (first, name, _), (second, *_) = named
        types = [type_ for _, type_ in fields]
        skips = Skips(schema)
        before, between = skips.several(types[:first]), skips.several(types[first + 1 : second])
    except RecursionError:
        raise UnusableSchema("a schema that is nested too deeply") from None
    except ODD as error:
        raise UnusableSchema(f"no valid Avro schema ({type(error).__name__})") from None

    usual = partial(read_whole, read, start=start, limit=DEFAULT_LIMIT)
    read_first, read_second = readers
    source_first = name == "eventSource"

    def plan(data: bytes, limit: int) -> Sequence[Part]:
        decode = usual if limit == DEFAULT_LIMIT else partial(read_whole, read, start=start, limit=limit)
        try:
            one, at = read_first(data, before(data, start))
            two, _ = read_second(data, between(data, at))
        except (DecodeError, IndexError):
            return (Rejected(data, "avro", "the data does not fit its schema"),)
        except RecursionError:
            return (Rejected(data, "too_deep", "nested too deeply"),)
        if source_first:
            return (Record(data, one, two, "avro", decode),)
        return (Record(data, two, one, "avro", decode),)

    return plan


def _name_reader(schema: Schema, type_: Any) -> _ReadName | None:
    """None where the type is neither a text nor a union of null and text."""
    word, definition = schema.type_of(type_)
    if word == "string":
        return read_name
    if word != "union" or len(definition) != 2:
        return None
    branches = [schema.type_of(branch)[0] for branch in definition]
    if sorted(branches) != ["null", "string"]:
        return None
    null = 2 * branches.index("null")

    def read(data: bytes, at: int) -> tuple[str | None, int]:
        branch = data[at]
        if branch == null:
            return None, at + 1
        if branch != 2 - null:
            raise DecodeError("avro", "no such branch of a union")
        return read_name(data, at + 1)

    return read


def _whole(read: Callable[[Any], object], start: int) -> Plan:
    def plan(data: bytes, limit: int) -> Sequence[Part]:
        try:
            value = read_whole(read, data, start, limit)
        except DecodeError as error:
            return (Rejected(data, error.reason, str(error)),)
        try:
            document = _document(value)
        except RecursionError:  # what JSON text held is as deep as that was
            return (Rejected(data, "too_deep", "nested too deeply"),)
        return unwrap(document, limit, "avro")

    return plan


def _document(value: object) -> bytes:
    texts = [value.get(key) for key in _WRAPPERS] if isinstance(value, dict) else []
    held = (text for text in texts if isinstance(text, str) and text.lstrip().startswith(_DOCUMENT))
    text = value if isinstance(value, str) else next(held, None)
    if text is not None:
        return text.encode()
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):  # lone surrogates and long numbers, which JSON text may hold
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
