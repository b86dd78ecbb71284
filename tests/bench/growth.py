"""What the live service does when there is more of it: partitions, processes, rules. And how soon it begins.

    python -m tests.bench.growth --quick

Topics are filled, then read from their beginning by new groups, in turn. A rate is of the messages that the
service counts as committed, between the first look that shows some and the one that shows all.
"""

import argparse
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

from confluent_kafka import Consumer, Producer, TopicPartition

from service import app
from service.rules import RULES
from service.rules.rule import Rule
from service.settings import load
from tests.bench.data import records
from tests.bench.latency import MODES, READER, Topics, environment
from tests.bench.table import Row, Scale, markdown
from tests.broker import ROOT, Broker, free_ports, poll_until

NAME: Final = "growth"
PARTITIONS: Final = (1, 3, 6, 12)
MANY_RULES: Final = 30
_MODE: Final = "at-least-once"
_MESSAGES: Final = re.compile(r"^tokentrail_messages_total (\S+)$", re.MULTILINE)


def serve(rules: int) -> int:
    """The service with dummies beside its rules, which watch what never happens: until SIGTERM."""
    dummies = (_dummy(RULES[number % len(RULES)], number) for number in range(rules - len(RULES)))
    with patch("service.app.RULES", (*RULES, *dummies)):
        return app.run(load({}))


def _dummy(rule: Rule, number: int) -> Rule:
    return replace(rule, id=f"dummy-{number}", watches=(("dummy.amazonaws.com", f"Dummy{number}"),))


@contextmanager
def processes(settings: Sequence[dict[str, str]], rules: int, folder: Path) -> Iterator[list[str]]:
    """One for each of the settings; the addresses of their metrics."""
    ports = free_ports(len(settings))
    command = [sys.executable, "-m", "tests.bench.growth", "--serve", str(rules)]
    started = []
    with (folder / "service.log").open("ab") as log:
        for own, port in zip(settings, ports, strict=True):
            environ = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                **own,
                "TOKENTRAIL_HTTP__PORT": str(port),
            }
            started.append(subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log))
    try:
        yield [f"http://127.0.0.1:{port}/metrics" for port in ports]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def _committed(addresses: Sequence[str]) -> int:
    """Messages, by all processes; those that do not listen yet have none."""
    total = 0
    for address in addresses:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  the service's own address
                total += sum(int(float(count)) for count in _MESSAGES.findall(answer.read().decode()))
        except OSError:
            continue
    return total


class Filled:
    """A broker with a topic of `count` messages for each number of partitions."""

    def __init__(self, broker: Broker, folder: Path, count: int, seed: int) -> None:
        self._broker, self._folder, self.count = broker, folder, count
        self._topics: dict[int, str] = {}
        values = list(records(min(count, 50_000), seed, watched_every=10_000))
        for partitions in PARTITIONS:
            self._topics[partitions] = broker.new_topic(partitions)
            _fill(broker.bootstrap, self._topics[partitions], partitions, values, count)

    def rate(self, partitions: int, *, rules: int = len(RULES), members: int = 1) -> float:
        """Messages a second, of a new group that reads the topic from its beginning."""
        topics = Topics(self._topics[partitions], self._broker.new_topic(), self._broker.new_topic())
        settings = [environment(self._broker, topics, _MODE)] * members
        with processes(settings, rules, self._folder) as addresses:
            first = poll_until(lambda: _look(addresses), "committed messages")
            last = poll_until(lambda: _look(addresses, self.count), "all messages", 120)
        return (self.count - first[0]) / (last[1] - first[1]) if last[1] > first[1] else float("nan")


def _look(addresses: Sequence[str], least: int = 1) -> tuple[int, float] | None:
    """How many were committed, and when that was seen; None when it is less."""
    seen = time.monotonic()
    committed = _committed(addresses)
    return (committed, seen) if committed >= least else None


def _fill(bootstrap: str, topic: str, partitions: int, values: Sequence[bytes], count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50})
    for number in range(count):
        producer.produce(topic, values[number % len(values)], partition=number % partitions)
        if number % 20_000 == 0:  # fewer than its queue takes
            producer.flush(60)
    if producer.flush(60):
        raise RuntimeError(f"the broker does not take what {topic} is to be filled with")


def first_finding(broker: Broker, mode: str, folder: Path, seed: int) -> float:
    """Seconds from a process's start to its first finding, of an event that waits for it, in a new group."""
    topics = Topics(broker.new_topic(), broker.new_topic(), broker.new_topic())
    _fill(broker.bootstrap, topics.events, 1, list(records(1, seed, watched_every=1)), 1)
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, **READER})
    consumer.assign([TopicPartition(topics.findings, 0, 0)])
    consumer.poll(0.5)  # connected
    began = time.monotonic()
    with processes([environment(broker, topics, mode)], len(RULES), folder):
        poll_until(lambda: (message := consumer.poll(1)) is not None and message.error() is None, "a finding")
        seconds = time.monotonic() - began
    consumer.close()
    return seconds


def measure(scale: Scale) -> list[Row]:
    found: dict[str, list[float]] = defaultdict(list)
    if not scale.rounds:
        return []
    with TemporaryDirectory() as name, Broker(folder := Path(name)) as broker:
        filled = Filled(broker, folder, 100_000 if scale.quick else 1_000_000, scale.seed)
        for _ in range(scale.rounds):
            for partitions in PARTITIONS:
                found[_partitions(partitions)].append(filled.rate(partitions))
            found[_TWO].append(filled.rate(6, members=2))
            found[_MANY].append(filled.rate(6, rules=MANY_RULES))
            for mode in MODES:
                found[f"start to first finding, {mode}"].append(first_finding(broker, mode, folder, scale.seed))
    return [_row(name, tuple(values)) for name, values in found.items()]


def _partitions(count: int) -> str:
    return f"{count} partition{'s' * (count > 1)}"


_SIX: Final = _partitions(6)
_TWO: Final = f"{_SIX}, two processes"
_MANY: Final = f"{_SIX}, {MANY_RULES} rules"


def _row(name: str, values: tuple[float, ...]) -> Row:
    if name.startswith("start"):
        return Row(NAME, name, "s", values, goal="<= 2")
    goal = {_MANY: "0.9 to 1.1", _SIX: "", _TWO: ""}.get(name, "0.9 to 1.1")
    return Row(NAME, name, "messages/s", values, of=None if name == _SIX else _SIX, goal=goal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", type=int, metavar="RULES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    print(markdown(measure(Scale(options.rounds, options.quick))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
