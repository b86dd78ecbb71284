"""How long a finding takes, from the broker's acknowledgement of its event to a reader of committed findings.

    python -m tests.bench.latency --quick

Sender, service and reader are processes of their own, on the one clock that a machine's processes share
(CLOCK_MONOTONIC). The sender keeps to a schedule whatever happens (open loop), so that every event that a stall
delays tells of it. Two intervals are told: from the acknowledgement, which is what service and reader take, and
from when the event was due, which is what a user sees. Each watched event is sent a second time, half a period
later, to a topic that no service reads: what that takes to the same reader is the reader's own share.
"""

import argparse
import json
import multiprocessing
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGTERM
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.bench.data import records
from tests.bench.table import Row, Scale, markdown
from tests.broker import Broker, poll_until
from tests.storm.workers import Worker

NAME: Final = "latency"
MODES: Final = ("at-least-once", "exactly-once")
WARM_SECONDS: Final = 3.0  # first connections, first batches: not what is asked
FINDINGS: Final = 2  # of a watched event, by two rules; that the later one is readable is what counts
READER: Final = {
    "group.id": "reader",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "fetch.wait.max.ms": 10,  # asks again at once, so that its own share is small
}


@dataclass(frozen=True)
class Plan:
    """`rate` messages a second, of which one in `every` is watched."""

    rate: float
    every: int
    seconds: float
    partitions: int = 6
    seed: int = 0

    @property
    def watched(self) -> int:
        return -(-int(self.rate * self.seconds) // self.every)


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
    for producer in (crowd, watched):
        producer.list_topics(topics.events, timeout=10)
    done = threading.Event()
    # Acknowledgements are noted as they come, whatever the schedule is doing.
    noting = threading.Thread(target=_serve, args=(watched, done))
    noting.start()
    served, unserved = Sent(), Sent()
    started, last = time.monotonic() + 0.5, b""
    for number, value in enumerate(
        records(int(plan.rate * plan.seconds), plan.seed, watched_every=plan.every, mix="even")
    ):
        due = started + number / plan.rate
        _wait_until(due)
        if number % plan.every == 0:
            last = value
            _send_watched(watched, topics.events, value, due, served)
        else:
            crowd.produce(topics.events, value)
            crowd.poll(0)
        if number % plan.every == plan.every // 2:
            halfway = due if plan.every > 1 else due + 0.5 / plan.rate
            _wait_until(halfway)
            _send_watched(watched, topics.raw, last, halfway, unserved)
    left = crowd.flush(30) + watched.flush(30)
    done.set()
    noting.join()
    if left:
        raise RuntimeError(f"the broker has not acknowledged {left} events")
    return served, unserved


def _serve(producer: Producer, done: threading.Event) -> None:
    while not done.is_set():
        producer.poll(0.1)


def _wait_until(due: float) -> None:
    if (early := due - time.monotonic()) > 0:
        time.sleep(early)


def _send_watched(producer: Producer, topic: str, value: bytes, due: float, sent: Sent) -> None:
    event_id = _event_id(json.loads(value))

    def acknowledged(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            sent.acknowledged[event_id] = time.monotonic()

    sent.due[event_id] = due
    producer.produce(topic, value, on_delivery=acknowledged)


def _event_id(value: Mapping[str, Any]) -> str:
    """Of a finding, or of a record."""
    return str(value.get("event_id") or value["eventID"])


def read(bootstrap: str, topics: Topics, plan: Plan) -> dict[str, dict[str, float]]:
    """By topic and eventID, when all of it was readable. Ends when everything is, or 20 s after that was due."""
    consumer = Consumer({"bootstrap.servers": bootstrap, **READER})
    read_topics, partitions = (topics.findings, topics.raw), range(plan.partitions)
    consumer.assign([TopicPartition(topic, number, 0) for topic in read_topics for number in partitions])
    found: list[tuple[float, str, bytes]] = []
    deadline = time.monotonic() + plan.seconds + 20
    while len(found) < (FINDINGS + 1) * plan.watched and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        now = time.monotonic()
        if message is not None and message.error() is None:
            found.append((now, message.topic() or "", message.value() or b""))
    consumer.close()
    readable: dict[str, dict[str, float]] = defaultdict(dict)
    for at, topic, value in found:
        readable[topic][_event_id(json.loads(value))] = at
    return readable


def environment(broker: Broker, topics: Topics, mode: str) -> dict[str, str]:
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "KAFKA__GROUP_ID": f"group-{topics.findings}",
        "TOPICS__EVENTS": topics.events,
        "TOPICS__FINDINGS": topics.findings,
        "TOPICS__DEAD_LETTERS": topics.raw,  # of which there are none
        "DELIVERY__MODE": mode,
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": "0",
    }
    return {f"TOKENTRAIL_{name}": value for name, value in settings.items()}


@contextmanager
def running(broker: Broker, topics: Topics, mode: str, folder: Path, **more: str) -> Iterator[Worker]:
    """The service, once it has joined its group."""
    worker = Worker(mode, {**environment(broker, topics, mode), **more}, folder / f"{topics.findings}.log")
    try:
        poll_until(lambda: worker.get("/readyz")[0] == 200, "a service that is ready")
        yield worker
    finally:
        worker.end(SIGTERM)
        worker.process.wait(30)


@dataclass(frozen=True)
class Latencies:
    """Sorted milliseconds: from the acknowledgement, from when it was due, and those of the reader alone."""

    acknowledged: list[float]
    due: list[float]
    reader: list[float]


def latencies(broker: Broker, plan: Plan, mode: str, folder: Path, **more: str) -> Latencies:
    """Raises RuntimeError unless every watched event has its findings."""
    topics = Topics(*(broker.new_topic(plan.partitions) for _ in range(3)))
    spawn = multiprocessing.get_context("spawn")
    with running(broker, topics, mode, folder, **more), ProcessPoolExecutor(2, mp_context=spawn) as processes:
        reading = processes.submit(read, broker.bootstrap, topics, plan)
        sending = processes.submit(send, broker.bootstrap, topics, plan)
        (served, unserved), readable = sending.result(), reading.result()
    broker.delete_created_topics()
    findings, raw = readable[topics.findings], readable[topics.raw]
    if missing := served.due.keys() - findings.keys():
        raise RuntimeError(f"{len(missing)} of {plan.watched} events have no finding")
    begins = min(served.due.values()) + WARM_SECONDS
    return Latencies(
        acknowledged=_intervals(served, served.acknowledged, findings, begins),
        due=_intervals(served, served.due, findings, begins),
        reader=_intervals(unserved, unserved.acknowledged, raw, begins),
    )


def _intervals(sent: Sent, since: Mapping[str, float], until: Mapping[str, float], begins: float) -> list[float]:
    return sorted(1000 * (until[event] - since[event]) for event, due in sent.due.items() if due >= begins)


def measure(scale: Scale) -> list[Row]:
    """At a rate, and on a topic that is almost idle; each round both modes in turn."""
    busy = Plan(10_000, 1_000, 8 if scale.quick else 30, seed=scale.seed)
    idle = Plan(1, 1, 8 if scale.quick else 40, seed=scale.seed)
    found: dict[tuple[str, str], list[Latencies]] = defaultdict(list)
    with TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        for _ in range(scale.rounds):
            for name, plan in (("10,000/s", busy), ("1/s", idle)):
                for mode in MODES:
                    found[name, mode].append(latencies(broker, plan, mode, Path(folder)))
    return [row for (name, mode), runs in found.items() for row in _rows(name, mode, runs)]


# Milliseconds that a finding may take from its event's acknowledgement.
GOALS: Final = {
    ("10,000/s", "at-least-once", "p50"): "<= 5",
    ("10,000/s", "at-least-once", "p99"): "<= 25",
    ("10,000/s", "exactly-once", "p99"): "<= 60",
}


def _rows(name: str, mode: str, runs: list[Latencies]) -> Iterator[Row]:
    def row(what: str, percentile: str, of: list[list[float]], goal: str = "") -> Row:
        values = tuple(percentiles(each)[percentile] for each in of)
        return Row(NAME, f"{name}, {mode}, {what}, {percentile}", "ms", values, goal=goal)

    since_acknowledged = [run.acknowledged for run in runs]
    for percentile in ("p50", "p90", "p99", "p99.9", "max"):
        yield row("acknowledged", percentile, since_acknowledged, GOALS.get((name, mode, percentile), ""))
    yield row("due", "p99", [run.due for run in runs])
    yield row("the reader alone", "p50", [run.reader for run in runs])
    yield row("the reader alone", "p99", [run.reader for run in runs])


def percentiles(values: list[float]) -> dict[str, float]:
    cuts = quantiles(values, n=1000, method="inclusive")
    return {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "p99.9": cuts[998], "max": values[-1]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(markdown(measure(Scale(options.rounds, options.quick))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
