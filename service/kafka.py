"""The confluent-kafka edge: client configuration, a Source, and a Sink for each delivery mode.

Facts about librdkafka stand beside the code that needs them; the measured ones are in DESIGN.md.
"""

import json
import logging
import secrets
import socket
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from threading import Event as Flag
from typing import Any, Final, Protocol, TypeVar, cast

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from service.errors import DeliveryError, Refused, SettingsError, TooLarge, Unreachable, Untrusted, WorldError
from service.kafka_errors import is_final, no_answer, refusal
from service.pipeline import Message, Offsets, Outgoing, Place
from service.settings import KafkaSettings

_log: Final = structlog.get_logger("kafka")

POLL_SECONDS: Final = 0.2  # a signal, and a rebalance, wait this long at most
CALL_SECONDS: Final = 10.0
TRANSACTION_SECONDS: Final = 30.0
STATISTICS_MS: Final = 1_000

# What KIP-848 groups do not take: the brokers decide the first two there.
CLASSIC_ONLY: Final = frozenset({"session.timeout.ms", "heartbeat.interval.ms", "group.instance.id"})

Client = TypeVar("Client", Consumer, Producer, AdminClient)

# What a broker without KIP-848, or with another's static member of our name, answers; `fatal()` is no help.
NO_CONSUMER_PROTOCOL: Final = frozenset(
    {KafkaError._FATAL, KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}  # noqa: SLF001
)


# --- configuration -----------------------------------------------------------------------------


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "tokentrail",
        "log_level": 6,
        "logger": _librdkafka_logger(),
        "allow.auto.create.topics": False,
    }
    optional = {
        "security.protocol": settings.security_protocol,
        **_mechanism(settings),
        "sasl.username": settings.sasl_username and settings.sasl_username.get_secret_value(),
        "sasl.password": settings.sasl_password and settings.sasl_password.get_secret_value(),
    }
    return {**config, **{name: value for name, value in optional.items() if value is not None}}


def _mechanism(settings: KafkaSettings) -> dict[str, Any]:
    """Raises SettingsError where an extra is missing, Refused where AWS credentials are."""
    if settings.sasl_mechanism != "AWS_MSK_IAM" or settings.msk_iam_region is None:
        return {"sasl.mechanism": settings.sasl_mechanism}
    try:
        from service.msk_iam import Tokens  # noqa: PLC0415  an extra, of use to few
    except ImportError as error:
        raise SettingsError(
            ['kafka.sasl_mechanism: AWS_MSK_IAM needs: pip install "tokentrail[msk-iam]"']
        ) from error
    return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": Tokens(settings.msk_iam_region)}


def consumer_config(settings: KafkaSettings) -> dict[str, Any]:
    return {
        **client_config(settings),
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # earliest or latest would jump over what retention took, in silence
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": 2,  # the default, 1000, starves a fast reader
        "queued.max.messages.kbytes": 32_768,
        "statistics.interval.ms": STATISTICS_MS,
        **settings.properties,
        **settings.consumer_properties,
    }


def first_protocol(settings: KafkaSettings) -> str:
    """The group protocol to join with: `auto` means KIP-848, unless a property asks for what only classic has.

    A static member that is killed could not come back under KIP-848 (its name is taken), so static ids are
    for classic groups. Raises SettingsError when both are asked for.
    """
    classic_only = CLASSIC_ONLY & {*settings.properties, *settings.consumer_properties}
    if settings.group_protocol == "consumer" and classic_only:
        names = ", ".join(sorted(classic_only))
        raise SettingsError([f"kafka.properties: {names} needs kafka.group_protocol = classic"])
    return "classic" if settings.group_protocol == "classic" or classic_only else "consumer"


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    return {
        **client_config(settings),
        "enable.idempotence": True,
        "compression.type": "gzip",  # some consumers of findings read no other
        "linger.ms": 0,
        "message.timeout.ms": 30_000,
        **settings.properties,
        **settings.producer_properties,
    }


