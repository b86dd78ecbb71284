"""The real program and the real service for tests: records, topics fed and read."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from service import batch
from service.app import Service
from service.kafka.errors import PARTITION_EOF
from service.settings import Settings
from tests import program
from tests.broker import Kafka, poll_until

RECORD = {
    "eventVersion": "1.08",
    "eventSource": "sts.amazonaws.com",
    "eventName": "GetFederationToken",
    "eventTime": "2026-01-01T00:00:00Z",
    "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/a", "userName": "a"},
    "requestParameters": {"name": "a"},
    "responseElements": None,
}


def record(event_id: str, **changes: object) -> bytes:
    return json.dumps({**RECORD, "eventID": event_id, **changes}).encode()


@contextmanager
def service(
    broker: Kafka, events: str, findings: str, dead_letters: str, mode: str, *, screen: bool = False
) -> Iterator[Service]:
    values: dict[str, Any] = {
        "kafka": {"bootstrap_servers": broker.bootstrap, "group_id": f"group-{events}"},
        "topics": {"events": events, "findings": findings, "dead_letters": dead_letters},
        "delivery": {"mode": mode},
        "detect": {"screen": screen},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    running = Service(Settings(**values))
    worker = threading.Thread(target=running.run)
    worker.start()
    try:
        yield running
    finally:
        running.stop.set()
        worker.join(20)
        running.close()


def feed(broker: Kafka, topic: str, values: list[tuple[int, bytes]]) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for partition, value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(20) == 0


Messages = list["Message[bytes, bytes]"]


def read(broker: Kafka, topic: str, count: int) -> Messages:
    return _read(broker, topic, lambda found: len(found) >= count, f"{count} messages in {topic}")


def read_until(broker: Kafka, topic: str, text: bytes) -> Messages:
    """All messages up to one that holds the text."""
    return _read(
        broker, topic, lambda found: any(text in (m.value() or b"") for m in found), f"{text!r} in {topic}"
    )


def _read(broker: Kafka, topic: str, enough: Callable[[Messages], bool], what: str) -> Messages:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "reader", "isolation.level": "read_committed"}
    )
    numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    found: Messages = []

    def seen_enough() -> bool:
        found.extend(message for message in consumer.consume(100, 0.2) if message.error() is None)
        return enough(found)

    try:
        poll_until(seen_enough, what)
    finally:
        consumer.close()
    return found


def published(broker: Kafka, topic: str) -> list[batch.Message]:
    """What a reader of committed transactions finds up to the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
        }
    )
    found: list[batch.Message] = []
    try:
        numbers = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
        while numbers:
            for message in consumer.consume(1_000, 0.1):
                error = message.error()
                if error is None:
                    found.append(cast("batch.Message", message))
                elif error.code() == PARTITION_EOF:
                    numbers.discard(message.partition() or 0)
        return found
    finally:
        consumer.close()


def tokentrail(
    broker: Kafka, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The program with that broker, to its end."""
    extra = {"TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap, **(environment or {})}
    return program.tokentrail(*arguments, stdin=stdin, extra=extra)
