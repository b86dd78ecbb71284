"""Poll, decode, detect, publish, commit: one batch after the other. Owns the delivery guarantee.

The guarantee: a message's offset is committed only after everything it gave (findings, dead letters) was
acknowledged by the brokers. When that fails the batch is forgotten, and read again from what was committed.
Knows no client library: it declares the `Source` and the `Sink` it needs.
"""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any, Final, Protocol

import msgspec
import structlog

from service.accounts import Accounts
from service.canary import Canary, Mark, mark_of
from service.context import UNKNOWN, Context
from service.dead_letter import Limit, dead_letter
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Ignored, Part, Record, Rejected, load, unwrap
from service.errors import DecodeError, DeliveryError, SchemaUnavailable, TooLarge
from service.finding import JSON, Finding, Format, Origin, rfc3339

# As `service.envelopes.unwrap`, but may raise SchemaUnavailable or Refused.
Unwrap = Callable[[bytes, int], Sequence[Part]]
Place = tuple[str, int]  # topic, partition
Offsets = Mapping[Place, int]

# Brokers take messages of 1,048,588 bytes by default. A topic that takes less is met by trying with less.
MAX_MESSAGE_BYTES: Final = 1_000_000
MIN_MESSAGE_BYTES: Final = 15_000
_WAIT_SECONDS: Final = 30.0  # the registry is asked again every 10 s at most
_FRAME_BYTES: Final = 500  # what Kafka adds to a message
_MAX_SUBJECT: Final = 256
# What CloudEvents forbids in an attribute; it is an event's text, and the key has it as it is.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")

_log: Final = structlog.get_logger("pipeline")


