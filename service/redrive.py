"""Dead letters -> the events topic again, after what made them unreadable was mended.

Each goes with its original key, headers and timestamp. Progress is kept in a consumer group of its own, so that
a letter is sent once; after a crash some may be sent twice, and give findings with the same ids.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from service.batch import Message, Outgoing
from service.dead_letter import CUT_HEADER, PREFIX, TIMESTAMP_HEADER
from service.errors import DeliveryError
from service.kafka.clients import (
    CALL_SECONDS,
    POLL_SECONDS,
    check_topic,
    consumer_config,
    new_client,
    producer_config,
)
from service.kafka.errors import PARTITION_EOF
from service.kafka.sink import collector, produce
from service.settings import Settings

GROUP_SUFFIX: Final = "-redrive"
_BATCH: Final = 500


def redrive(settings: Settings, *, dry_run: bool) -> Counter[str]:
    """Send again what was not sent again before. Returns how many letters were `sent` (or would be) and `cut`.

    One that was cut has lost a part, so it stays. Raises Unreachable, Refused, or DeliveryError, after which
    calling again goes on where the last whole batch ended.
    """
    kafka, topics = settings.kafka, settings.topics
    counts: Counter[str] = Counter()
    own = {
        "group.id": kafka.group_id + GROUP_SUFFIX,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }
    reader = new_client(Consumer, {**consumer_config(kafka), **own})
    writer = new_client(Producer, producer_config(kafka))
    try:
        check_topic(reader, topics.dead_letters)
        check_topic(writer, topics.events)
        for batch in _batches(reader, topics.dead_letters):
            letters = [again(letter, topics.events) for letter in batch]
            whole = [letter for letter in letters if letter is not None]
            counts["cut"] += len(letters) - len(whole)
            if not dry_run:
                _send(writer, whole)
                reader.commit(offsets=_after(batch), asynchronous=False)
            counts["sent"] += len(whole)
    except KafkaException as failure:
        raise DeliveryError(f"sending dead letters again: {failure.args[0].str()}") from failure
    finally:
        reader.close()
    return counts


def again(letter: Message, topic: str) -> Outgoing | None:
    """The message as it was before it became a dead letter; None when its value was cut."""
    headers = letter.headers() or []
    names = {name for name, _ in headers}
    if CUT_HEADER in names:
        return None
    original = [
        (name, content) for name, content in headers if not name.startswith(PREFIX) and name != TIMESTAMP_HEADER
    ]
    stamps = [content for name, content in headers if name == TIMESTAMP_HEADER and content is not None]
    timestamp = int(stamps[-1]) if stamps and stamps[-1].isdigit() else 0
    return Outgoing(topic, letter.key(), letter.value(), original, timestamp)


def _batches(reader: Consumer, topic: str) -> Iterator[list[Message]]:
    """What stands in the topic now, from where the group left off."""
    numbers = reader.list_topics(topic, timeout=CALL_SECONDS).topics[topic].partitions
    positions = reader.committed([TopicPartition(topic, number) for number in numbers], timeout=CALL_SECONDS)
    for position in positions:
        if position.offset < 0:
            position.offset = OFFSET_BEGINNING
    reader.assign(positions)
    unfinished = set(numbers)
    while unfinished:
        messages = cast("list[Message]", reader.consume(_BATCH, POLL_SECONDS))
        for message in messages:
            if (error := message.error()) is None:
                continue
            if error.code() != PARTITION_EOF:
                raise KafkaException(error)
            unfinished.discard(message.partition() or 0)
        if letters := [message for message in messages if message.error() is None]:
            yield letters


def _send(writer: Producer, letters: list[Outgoing]) -> None:
    failures: list[KafkaError] = []
    for letter in letters:
        produce(writer, letter, collector(failures))
    left = writer.flush(CALL_SECONDS * 4)
    if failures or left:
        why = failures[0].str() if failures else "no acknowledgement"
        raise DeliveryError(f"sending dead letters again: {why}")


def _after(letters: list[Message]) -> list[TopicPartition]:
    ends = {(letter.topic() or "", letter.partition() or 0): (letter.offset() or 0) + 1 for letter in letters}
    return [TopicPartition(topic, number, offset) for (topic, number), offset in ends.items()]
