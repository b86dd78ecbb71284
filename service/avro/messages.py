"""Avro messages -> CloudTrail records: wire formats, and what is done about schemas that cannot be had.

A message is told by how it begins: Confluent's wire format (0 and a 4-byte schema id), Avro's single-object
encoding (C3 01 and a fingerprint), a whole container file (`Obj` and 1), or AWS Glue's header, which is not
supported. All else is left to `service.envelopes`.

Of a record with CloudTrail's names only these are read; in full it is decoded when a rule watches it. Until then
nobody looks at what stands behind the names: bytes missing or left over there are noticed by the full decode only.
"""

import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service import envelopes
from service.avro.container import MAGIC, unwrap_container
from service.avro.plan import Plan, compile_plan
from service.avro.schema import UnusableSchema, fingerprint, parse
from service.envelopes import DEFAULT_LIMIT, Part, Rejected
from service.errors import Refused, SchemaUnavailable, SettingsError
from service.escape import printable

if TYPE_CHECKING:
    from service.avro.registry import Registered, Registry
    from service.settings import RegistrySettings

TRIES: Final = 5  # before an outage is one, where registry.unavailable is not `retry`
MAX_KNOWN: Final = 2_000  # schemas kept; a registry has some hundreds
# A topic full of invented ids fills no memory, and has the registry asked for one after the other. To be refused
# unasked, for there being too many of them, would let whoever sends them silence a new schema's events.
MAX_UNKNOWN: Final = 10_000
UNKNOWN_SECONDS: Final = 30.0

_WIRE_HEADER: Final = 5
_SINGLE_OBJECT: Final = b"\xc3\x01"
_SINGLE_OBJECT_HEADER: Final = 10
_GLUE: Final = (b"\x03\x00", b"\x03\x05")  # its version, then how the rest is compressed: not, or with zlib
_GLUE_HEADER: Final = 18
_FIRST_BYTES: Final = frozenset({b"\0", MAGIC[:1], _SINGLE_OBJECT[:1], *(header[:1] for header in _GLUE)})
_TEXT_BEGINS: Final = b'{[" \t\r\n'


def connect(settings: "RegistrySettings") -> "Registry | None":
    """The registry, where one is configured. Raises SettingsError."""
    if settings.url is None:
        return None
    from service.avro.registry import Registry  # noqa: PLC0415  brings 22 MB, for those who have a registry

    return Registry(settings)


