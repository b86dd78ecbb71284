"""How many pods a ScaledObject asks for: a calculation, from the backlog of a group, since no KEDA runs here.

KEDA's part is `getTotalLag` in its pkg/scalers/kafka_scaler.go, with the settings that the chart gives it; the
rest is the Kubernetes autoscaler's, for an external metric with an average value:
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented there, declared elsewhere
    AdminClient,
    OffsetSpec,
)

TOLERANCE: Final = 0.1  # of the autoscaler: so near to the present number nothing changes


@dataclass(frozen=True)
class Partition:
    end: int  # the next offset to be written, uncommitted transactions included: what KEDA looks at
    committed: int | None  # None: the group never committed here


def backlog(bootstrap: str, group: str, topic: str) -> list[Partition]:
    """What KEDA reads from the brokers, by partition."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    places = [
        TopicPartition(topic, number) for number in admin.list_topics(topic, timeout=10).topics[topic].partitions
    ]
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the stubs leave it out
    ends = admin.list_offsets(dict.fromkeys(places, latest))
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    committed = {place.partition: place.offset for place in asked[group].result(10).topic_partitions}
    return [
        Partition(found.result(10).offset, committed[place.partition] if committed[place.partition] >= 0 else None)
        for place, found in ends.items()
    ]


def lag(partitions: list[Partition], metadata: Mapping[str, str]) -> int:
    """KEDA's metric, from the metadata of a trigger of type kafka."""
    total = sum(_lag_of(partition, metadata["offsetResetPolicy"]) for partition in partitions)
    threshold = int(metadata["lagThreshold"])
    if metadata["allowIdleConsumers"] == "false" and total // threshold > len(partitions):
        return len(partitions) * threshold
    return total


def _lag_of(partition: Partition, policy: str) -> int:
    if partition.committed is None:
        return partition.end if policy == "earliest" else 1
    return partition.end - partition.committed


def replicas(partitions: list[Partition], scaled_object: Mapping[str, Any], current: int) -> int:
    """What the Deployment is set to, once stabilisation windows are over, where it has `current` pods."""
    spec = scaled_object["spec"]
    metadata = spec["triggers"][0]["metadata"]
    metric = lag(partitions, metadata)
    least, most = int(spec["minReplicaCount"]), int(spec["maxReplicaCount"])
    if least == 0 and metric <= int(metadata["activationLagThreshold"]):
        return 0
    threshold = int(metadata["lagThreshold"])
    near = current > 0 and abs(metric / (threshold * current) - 1) <= TOLERANCE
    wanted = current if near else math.ceil(metric / threshold)
    return max(least, 1, min(wanted, most))
