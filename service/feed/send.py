"""Messages -> a topic, each with its acknowledgement. Knows nothing of what they hold."""

from confluent_kafka import Producer

from service.batch import Outgoing
from service.kafka.clients import POLL_SECONDS, TRANSACTION_SECONDS, check_topic, new_client, producer_config
from service.kafka.sink import OnDelivery, produce
from service.settings import KafkaSettings


class Feeder:
    """Sends records to a topic and tells of each what became of it."""

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
