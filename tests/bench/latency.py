"""How long a finding takes, from the broker's acknowledgement of its event to a reader of committed findings.

    python -m tests.bench.latency --seconds 20

Sender, service and reader are processes of their own, on the one clock that a machine's processes share
(CLOCK_MONOTONIC). The sender keeps to a schedule whatever happens (open loop), so that a stall is seen by every
event that it delays. Two intervals are told: from the acknowledgement, which is the service's share and the
reader's, and from when the event was due, which is all that a user sees. Next to each watched event one goes into
a topic that no service reads: what it takes to the same reader is the reader's own share.
"""

import argparse
import json
import multiprocessing
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from signal import SIGTERM
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.broker import Broker, Kafka, poll_until
from tests.running import record
from tests.storm.workers import Worker

MODES: Final = ("at-least-once", "exactly-once")
PARTITIONS: Final = 6
WARM_SECONDS: Final = 3.0  # first connections, first leaders: not what is asked
PADDING: Final = "x" * 1_000  # a record is 1.35 KB, as in real trails
READER: Final = {
    "group.id": "reader",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "fetch.wait.max.ms": 10,  # asks again at once, so that its own share is small; the raw topic shows how small
}


@dataclass(frozen=True)
class Plan:
    """`rate` messages a second, of which one in `every` is watched and gives one finding."""

    rate: float
    every: int
    seconds: float
    partitions: int = PARTITIONS

    @property
    def watched(self) -> int:
        return int(self.rate * self.seconds / self.every)


@dataclass(frozen=True)
class Topics:
    events: str
    findings: str
    raw: str


@dataclass
class Sent:
    """By eventID, in seconds of the clock: when it was due, when it was acknowledged."""

    due: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)


def send(bootstrap: str, topics: Topics, plan: Plan) -> tuple[Sent, Sent]:
    """What went to the service, and what went to nobody."""
    crowd = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    watched = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for topic in (topics.events, topics.raw):
        crowd.list_topics(topic, timeout=10)
        watched.list_topics(topic, timeout=10)
    done = threading.Event()
    # Acknowledgements are noted at once, whatever the schedule's thread is doing.
    noting = threading.Thread(target=lambda: [watched.poll(0.1) for _ in iter(done.is_set, True)])
    noting.start()
    to_service, to_nobody = Sent(), Sent()
    others = cycle([_event(uuid.uuid4(), "DescribeInstances", "ec2.amazonaws.com") for _ in range(2_000)])
    started = time.monotonic() + 0.5
    for number in range(int(plan.rate * plan.seconds)):
        due = started + number / plan.rate
        while (early := due - time.monotonic()) > 0:
            crowd.poll(0)
            time.sleep(min(early, 0.01))
        if number % plan.every == 0:
            _send_watched(watched, topics.events, due, to_service)
        else:
            crowd.produce(topics.events, next(others))
        if number % plan.every == plan.every // 2:
            _send_watched(watched, topics.raw, due, to_nobody)
    left = crowd.flush(30) + watched.flush(30)
    done.set()
    noting.join()
    if left:
        raise RuntimeError(f"the broker has not acknowledged {left} events")
    return to_service, to_nobody


def _event(event_id: uuid.UUID, name: str, source: str) -> bytes:
    return record(str(event_id), eventName=name, eventSource=source, userAgent=PADDING)


