"""Findings as they come: every partition of their topic, and what of a finding fits on a line.

Joins no group and commits nothing, so it disturbs nobody who reads the topic. Knows no terminal.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from service.batch import Message
from service.errors import DecodeError, Unreachable
from service.finding import SEVERITIES, Severity
from service.kafka.clients import CALL_SECONDS, POLL_SECONDS, check_topic, consumer_config, new_client
from service.kafka.errors import is_final, no_answer, refusal
from service.settings import KafkaSettings
from service.timestamps import rfc3339

if TYPE_CHECKING:
    from service.avro.read import Read
    from service.avro.registry import Registry

Start = Literal["beginning", "end"]

_BATCH: Final = 500
_REFRESH_SECONDS: Final = 5.0
_AVRO: Final = "application/avro"
_AVRO_HEADER: Final = 5
_MAX_SCHEMAS: Final = 100
_MAX_FINDING_BYTES: Final = 16 * 2**20  # of Avro, decoded


class Follower:
    """Reads a topic as it grows, new partitions included, and only what is committed. Used by one thread."""

    def __init__(self, settings: KafkaSettings, topic: str, start: Start) -> None:
        """`end` is the topic's end at this moment. Raises Unreachable or Refused."""
        # Without a subscription the group is a name only. What retention takes meanwhile is no loss here.
        # A partition that a fetch leaves out has to wait until the brokers have answered that one.
        own = {"auto.offset.reset": "earliest", "statistics.interval.ms": 0, "fetch.wait.max.ms": 50}
        self._consumer = new_client(Consumer, {**consumer_config(settings), **own})
        self._topic = topic
        self._known: set[int] = set()
        self._refreshed_at = time.monotonic()
        self.trouble: str | None = None  # why nothing can come at the moment
        self._follow(check_topic(self._consumer, topic), start)

    def _follow(self, numbers: Collection[int], start: Start) -> None:
        places = [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in numbers]
        if start == "end":
            # Asked now: a place that is only called "the end" is looked up later, behind what came meanwhile.
            ends = [TopicPartition(self._topic, number, OFFSET_END) for number in numbers]
            try:
                places = self._consumer.offsets_for_times(ends, timeout=CALL_SECONDS)
            except KafkaException as failure:
                raise no_answer(failure.args[0]) from failure
        self._consumer.incremental_assign(places)
        self._known.update(numbers)

    def poll(self) -> list[Message]:
        """What has come, waiting a fraction of a second at most. Raises Refused."""
        self._refresh()
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        messages = cast("list[Message]", [first, *self._consumer.consume(_BATCH - 1, 0)])
        return [message for message in messages if self._is_good(message)]

    def _is_good(self, message: Message) -> bool:
        if (error := message.error()) is None:
            return True
        # Asked for by the client though nobody joins; who may read a topic need not have a right to a group.
        if is_final(error) and error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise refusal(error, f"reading {self._topic}")
        return False

    def _refresh(self) -> None:
        if time.monotonic() < self._refreshed_at + _REFRESH_SECONDS:
            return
        try:
            numbers = set(check_topic(self._consumer, self._topic, seconds=1))
        except Unreachable as problem:
            self.trouble = str(problem)
        else:
            self.trouble = None
            self._follow(numbers - self._known, "beginning")
        self._refreshed_at = time.monotonic()

    def close(self) -> None:
        self._consumer.close()


