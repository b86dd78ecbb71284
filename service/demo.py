"""The whole pipeline on librdkafka's built-in cluster: no broker, no Java, no network beyond loopback.

The service in it is the real one; only the cluster is a stand-in. It has no transactions, so delivery is
at-least-once here.
"""

import itertools
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, Producer
from prometheus_client.parser import text_string_to_metric_families

from service.app import Service
from service.finding import Finding
from service.sample_day import sample_day
from service.settings import Settings

FEED_PER_SECOND: Final = 900
KEEP_PER_SECOND: Final = 25
DEADLINE_SECONDS: Final = 25.0
RUBBISH: Final = (b"not JSON at all", b'{"Records": [{"eventName": "Trunc', b"\x1f\x8b\x08damaged")
_EVENTS, _FINDINGS, _DEAD_LETTERS = "cloudtrail.events", "cloudtrail.findings", "cloudtrail.dead-letters"


class Demo:
    """A cluster, the service on it, and a reader of its findings. Close it to end all three."""

    def __init__(self, port: int = 0) -> None:
        self._cluster = Producer({"bootstrap.servers": "built-in", "test.mock.num.brokers": 1, "log_level": 2})
        brokers = self._cluster.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        for topic in (_EVENTS, _FINDINGS, _DEAD_LETTERS):
            self._cluster.list_topics(topic, timeout=10)  # asking makes it, with four partitions
        self.service = Service(_settings(self.bootstrap, port))
        self._worker = threading.Thread(target=self.service.run, name="pipeline", daemon=True)
        self._reader = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "demo-reader",
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 2,
            }
        )
        self._reader.subscribe([_FINDINGS])
        self._worker.start()

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.service.probes.port}/metrics"

    def ready(self) -> bool:
        return self.service.ready() is None

    def send(self, value: bytes, key: str | None = None) -> None:
        self._cluster.produce(_EVENTS, value, key)
        self._cluster.poll(0)

    def findings(self, seconds: float) -> list[Finding]:
        """What has come, waiting at most that long for the first."""
        first = self._reader.poll(seconds)
        messages = [] if first is None else [first, *self._reader.consume(100, 0)]
        values = [message.value() for message in messages if message.error() is None]
        return [msgspec.json.decode(value, type=Finding) for value in values if value is not None]

    def metrics(self) -> dict[str, dict[str, float]]:
        """Sums of the service's own metrics, as it serves them: name -> labels -> value."""
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:  # noqa: S310  our own loopback
            text = answer.read().decode()
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = " ".join(sample.labels.values())
                found.setdefault(sample.name, {})[labels] = sample.value
        return found

    def close(self) -> None:
        self.service.stop.set()
        self._worker.join(10)
        self.service.close()
        self._reader.close()


def _settings(bootstrap: str, port: int) -> Settings:
    values: dict[str, Any] = {
        "kafka": {"bootstrap_servers": bootstrap, "group_id": "tokentrail-demo", "start": "earliest"},
        "topics": {"events": _EVENTS, "findings": _FINDINGS, "dead_letters": _DEAD_LETTERS},
        "delivery": {"mode": "at-least-once"},
        "http": {"host": "127.0.0.1", "port": port},
    }
    return Settings(**values)


def day_messages(day: date, seed: int = 1) -> Iterator[tuple[bytes, str | None]]:
    """A day's events as (value, key), in the order of their times, and a little rubbish among them."""
    events = sample_day(day, seed)
    for number, event in enumerate(events):
        yield msgspec.json.encode(event), str(event["eventID"])
        if number % 2_000 == 1_000:
            yield RUBBISH[number // 2_000 % len(RUBBISH)], None


def _yesterday() -> date:
    """So that no event lies in the future."""
    return datetime.now(UTC).date() - timedelta(days=1)


def play(demo: Demo, show: Callable[[Finding], None]) -> Counter[str]:
    """Feed a day in a few seconds and show findings as they come. Counts what was `sent` and `findings` seen."""
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not demo.ready() and time.monotonic() < deadline:
        demo.findings(0.1)
    started = time.monotonic()
    for value, key in day_messages(_yesterday()):
        demo.send(value, key)
        counts["sent"] += 1
        if counts["sent"] % 50 == 0:
            _show_all(demo, show, counts, started + counts["sent"] / FEED_PER_SECOND - time.monotonic())
    while time.monotonic() < deadline and not _all_read(demo, counts):
        _show_all(demo, show, counts, 0.2)
    return counts


def _show_all(demo: Demo, show: Callable[[Finding], None], counts: Counter[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        for finding in demo.findings(max(0.0, until - time.monotonic())):
            counts["findings"] += 1
            show(finding)
        if time.monotonic() >= until:
            return


def _all_read(demo: Demo, counts: Counter[str]) -> bool:
    metrics = demo.metrics()
    published = sum(metrics.get("tokentrail_findings_total", {}).values())
    return metrics["tokentrail_messages_total"][""] >= counts["sent"] and counts["findings"] >= published


def keep_feeding(demo: Demo, show: Callable[[Finding], None]) -> None:
    """Go on with one day after the other, slowly, until interrupted."""
    counts: Counter[str] = Counter()
    for seed in itertools.count(2):
        for value, key in day_messages(_yesterday(), seed):
            demo.send(value, key)
            _show_all(demo, show, counts, 1 / KEEP_PER_SECOND)