def _send_watched(producer: Producer, topic: str, due: float, sent: Sent) -> None:
    event_id = uuid.uuid4()

    def acknowledged(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            sent.acknowledged[str(event_id)] = time.monotonic()

    sent.due[str(event_id)] = due
    producer.produce(
        topic, _event(event_id, "GetFederationToken", "sts.amazonaws.com"), on_delivery=acknowledged
    )


def read(bootstrap: str, topics: Topics, plan: Plan) -> dict[str, float]:
    """By eventID, when it, or its finding, was readable. Ends when all are, or 20 s after the last was due."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **READER})
    partitions = range(plan.partitions)
    consumer.assign([TopicPartition(each, n, 0) for each in (topics.findings, topics.raw) for n in partitions])
    found: list[tuple[float, bytes]] = []
    deadline = time.monotonic() + plan.seconds + 20
    while len(found) < 2 * plan.watched and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        now = time.monotonic()
        if message is not None and message.error() is None:
            found.append((now, message.value() or b""))
    consumer.close()
    return {_event_id(json.loads(value)): at for at, value in found}


def _event_id(value: Mapping[str, Any]) -> str:
    return str(value.get("event_id") or value["eventID"])


@contextmanager
def running(broker: Kafka, topics: Topics, mode: str, folder: Path, **more: str) -> Iterator[Worker]:
    """The service, once it has joined its group."""
    environment = {
        "TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "TOKENTRAIL_KAFKA__GROUP_ID": f"group-{topics.events}",
        "TOKENTRAIL_TOPICS__EVENTS": topics.events,
        "TOKENTRAIL_TOPICS__FINDINGS": topics.findings,
        "TOKENTRAIL_TOPICS__DEAD_LETTERS": topics.raw,  # of which there are none
        "TOKENTRAIL_DELIVERY__MODE": mode,
        "TOKENTRAIL_HTTP__HOST": "127.0.0.1",
        "TOKENTRAIL_HTTP__PORT": "0",
        **more,
    }
    worker = Worker(mode, environment, folder / f"{topics.events}.log")
    try:
        poll_until(lambda: worker.get("/readyz")[0] == 200, "a service that is ready")
        yield worker
    finally:
        worker.end(SIGTERM)
        worker.process.wait(30)


@dataclass(frozen=True)
class Latencies:
    """Seconds, sorted: of the service, of all that lies between schedule and reader, of the reader alone."""

    acknowledged: list[float]
    due: list[float]
    baseline: list[float]


def latencies(broker: Kafka, plan: Plan, mode: str, folder: Path, **more: str) -> Latencies:
    """Raises RuntimeError unless every watched event has its finding."""
    topics = Topics(*(broker.new_topic(plan.partitions) for _ in range(3)))
    spawn = multiprocessing.get_context("spawn")
    with running(broker, topics, mode, folder, **more), ProcessPoolExecutor(2, mp_context=spawn) as processes:
        reading = processes.submit(read, broker.bootstrap, topics, plan)
        sending = processes.submit(send, broker.bootstrap, topics, plan)
        (sent, unserved), readable = sending.result(), reading.result()
    if missing := (sent.due.keys() | unserved.due.keys()) - readable.keys():
        raise RuntimeError(f"{len(missing)} of {2 * plan.watched} events were not found")
    begins = min(sent.due.values()) + WARM_SECONDS
    return Latencies(
        acknowledged=_intervals(sent, sent.acknowledged, readable, begins),
        due=_intervals(sent, sent.due, readable, begins),
        baseline=_intervals(unserved, unserved.acknowledged, readable, begins),
    )


def _intervals(
    sent: Sent, since: Mapping[str, float], readable: Mapping[str, float], begins: float
) -> list[float]:
    return sorted(readable[event] - since[event] for event, due in sent.due.items() if due >= begins)


def told(name: str, seconds: list[float]) -> str:
    """A line of milliseconds."""
    cuts = quantiles(seconds, n=1000, method="inclusive")
    picked = [("p50", cuts[499]), ("p90", cuts[899]), ("p99", cuts[989]), ("p99.9", cuts[998]), ("max", seconds[-1])]
    return f"{name:42}" + "  ".join(f"{which} {value * 1000:6.1f}" for which, value in picked) + f"  n {len(seconds)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--every", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--more", default="{}")
    options = parser.parse_args()
    plan = Plan(options.rate, options.every, options.seconds)
    with TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        for mode in [options.mode] if options.mode else MODES:
            found = latencies(broker, plan, mode, Path(folder), **json.loads(options.more))
            print(told(f"{mode}, since acknowledged", found.acknowledged))
            print(told(f"{mode}, since due", found.due))
            print(told(f"{mode}, raw topic, since acknowledged", found.baseline))
    return 0


if __name__ == "__main__":
    sys.exit(main())
