"""Our contestant: the service as its users run it, clocked from outside by the offsets that it commits."""

import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Final
from urllib.request import urlopen

from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.contestant import NotMeasured, Process, Result, process
from tests.bench.stage import PARTITIONS, DataSet, Stage
from tests.broker import free_ports, poll_until
from tests.program import PROGRAM

_LOOK_SECONDS: Final = 0.02
_SELDOM_SECONDS: Final = 0.5  # a look costs the machine a little
_RULES: Final = ("sts-federation-token-issued", "sts-federation-token-suspicious")


@dataclass(frozen=True)
class Tokentrail:
    mode: str
    screen: bool = False

    def __call__(self, stage: Stage, data: DataSet) -> Result:
        topic = stage.topic(data)
        with stage.output() as findings, stage.output() as dead_letters:
            group, (port,) = f"group-{findings}", free_ports(1)
            settings = {
                "KAFKA__BOOTSTRAP_SERVERS": stage.broker.bootstrap,
                "KAFKA__GROUP_ID": group,
                "TOPICS__EVENTS": topic,
                "TOPICS__FINDINGS": findings,
                "TOPICS__DEAD_LETTERS": dead_letters,
                "DELIVERY__MODE": self.mode,
                "DETECT__SCREEN": str(self.screen).lower(),
                "REGISTRY__URL": stage.registry.url,
                "HTTP__HOST": "127.0.0.1",
                "HTTP__PORT": str(port),
            }
            environment = {f"TOKENTRAIL_{name}": value for name, value in settings.items()}
            with process(stage, [*PROGRAM, "run"], environment) as running:
                seconds = _clocked(running, _Offsets(stage.broker.bootstrap, topic, group), data.messages)
                _check(f"http://127.0.0.1:{port}/metrics", data)
                _stop(running)
            if (published := stage.count(findings)) != len(_RULES) * data.watched:
                raise NotMeasured(f"published {published} findings of {data.watched} records")
        return Result(data.records, seconds, running.memory)


class _Offsets:
    """How far a group has come, asked without being one of it, pending transactions disregarded."""

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted"}
        )
        self._asked = [TopicPartition(topic, number) for number in range(PARTITIONS)]

    def committed(self) -> int:
        return sum(max(0, each.offset) for each in self._consumer.committed(self._asked, timeout=10))

    def close(self) -> None:
        self._consumer.close()


def _clocked(running: Process, offsets: _Offsets, messages: int) -> float:
    """Seconds from the last look that saw nothing committed to the first that saw everything."""
    began = time.perf_counter()
    try:
        while (committed := offsets.committed()) < messages:
            if not running.look():
                raise NotMeasured(f"ended with {running.popen.returncode}:\n{running.tail()}")
            if not committed:
                began = time.perf_counter()
            midway = 0 < committed < 0.9 * messages
            time.sleep(_SELDOM_SECONDS if midway else _LOOK_SECONDS)
        return time.perf_counter() - began
    finally:
        offsets.close()


def _check(url: str, data: DataSet) -> None:
    """By the service's own metrics, which follow a commit. Raises NotMeasured where they differ from the data."""
    expected = dict.fromkeys(_RULES, data.watched) | {"messages": data.messages, "dead letters": 0}
    try:
        poll_until(lambda: _counts(url) == expected, f"these counts: {expected}", seconds=5)
    except TimeoutError as late:
        raise NotMeasured(f"{late}, but {_counts(url)}") from None


def _counts(url: str) -> dict[str, int]:
    with urlopen(url, timeout=10) as answer:  # noqa: S310  the service's own address
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]

    def total(name: str, **labels: str) -> int:
        named = (each for each in samples if each.name == f"tokentrail_{name}")
        return round(sum(each.value for each in named if each.labels.items() >= labels.items()))

    matches = {rule: total("rule_verdicts_total", rule=rule, verdict="match") for rule in _RULES}
    return matches | {"messages": total("messages_total"), "dead letters": total("dead_letters_total")}


def _stop(running: Process) -> None:
    running.look()
    running.popen.send_signal(signal.SIGTERM)
    try:
        code = running.popen.wait(30)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"did not stop:\n{running.tail()}") from None
    if code:
        raise NotMeasured(f"stopped with {code}:\n{running.tail()}")
