"""The Source: a member of a consumer group that knows where it stands."""

import time
from collections.abc import Collection, Sequence
from typing import Final, Protocol, cast

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Message as ClientMessage

from service.batch import Message, Offsets, Place
from service.errors import Refused, Unreachable, Untrusted, WorldError
from service.kafka.clients import (
    CALL_SECONDS,
    NO_CONSUMER_PROTOCOL,
    POLL_SECONDS,
    check_topic,
    consumer_config,
    first_protocol,
    new_client,
)
from service.kafka.errors import ALL_BROKERS_DOWN, AUTO_OFFSET_RESET, in_our_terms, is_final, no_answer, refusal
from service.kafka.positions import committed_positions, first_positions
from service.kafka.statistics import Statistics
from service.pipeline import CHUNK_MESSAGES
from service.settings import KafkaSettings

_log: Final = structlog.get_logger("kafka")


class RebalanceObserver(Protocol):
    def rebalanced(self, kind: str, assigned: int, paused: int) -> None: ...


class KafkaSource:
    """A consumer group's member. Used by one thread; `joined`, `connected` and `lags` may be read by others."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topic: str,
        observer: RebalanceObserver,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._observer = observer
        self._protocol = first_protocol(settings)
        self._committed: dict[Place, int] = {}
        self._handed_out = False  # messages were handed out whose offsets were not committed yet
        self._statistics = Statistics(topic)
        self._paused: set[Place] = set()
        self._assigned: set[Place] = set()
        self._unplaced: set[Place] = set()  # assigned, without an offset to begin at
        self._trouble: KafkaError | None = None
        self._refused: Refused | None = None
        self._doubtful: Refused | None = None
        self.joined = False
        self.revocations = 0
        self._subscribed = False
        self._consumer = self._new_consumer()

    def _new_consumer(self) -> Consumer:
        config = consumer_config(self._settings)
        config["group.protocol"] = self._protocol
        if self._protocol == "classic":
            config.setdefault("partition.assignment.strategy", "cooperative-sticky")
        config |= {"error_cb": self._on_error, "stats_cb": self._on_statistics}
        return new_client(Consumer, config)

    def check(self) -> None:
        """Whether brokers answer and the topic is there; to be called before `poll`.

        Raises Unreachable or Refused.
        """
        deadline = time.monotonic() + CALL_SECONDS / 2
        while True:
            self._serve_callbacks(0)
            try:
                check_topic(self._consumer, self._topic, seconds=1)
            except Unreachable as problem:
                self._serve_callbacks(POLL_SECONDS)  # which know what is wrong
                known = no_answer(self._trouble) if self._trouble else problem
                if isinstance(known, Untrusted) or time.monotonic() > deadline:
                    raise known from problem
            else:
                return

    def _serve_callbacks(self, seconds: float) -> None:
        message = cast("Message | None", self._consumer.poll(seconds))
        # A group that is denied is told of once only, as soon as its coordinator was asked for.
        if message is not None and (error := message.error()) is not None and is_final(error):
            self._refused = self._cannot_read(error)
        self._raise_refused()

    def poll(self, *, wait: bool = True) -> Sequence[Message]:
        if not self._subscribed:  # not earlier: a message that comes while `check` serves callbacks would be lost
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._subscribed = True
        if self._unplaced:
            self._give_positions()
        # consume(N, t) would wait the whole t unless N arrive.
        first = self._consumer.poll(POLL_SECONDS if wait else 0)
        if first is None:
            self._raise_refused()
            return ()
        read = [first, *self._consumer.consume(CHUNK_MESSAGES - 1, 0)]
        messages = cast("list[Message]", read)
        if any(map(ClientMessage.error, read)):
            for message in messages:
                if (error := message.error()) is not None:
                    self._on_failure(error, message)
            messages = [message for message in messages if message.error() is None]
        self._raise_refused()
        self._handed_out |= bool(messages)
        return messages

    def _raise_refused(self) -> None:
        if self._doubtful is not None:
            refused, self._doubtful = self._doubtful, None
            try:
                check_topic(self._consumer, self._topic)
            except WorldError:
                self._refused = refused
            else:
                _log.warning("a login was refused, another one works", problem=str(refused))
        if self._refused is not None:
            raise self._refused

    def _on_failure(self, error: KafkaError, message: Message) -> None:
        if is_final(error):
            self._refused = self._cannot_read(error)
        elif error.code() in NO_CONSUMER_PROTOCOL and self._may_fall_back():
            _log.info("the brokers have no KIP-848 groups, joining with the classic protocol")
            self._consumer.close()
            self._protocol = "classic"
            self._consumer, self._subscribed = self._new_consumer(), False
        elif error.code() == AUTO_OFFSET_RESET:
            self._unplaced.add((message.topic() or "", message.partition() or 0))
        else:
            _log.warning("the consumer reports a problem", problem=error.str(), code=error.name())

    def _may_fall_back(self) -> bool:
        return self._protocol == "consumer" and self._settings.group_protocol == "auto" and not self.joined

    def _cannot_read(self, error: KafkaError) -> Refused:
        return refusal(error, f"reading topic {self._topic} as group {self._settings.group_id}")

    def _on_error(self, error: KafkaError) -> None:
        if is_final(error):
            refused = refusal(error, "the brokers refuse us")
            # Renewing a login over a connection can fail (a second time within a second, KIP-368) where a new
            # connection works: after the first success, a refusal is asked again.
            if self.joined:
                self._doubtful = refused
            else:
                self._refused = refused
        elif error.code() != ALL_BROKERS_DOWN:  # it says nothing of why
            self._trouble = error

    # --- assignment: callbacks run inside poll

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The client resumes where the group committed; of partitions without an offset it tells `poll`.

        Nothing is asked of brokers in here: it would hold up the other partitions, and list_topics makes the
        next callback of the same poll abort the process.
        """
        consumer.incremental_assign(partitions)
        self.joined = True
        self._assigned.update((tp.topic, tp.partition) for tp in partitions)
        self._rebalanced("assigned")

    def _give_positions(self) -> None:
        asked = [TopicPartition(*place) for place in self._unplaced]
        try:
            found = first_positions(self._consumer, self._settings, self._topic, asked)
            self._consumer.incremental_unassign(asked)
            self._consumer.incremental_assign(found)
        except (KafkaException, Unreachable) as problem:  # the next poll tries again
            if isinstance(problem, KafkaException) and is_final(problem.args[0]):
                raise self._cannot_read(problem.args[0]) from problem
            _log.info("partitions without an offset wait for one", problem=str(problem))
        else:
            self._unplaced.clear()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        self._rebalanced("revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        self._rebalanced("lost")

    def _forget(self, partitions: list[TopicPartition]) -> None:
        self.revocations += 1
        for tp in partitions:
            self._committed.pop((tp.topic, tp.partition), None)
            self._statistics.forget((tp.topic, tp.partition))
            self._paused.discard((tp.topic, tp.partition))
            self._assigned.discard((tp.topic, tp.partition))
            self._unplaced.discard((tp.topic, tp.partition))

    def _rebalanced(self, kind: str) -> None:
        assigned = sorted(number for _, number in self._assigned)
        _log.info("partitions changed", kind=kind, topic=self._topic, assigned=assigned)
        self._observer.rebalanced(kind, len(assigned), len(self._paused))

    # --- offsets

    def rewind(self) -> None:
        try:
            placed = [TopicPartition(*place) for place in self._assigned - self._unplaced]
            found = committed_positions(self._consumer, placed)
            for position in found:
                known = position.offset if position.offset >= 0 else OFFSET_BEGINNING
                self._consumer.seek(TopicPartition(position.topic, position.partition, known))
            ours = [(position.topic, position.partition) for position in found]
            self._consumer.resume([TopicPartition(*place) for place in ours if place not in self._paused])
        except KafkaException as failure:
            raise in_our_terms(failure, "asking for the committed offsets") from failure

    def idle(self) -> None:
        self._consumer.pause(self._consumer.assignment())
        # Serves callbacks; a message that slips through is read again.
        message = cast("Message | None", self._consumer.poll(POLL_SECONDS))
        if message is not None and (error := message.error()) is not None:
            self._on_failure(error, message)
        self._raise_refused()

    def pause(self, places: Collection[Place]) -> None:
        self._paused.update(places)
        self._consumer.pause([TopicPartition(*place) for place in places])

    def commit(self, offsets: Offsets) -> None:
        """Synchronous. Raises DeliveryError: then it may or may not have happened."""
        wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        try:
            committed = self._consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException as failure:
            raise in_our_terms(failure, "committing offsets") from failure
        for tp in committed or ():
            if tp.error is not None:
                raise in_our_terms(KafkaException(tp.error), f"committing {tp.topic}[{tp.partition}]")
        self.note_committed(offsets)

    def note_committed(self, offsets: Offsets) -> None:
        """Take note of offsets that were committed, here or in a transaction."""
        self._committed.update(offsets)
        self._handed_out = False

    def group_metadata(self) -> object:
        return self._consumer.consumer_group_metadata()

    @property
    def connected(self) -> bool:
        return self._statistics.connected

    def _on_statistics(self, text: str) -> None:
        were_connected = self.connected
        self._statistics.note(text, self._assigned, time.time())
        self.joined |= self._statistics.steady
        if self.joined and were_connected and not self.connected:
            _log.warning("no broker answers, waiting")
        elif self.joined and self.connected and not were_connected:
            _log.info("brokers answer again")

    def lags(self) -> dict[Place, int]:
        """Messages below the last stable offset that are not committed yet."""
        return self._statistics.lags(self._committed, handed_out=self._handed_out)

    def close(self) -> None:
        """Leave the group. May hang while brokers are away: the caller bounds it."""
        self._consumer.close()
