"""Messages -> what they give, taken into a batch: counts, findings, dead letters.

Nearly every message is one plain record that nobody watches. Such a message costs one call, which checks its JSON
and tells its names, and one look into a set; all others go the long way.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from service.batch import Batch, Message, Outgoing, place_of
from service.canary import Canary, mark_of
from service.cloudevent import cloudevent
from service.context import NO_CONTEXT, Context
from service.dead_letter import dead_letter
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Ignored, Part, Record, Rejected, load, unwrap
from service.envelopes.glance import Names, names_of
from service.envelopes.mending import BROKEN
from service.errors import DecodeError
from service.finding import JSON, Format, Origin
from service.screen import Screen
from service.timestamps import rfc3339

# As `service.envelopes.unwrap`, but may raise SchemaUnavailable or Refused.
Unwrap = Callable[[bytes, int], Sequence[Part]]

# Brokers take messages of 1,048,588 bytes by default. A topic that takes less is met by trying with less.
MAX_MESSAGE_BYTES: Final = 1_000_000
MIN_MESSAGE_BYTES: Final = 15_000

_MAX_QUIET: Final = 20_000  # AWS has about as many operations
_MAX_NAMES: Final = 256  # characters of what is kept; real names are shorter
_SAMPLE: Final = 100  # of messages that the screen leaves out, one in so many is read
_NOT_NAMES: Final = (*BROKEN, TypeError)  # the last for a tombstone

_log: Final = structlog.get_logger("pipeline")


@dataclass(frozen=True, slots=True)
class Topics:
    findings: str
    dead_letters: str
    staged: str | None = None  # where findings of rules on trial go; None: nowhere


class Intake:
    """What a message gives depends on no earlier one: a batch may be given up and its messages taken again.

    `format` is that of findings; `moved_at` is when it last got on, by time.monotonic.
    """

    def __init__(  # noqa: PLR0913  the parts are named where they are wired, in service.app
        self,
        detector: Detector,
        topics: Topics,
        *,
        unwrap: Unwrap = unwrap,
        limit: int = DEFAULT_LIMIT,
        context: Context = NO_CONTEXT,
        canary: Canary | None = None,
        screen: Screen | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._detector = detector
        self._topics = topics
        self._unwrap = unwrap
        self._limit = limit
        self._context = context
        self._canary = canary or Canary(None, "")
        self._screen = screen
        self._clock = clock
        self._quiet: set[Names] = set()  # of events that nobody watches
        self._mostly_plain = True  # the last messages were; only speed depends on it
        self._turn = 0
        self.format: Format = JSON
        self._room = MAX_MESSAGE_BYTES
        self.moved_at = time.monotonic()

    def delivered(self, batch: Batch) -> None:
        """To be called when the batch was committed: its canaries are not believed again."""
        self._room = MAX_MESSAGE_BYTES
        self._canary.remember(batch.marks)

    def shrink(self) -> None:
        """Make smaller messages until a batch is delivered: a topic did not take one."""
        self._room = max(MIN_MESSAGE_BYTES, self._room // 4)

    def take(self, batch: Batch, messages: Sequence[Message], *, hurry: bool = False) -> set[int]:
        """Take messages of one topic. Returns the indices of those of which nothing could be read.

        With `hurry`, what the screen leaves out is not read. Raises SchemaUnavailable or Refused: then the batch
        is good for nothing any more.
        """
        values = [message.value() for message in messages]
        batch.messages += len(values)
        batch.bytes += _size(values)
        for last in {message.partition(): message for message in messages}.values():
            batch.offsets[place_of(last)] = (last.offset() or 0) + 1
        everything = range(len(values))
        if self._screen is None or not hurry:
            return self._read(batch, messages, values, everything)
        chosen = self._screen.suspects(values).union(self._sample(everything))
        unreadable = self._read(batch, messages, values, sorted(chosen))
        if unreadable:  # so it is no matter for a sample
            return unreadable | self._read(batch, messages, values, _without(everything, chosen))
        batch.screened += len(values) - len(chosen)
        if batch.accounts.missing:
            self._look_for_accounts(batch, values, _without(everything, chosen))
        return unreadable

    def _sample(self, indices: range) -> range:
        self._turn = (self._turn + 1) % _SAMPLE
        return indices[self._turn :: _SAMPLE]

    def _read(
        self, batch: Batch, messages: Sequence[Message], values: Sequence[bytes | None], indices: Sequence[int]
    ) -> set[int]:
        plain_before = batch.records["record"]
        others = self._count_plain(batch, values, indices) if self._mostly_plain else indices
        unreadable = set()
        for index in others:
            self.moved_at = time.monotonic()  # one may have to ask a registry that is slow
            if self._take_parts(batch, messages[index], values[index]):
                unreadable.add(index)
        self._mostly_plain = 2 * (batch.records["record"] - plain_before) >= len(indices)
        return unreadable

    def _count_plain(self, batch: Batch, values: Sequence[bytes | None], indices: Sequence[int]) -> Sequence[int]:
        """Counts the plain records that nobody watches. Returns the indices of all the others."""
        names = _names(values if len(indices) == len(values) else [values[index] for index in indices])
        if self._quiet.issuperset(names):
            others = []
        else:
            others = [index for index, its in zip(indices, names, strict=True) if not self._is_quiet(its)]
        batch.records["record"] += len(indices) - len(others)
        if batch.accounts.missing:
            self._look_for_accounts(batch, values, _without(indices, others))
        return others

    def _is_quiet(self, names: Names | None) -> bool:
        """Whether these are the names of an event that nobody watches."""
        if names is None:
            return False
        if names in self._quiet:
            return True
        source, name = names.event_source, names.event_name
        if not isinstance(source, str) or not isinstance(name, str):
            return False
        if self._detector.watches(source, name) or self._detector.is_near_miss(source, name):
            return False
        if len(source) + len(name) <= _MAX_NAMES:
            if len(self._quiet) >= _MAX_QUIET:  # invented names
                self._quiet.clear()
            self._quiet.add(names)
        return True

    def _look_for_accounts(self, batch: Batch, values: Sequence[bytes | None], indices: Iterable[int]) -> None:
        for index in indices:
            if not batch.accounts.missing:
                return
            batch.accounts.look(Record(values[index] or b"", None, None, "record"))

    # --- the long way

    def _take_parts(self, batch: Batch, message: Message, value: bytes | None) -> bool:
        """Take a message's parts, whatever they are. Returns whether there are some, none of them readable."""
        if value is None:
            batch.ignored["tombstone"] += 1
            return False
        parts = self._unwrap(value, self._limit)
        if len(parts) > 1 and all(isinstance(part, Rejected) for part in parts):
            parts = parts[:1]  # rubbish stays one message, however many pieces it has
        unreadable = len(parts) > 0
        for part in parts:
            if isinstance(part, Record):
                unreadable = False
                self._record(batch, message, part, whole=len(parts) == 1)
            elif isinstance(part, Ignored):
                unreadable = False
                batch.ignored[part.kind] += 1
            else:
                unreadable = unreadable and part.reason != "schema_unavailable"
                self._reject(batch, message, part, whole=len(parts) == 1)
        return unreadable

    def _record(self, batch: Batch, message: Message, record: Record, *, whole: bool) -> None:
        batch.records[record.envelope] += 1
        if batch.accounts.missing:
            batch.accounts.look(record)
        if self._detector.watches(record.source, record.name):
            self._detect(batch, message, record, whole=whole)
        elif self._detector.is_near_miss(record.source, record.name):
            batch.near_misses += 1

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
            _log.error("a rule failed", rule=rule_id, exception=type(problem).__name__, **_place_fields(message))
        for found in map(self._context.of, detection.findings):
            finding = msgspec.structs.replace(found, canary=True) if canary else found
            batch.findings.append(finding)
            topic = self._topics.staged if finding.stage else self._topics.findings
            if topic is not None:
                batch.outputs.append(cloudevent(topic, finding, self.format, now, self._room))

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
            _log.warning("a canary's mark is not believed", result=result, **_place_fields(message))
            return False
        batch.marks.add(mark)
        return True

    def _reject(self, batch: Batch, message: Message, part: Rejected, *, whole: bool) -> None:
        """A message that is bad as a whole goes untouched; of one that is bad in parts, these parts go."""
        batch.rejected[part.reason] += 1
        value = message.value() if whole else part.data
        problem = f"{part.reason}: {part.detail}"
        now = int(self._clock().timestamp() * 1000)
        letter = dead_letter(message, value, problem, self._room)
        batch.outputs.append(Outgoing(self._topics.dead_letters, *letter, now))


def _names(values: Sequence[bytes | None]) -> Sequence[Names | None]:
    """None stands for what is no JSON object, has names that are no text, or has records inside."""
    try:
        return list(map(names_of, values))  # type: ignore[arg-type]  # a tombstone is refused
    except _NOT_NAMES:
        return [_names_or_none(value) for value in values]


def _names_or_none(value: bytes | None) -> Names | None:
    try:
        return names_of(value or b"")
    except BROKEN:
        return None


def _size(values: Sequence[bytes | None]) -> int:
    try:
        return sum(map(len, values))  # type: ignore[arg-type]  # a tombstone has no length
    except TypeError:
        return sum(len(value or b"") for value in values)


def _without(indices: Iterable[int], others: Iterable[int]) -> list[int]:
    others = set(others)
    return [index for index in indices if index not in others]


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


def _place_fields(message: Message) -> dict[str, object]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
