"""Feeds events at a steady rate and keeps account of what the brokers acknowledged."""

import threading
import time
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

from tests.storm.events import Events, Sent

TICK_SECONDS = 0.02
FLUSH_SECONDS = 120.0

Place = tuple[int, int]  # partition and offset of an event


@dataclass
class Fed:
    """What was acknowledged, and so what must come out."""

    events: int = 0
    findings: dict[str, Place] = field(default_factory=dict)  # by id: the event that gives it
    dead_letters: set[Place] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


class Feeder:
    """`run` feeds until `stop`, in a thread of the caller's, and returns when all is acknowledged."""

    def __init__(self, bootstrap: str, topic: str, *, rate: float, seed: int) -> None:
        """`rate` is in messages a second."""
        self.fed = Fed()
        self._topic = topic
        self._rate = rate
        self._events = Events(seed)
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "log_level": 0,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": 0,  # an outage only delays
                "queue.buffering.max.messages": 2_000_000,
                "reconnect.backoff.max.ms": 500,
                "topic.metadata.refresh.interval.ms": 2_000,  # partitions are added
            }
        )

    def run(self) -> None:
        started, sent = time.monotonic(), 0
        while not self._stop.wait(TICK_SECONDS):
            while sent < (time.monotonic() - started) * self._rate:
                self._send(next(self._events))
                sent += 1
            self._producer.poll(0)
        if left := self._producer.flush(FLUSH_SECONDS):
            raise RuntimeError(f"the brokers have not acknowledged {left} events")
        if self.fed.refused:
            raise RuntimeError(f"the brokers refused {len(self.fed.refused)} events: {self.fed.refused[0]}")

    def stop(self) -> None:
        self._stop.set()

    def _send(self, sent: Sent) -> None:
        def acknowledged(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._note(sent, message)
            else:
                self.fed.refused.append(error.str())

        self._producer.produce(self._topic, sent.value, sent.key, on_delivery=acknowledged)

    def _note(self, sent: Sent, message: Message) -> None:
        place = (message.partition() or 0, message.offset() or 0)
        self.fed.events += 1
        self.fed.findings.update(dict.fromkeys(sent.findings, place))
        if sent.is_rubbish:
            self.fed.dead_letters.add(place)