def headers_of(message: Message) -> dict[str, str]:
    return {name: value.decode("utf-8", "replace") for name, value in message.headers() or () if value is not None}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which findings to show, told by their headers; None and () mean all."""

    severity: Severity | None = None  # that or more
    rules: Collection[str] = ()
    canary: bool | None = None

    def __call__(self, headers: Mapping[str, str]) -> bool:
        if self.severity is not None:
            enough = SEVERITIES[SEVERITIES.index(self.severity) :]
            if headers.get("severity") not in enough:
                return False
        if self.rules and headers.get("rule_id") not in self.rules:
            return False
        return self.canary is None or self.canary == (headers.get("canary") == "true")


class Findings:
    """Decodes findings, whatever they are written in. `registry` is for Avro."""

    def __init__(self, registry: "Registry | None") -> None:
        self._registry = registry
        self._reads: dict[bytes, Read] = {}  # by schema id

    def decode(self, message: Message) -> dict[str, Any]:
        """A finding as its JSON has it, ours or OCSF's. Raises DecodeError, SchemaUnavailable, Refused."""
        value = message.value() or b""
        if headers_of(message).get("content-type") == _AVRO:
            document = self._avro(value)
        else:
            try:
                document = msgspec.json.decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise DecodeError("json", "not JSON") from None
        if not isinstance(document, dict):
            raise DecodeError("not_a_record", "no finding")
        return document

    def _avro(self, value: bytes) -> object:
        from service.avro.read import read_whole  # noqa: PLC0415  as below

        identity = value[1:_AVRO_HEADER]
        if value[:1] != b"\0" or len(identity) < _AVRO_HEADER - 1:
            raise DecodeError("avro", "not in the registry's wire format")
        if identity not in self._reads:
            if len(self._reads) >= _MAX_SCHEMAS:
                self._reads.clear()
            self._reads[identity] = self._compiled(int.from_bytes(identity, "big"))
        return read_whole(self._reads[identity], value, _AVRO_HEADER, _MAX_FINDING_BYTES)

    def _compiled(self, schema_id: int) -> "Read":
        from service.avro.read import Reads  # noqa: PLC0415  fastavro, for those who write Avro
        from service.avro.schema import ODD, UnusableSchema, parse  # noqa: PLC0415  the same

        if self._registry is None:
            raise DecodeError("schema_unknown", "written in Avro, and registry.url is not set")
        registered = self._registry.by_id(schema_id)
        if registered is None or registered.kind != "AVRO":
            raise DecodeError("schema_unknown", f"the registry has no Avro schema {schema_id}")
        try:
            schema = parse(registered.text, registered.references)
            return Reads(schema).of(schema.root)
        except (UnusableSchema, RecursionError, *ODD):
            raise DecodeError("schema_unknown", f"the registry's schema {schema_id} cannot be used") from None


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What a line shows of a finding. Texts are as they came: to be escaped where they are shown."""

    time: str | None
    severity: str | None
    rule: str | None
    title: str | None
    principal: str | None
    account: str | None
    notes: tuple[str, ...]  # why nobody has to act on it


def line_of(document: Mapping[str, Any]) -> Line:
    """Of a finding of ours, or of an OCSF Detection Finding. What is missing, or of another type, is None."""
    if document.get("class_uid") == 2004:
        return _line_of_ocsf(document)
    return Line(
        time=_text(document, "event_time") or _text(document, "detected_at"),
        severity=_text(document, "severity"),
        rule=_text(document, "rule_id"),
        title=_text(document, "title"),
        principal=_text(document, "principal_arn"),
        account=_text(document, "account_id"),
        notes=_notes(document),
    )


def _line_of_ocsf(document: Mapping[str, Any]) -> Line:
    severity = _text(document, "severity")
    return Line(
        time=_moment(_at(document, "finding_info", "first_seen_time")) or _moment(document.get("time")),
        severity=severity and severity.lower(),
        rule=_text(document, "finding_info", "analytic", "uid"),
        title=_text(document, "finding_info", "title"),
        principal=_text(document, "evidences", 0, "actor", "user", "uid"),
        account=_text(document, "cloud", "account", "uid"),
        notes=_notes(_at(document, "unmapped")),
    )


def _notes(fields: object) -> tuple[str, ...]:
    words = {"canary": "canary", "suppressed_by": "suppressed", "stage": "on trial"}
    return tuple(word for name, word in words.items() if _at(fields, name))


def _text(document: object, *path: str | int) -> str | None:
    found = _at(document, *path)
    return found if isinstance(found, str) else None


def _at(document: object, *path: str | int) -> object:
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and len(document) > step else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


def _moment(milliseconds: object) -> str | None:
    if not isinstance(milliseconds, int):
        return None
    try:
        return rfc3339(datetime.fromtimestamp(milliseconds / 1000, UTC))
    except (OverflowError, OSError, ValueError):
        return None
