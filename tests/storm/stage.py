"""What every run needs: a cluster, topics, workers, a feeder and a verifier, and how they end."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public, by the documentation

from tests.broker import poll_until
from tests.cluster import Cluster
from tests.storm.faults import SESSION_SECONDS, TRANSACTION_SECONDS
from tests.storm.feeder import Feeder
from tests.storm.verifier import Verifier
from tests.storm.workers import Workers

EVENTS: Final = "cloudtrail.events"
FINDINGS: Final = "cloudtrail.findings"
DEAD_LETTERS: Final = "cloudtrail.dead-letters"
GROUP: Final = "storm"
PARTITIONS: Final = 6

# A killed or stopped member is missed soon, and soon come back: 45 s would outlast a short storm.
GROUP_PROPERTIES: Final = {
    "group.consumer.session.timeout.ms": str(int(SESSION_SECONDS * 1000)),
    "group.consumer.heartbeat.interval.ms": "500",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    protocol: Literal["consumer", "classic"] = "consumer"
    mode: Literal["exactly-once", "at-least-once"] = "exactly-once"
    seconds: float = 300
    seed: int = 1
    brokers: int = 1
    workers: int = 3
    rate: float = 400


@dataclass(frozen=True)
class Stage:
    cluster: Cluster
    workers: Workers
    feeder: Feeder
    feeding: Future[None]
    verifier: Verifier
    verifying: Future[None]
    executor: Executor

    def lag(self) -> int | None:
        """How many events the group has not committed yet; None while the brokers do not say."""
        try:
            ends = self._ends(EVENTS, IsolationLevel.READ_UNCOMMITTED)
            request = ConsumerGroupTopicPartitions(GROUP)
            answer = self.cluster.admin.list_consumer_group_offsets([request])[GROUP].result(10)
        except KafkaException:
            return None
        committed: dict[int, int] = {place.partition: place.offset for place in answer.topic_partitions or ()}
        return sum(end - max(0, committed.get(number, 0)) for number, end in ends.items())

    def settled(self) -> bool:
        """Whether no transaction is open any more on the topics written."""
        return all(
            self._ends(topic, IsolationLevel.READ_COMMITTED) == self._ends(topic, IsolationLevel.READ_UNCOMMITTED)
            for topic in (FINDINGS, DEAD_LETTERS)
        )

    def check(self) -> None:
        """Raises what the feeder or the verifier failed with."""
        for future in (self.feeding, self.verifying):
            if future.done():
                future.result()

    def _ends(self, topic: str, isolation: IsolationLevel) -> dict[int, int]:
        numbers = self.cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the stubs leave it out
        asked = {TopicPartition(topic, number): latest for number in numbers}
        answers = self.cluster.admin.list_offsets(asked, isolation_level=isolation, request_timeout=10)
        return {place.partition: answer.result().offset for place, answer in answers.items()}


def environment(plan: Plan, bootstrap: str) -> Mapping[str, str]:
    session = {
        "session.timeout.ms": int(SESSION_SECONDS * 1000),
        "heartbeat.interval.ms": 500,
        "topic.metadata.refresh.interval.ms": 5000,  # new partitions; by default within five minutes
    }
    transaction = {
        "transaction.timeout.ms": int(TRANSACTION_SECONDS * 1000),
        "message.timeout.ms": int(TRANSACTION_SECONDS * 1000) - 1000,
    }
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA__GROUP_ID": GROUP,
        "KAFKA__GROUP_PROTOCOL": plan.protocol,
        "KAFKA__PRODUCER_PROPERTIES": json.dumps(transaction),
        **({"KAFKA__CONSUMER_PROPERTIES": json.dumps(session)} if plan.protocol == "classic" else {}),
        "TOPICS__EVENTS": EVENTS,
        "TOPICS__FINDINGS": FINDINGS,
        "TOPICS__DEAD_LETTERS": DEAD_LETTERS,
        "DELIVERY__MODE": plan.mode,
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": "0",
        "LOG__FORMAT": "json",
    }
    return {f"TOKENTRAIL_{name}": value for name, value in settings.items()}


@contextmanager
def staged(plan: Plan, folder: Path) -> Iterator[Stage]:
    """Everything runs, and findings come out. All of it has ended after; the logs stay in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        cluster = Cluster(folder, plan.brokers, GROUP_PROPERTIES)
        stack.callback(cluster.remove_data)
        stack.enter_context(cluster)
        for topic, partitions in ((EVENTS, PARTITIONS), (FINDINGS, 3), (DEAD_LETTERS, 1)):
            cluster.direct.create_topic(topic, partitions)
        executor = stack.enter_context(ThreadPoolExecutor())
        bootstrap = cluster.direct.bootstrap
        feeder = Feeder(bootstrap, EVENTS, rate=plan.rate, seed=plan.seed)
        verifier = Verifier(bootstrap, FINDINGS, DEAD_LETTERS)
        stack.callback(verifier.finish, 0)
        stack.callback(feeder.stop)
        feeding, verifying = executor.submit(feeder.run), executor.submit(verifier.run)
        workers = Workers(environment(plan, cluster.bootstrap), folder)
        stack.callback(workers.kill)
        for _ in range(plan.workers):
            workers.start()
        stage = Stage(cluster, workers, feeder, feeding, verifier, verifying, executor)
        poll_until(lambda: verifier.seen.times, "the first finding", 60)
        yield stage


def drain(stage: Stage, tick: float = 0.5, seconds: float = 120) -> float | None:
    """Stop feeding and wait until nothing is left to do: the seconds that took, None when it is not done in time.

    Workers that end meanwhile are not replaced.
    """
    stage.feeder.stop()
    stage.feeding.result()
    started = time.monotonic()
    while stage.lag() != 0:
        if time.monotonic() - started > seconds:
            return None
        stage.workers.sort_out()
        time.sleep(tick)
    return time.monotonic() - started
