"""AWS Lambda: what EventBridge or a CloudWatch Logs subscription hands over goes into Kafka, as it is."""  # noqa: INP001  # a Lambda's file, in no package

import base64
import json
import os
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

# Outside of the handler: a warm Lambda keeps its connections. KAFKA_PROPERTIES: librdkafka's properties as JSON.
PRODUCER = Producer({"enable.idempotence": True, **json.loads(os.environ["KAFKA_PROPERTIES"])})
TOPIC = os.environ.get("KAFKA_TOPIC", "cloudtrail.events")
SECONDS = 20.0  # less than the Lambda's own timeout


def handler(event: dict[str, Any], _context: object) -> None:
    """Raises KafkaException unless Kafka has acknowledged the message, so that AWS hands it over again."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    PRODUCER.produce(TOPIC, value(event), key(event), on_delivery=delivered)
    if PRODUCER.flush(SECONDS):
        PRODUCER.purge()
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001  # public, despite its name
    if failures:
        raise KafkaException(failures[0])


def value(event: dict[str, Any]) -> bytes:
    """Of a subscription the gzip that it sends, of EventBridge the event's JSON."""
    return base64.b64decode(event["awslogs"]["data"]) if "awslogs" in event else json.dumps(event).encode()


def key(event: dict[str, Any]) -> str | None:
    """The eventID: repeats of an event share a partition. A subscription's log events have none in common."""
    detail = event.get("detail")
    return detail.get("eventID") if isinstance(detail, dict) else None
