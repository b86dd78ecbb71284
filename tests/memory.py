"""Kafka in memory: the `Source` and the `Sink` of service.pipeline, for tests of what stands between them.

It behaves as the real one does where tests/contract says so. It has one consumer group with one live member,
and delivers outputs and offsets as one step: rebalances, fencing and half-published batches need a broker.
"""

from collections.abc import Collection, Sequence
from typing import cast

import confluent_kafka

from service.batch import Message, Offsets, Outgoing, Place
from service.errors import DeliveryError, Refused, TooLarge
from service.pipeline import CHUNK_MESSAGES

Headers = Sequence[tuple[str, bytes | None]]


class MemoryTopic:
    """Partitions of messages, and the offsets that its one consumer group committed.

    A test may set `reachable` (do brokers answer?), `max_bytes` (of key and value together) and `deleted`.
    """

    def __init__(self, name: str, partitions: int = 1, max_bytes: int = 1_000_000) -> None:
        self.name = name
        self.partitions: list[list[Message]] = [[] for _ in range(partitions)]
        self.max_bytes = max_bytes
        self.committed: dict[int, int] = {}
        self.reachable = True
        self.deleted = False

    @property
    def messages(self) -> list[Message]:
        return [message for partition in self.partitions for message in partition]

    def append(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        *,
        partition: int = 0,
        timestamp: int = 0,
    ) -> None:
        messages = self.partitions[partition]
        message = confluent_kafka.Message(
            topic=self.name,
            partition=partition,
            offset=len(messages),
            key=key,
            value=value,
            headers=list(headers) or None,
            timestamp=(confluent_kafka.TIMESTAMP_CREATE_TIME, timestamp),
        )
        messages.append(cast("Message", message))


class MemorySource:
    """A member of the topic's group. It starts where the group committed, else at the beginning."""

    def __init__(self, topic: MemoryTopic, chunk_messages: int = CHUNK_MESSAGES) -> None:
        self._topic = topic
        self._chunk_messages = chunk_messages
        self._positions = dict(topic.committed)
        self._paused: set[Place] = set()
        self.revocations = 0

    def poll(self, *, wait: bool = True) -> Sequence[Message]:
        batch: list[Message] = []
        if not self._topic.reachable:
            return batch
        for number, messages in enumerate(self._topic.partitions):
            if (self._topic.name, number) in self._paused:
                continue
            start = self._positions.get(number, 0)
            taken = messages[start : start + self._chunk_messages - len(batch)]
            self._positions[number] = start + len(taken)
            batch += taken
        return batch

    def rewind(self) -> None:
        if not self._topic.reachable:
            raise DeliveryError("no broker answers")
        self._positions = dict(self._topic.committed)

    def idle(self) -> None:
        pass

    def pause(self, places: Collection[Place]) -> None:
        self._paused.update(places)


class MemorySink:
    """Publishes to `outputs` and commits to `events`; after a failure it wants to `recover` first."""

    def __init__(self, events: MemoryTopic, outputs: Sequence[MemoryTopic]) -> None:
        self._events = events
        self._outputs = {topic.name: topic for topic in outputs}
        self._usable = True

    def deliver(self, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
        if not self._usable:
            raise DeliveryError("an earlier delivery failed")
        self._usable = False
        self._reach()
        for output in outputs:
            self._check(output)
        for output in outputs:
            self._outputs[output.topic].append(
                output.value, output.key, output.headers, timestamp=output.timestamp
            )
        for (_, partition), offset in offsets.items():
            self._events.committed[partition] = offset
        self._usable = True

    def recover(self) -> None:
        self._reach()
        self._usable = True

    def _reach(self) -> None:
        if not all(topic.reachable for topic in (self._events, *self._outputs.values())):
            raise DeliveryError("no broker answers")

    def _check(self, output: Outgoing) -> None:
        topic = self._outputs[output.topic]
        if topic.deleted:
            raise Refused(f"topic {topic.name} is unknown")
        if len(output.key or b"") + len(output.value or b"") > topic.max_bytes:
            raise TooLarge(f"a message is too large for topic {topic.name}")
