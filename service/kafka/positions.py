"""Where a group's member begins on partitions for which it has no position.

librdkafka's own `earliest` and `latest` jump over what retention took, in silence. So it is told `error`, and one
error code means both: no offset was ever committed, or what was committed is gone. The commits tell them apart.
"""

from collections.abc import Collection
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition

from service.errors import Refused
from service.kafka.clients import CALL_SECONDS, check_topic
from service.settings import KafkaSettings


def committed_positions(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Raises KafkaException, for one partition's error too: no answer is not the answer "nothing"."""
    positions = consumer.committed(partitions, timeout=CALL_SECONDS) if partitions else []
    if errors := [position.error for position in positions if position.error is not None]:
        raise KafkaException(errors[0])
    return positions


def first_positions(
    consumer: Consumer, settings: KafkaSettings, topic: str, asked: list[TopicPartition]
) -> list[TopicPartition]:
    """A position for each of the partitions; those without a committed offset have one afterwards.

    Raises KafkaException or Unreachable, and Refused where retention has overtaken the group.
    """
    numbers = check_topic(consumer, topic)  # also makes a partition that is new known to this client
    found = committed_positions(consumer, asked)
    missing = [tp for tp in found if tp.offset < 0]
    firsts = _commit_firsts(consumer, settings, topic, numbers, missing) if missing else {}
    for tp in found:
        tp.offset = firsts.get(tp.partition, tp.offset)
        _check_not_overtaken(consumer, settings.group_id, tp)
    return found


def _commit_firsts(
    consumer: Consumer,
    settings: KafkaSettings,
    topic: str,
    numbers: Collection[int],
    missing: list[TopicPartition],
) -> dict[int, int]:
    """`start` is for a group without any offset; a partition that appears later starts at its beginning."""
    everywhere = [TopicPartition(topic, number) for number in numbers]
    new_group = all(tp.offset < 0 for tp in committed_positions(consumer, everywhere))
    start = settings.start if new_group else "earliest"
    firsts = [_starting(consumer, tp, start) for tp in (everywhere if new_group else missing)]
    consumer.commit(offsets=firsts, asynchronous=False)
    return {tp.partition: tp.offset for tp in firsts}


def _starting(consumer: Consumer, tp: TopicPartition, start: str | datetime) -> TopicPartition:
    low, high = consumer.get_watermark_offsets(tp, timeout=CALL_SECONDS, cached=False)
    offset = high if start == "latest" else low
    if isinstance(start, datetime):
        asked = TopicPartition(tp.topic, tp.partition, int(start.timestamp() * 1000))
        (answer,) = consumer.offsets_for_times([asked], timeout=CALL_SECONDS)
        offset = answer.offset if answer.offset >= 0 else high
    return TopicPartition(tp.topic, tp.partition, offset)


def _check_not_overtaken(consumer: Consumer, group_id: str, tp: TopicPartition) -> None:
    """An offset that is there after all is another member's, who was quicker to place the partition."""
    low, high = consumer.get_watermark_offsets(tp, timeout=CALL_SECONDS, cached=False)
    if not low <= tp.offset <= high:
        raise Refused(
            f"retention has overtaken group {group_id} on {tp.topic}[{tp.partition}]: "
            f"offset {tp.offset} is gone. Nothing was skipped: set the group's offsets "
            "(kafka-consumer-groups --reset-offsets), start again"
        )
