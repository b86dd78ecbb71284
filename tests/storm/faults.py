"""Faults, drawn from a seed and done to the workers, the brokers and the network between them."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.cimpl import NewPartitions

from tests.broker import poll_until
from tests.cluster import Cluster
from tests.storm.workers import Worker, Workers

SESSION_SECONDS: Final = 4.0
TRANSACTION_SECONDS: Final = 6.0

# How often each kind comes in a round; rounds are shuffled, so that a short storm has every kind too.
ROUND: Final = {
    "worker-kill": 4,
    "worker-term": 2,
    "stop-past-session": 1,
    "stop-past-transaction": 1,
    "worker-added": 1,
    "worker-removed": 1,
    "broker-kill": 1,
    "network-cut": 2,
    "network-delayed": 1,
    "network-held": 1,
}


@dataclass(frozen=True)
class Fault:
    """`at` is in seconds from the storm's start; `draw`, from 0 to 1, chooses the target and the length."""

    at: float
    kind: str
    draw: float


def schedule(seed: int, seconds: float) -> list[Fault]:
    """A fault every 1 to 3 seconds, and partitions added after one and two thirds."""
    rng = random.Random(seed)
    faults = [Fault(seconds * third / 3, "partition-added", 0) for third in (1, 2)]
    kinds = _kinds(rng)
    at = rng.uniform(1, 3)
    while at < seconds:
        faults.append(Fault(at, next(kinds), rng.random()))
        at += rng.uniform(1, 3)
    return sorted(faults, key=lambda fault: fault.at)


def _kinds(rng: random.Random) -> Iterator[str]:
    while True:
        kinds = [kind for kind, times in ROUND.items() for _ in range(times)]
        rng.shuffle(kinds)
        yield from kinds


class Storm:
    """Does faults and takes them back. `tick` is called every fraction of a second, by one thread."""

    def __init__(self, cluster: Cluster, workers: Workers, topic: str, log: Path, executor: Executor) -> None:
        self.done: Counter[str] = Counter()
        self.brokers_back: list[float] = []  # when a killed broker answered again
        self._cluster = cluster
        self._workers = workers
        self._topic = topic
        self._log = log
        self._executor = executor
        self._started = time.monotonic()
        self._wanted = len(workers.running)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._slow: list[Future[None]] = []
        self._broker_away = False
        self._doing: dict[str, Callable[[float], str | None]] = {
            "worker-kill": lambda draw: self._told(draw, signal.SIGKILL),
            "worker-term": lambda draw: self._told(draw, signal.SIGTERM),
            "stop-past-session": lambda draw: self._held(draw, SESSION_SECONDS + 1),
            "stop-past-transaction": lambda draw: self._held(draw, TRANSACTION_SECONDS + 2),
            "worker-added": self._worker_added,
            "worker-removed": self._worker_removed,
            "broker-kill": self._broker_kill,
            "network-cut": self._network_cut,
            "network-delayed": self._network_delayed,
            "network-held": self._network_held,
            "partition-added": self._partition_added,
        }

    def run(self, faults: list[Fault]) -> None:
        """Returns when every fault was done, and taken back."""
        self._started = time.monotonic()
        left = list(faults)
        while left or self._later or self._slow:
            if left and time.monotonic() >= self._started + left[0].at:
                self._do(left.pop(0))
            self.tick()
            time.sleep(0.05)

    def tick(self) -> None:
        """What is due, and new workers for those that ended."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        for future in [future for future in self._slow if future.done()]:
            self._slow.remove(future)
            future.result()
        for worker in self._workers.sort_out():
            self._note("ended", f"{worker.name} with {worker.process.returncode}")
        while len(self._workers.running) < self._wanted:
            self._note("started", self._workers.start().name)

    def _do(self, fault: Fault) -> None:
        target = self._doing[fault.kind](fault.draw)
        self._note(fault.kind, target or "skipped: no target")
        if target:
            self.done[fault.kind] += 1

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), action))

    def note_gaps(self, progress: Sequence[float], least: float = 5.0) -> None:
        """Add to the log when nothing came out for `least` seconds or more."""
        for earlier, later in pairwise(progress):
            if later - earlier >= least:
                self._note("no output", f"for {later - earlier:.1f} s from then on", earlier)

    def _note(self, what: str, target: str, at: float | None = None) -> None:
        seconds = (at or time.monotonic()) - self._started
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{seconds:8.2f} {what:22} {target}\n")

    # --- workers

    def _worker(self, draw: float) -> Worker | None:
        free = self._workers.free()
        # One that has only just started has nothing to lose yet.
        free = [worker for worker in free if worker.age() > 3] or free
        return free[int(draw * len(free))] if free else None

    def _told(self, draw: float, by: signal.Signals) -> str | None:
        if (worker := self._worker(draw)) is None:
            return None
        worker.end(by)
        return worker.name

    def _worker_added(self, _draw: float) -> str:
        self._wanted += 1
        return f"now {self._wanted}"

    def _worker_removed(self, draw: float) -> str | None:
        name = self._told(draw, signal.SIGTERM) if self._wanted > 1 else None
        self._wanted -= name is not None
        return name

    def _held(self, draw: float, seconds: float) -> str | None:
        if (worker := self._worker(draw)) is None:
            return None
        worker.hold()
        self._after(seconds, worker.release)
        return f"{worker.name} for {seconds:g} s"

    # --- brokers, topics and the network

    def _broker_kill(self, draw: float) -> str | None:
        if self._broker_away:
            return None
        broker = self._cluster.brokers[number := int(draw * len(self._cluster.brokers))]
        broker.kill()
        self._broker_away = True

        def bring_back() -> None:
            broker.start()
            self._broker_away = False
            self.brokers_back.append(time.monotonic())
            self._note("broker answers", f"broker-{number + 1}")

        self._after(2 * draw, lambda: self._slow.append(self._executor.submit(bring_back)))
        return f"broker-{number + 1}"

    def _partition_added(self, _draw: float) -> str:
        admin = self._cluster.admin

        def added() -> bool:
            wanted = len(admin.list_topics(self._topic, timeout=5).topics[self._topic].partitions) + 1
            (answer,) = admin.create_partitions([NewPartitions(self._topic, wanted)]).values()
            answer.result()
            return True

        def add() -> None:
            poll_until(lambda: _tried(added), "one more partition", 60)

        self._slow.append(self._executor.submit(add))
        return self._topic

    def _network_cut(self, draw: float) -> str:
        """Every connection of one broker ends, and for up to three seconds none is taken."""
        proxy = self._cluster.proxies[number := int(draw * len(self._cluster.proxies))]
        proxy.refusing = True
        proxy.cut()
        self._after(3 * draw, lambda: setattr(proxy, "refusing", False))
        return f"broker-{number + 1} for {3 * draw:.1f} s"

    def _network_delayed(self, draw: float) -> str:
        proxy = self._cluster.proxies[number := int(draw * len(self._cluster.proxies))]
        proxy.delay = 0.1 + draw / 2
        self._after(4, lambda: setattr(proxy, "delay", 0.0))
        return f"broker-{number + 1} by {proxy.delay:.2f} s"

    def _network_held(self, draw: float) -> str:
        proxy = self._cluster.proxies[number := int(draw * len(self._cluster.proxies))]
        proxy.hold()
        self._after(2 + 3 * draw, proxy.release)
        return f"broker-{number + 1} for {2 + 3 * draw:.1f} s"


def _tried(action: Callable[[], bool]) -> bool:
    try:
        return action()
    except KafkaException:
        return False