def transactional_id(group_id: str) -> str:
    """Fresh for each process: what fences zombies is the group's generation, not this id."""
    return f"{group_id}-{socket.gethostname()}-{secrets.token_hex(4)}"


def new_client(make: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """A client. Raises SettingsError for properties that librdkafka does not take."""
    try:
        return make(config)
    except KafkaException as failure:
        raise SettingsError([f"kafka.properties: {failure.args[0].str()}"]) from failure


def _librdkafka_logger() -> logging.Logger:
    """It repeats itself every second while a broker is away; what matters we say ourselves."""
    logger = logging.getLogger("librdkafka")
    logger.setLevel(logging.DEBUG if logging.getLogger().isEnabledFor(logging.DEBUG) else logging.CRITICAL)
    return logger


class Reachability:
    """Asks, with a client of its own, whether a broker answers at all."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._config = {**client_config(settings), **settings.properties}

    def __call__(self) -> bool:
        try:
            return bool(Producer(self._config).list_topics(timeout=CALL_SECONDS / 2).brokers)
        except KafkaException:
            return False


# --- reading -----------------------------------------------------------------------------------


class RebalanceObserver(Protocol):
    def rebalanced(self, kind: str, assigned: int, paused: int) -> None: ...


class KafkaSource:
    """A consumer group's member. Used by one thread; `joined` and `lags` may be read by others."""

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topic: str,
        batch_messages: int,
        observer: RebalanceObserver,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._batch_messages = batch_messages
        self._observer = observer
        self._protocol = first_protocol(settings)
        self._committed: dict[Place, int] = {}
        self._uncommitted = False  # messages were handed out whose offsets were not committed yet
        self._statistics: dict[Place, dict[str, Any]] = {}
        self._paused: set[Place] = set()
        self._assigned: set[Place] = set()
        self._unplaced: set[Place] = set()
        self._partitions: Collection[int] = ()
        self._trouble: KafkaError | None = None
        self._refused: Refused | None = None
        self._doubtful: Refused | None = None
        self.joined = False
        self._subscribed = False
        self._consumer = self._unsubscribed()

    def _unsubscribed(self) -> Consumer:
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
                self._partitions = check_topic(self._consumer, self._topic, seconds=1)
            except Unreachable as problem:
                self._serve_callbacks(POLL_SECONDS)  # which know what is wrong
                known = no_answer(self._trouble) if self._trouble else problem
                if isinstance(known, Untrusted) or time.monotonic() > deadline:
                    raise known from problem
            else:
                return

    def _serve_callbacks(self, seconds: float) -> None:
        self._consumer.poll(seconds)
        self._raise_refused()

    def poll(self) -> Sequence[Message]:
        if not self._subscribed:  # not earlier: a message that comes while `check` serves callbacks would be lost
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            self._subscribed = True
        # consume(N, t) would wait the whole t unless N arrive.
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            if self._unplaced:
                self._place()
            self._raise_refused()
            return ()
        messages = cast("list[Message]", [first, *self._consumer.consume(self._batch_messages - 1, 0)])
        if first.error() is None and (first.topic(), first.partition()) not in self._assigned:
            del messages[0]  # a callback inside `consume` gave its partition away: it is another member's by now
        good = [message for message in messages if message.error() is None]
        if len(good) < len(messages):
            for message in messages:
                if (error := message.error()) is not None:
                    self._on_failure(error, message)
        if self._unplaced:
            self._place()
        self._raise_refused()
        self._uncommitted |= bool(good)
        return good

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
            self._consumer, self._subscribed = self._unsubscribed(), False
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            self._unplaced.add((message.topic() or "", message.partition() or 0))
        else:
            _log.warning("the consumer reports a problem", problem=error.str(), code=error.name())

    def _may_fall_back(self) -> bool:
        return self._protocol == "consumer" and self._settings.group_protocol == "auto" and not self.joined

    def _cannot_read(self, error: KafkaError) -> Refused:
        return refusal(error, f"reading topic {self._topic} as group {self._settings.group_id}")

    def _place(self) -> None:
        """Give a position to partitions that have none. No offset, and one that is gone, share an error code."""
        wanted = [TopicPartition(*place) for place in self._unplaced]
        try:
            for position in self._consumer.committed(wanted, timeout=CALL_SECONDS):
                if position.offset >= 0:
                    self._refused = self._refused or self._overtaken(position)
                    return
            firsts = self._first_positions(self._consumer, wanted)
            self._consumer.incremental_unassign(wanted)
            self._consumer.incremental_assign(firsts)
        except KafkaException as failure:
            _log.info("partitions without an offset wait for one", problem=failure.args[0].str())
        else:
            self._committed.update({(tp.topic, tp.partition): tp.offset for tp in firsts})
            self._unplaced.clear()

    def _overtaken(self, position: TopicPartition) -> Refused:
        return Refused(
            f"retention has overtaken group {self._settings.group_id} on {position.topic}[{position.partition}]: "
            f"offset {position.offset} is gone. Nothing was skipped: set the group's offsets "
            "(kafka-consumer-groups --reset-offsets), start again"
        )

    def _on_error(self, error: KafkaError) -> None:
        if is_final(error):
            refused = refusal(error, "the brokers refuse us")
            # Renewing a login over a connection can fail (a second time within a second, KIP-368) where a new
            # connection works: after the first success, a refusal is asked again.
            self._doubtful, self._refused = (refused, None) if self.joined else (None, refused)
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  says nothing of why
            self._trouble = error

    # --- assignment: callbacks run inside poll

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Resume where the group committed; `start` is for a group that never did."""
        try:
            positions = consumer.committed(partitions, timeout=CALL_SECONDS) if partitions else []
            if any(position.offset < 0 for position in positions):
                positions = self._first_positions(consumer, positions)
            self._committed.update({(tp.topic, tp.partition): tp.offset for tp in positions})
        except KafkaException as failure:
            positions = partitions  # librdkafka then asks for the committed offsets itself
            if is_final(failure.args[0]):
                self._refused = self._cannot_read(failure.args[0])
        consumer.incremental_assign(positions)
        self.joined = True
        self._assigned.update((tp.topic, tp.partition) for tp in partitions)
        self._rebalanced("assigned")

    def _first_positions(self, consumer: Consumer, positions: list[TopicPartition]) -> list[TopicPartition]:
        """Set and commit an offset for partitions without one; a later partition starts at its beginning."""
        # Not list_topics: called inside a callback, it makes the next callback of the same poll abort the process.
        numbers = {*self._partitions, *(position.partition for position in positions)}
        everywhere = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        new_group = all(tp.offset < 0 for tp in consumer.committed(everywhere, timeout=CALL_SECONDS))
        start = self._settings.start if new_group else "earliest"
        wanted = everywhere if new_group else [position for position in positions if position.offset < 0]
        firsts = self._starting(consumer, wanted, start)
        consumer.commit(offsets=firsts, asynchronous=False)
        offsets = {(tp.topic, tp.partition): tp.offset for tp in firsts}
        return [
            TopicPartition(tp.topic, tp.partition, offsets.get((tp.topic, tp.partition), tp.offset))
            for tp in positions
        ]

    def _starting(
        self, consumer: Consumer, partitions: list[TopicPartition], start: str | datetime
    ) -> list[TopicPartition]:
        found = []
        for tp in partitions:
            low, high = consumer.get_watermark_offsets(tp, timeout=CALL_SECONDS, cached=False)
            offset = high if start == "latest" else low
            if isinstance(start, datetime):
                asked = TopicPartition(tp.topic, tp.partition, int(start.timestamp() * 1000))
                (answer,) = consumer.offsets_for_times([asked], timeout=CALL_SECONDS)
                offset = answer.offset if answer.offset >= 0 else high
            found.append(TopicPartition(tp.topic, tp.partition, offset))
        return found

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        self._rebalanced("revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)
        consumer.incremental_unassign(partitions)
        self._rebalanced("lost")

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for tp in partitions:
            self._committed.pop((tp.topic, tp.partition), None)
            self._statistics.pop((tp.topic, tp.partition), None)
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
            positions = self._consumer.committed(self._consumer.assignment(), timeout=CALL_SECONDS)
            if errors := [position.error for position in positions if position.error is not None]:
                raise _as_delivery_error(KafkaException(errors[0]), "asking for the committed offsets")
            for position in positions:
                known = position.offset if position.offset >= 0 else OFFSET_BEGINNING
                self._consumer.seek(TopicPartition(position.topic, position.partition, known))
            ours = [(position.topic, position.partition) for position in positions]
            self._consumer.resume([TopicPartition(*place) for place in ours if place not in self._paused])
        except KafkaException as failure:
            raise _as_delivery_error(failure, "asking for the committed offsets") from failure

    def idle(self) -> None:
        self._consumer.pause(self._consumer.assignment())
        self._consumer.poll(POLL_SECONDS)  # callbacks are served; a message that slips through is read again
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
            raise _as_delivery_error(failure, "committing offsets") from failure
        for tp in committed or ():
            if tp.error is not None:
                raise _as_delivery_error(KafkaException(tp.error), f"committing {tp.topic}[{tp.partition}]")
        self.committed(offsets)

    def committed(self, offsets: Offsets) -> None:
        """Take note of offsets that were committed, here or in a transaction."""
        self._committed.update(offsets)
        self._uncommitted = False

    def group_metadata(self) -> object:
        return self._consumer.consumer_group_metadata()

    def _on_statistics(self, text: str) -> None:
        statistics = json.loads(text)
        group = statistics.get("cgrp", {})
        self.joined = self.joined or (group.get("state") == "up" and group.get("join_state") == "steady")
        found: dict[Place, dict[str, Any]] = {}
        for number, numbers in statistics.get("topics", {}).get(self._topic, {}).get("partitions", {}).items():
            if (place := (self._topic, int(number))) in self._committed:
                found[place] = numbers
        self._statistics = found

    def lags(self) -> dict[Place, int]:
        """Messages below the last stable offset that are not committed yet.

        A transactional upstream leaves markers, which take offsets too: a partition read to its end lags by
        nothing, whatever the numbers say.
        """
        lags: dict[Place, int] = {}
        for place, numbers in list(self._statistics.items()):
            stable, committed = numbers["ls_offset"], self._committed.get(place)
            if committed is None or stable < 0:
                continue
            at_end = numbers["fetchq_cnt"] == 0 and numbers["next_offset"] >= stable
            lags[place] = 0 if at_end and not self._uncommitted else max(0, stable - committed)
        return lags

    def close(self) -> None:
        """Leave the group. May hang while brokers are away: the caller bounds it."""
        self._consumer.close()


def check_topic(client: Consumer | Producer, topic: str, seconds: float = CALL_SECONDS / 2) -> Collection[int]:
    """The numbers of the topic's partitions. Raises Unreachable or Refused."""
    try:
        found = client.list_topics(topic, timeout=seconds).topics[topic]
    except KafkaException as failure:
        error = failure.args[0]
        if is_final(error):
            raise refusal(error, f"asking for topic {topic}") from failure
        raise no_answer(error) from failure
    if found.error is not None:
        if is_final(found.error):
            raise refusal(found.error, f"topic {topic}")
        raise Unreachable(f"topic {topic} has no leader yet: {found.error.str()}")
    numbers: Collection[int] = found.partitions.keys()
    return numbers


def _as_delivery_error(failure: KafkaException, doing: str) -> DeliveryError | Refused:
    error = failure.args[0]
    if is_final(error):
        return refusal(error, doing)
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return TooLarge(f"{doing}: {error.str()} ({error.name()})")
    return DeliveryError(f"{doing}: {error.str()} ({error.name()})")


# --- writing -----------------------------------------------------------------------------------


class AtLeastOnceSink:
    """Produce, flush to zero, then commit: after a failure, outputs may come twice, never not at all."""

    def __init__(self, settings: KafkaSettings, source: KafkaSource, topics: Sequence[str], stop: Flag) -> None:
        self._source = source
        self._topics = topics
        self._stop = stop
        self._singly = False
        self._producer = new_client(Producer, producer_config(settings))

    def check(self) -> None:
        for topic in self._topics:
            check_topic(self._producer, topic)

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        failures: list[KafkaError] = []
        send_all(self._producer, outputs, failures, singly=self._singly)
        if flush(self._producer, self._stop) > 0 and not failures:
            raise DeliveryError("the brokers did not acknowledge a batch in time")
        if failures:
            error = _as_delivery_error(KafkaException(failures[0]), f"writing to {_topics_of(outputs)}")
            self._singly = isinstance(error, TooLarge)
            raise error
        self._singly = False
        self._source.commit(offsets)

    def recover(self) -> None:
        self._producer.purge()
        self._producer.flush(POLL_SECONDS)
        try:
            self.check()
        except Unreachable as error:
            raise DeliveryError(str(error)) from error

    def close(self) -> None:
        self._producer.purge()


class ExactlyOnceSink:
    """Outputs and offsets in one transaction; a batch without output, as most are, is a plain commit.

    No transactional call is ever retried: after any failure the producer is replaced, which aborts what was
    open (librdkafka #5456, #5511; DESIGN.md has the figures).
    """

    def __init__(
        self,
        settings: KafkaSettings,
        source: KafkaSource,
        topics: Sequence[str],
        stop: Flag,
        on_replacement: Callable[[], None],
    ) -> None:
        self._source = source
        self._topics = topics
        self._stop = stop
        self._on_replacement = on_replacement
        self._config = {
            "transaction.timeout.ms": 20_000,  # how long a dead worker's transaction may stall readers
            **producer_config(settings),
            "transactional.id": transactional_id(settings.group_id),
            "error_cb": self._on_error,
        }
        if "message.timeout.ms" not in {**settings.properties, **settings.producer_properties}:
            self._config["message.timeout.ms"] = 20_000  # librdkafka wants it within the transaction's
        self._singly = False
        self._producer: Producer | None = None
        self._disconnected = False
        self._opened = False

    def check(self) -> None:
        if self._producer is None:
            try:
                self.recover()
            except DeliveryError as error:
                raise Unreachable(str(error)) from error

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        if not outputs:
            self._source.commit(offsets)
            return
        if self._producer is None:
            raise DeliveryError("no producer yet")
        self._producer.poll(0)
        if self._disconnected:
            self.recover()
        wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
        failures: list[KafkaError] = []
        try:
            self._producer.begin_transaction()
            send_all(self._producer, outputs, failures, singly=self._singly)
            self._flush(self._producer, failures)
            self._producer.send_offsets_to_transaction(wanted, self._source.group_metadata(), TRANSACTION_SECONDS)
            self._producer.commit_transaction(TRANSACTION_SECONDS)
        except KafkaException as failure:
            error = _as_delivery_error(failure, f"in a transaction that writes to {_topics_of(outputs)}")
            self._singly = isinstance(error, TooLarge)
            raise error from failure
        self._singly = False
        self._source.committed(offsets)

    def _flush(self, producer: Producer, failures: list[KafkaError]) -> None:
        """Raises KafkaException unless all was acknowledged, and over connections that held.

        `send_offsets_to_transaction` hangs for good where one was lost since it was called last.
        """
        if flush(producer, self._stop) > 0 or failures or self._disconnected:
            raise KafkaException(_cause(producer, failures))

    def _on_error(self, error: KafkaError) -> None:
        self._disconnected |= error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001

    def recover(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer = None
        producer = new_client(Producer, self._config)
        try:
            self._initialise(producer)
            for topic in self._topics:
                check_topic(producer, topic)
        except KafkaException as failure:
            own = self._config["transactional.id"]
            raise _as_delivery_error(failure, f"starting a producer as {own}") from failure
        except Unreachable as error:
            raise DeliveryError(str(error)) from error
        producer.poll(0)  # what failed before it was ready does no harm
        self._disconnected = False
        self._producer = producer
        if self._opened:
            self._on_replacement()
        self._opened = True

    def _initialise(self, producer: Producer) -> None:
        """In slices, so that stopping is noticed: of all transactional calls, this one may be asked again."""
        deadline = time.monotonic() + TRANSACTION_SECONDS
        while True:
            try:
                producer.init_transactions(CALL_SECONDS / 2)
            except KafkaException as failure:
                timed_out = failure.args[0].code() == KafkaError._TIMED_OUT  # noqa: SLF001
                if not timed_out or self._stop.is_set() or time.monotonic() > deadline:
                    raise
            else:
                return

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()


def _cause(producer: Producer, failures: Sequence[KafkaError]) -> KafkaError:
    """What a message was refused for says most; that it was purged says only that the transaction is spoiled."""
    if failures and failures[0].code() == KafkaError._PURGE_QUEUE:  # noqa: SLF001
        try:
            producer.begin_transaction()  # inside an open one it fails, with what spoiled that
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
    return failures[0] if failures else KafkaError(KafkaError._TRANSPORT)  # noqa: SLF001


def _topics_of(outputs: Sequence[Outgoing]) -> str:
    return " and ".join(sorted({output.topic for output in outputs}))


OnDelivery = Callable[[KafkaError | None, object], None]


def collector(failures: list[KafkaError]) -> OnDelivery:
    def on_delivery(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    return on_delivery


def flush(producer: Producer, stop: Flag) -> int:
    """Wait for acknowledgements, after `stop` only for a moment. Returns how many messages have none."""
    deadline = time.monotonic() + TRANSACTION_SECONDS + POLL_SECONDS
    while (left := producer.flush(POLL_SECONDS)) > 0:
        if stop.is_set():
            return producer.flush(CALL_SECONDS / 2)
        if time.monotonic() > deadline:
            break
    return left


def send_all(producer: Producer, outputs: Sequence[Outgoing], failures: list[KafkaError], *, singly: bool) -> None:
    """Produce all; `singly` in batches of one, since what a topic's size limit judges is the batch."""
    for output in outputs:
        produce(producer, output, collector(failures))
        if singly:
            producer.flush(CALL_SECONDS)
            if failures:
                return


def produce(producer: Producer, output: Outgoing, on_delivery: OnDelivery) -> None:
    """Hand one message to the client's queue, waiting while that is full. Raises DeliveryError."""
    deadline = time.monotonic() + TRANSACTION_SECONDS
    while True:
        try:
            producer.produce(
                output.topic,
                output.value,
                output.key,
                headers=list(output.headers),
                timestamp=output.timestamp,
                on_delivery=on_delivery,
            )
        except BufferError as full:
            if time.monotonic() > deadline:
                raise DeliveryError("the producer's queue stays full") from full
            producer.poll(POLL_SECONDS)
        except KafkaException as failure:
            raise _as_delivery_error(failure, f"producing to {output.topic}") from failure
        else:
            return


class Feeder:
    """Sends records to a topic and tells of each what became of it. For `feed`, not for the service."""

    def __init__(self, settings: KafkaSettings, topic: str, on_delivery: OnDelivery) -> None:
        """Raises Refused or Unreachable."""
        self._topic = topic
        self._on_delivery = on_delivery
        self._producer = new_client(Producer, {**producer_config(settings), "linger.ms": 5})
        check_topic(self._producer, topic)

    def send(self, value: bytes, key: str | None) -> None:
        """Raises DeliveryError when the queue stays full, Refused for what no waiting changes."""
        outgoing = Outgoing(self._topic, key.encode() if key else None, value, [], 0)
        produce(self._producer, outgoing, self._on_delivery)
        self._producer.poll(0)

    def close(self) -> int:
        """Wait for what is on its way. Returns how many messages are still unacknowledged."""
        return self._producer.flush(TRANSACTION_SECONDS + POLL_SECONDS)
