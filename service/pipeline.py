"""Poll, take in, publish, commit: one batch after the other. Owns the delivery guarantee.

The guarantee: a message's offset is committed only after everything it gave (findings, dead letters) was
acknowledged by the brokers. When that fails the batch is forgotten, and read again from what was committed.
Knows no client library: it declares the `Source` and the `Sink` it needs.

Messages are taken in small chunks, which stay in the processor's cache. What gave nothing to publish is committed
by time, since to read it twice does no harm; what gave something is delivered as soon as no more waits.
"""

import math
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from threading import Event as Flag
from typing import Final, Protocol

import structlog

from service.accounts import Accounts
from service.batch import Batch, Message, Offsets, Outgoing, Place, place_of
from service.dead_letter import Limit
from service.errors import DeliveryError, SchemaUnavailable, TooLarge
from service.intake import Intake

CHUNK_MESSAGES: Final = 250
COMMIT_SECONDS: Final = 0.2  # what gave nothing is committed so often
_WAIT_SECONDS: Final = 30.0  # three times the longest pause before the registry is asked again
_NEVER: Final = -math.inf

_log: Final = structlog.get_logger("pipeline")


class Source(Protocol):
    """Where messages come from. Used by one thread."""

    revocations: int  # how often partitions were taken away, so far

    def poll(self, *, wait: bool = True) -> Sequence[Message]:
        """Messages of one topic; none is a fine answer, after a fraction of a second when `wait` is true.

        Fewer than CHUNK_MESSAGES mean that no more are waiting. Raises Refused when the brokers will never let
        us read.
        """

    def rewind(self) -> None:
        """Read again from what was committed, after `idle` too.

        Raises DeliveryError when that cannot be asked at the moment, Refused when it never can.
        """

    def idle(self) -> None:
        """Keep the membership for a moment without reading; a `rewind` has to follow before the next `poll`.

        Raises Refused.
        """

    def pause(self, places: Collection[Place]) -> None:
        """Read these partitions no more, as long as they are ours."""


class Sink(Protocol):
    """Where outputs go, together with the offsets of what they came from. Used by one thread."""

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        """Return once outputs are acknowledged and then offsets, the next to read, are committed.

        Raises DeliveryError (nothing was committed) or Refused (nothing ever will be).
        """

    def recover(self) -> None:
        """Make the sink usable after a DeliveryError; twice is safe. Raises DeliveryError or Refused."""


class Observer(Protocol):
    """What happened to batches, for the metrics. `now` is by time.monotonic."""

    def committed(self, batch: Batch, now: float) -> None: ...
    def failed(self, batch: Batch) -> None: ...
    def partitions_paused(self, places: Collection[Place]) -> None: ...