class Message(Protocol):
    """A Kafka message, read by calls as confluent-kafka has it: no copy is made of what nobody asks for."""

    def error(self) -> Any: ...
    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Outgoing(msgspec.Struct, frozen=True):
    """A message to produce; `timestamp` is in milliseconds."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int


class Source(Protocol):
    """Where messages come from. Used by one thread."""

    def poll(self) -> Sequence[Message]:
        """Wait a fraction of a second for messages; none is a fine answer.

        Raises Refused when the brokers will never let us read.
        """

    def rewind(self) -> None:
        """Read again from what was committed, after `idle` too. Raises DeliveryError when that cannot be asked."""

    def idle(self) -> None:
        """Keep the membership for a moment without reading; a `rewind` has to follow before the next `poll`."""

    def pause(self, places: Collection[Place]) -> None:
        """Read these partitions no more, as long as they are ours."""


class Sink(Protocol):
    """Where outputs go, together with the offsets of what they came from. Used by one thread."""

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        """Return once outputs are acknowledged and then offsets, the next to read, are committed.

        Raises DeliveryError (nothing was committed) or Refused (nothing ever will be).
        """

    def recover(self) -> None:
        """Make the sink usable after a DeliveryError; calling it twice is safe. Raises DeliveryError."""


@dataclass(slots=True)
class Batch:
    """What one poll gave, counted; nothing of it counts for the metrics before its commit."""

    polled_at: float
    messages: int = 0
    bytes: int = 0
    records: Counter[str] = field(default_factory=Counter)  # by envelope
    ignored: Counter[str] = field(default_factory=Counter)  # by kind
    verdicts: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # by rule and verdict; no_match is left out
    near_misses: int = 0
    accounts: Accounts = field(default_factory=Accounts)
    findings: list[Finding] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    canaries: Counter[str] = field(default_factory=Counter)  # by what became of the mark
    marks: set[Mark] = field(default_factory=set)  # those that were accepted
    outputs: list[Outgoing] = field(default_factory=list)
    offsets: dict[Place, int] = field(default_factory=dict)
    unreadable: dict[Place, list[bool]] = field(default_factory=lambda: defaultdict(list))  # a bool a message


class Observer(Protocol):
    """What happened to batches, for the metrics."""

    def committed(self, batch: Batch, seconds: float) -> None: ...
    def failed(self, batch: Batch) -> None: ...
    def gave_up(self, places: Collection[Place]) -> None: ...


@dataclass(frozen=True, slots=True)
class Topics:
    findings: str
    dead_letters: str
    staged: str | None = None  # where findings of rules on trial go; None: nowhere


class Pipeline:
    """`run` until told to stop, or one `run_once` at a time, which is what tests drive."""

    def __init__(  # noqa: PLR0913  the parts are named where they are wired, in service.app
        self,
        *,
        source: Source,
        sink: Sink,
        detector: Detector,
        topics: Topics,
        observer: Observer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        unwrap: Unwrap = unwrap,
        limit: int = DEFAULT_LIMIT,
        expected_accounts: Collection[str] = (),
        context: Context = UNKNOWN,
        canary: Canary | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._detector = detector
        self._topics = topics
        self._observer = observer
        self._clock = clock
        self._unwrap = unwrap
        self.format = JSON  # of findings
        self._limit = limit
        self._expected_accounts = expected_accounts
        self._context = context
        self._canary = canary or Canary(None, "")
        self._broken = False
        self._waited_at = -_WAIT_SECONDS  # for the schema registry
        self._room = MAX_MESSAGE_BYTES
        self._dead_letter_limits: dict[Place, Limit] = defaultdict(Limit)
        self.moved_at = time.monotonic()  # of the last step, for the liveness probe

    @property
    def trouble(self) -> str | None:
        """Why nothing is committed at the moment; None when all is well."""
        if self._broken:
            return "recovering from a delivery that failed"
        return "waiting for the schema registry" if self._is_waiting() else None

    def _is_waiting(self) -> bool:
        """What waited may be another member's by now, so that no batch of ours tells the end of it."""
        return time.monotonic() - self._waited_at < _WAIT_SECONDS

    def run(self, stop: Flag) -> None:
        while not stop.is_set():
            self.run_once()

    def run_once(self) -> int:
        """One batch, or one try to recover. Returns how many messages were committed."""
        self.moved_at = time.monotonic()
        if self._broken:
            return self._recover()
        messages = self._source.poll()
        self.moved_at = time.monotonic()
        if not messages:
            return 0
        try:
            batch = self._process(messages)
        except SchemaUnavailable as problem:
            self._wait(problem)
            return 0
        self._waited_at = -_WAIT_SECONDS
        if self._too_much_unreadable(batch):
            return 0
        try:
            self._sink.deliver(batch.outputs, batch.offsets)
        except DeliveryError as error:
            if isinstance(error, TooLarge):
                self._room = max(MIN_MESSAGE_BYTES, self._room // 4)
            self._broken = True
            self._dead_letter_limits.clear()  # what is read again must not count twice
            self._observer.failed(batch)
            _log.warning("batch given up, will be read again", messages=batch.messages, problem=str(error))
            return 0
        self._room = MAX_MESSAGE_BYTES
        self._canary.remember(batch.marks)
        self._observer.committed(batch, time.monotonic() - batch.polled_at)
        return batch.messages

    def _too_much_unreadable(self, batch: Batch) -> bool:
        """A partition full of rubbish is paused, not poured into the dead letters; the others go on."""
        places = [
            place
            for place, unreadable in batch.unreadable.items()
            if self._dead_letter_limits[place].reached(unreadable)
        ]
        if not places:
            return False
        self._dead_letter_limits.clear()  # what is read again must not count twice
        for topic, partition in places:
            _log.error(
                "partition paused: too many of its messages cannot be read",
                topic=topic,
                partition=partition,
                reasons=dict(batch.rejected),
            )
        self._source.pause(places)
        self._observer.gave_up(places)
        self._rewind()
        return True

    def _wait(self, problem: SchemaUnavailable) -> None:
        """Keep the membership and read the batch again: what cannot be read yet must not be lost."""
        if not self._is_waiting():
            _log.warning("waiting for the schema registry", problem=str(problem))
        self._waited_at = time.monotonic()
        self._source.idle()
        self._rewind()

    def _rewind(self) -> None:
        try:
            self._source.rewind()
        except DeliveryError:
            self._broken = True

    def _recover(self) -> int:
        try:
            self._sink.recover()
            self._source.rewind()
        except DeliveryError:
            self._source.idle()
        else:
            self._broken = False
            _log.info("delivery works again")
        return 0

    def _process(self, messages: Sequence[Message]) -> Batch:
        batch = Batch(polled_at=time.monotonic(), accounts=Accounts(self._expected_accounts))
        for message in messages:
            self.moved_at = time.monotonic()  # one may have to ask a registry that is slow
            batch.messages += 1
            place = (message.topic() or "", message.partition() or 0)
            batch.offsets[place] = (message.offset() or 0) + 1
            value = message.value()
            if value is None:
                batch.ignored["tombstone"] += 1
                batch.unreadable[place].append(False)
            else:
                batch.bytes += len(value)
                batch.unreadable[place].append(self._parts(batch, message, value))
        return batch

    def _parts(self, batch: Batch, message: Message, value: bytes) -> bool:
        """Take a message's parts. Returns whether none of them could be read."""
        parts = self._unwrap(value, self._limit)
        if len(parts) > 1 and all(isinstance(part, Rejected) for part in parts):
            parts = parts[:1]  # rubbish stays one message, however many pieces it has
        unreadable = len(parts) > 0
        for part in parts:
            if isinstance(part, Record):
                unreadable = False
                batch.records[part.envelope] += 1
                if batch.accounts.missing:
                    batch.accounts.look(part)
                if self._detector.watches(part.source, part.name):
                    self._detect(batch, message, part, whole=len(parts) == 1)
                elif self._detector.is_near_miss(part.source, part.name):
                    batch.near_misses += 1
            elif isinstance(part, Ignored):
                unreadable = False
                batch.ignored[part.kind] += 1
            else:
                unreadable = unreadable and part.reason != "schema_unavailable"
                self._reject(batch, message, part, whole=len(parts) == 1)
        return unreadable

    def _detect(self, batch: Batch, message: Message, record: Record, *, whole: bool) -> None:
        now = self._clock()
        try:
            loaded = load(record)
        except DecodeError as error:
            batch.records[record.envelope] -= 1
            self._reject(batch, message, Rejected(record.data, error.reason, str(error)), whole=whole)
            return
        detection = self._detector.detect_record(
            loaded, envelope=record.envelope, origin=_origin(message), detected_at=now
        )
        canary = self._is_canary(batch, message, loaded, now)
        for rule_id, verdict in detection.verdicts.items():
            if verdict != "no_match":
                batch.verdicts[rule_id, verdict] += 1
        for rule_id, problem in detection.errors:
            _log.error("a rule failed", rule=rule_id, exception=type(problem).__name__, **_place(message))
        for found in map(self._context.of, detection.findings):
            finding = msgspec.structs.replace(found, canary=True) if canary else found
            batch.findings.append(finding)
            topic = self._topics.staged if finding.stage else self._topics.findings
            if topic is not None:
                batch.outputs.append(_outgoing(topic, finding, self.format, now, self._room))

    def _is_canary(self, batch: Batch, message: Message, record: Mapping[str, Any], now: datetime) -> bool:
        """Whether the message has a mark that is to be believed; once in a batch, too."""
        mark = mark_of(message.headers())
        if mark is None:
            return False
        result = self._canary.verify(mark, message.value() or b"", record, now)
        if result == "accepted" and mark in batch.marks:
            result = "replayed"
        batch.canaries[result] += 1
        if result != "accepted":
            _log.warning("a canary's mark is not believed", result=result, **_place(message))
            return False
        batch.marks.add(mark)
        return True

    def _reject(self, batch: Batch, message: Message, part: Rejected, *, whole: bool) -> None:
        """A message that is bad as a whole goes untouched; of one that is bad in parts, these parts go."""
        batch.rejected[part.reason] += 1
        value = message.value() if whole else part.data
        problem = f"{part.reason}: {part.detail}"
        now = _milliseconds(self._clock())
        letter = dead_letter(message, value, problem, self._room)
        batch.outputs.append(Outgoing(self._topics.dead_letters, *letter, now))


def _origin(message: Message) -> Origin:
    moment = _moment(*message.timestamp())
    return Origin(
        topic=message.topic(), partition=message.partition(), offset=message.offset(), timestamp=rfc3339(moment)
    )


def _moment(kind: int, milliseconds: int) -> datetime | None:
    """None where there is none, or one beyond the year 9999: producers may write any number."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if kind and milliseconds >= 0 else None
    except (OverflowError, OSError, ValueError):
        return None


def _place(message: Message) -> dict[str, object]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _outgoing(topic: str, finding: Finding, written: Format, now: datetime, room: int) -> Outgoing:
    """CloudEvents in Kafka's binary mode: https://github.com/cloudevents/spec, kafka-protocol-binding."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": finding.finding_id,
        "ce_type": "io.tokentrail.finding.v1",
        "ce_source": "tokentrail",
        "ce_time": finding.detected_at,
        "ce_subject": _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", finding.key[:_MAX_SUBJECT]),
        "content-type": written.content_type,
        "severity": finding.severity,
        "rule_id": finding.rule_id,
        "canary": "true" if finding.canary else None,
    }
    encoded = [(name, value.encode()) for name, value in headers.items() if value is not None]
    key = finding.key.encode()
    beside = len(key) + sum(len(name) + len(value) for name, value in encoded)
    value = written.encode(finding, room - beside - _FRAME_BYTES)
    return Outgoing(topic, key, value, encoded, _milliseconds(now))
