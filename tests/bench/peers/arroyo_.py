"""Arroyo and orjson: a task for each message, its findings sent by the task, offsets committed once a second."""

from collections.abc import Mapping
from typing import Any

import orjson
from arroyo import Topic
from arroyo.backends.kafka import (
    KafkaConsumer,
    KafkaPayload,
    KafkaProducer,
    build_kafka_consumer_configuration,
    build_kafka_producer_configuration,
)
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, RunTask

from tests.bench.peers.job import Job


class Factory:
    """As in https://getsentry.github.io/arroyo/getstarted.html."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._topic = Topic(job.findings)
        self._producer = KafkaProducer(build_kafka_producer_configuration({}, bootstrap_servers=[job.bootstrap]))
        self.processor: Any = None

    def create_with_partitions(self, commit: Any, partitions: Mapping[Any, int]) -> Any:
        return RunTask(self._look, CommitOffsets(commit))

    def _look(self, message: Any) -> None:
        self._job.arrived()
        if (finding := self._job.finding(orjson.loads(message.payload.value))) is not None:
            self._producer.produce(self._topic, KafkaPayload(None, finding, []))
        if self._job.done:
            self.processor.signal_shutdown()

    def shutdown(self) -> None:
        self._producer.close().result()


def main() -> None:
    job = Job()
    configuration = build_kafka_consumer_configuration(
        {},
        group_id=job.group,
        auto_offset_reset="earliest",
        bootstrap_servers=[job.bootstrap],
        # A gift, not in its documentation: else librdkafka's fetcher sleeps a second when its queue is full.
        override_params={"fetch.queue.backoff.ms": 2},
    )
    factory = Factory(job)
    factory.processor = StreamProcessor(KafkaConsumer(configuration), Topic(job.topic), factory)
    factory.processor.run()
    job.report()


if __name__ == "__main__":
    main()