class Pipeline:
    """`run` until told to stop, or one `run_once` at a time, which is what tests drive."""

    def __init__(  # noqa: PLR0913  the parts are named where they are wired, in service.app
        self,
        *,
        source: Source,
        sink: Sink,
        intake: Intake,
        observer: Observer,
        max_outputs: int,
        commit_seconds: float = COMMIT_SECONDS,
        expected_accounts: Collection[str] = (),
    ) -> None:
        self._source = source
        self._sink = sink
        self._intake = intake
        self._observer = observer
        self._max_outputs = max_outputs
        self._commit_seconds = commit_seconds
        self._expected_accounts = expected_accounts
        self._batch: Batch | None = None  # what was read and not delivered yet
        self._revocations = source.revocations
        self._delivered_at = _NEVER
        self._broken = False
        self._waited_at = _NEVER  # for the schema registry
        self._limits: dict[Place, Limit] = defaultdict(Limit)  # of partitions that hold something unreadable
        self._moved_at = time.monotonic()

    @property
    def moved_at(self) -> float:
        """When the last step was made, by time.monotonic: for the liveness probe."""
        return max(self._moved_at, self._intake.moved_at)

    def moved(self) -> None:
        self._moved_at = time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why nothing is committed at the moment; None when all is well."""
        if self._broken:
            return "recovering from a failed delivery, or from a failed return to what was committed"
        return "waiting for the schema registry" if self._is_waiting() else None

    def _is_waiting(self) -> bool:
        """What waited may be another member's by now, so that no batch of ours tells the end of it."""
        return time.monotonic() - self._waited_at < _WAIT_SECONDS

    def run(self, stop: Flag) -> None:
        while not stop.is_set():
            self.run_once()

    def run_once(self) -> int:
        """Read until something is to be delivered, or nothing waits; or try once to recover.

        Returns how many messages were committed.
        """
        self.moved()
        if self._broken:
            return self._recover()
        while self._read_chunk():
            pass
        batch = self._batch
        return self._deliver(batch) if batch is not None and self._is_due(batch) else 0

    def _read_chunk(self) -> bool:
        """Returns whether to go on reading."""
        messages = self._source.poll(wait=self._batch is None or not self._batch.outputs)
        self.moved()
        if self._source.revocations != self._revocations:
            self._revocations = self._source.revocations
            if messages or self._batch:  # some of it may be another member's by now
                self._forget()
                self._rewind()
            return False
        if not messages:
            return False
        batch = self._batch = self._batch or self._new_batch()
        full = len(messages) >= CHUNK_MESSAGES
        try:
            unreadable = self._intake.take(batch, messages, hurry=full)
        except SchemaUnavailable as problem:
            self._put_off(problem)
            return False
        self._waited_at = _NEVER
        if batch.outputs and batch.found_at is None:
            batch.found_at = self._moved_at
        if (unreadable or self._limits) and self._pause_rubbish(batch, messages, unreadable):
            return False
        return full and len(batch.outputs) < self._max_outputs and not self._is_late()

    def _new_batch(self) -> Batch:
        return Batch(polled_at=self._moved_at, accounts=Accounts(self._expected_accounts))

    def _is_late(self) -> bool:
        return time.monotonic() - self._delivered_at >= self._commit_seconds

    def _is_due(self, batch: Batch) -> bool:
        return bool(batch.outputs) or self._is_late()

    def _deliver(self, batch: Batch) -> int:
        self._batch = None
        try:
            self._sink.deliver(batch.outputs, batch.offsets)
        except DeliveryError as error:
            if isinstance(error, TooLarge):
                self._intake.shrink()
            self._broken = True
            self._forget()
            self._observer.failed(batch)
            _log.warning("batch given up, will be read again", messages=batch.messages, problem=str(error))
            return 0
        self._delivered_at = time.monotonic()
        self._intake.delivered(batch)
        self._observer.committed(batch, self._delivered_at)
        return batch.messages

    def _forget(self) -> None:
        """Give up what was read: when it is read again, nothing of it must count twice."""
        self._batch = None
        self._limits.clear()

    def _pause_rubbish(self, batch: Batch, messages: Sequence[Message], unreadable: Collection[int]) -> bool:
        """A partition full of rubbish is paused, not poured into the dead letters; the others go on.

        Returns whether one was: then the batch is gone.
        """
        of_places: dict[Place, list[bool]] = defaultdict(list)
        for index, message in enumerate(messages):
            of_places[place_of(message)].append(index in unreadable)
        places = [place for place, flags in of_places.items() if self._limits[place].reached(flags)]
        if not places:
            for place in [place for place, limit in self._limits.items() if limit.clean]:
                del self._limits[place]
            return False
        for topic, partition in places:
            _log.error(
                "partition paused: too many of its messages cannot be read",
                topic=topic,
                partition=partition,
                reasons=dict(batch.rejected),
            )
        self._forget()
        self._source.pause(places)
        self._observer.partitions_paused(places)
        self._rewind()
        return True

    def _put_off(self, problem: SchemaUnavailable) -> None:
        """Keep the membership and read the batch again: what cannot be read yet must not be lost."""
        self._forget()
        if not self._is_waiting():
            _log.warning("waiting for the schema registry", problem=str(problem))
        self._waited_at = time.monotonic()
        self._source.idle()
        self._rewind()

    def _rewind(self) -> None:
        try:
            self._source.rewind()
        except DeliveryError as error:
            self._broken = True
            _log.warning("cannot go back to what was committed, will try again", problem=str(error))

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