class AvroReader:
    """`unwrap` takes the place of `service.envelopes.unwrap`. Not for several threads.

    Raises SettingsError for a folder of schemas that cannot be used.
    """

    def __init__(
        self,
        registry: "Registry | None",
        settings: "RegistrySettings",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._known: dict[bytes, Plan] = {}  # by wire header; what an id means never changes
        self._unknown: dict[bytes, float] = {}  # ids the registry did not know, until when that is believed
        self._by_fingerprint = schemas_in(settings.schemas)

    def unwrap(self, data: bytes, limit: int = DEFAULT_LIMIT) -> Sequence[Part]:
        """As `service.envelopes.unwrap`, but raises SchemaUnavailable, or Refused by a registry."""
        if data[:1] not in _FIRST_BYTES:
            return envelopes.unwrap(data, limit)
        header = data[:_WIRE_HEADER]
        plan = self._known.get(header)
        if plan is not None and header[3] not in _TEXT_BEGINS:  # so no text in UTF-32
            return plan(data, limit)
        if len(header) == _WIRE_HEADER and header[0] == 0 and not _is_wide_text(data):
            return (plan or self._looked_up(header))(data, limit)
        if data.startswith(MAGIC):  # it would bring a schema of its own, from whoever may write to the topic
            return (
                Rejected(data, "avro", "a container file is no message: scan reads it, feed sends its records"),
            )
        return unwrap_unregistered(data, limit, self._by_fingerprint)

    def _looked_up(self, header: bytes) -> Plan:
        _, schema_id = struct.unpack(">bI", header)
        if self._registry is None:
            return _rejecting("no registry is configured")
        if self._is_unknown(header):
            return self._not_known(schema_id)
        try:
            registered = self._registry.by_id(schema_id)
        except SchemaUnavailable as error:
            return self._unavailable(str(error), self._registry.failures)
        if registered is None:
            if len(self._unknown) >= MAX_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
            self._unknown[header] = self._clock() + UNKNOWN_SECONDS
            return self._not_known(schema_id)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        plan = self._known[header] = _plan_of(registered)
        return plan

    def _is_unknown(self, header: bytes) -> bool:
        now = self._clock()
        while self._unknown and self._unknown[oldest := next(iter(self._unknown))] <= now:
            del self._unknown[oldest]
        return header in self._unknown

    def _not_known(self, schema_id: int) -> Plan:
        problem = f"schema {schema_id} is not in the registry"
        match self._settings.unknown_schema:
            case "retry":
                raise SchemaUnavailable(problem)
            case "stop":
                raise Refused(f"{problem}, and registry.unknown_schema is stop")
            case _:
                return _rejecting(problem)

    def _unavailable(self, problem: str, failures: int) -> Plan:
        chosen = self._settings.unavailable
        if chosen == "retry" or failures < TRIES:
            raise SchemaUnavailable(problem)
        if chosen == "stop":
            raise Refused(f"{problem}, and registry.unavailable is stop")
        return _rejecting(problem, "schema_unavailable")


def unwrap_unregistered(data: bytes, limit: int, by_fingerprint: Mapping[bytes, Plan]) -> Sequence[Part]:
    """A message, or a file, that no registry is needed for."""
    if data.startswith(_SINGLE_OBJECT) and len(data) >= _SINGLE_OBJECT_HEADER:
        plan = by_fingerprint.get(data[2:_SINGLE_OBJECT_HEADER])
        return (plan or _rejecting("registry.schemas holds none of its fingerprint"))(data, limit)
    if data.startswith(_GLUE) and len(data) >= _GLUE_HEADER:
        detail = "written for AWS Glue Schema Registry, which is not supported: set its producer to another format"
        return (Rejected(data, "glue_schema", detail),)
    return envelopes.unwrap(data, limit)


def unwrap_file(pieces: Iterable[bytes], limit: int, schemas: Path | None) -> Iterator[Part]:
    """The parts of a container file, or of a file that is one single object. Raises DecodeError, SettingsError."""
    pieces = iter(pieces)
    first = next(pieces, b"")
    if first.startswith(MAGIC):
        yield from unwrap_container(chain((first,), pieces), limit)
    else:
        yield from unwrap_unregistered(b"".join((first, *pieces)), limit, schemas_in(schemas))


@cache
def schemas_in(folder: Path | None) -> dict[bytes, Plan]:
    """Plans for single-object encoding, by fingerprint. Raises SettingsError with a line for each bad file."""
    if folder is None:
        return {}
    found: dict[bytes, Plan] = {}
    problems = [] if folder.is_dir() else [f"registry.schemas: {printable(str(folder))} is no folder"]
    for file in sorted(folder.glob("*.avsc")):
        try:
            schema = parse(file.read_text(encoding="utf-8"))
            found[fingerprint(schema)] = compile_plan(schema, _SINGLE_OBJECT_HEADER)
        except (OSError, UnicodeDecodeError, UnusableSchema) as error:
            problems.append(f"registry.schemas: {printable(str(file))}: {printable(str(error))}")
    if problems:
        raise SettingsError(problems)
    return found


def _plan_of(registered: "Registered") -> Plan:
    if registered.kind == "JSON":
        return lambda data, limit: envelopes.unwrap(data[_WIRE_HEADER:], limit)
    if registered.kind != "AVRO":
        return _rejecting("its schema is neither of Avro nor of JSON")
    try:
        return compile_plan(parse(registered.text, registered.references), _WIRE_HEADER)
    except UnusableSchema as error:
        return _rejecting(f"its schema cannot be used: {error}")


def _rejecting(detail: str, reason: str = "schema_unknown") -> Plan:
    return lambda data, _limit: (Rejected(data, reason, detail),)


def _is_wide_text(data: bytes) -> bool:
    """JSON in UTF-16 or UTF-32, big-endian, begins with zeros as well."""
    if data[2] == 0 and data[1] in _TEXT_BEGINS:
        return True  # as an id, that would be one of hundreds of millions
    if data[1:3] != b"\0\0" or data[3] not in _TEXT_BEGINS or len(data) % 4:
        return False
    return not any(data[::4]) and max(data[1::4]) <= 0x10  # all code points are below 0x110000
