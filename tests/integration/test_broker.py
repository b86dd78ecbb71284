"""The real broker other tests stand on: it serves messages, keeps them over a crash, says why it fails."""

from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.broker import Broker, Kafka


def produce(kafka: Kafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, value, key=b"a key", headers={"rule_id": b"a rule"})
    assert producer.flush(30) == 0


def first_value(kafka: Kafka, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "unused"})
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        messages = consumer.consume(1, timeout=30)
    finally:
        consumer.close()
    return messages[0].value() if messages else None


@pytest.mark.usefixtures("kafka_tools")
def test_a_message_reaches_a_client_and_kafkas_own_console(broker: Kafka, topic: str) -> None:
    produce(broker, topic, "naïve".encode())
    assert first_value(broker, topic) == "naïve".encode()
    shown = broker.console_consume(topic, 1, formatter={"print.key": "true", "print.headers": "true"})
    assert shown == "rule_id:a rule\ta key\tnaïve\n"


def test_a_killed_broker_is_gone_and_comes_back_with_its_data(own_broker: Broker, topic: str) -> None:
    produce(own_broker, topic, b"kept")
    own_broker.kill()
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": own_broker.bootstrap, "log_level": 0}).list_topics(timeout=0.5)
    own_broker.start()
    assert first_value(own_broker, topic) == b"kept"


@pytest.mark.usefixtures("kafka_tools")
def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    wrong = Broker(tmp_path, {"log.segment.bytes": "many"})
    with pytest.raises(RuntimeError, match=r"log\.segment\.bytes"):
        wrong.start()
    assert not wrong.running
