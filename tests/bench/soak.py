"""Whether the live service stays as it is: memory and lag at a steady rate.

    python -m tests.bench.soak --minutes 20

Flatness is a number: by how many per cent the median of resident memory in the last quarter of the time exceeds
that in the second. In the first, caches fill and allocators settle.
"""

import argparse
import multiprocessing
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.latency import Plan, Sent, Topics, running, send
from tests.bench.table import Row, Scale, markdown
from tests.broker import Broker
from tests.storm.workers import Worker

NAME: Final = "soak"
SAMPLES: Final = 240  # however long it takes
RATE: Final = 5_000.0
EVERY: Final = 1_000
# Hours of records would fill the disk: what the service has read long ago is deleted.
_SEGMENTS: Final = {"segment.bytes": str(16 << 20), "retention.bytes": str(64 << 20)}
_BROKER: Final = {"log.retention.check.interval.ms": "5000", "log.segment.delete.delay.ms": "1000"}
_LAG: Final = re.compile(r"^tokentrail_consumer_lag\{.*\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    memory: float  # resident, in MB
    lag: float  # messages not committed yet


def soak(plan: Plan, mode: str, folder: Path, say: Callable[[str], None]) -> list[Sample]:
    """Raises what the sender failed with; RuntimeError when the service has ended."""
    with Broker(folder, _BROKER) as broker:
        names = (broker.new_topic(plan.partitions, _SEGMENTS), broker.new_topic(), broker.new_topic())
        topics = Topics(*names)
        spawn = multiprocessing.get_context("spawn")
        with (
            running(broker, topics, mode, folder) as worker,
            ProcessPoolExecutor(1, mp_context=spawn) as processes,
        ):
            sending = processes.submit(send, broker.bootstrap, topics, plan)
            return _samples(worker, sending, plan.seconds, say)


def _samples(
    worker: Worker, sending: "Future[tuple[Sent, Sent]]", seconds: float, say: Callable[[str], None]
) -> list[Sample]:
    """One every so often, until all is sent."""
    samples: list[Sample] = []
    started = time.monotonic()
    while not sending.done():
        if worker.has_ended():
            raise RuntimeError(f"the service ended: {worker.last_words()}")
        lag = sum(map(float, _LAG.findall(worker.get("/metrics")[1])))
        samples.append(Sample(worker.resident_mib() * 1.048576, lag))
        if len(samples) % 12 == 0:
            say(f"{time.monotonic() - started:6.0f} s  {samples[-1].memory:6.1f} MB  lag {lag:,.0f}")
        time.sleep(seconds / SAMPLES)
    sending.result()
    return samples


def quarters(samples: list[Sample]) -> list[float]:
    """The median memory of each quarter of the time."""
    size = len(samples) // 4
    return [
        median(sample.memory for sample in samples[number * size : (number + 1) * size]) for number in range(4)
    ]


def rows(mode: str, samples: list[Sample]) -> list[Row]:
    _, second, _, last = quarters(samples)
    late = samples[len(samples) // 4 :]

    def row(name: str, unit: str, value: float, goal: str = "") -> Row:
        return Row(NAME, f"{mode}, {name}", unit, (value,), goal=goal)

    return [
        row("memory, most", "MB", max(sample.memory for sample in samples), "<= 120"),
        row("memory, last quarter over second", "%", 100 * (last / second - 1), "<= 2"),
        row("lag, median", "messages", median(sample.lag for sample in late)),
        row("lag, most", "messages", max(sample.lag for sample in late)),
    ]


def measure(scale: Scale, minutes: float | None = None) -> list[Row]:
    """One long round: that it is long is what tells."""
    seconds = 60 * minutes if minutes else 20.0 if scale.quick else 1_200.0
    plan = Plan(RATE, EVERY, seconds, seed=scale.seed)
    if not scale.rounds:
        return []
    with TemporaryDirectory() as folder:
        return rows("exactly-once", soak(plan, "exactly-once", Path(folder), _say))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    options = parser.parse_args()
    print(markdown(measure(Scale(), options.minutes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
