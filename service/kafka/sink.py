"""A Sink for each delivery mode, and how a message is handed to the client."""

import time
from collections.abc import Callable, Sequence
from threading import Event as Flag
from threading import Thread
from typing import Final

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from service.batch import Offsets, Outgoing
from service.errors import DeliveryError, TooLarge, Unreachable
from service.kafka.clients import (
    CALL_SECONDS,
    POLL_SECONDS,
    TRANSACTION_SECONDS,
    check_topic,
    new_client,
    producer_config,
    transactional_id,
)
from service.kafka.errors import ALL_BROKERS_DOWN, PURGE_QUEUE, TIMED_OUT, TRANSPORT, in_our_terms
from service.kafka.source import KafkaSource
from service.settings import KafkaSettings

# Sending offsets and committing take milliseconds; a slow cluster gets seconds.
FINISH_SECONDS: Final = 15.0


class AtLeastOnceSink:
    """Produce, flush to zero, then commit: after a failure, outputs may come twice, never not at all."""

    def __init__(self, settings: KafkaSettings, source: KafkaSource, topics: Sequence[str], stop: Flag) -> None:
        self._source = source
        self._topics = topics
        self._stop = stop
        self._singly = False  # after TooLarge one by one, since brokers judge the batch
        self._producer = new_client(Producer, producer_config(settings))

    def check(self) -> None:
        for topic in self._topics:
            check_topic(self._producer, topic)

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        failures: list[KafkaError] = []
        _send_all(self._producer, outputs, failures, singly=self._singly)
        if _unacknowledged(self._producer, self._stop) > 0 and not failures:
            raise DeliveryError("the brokers did not acknowledge a batch in time")
        if failures:
            error = in_our_terms(KafkaException(failures[0]), f"writing to {_topics_of(outputs)}")
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
    open (librdkafka #5456, #5511; DESIGN.md#the-guarantee).
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
            _send_all(self._producer, outputs, failures, singly=self._singly)
            self._flush(self._producer, failures)
            self._finish(self._producer, wanted)
        except KafkaException as failure:
            error = in_our_terms(failure, f"in a transaction that writes to {_topics_of(outputs)}")
            self._singly = isinstance(error, TooLarge)
            raise error from failure
        self._singly = False
        self._source.note_committed(offsets)

    def _finish(self, producer: Producer, wanted: list[TopicPartition]) -> None:
        """Both calls may ignore their timeout when a broker dies under them, and then never return.

        They run beside, so that such a producer can be given up: what it might still do, its successor, which has
        the same transactional id, fences off.
        """
        group = self._source.group_metadata()
        ends: list[KafkaException | None] = []

        def work() -> None:
            try:
                producer.send_offsets_to_transaction(wanted, group, FINISH_SECONDS)
                producer.commit_transaction(FINISH_SECONDS)
            except KafkaException as failure:
                ends.append(failure)
            else:
                ends.append(None)

        thread = Thread(target=work, name="transaction", daemon=True)
        thread.start()
        thread.join(FINISH_SECONDS)
        if not ends:
            self._producer = None
            raise DeliveryError(f"a transaction did not end within {FINISH_SECONDS:g} s")
        if ends[0] is not None:
            raise ends[0]

    def _flush(self, producer: Producer, failures: list[KafkaError]) -> None:
        """Raises KafkaException unless all was acknowledged, and over connections that held.

        `send_offsets_to_transaction` hangs for good where one was lost since it was called last.
        """
        if _unacknowledged(producer, self._stop) > 0 or failures or self._disconnected:
            raise KafkaException(_cause(producer, failures))

    def _on_error(self, error: KafkaError) -> None:
        self._disconnected |= error.code() in (TRANSPORT, ALL_BROKERS_DOWN)

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
            raise in_our_terms(failure, f"starting a producer as {own}") from failure
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
                timed_out = failure.args[0].code() == TIMED_OUT
                if not timed_out or self._stop.is_set() or time.monotonic() > deadline:
                    raise
            else:
                return

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()


def _cause(producer: Producer, failures: Sequence[KafkaError]) -> KafkaError:
    """What a message was refused for says most; that it was purged says only that the transaction is spoiled."""
    if failures and failures[0].code() == PURGE_QUEUE:
        try:
            producer.begin_transaction()  # inside an open one it fails, with what spoiled that
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
    return failures[0] if failures else KafkaError(TRANSPORT)


def _topics_of(outputs: Sequence[Outgoing]) -> str:
    return " and ".join(sorted({output.topic for output in outputs}))


OnDelivery = Callable[[KafkaError | None, object], None]


def collector(failures: list[KafkaError]) -> OnDelivery:
    def on_delivery(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    return on_delivery


def _unacknowledged(producer: Producer, stop: Flag) -> int:
    """Wait for acknowledgements, after `stop` only for a moment. Returns how many messages have none."""
    deadline = time.monotonic() + TRANSACTION_SECONDS + POLL_SECONDS
    while (left := producer.flush(POLL_SECONDS)) > 0:
        if stop.is_set():
            return producer.flush(CALL_SECONDS / 2)
        if time.monotonic() > deadline:
            break
    return left


def _send_all(
    producer: Producer, outputs: Sequence[Outgoing], failures: list[KafkaError], *, singly: bool
) -> None:
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
            raise in_our_terms(failure, f"producing to {output.topic}") from failure
        else:
            return
