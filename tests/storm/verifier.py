"""Reads what the service writes, as its readers do, and counts: once each, in order, or not."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from service.dead_letter import PREFIX
from service.finding import Origin
from service.kafka.errors import PARTITION_EOF
from tests.storm.feeder import Fed, Place

CATCH_UP_SECONDS: Final = 60.0


class _Finding(msgspec.Struct):
    finding_id: str
    origin: Origin


@dataclass
class Seen:
    messages: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[Place] = field(default_factory=Counter)
    out_of_order: int = 0
    times: list[float] = field(default_factory=list)  # of each poll that brought a finding


@dataclass(frozen=True)
class Verdict:
    """What was lost and doubled, by id or by place in the events topic. `unexpected`: nothing gave these."""

    lost: list[str]
    doubled: list[str]
    unexpected: list[str]
    dead_letters_lost: list[Place]
    dead_letters_doubled: list[Place]


def judge(fed: Fed, seen: Seen) -> Verdict:
    return Verdict(
        lost=[f"{finding} of {place}" for finding, place in fed.findings.items() if finding not in seen.findings],
        doubled=[
            f"{finding} of {fed.findings.get(finding)}" for finding, count in seen.findings.items() if count > 1
        ],
        unexpected=[finding for finding in seen.findings if finding not in fed.findings],
        dead_letters_lost=sorted(fed.dead_letters - seen.dead_letters.keys()),
        dead_letters_doubled=[
            place for place, count in seen.dead_letters.items() if count > 1 or place not in fed.dead_letters
        ],
    )


class Verifier:
    """`run` reads committed messages from the topics' beginning until `finish`, in a thread of the caller's."""

    def __init__(self, bootstrap: str, findings: str, dead_letters: str) -> None:
        self.seen = Seen()
        self._dead_letters = dead_letters
        self._consumer = _reader(bootstrap, [findings, dead_letters], "read_committed")
        self._last: dict[tuple[int, int | None, bytes | None], int] = {}
        self._stop = threading.Event()
        self._total = 0

    def run(self) -> None:
        with closing(self._consumer):
            while not self._stop.is_set():
                self._read()
            deadline = time.monotonic() + CATCH_UP_SECONDS
            while self.seen.messages < self._total and time.monotonic() < deadline:
                self._read()

    def finish(self, total: int) -> None:
        """Read on until `total` messages were seen, then end."""
        self._total = total
        self._stop.set()

    def _read(self) -> None:
        first = self._consumer.poll(0.1)
        if first is None:
            return
        messages = [message for message in (first, *self._consumer.consume(999, 0)) if _is_good(message)]
        for message in messages:
            self.seen.messages += 1
            if message.topic() == self._dead_letters:
                self.seen.dead_letters[_place_of(message)] += 1
            else:
                self._note(message)
        if messages:
            self.seen.times.append(time.monotonic())

    def _note(self, message: Message) -> None:
        finding = msgspec.json.decode(message.value() or b"", type=_Finding)
        self.seen.findings[finding.finding_id] += 1
        line = (message.partition() or 0, finding.origin.partition, message.key())
        offset = finding.origin.offset or 0
        self.seen.out_of_order += offset < self._last.get(line, 0)
        self._last[line] = offset


def count_to_end(bootstrap: str, topics: Sequence[str], isolation: str) -> int:
    """How many messages the topics hold, for readers of that isolation level."""
    with closing(_reader(bootstrap, topics, isolation)) as consumer:
        count, unread = 0, {(each.topic, each.partition) for each in consumer.assignment()}
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while unread:
            if time.monotonic() > deadline:
                raise TimeoutError(f"could not be read to the end: {sorted(unread)}")
            for message in consumer.consume(1000, 0.2):
                if _is_good(message):
                    count += 1
                elif _is_end(message):
                    unread.discard((message.topic() or "", message.partition() or 0))
        return count


def _reader(bootstrap: str, topics: Sequence[str], isolation: str) -> Consumer:
    """A consumer of every partition from its beginning, outside of any group."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "reconnect.backoff.max.ms": 500,
        }
    )
    found = consumer.list_topics(timeout=30).topics
    consumer.assign(
        [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in found[topic].partitions]
    )
    return consumer


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == PARTITION_EOF


def _is_good(message: Message) -> bool:
    """Whether it is a message; an outage is none and passes, what never ends is raised."""
    error = message.error()
    if error is not None and error.fatal():
        raise KafkaException(error)
    return error is None


def _place_of(dead_letter: Message) -> Place:
    headers = dict(cast("list[tuple[str, bytes]]", dead_letter.headers()))
    return int(headers[f"{PREFIX}partition"]), int(headers[f"{PREFIX}offset"])
