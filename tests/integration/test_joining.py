"""How a source joins its group: no message is lost to the checks before, and callbacks may come thick and fast."""

import time
from typing import Any

import pytest

from service.kafka.source import KafkaSource
from service.settings import KafkaSettings
from tests.broker import Kafka, poll_until
from tests.running import feed


class Ignored:
    def rebalanced(self, kind: str, assigned: int, paused: int) -> None:
        """Nobody asks."""


def source(broker: Kafka, topic: str, **settings: Any) -> KafkaSource:
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, group_id=f"group-{topic}", **settings)
    return KafkaSource(kafka, topic=topic, observer=Ignored())


def test_checks_take_no_message_away(broker: Kafka, topic: str) -> None:
    """While one part of the service cannot connect, the others are checked again and again."""
    feed(broker, topic, [(0, b"first")])
    reading = source(broker, topic)
    try:
        enough = time.monotonic() + 2
        while time.monotonic() < enough:
            reading.check()
        messages = poll_until(reading.poll, "a message")
        assert [message.value() for message in messages] == [b"first"]
    finally:
        reading.close()


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_new_group_joins_while_statistics_come_fast(broker: Kafka, topic: str, protocol: str) -> None:
    """A second callback in the poll that assigns partitions once ended the process."""
    feed(broker, topic, [(0, b"first")])
    often = {"statistics.interval.ms": "5"}
    reading = source(broker, topic, group_protocol=protocol, consumer_properties=often)
    try:
        reading.check()
        assert poll_until(reading.poll, "a message")[0].value() == b"first"
    finally:
        reading.close()
