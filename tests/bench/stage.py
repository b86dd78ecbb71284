"""Where contestants run: a real Kafka fit for throughput, whose topics of records are filled once and kept."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from service.kafka.errors import PARTITION_EOF
from tests.bench.data import AVRO_SCHEMA, Mix, in_avro, records, watched, wrapped
from tests.broker import ROOT, Broker, Kafka, poll_until
from tests.registry import FakeRegistry

CACHE: Final = ROOT / ".cache" / "bench"
PARTITIONS: Final = 6
_QUEUE_BYTES: Final = 256 * 1024 * 1024
# What Kafka's own start script gives a broker.
_JAVA: Final = ("-Xmx1g", "-Xms1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Dfile.encoding=UTF-8")


@dataclass(frozen=True)
class DataSet:
    """What a topic holds. Envelopes cost much to make: `copies` is how often each message stands there."""

    records: int
    watched_every: int = 10_000
    mix: Mix = "even"
    envelope: str = "record"
    records_a_message: int = 1
    copies: int = 1
    compression: str = "none"

    def __post_init__(self) -> None:
        if self.records % (self.copies * self.records_a_message):
            raise ValueError(f"{self} is not made of whole messages")

    @property
    def messages(self) -> int:
        return self.records // self.records_a_message

    @property
    def watched(self) -> int:
        return watched(self.records // self.copies, self.watched_every) * self.copies

    def values(self, seed: int) -> Iterator[bytes]:
        plain = records(self.records // self.copies, seed, watched_every=self.watched_every, mix=self.mix)
        if self.copies == 1:
            return self._wrapped(plain)
        return chain.from_iterable(repeat(list(self._wrapped(plain)), self.copies))

    def _wrapped(self, plain: Iterator[bytes]) -> Iterator[bytes]:
        if self.envelope == "record":
            return plain
        if self.envelope == "avro":
            return in_avro(plain, schema_id=1)
        return wrapped(plain, self.envelope, self.records_a_message)


@dataclass
class Stage:
    broker: Kafka
    registry: FakeRegistry
    seed: int
    folder: Path  # for what contestants write
    segments: Path | None = None  # where the broker keeps its data, if that can be read
    _admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self._admin = AdminClient({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})

    def topic(self, data: DataSet) -> str:
        """The topic of that data, filled if it is not there yet, and in the page cache."""
        name = f"data-{hashlib.sha256(f'{data} {self.seed}'.encode()).hexdigest()[:12]}"
        if self._messages(name) != data.messages:
            self._delete(name)
            self.broker.create_topic(name, PARTITIONS, {"retention.ms": "-1"})
            self._fill(name, data.values(self.seed), data.compression)
            if self._messages(name) != data.messages:
                raise RuntimeError(f"{name} does not hold what it was filled with: {data}")
        for segment in self.segments.glob(f"{name}-*/*.log") if self.segments else ():
            _read(segment)
        return name

    @contextmanager
    def output(self) -> Iterator[str]:
        """The name of a new topic, for as long as it is needed."""
        name = f"output-{uuid4()}"
        self.broker.create_topic(name)
        try:
            yield name
        finally:
            self._delete(name)

    def count(self, topic: str) -> int:
        """The messages of a topic of one partition, as a reader of what is committed sees them."""
        consumer = self._reader({"enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = 0
        try:
            while True:
                for message in consumer.consume(1_000, 1.0):
                    if (error := message.error()) is None:
                        found += 1
                    elif error.code() == PARTITION_EOF:
                        return found
        finally:
            consumer.close()

    def _messages(self, topic: str) -> int:
        known = self._admin.list_topics(timeout=10).topics
        if topic not in known:
            return -1
        parts = [TopicPartition(topic, number) for number in known[topic].partitions]
        ends = poll_until(lambda: self._ends(parts), f"leaders for {topic}")
        return sum(end for _, end in ends)

    def _ends(self, parts: list[TopicPartition]) -> list[tuple[int, int]] | None:
        """None while a broker that has just started leads nothing yet."""
        reader = self._reader()
        try:
            return [reader.get_watermark_offsets(each, timeout=10) for each in parts]
        except KafkaException:
            return None
        finally:
            reader.close()

    def _reader(self, more: dict[str, object] | None = None) -> Consumer:
        return Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "bench-reader", **(more or {})})

    def _delete(self, topic: str) -> None:
        if topic in self._admin.list_topics(timeout=10).topics:
            self._admin.delete_topics([topic])[topic].result(timeout=30)

    def _fill(self, topic: str, values: Iterable[bytes], compression: str) -> None:
        producer = Producer(
            {"bootstrap.servers": self.broker.bootstrap, "compression.type": compression, "linger.ms": 50}
        )
        waiting = 0
        for number, value in enumerate(values):
            waiting += len(value)
            if waiting > _QUEUE_BYTES or number % 20_000 == 0:  # less than its queue takes
                producer.flush(60)
                waiting = 0
            producer.produce(topic, value, partition=number % PARTITIONS)
        if producer.flush(60):
            raise RuntimeError(f"the broker does not take what {topic} is to be filled with")


@contextmanager
def stage(seed: int) -> Iterator[Stage]:
    folder = CACHE / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    broker = Broker(folder, {"log.retention.ms": "-1"}, java_options=_JAVA)
    with FakeRegistry() as registry, tempfile.TemporaryDirectory(prefix="bench-") as logs:
        registry.add(AVRO_SCHEMA)
        broker.start()
        try:
            yield Stage(broker, registry, seed, Path(logs), folder / "data")
        finally:
            with suppress(ProcessLookupError):
                broker.stop()  # in good order, so that the next start need not check gigabytes


def _read(file: Path) -> None:
    with file.open("rb") as content:
        while content.read(1 << 24):
            pass
