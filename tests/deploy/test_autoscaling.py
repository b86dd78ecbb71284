"""How many pods the chart's ScaledObject leads to: calculated, and on a backlog of a real Kafka."""

import uuid
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.broker import Kafka
from tests.deploy.autoscaling import Partition, backlog, lag, replicas
from tests.deploy.chart import Object, one, rendered
from tests.running import feed

pytestmark = pytest.mark.usefixtures("helm")


def scaled_object(**keda: Any) -> Object:
    values = {"kafka": {"bootstrapServers": "kafka:9092"}, "keda": {"enabled": True, **keda}}
    return one(rendered(values), "ScaledObject")


def behind(*lags: int) -> list[Partition]:
    return [Partition(end=1000 + lag, committed=1000) for lag in lags]


@pytest.mark.parametrize(
    ("lags", "current", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), 2, 2),  # the least
        ((100, 0, 0, 0, 0, 0), 2, 2),
        ((250, 0, 0, 0, 0, 0), 2, 3),  # ceil(2.5), though one partition alone lags
        ((50, 50, 50, 50, 50, 50), 2, 3),
        ((51, 50, 50, 50, 50, 50), 3, 3),  # 3.01: within the autoscaler's tolerance
        ((51, 50, 50, 50, 50, 50), 2, 4),
        ((10_000, 0, 0, 0, 0, 0), 2, 6),  # never more than partitions
        ((650, 0, 0, 0, 0, 0), 2, 6),  # KEDA's own limit lets seven through, maxReplicaCount does not
    ],
)
def test_pods_by_lag(lags: tuple[int, ...], current: int, expected: int) -> None:
    """ceil(lag / threshold) between the least and the most, one pod for each partition at most."""
    assert replicas(behind(*lags), scaled_object(lagThreshold=100, maxReplicas=6), current) == expected


def test_keda_alone_goes_beyond_the_partitions() -> None:
    """Its limit divides in whole numbers, which is why maxReplicas has to be the partitions' number."""
    assert replicas(behind(*[0] * 5, 650), scaled_object(lagThreshold=100, maxReplicas=50), 2) == 7
    assert replicas(behind(*[0] * 5, 700), scaled_object(lagThreshold=100, maxReplicas=50), 2) == 6


def test_scaling_to_zero() -> None:
    """Only where it is allowed, and from zero only beyond the activation threshold."""
    to_zero = scaled_object(lagThreshold=100, minReplicas=0, activationLagThreshold=6)
    assert replicas(behind(6), scaled_object(lagThreshold=100), 2) == 2
    assert replicas(behind(6), to_zero, 1) == 0
    assert replicas(behind(7), to_zero, 0) == 1


@pytest.mark.broker
def test_pods_for_a_real_backlog(broker: Kafka) -> None:
    """Read as KEDA does: what is behind the commits, and all of a partition where the group never committed."""
    topic, group = broker.new_topic(partitions=3), f"group-{uuid.uuid4()}"
    feed(broker, topic, [(number, b"{}") for number in (0, 1, 2) for _ in range(50)])
    _commit(broker, group, TopicPartition(topic, 0, 50), TopicPartition(topic, 1, 20))
    found = backlog(broker.bootstrap, group, topic)
    assert found == [Partition(50, 50), Partition(50, 20), Partition(50, None)]
    assert replicas(found, scaled_object(lagThreshold=35, maxReplicas=3), 2) == 3  # ceil((30 + 50) / 35)
    _commit(broker, group, TopicPartition(topic, 1, 50), TopicPartition(topic, 2, 50))
    assert replicas(backlog(broker.bootstrap, group, topic), scaled_object(lagThreshold=35, maxReplicas=3), 3) == 2


@pytest.mark.broker
def test_markers_of_transactions_count(broker: Kafka) -> None:
    """A topic written in transactions, read to its end, is still one behind for each partition: KEDA would never
    take the last pod away with an activation threshold of zero.
    """
    topic, group = broker.new_topic(), f"group-{uuid.uuid4()}"
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"test-{uuid.uuid4()}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"{}")
    producer.commit_transaction(30)
    _commit(broker, group, TopicPartition(topic, 0, 1))
    found = backlog(broker.bootstrap, group, topic)
    assert lag(found, scaled_object()["spec"]["triggers"][0]["metadata"]) == 1
    assert replicas(found, scaled_object(minReplicas=0), 1) == 1
    assert replicas(found, scaled_object(minReplicas=0, activationLagThreshold=1), 1) == 0


def _commit(broker: Kafka, group: str, *offsets: TopicPartition) -> None:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    try:
        consumer.commit(offsets=list(offsets), asynchronous=False)
    finally:
        consumer.close()
