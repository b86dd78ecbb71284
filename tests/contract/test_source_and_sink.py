"""What the pipeline may expect of every Source and Sink, the ones in memory and the ones on a real Kafka alike."""

import secrets
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from service.batch import Message, Offsets, Outgoing
from service.errors import DeliveryError, Refused
from service.kafka.sink import AtLeastOnceSink, ExactlyOnceSink
from service.kafka.source import KafkaSource
from service.pipeline import CHUNK_MESSAGES, Sink, Source
from service.settings import KafkaSettings
from tests.broker import Kafka, poll_until
from tests.memory import Headers, MemorySink, MemorySource, MemoryTopic
from tests.running import published

pytestmark = pytest.mark.timeout(60)

CANNOT = {
    ("memory", "test_a_member_that_lost_its_partitions_commits_nothing"): "has one member, which loses nothing",
    ("at-least-once", "test_nothing_of_a_failed_delivery_is_published"): "publishes first, commits afterwards",
}
SMALL = 2_000
LARGE = secrets.token_bytes(2 * SMALL)  # does not compress
PROMPT = {"fetch.wait.max.ms": "20"}  # a broker with nothing to give says so at once
NOW = int(time.time() * 1000)


@dataclass(frozen=True)
class Member:
    source: Source
    sink: Sink


class Backend(Protocol):
    """Where the tests get their topics and members from; all members are of one group."""

    def new_topic(self, partitions: int = 1, max_bytes: int = 1_000_000) -> str: ...
    def delete(self, topic: str) -> None: ...
    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        *,
        partition: int = 0,
    ) -> None: ...
    def join(self, events: str, outputs: Sequence[str]) -> Member: ...
    def leave(self, member: Member) -> None: ...
    def published(self, topic: str) -> Sequence[Message]: ...


class InMemory:
    def __init__(self) -> None:
        self._topics: dict[str, MemoryTopic] = {}

    def new_topic(self, partitions: int = 1, max_bytes: int = 1_000_000) -> str:
        name = f"topic-{len(self._topics)}"
        self._topics[name] = MemoryTopic(name, partitions, max_bytes)
        return name

    def delete(self, topic: str) -> None:
        self._topics[topic].deleted = True

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        *,
        partition: int = 0,
    ) -> None:
        self._topics[topic].append(value, key, headers, partition=partition)

    def join(self, events: str, outputs: Sequence[str]) -> Member:
        topic = self._topics[events]
        sink = MemorySink(topic, [self._topics[output] for output in outputs])
        return Member(MemorySource(topic), sink)

    def leave(self, member: Member) -> None:
        pass

    def published(self, topic: str) -> Sequence[Message]:
        return self._topics[topic].messages


class Unobserved:
    def rebalanced(self, kind: str, assigned: int, paused: int) -> None:
        pass


class OnKafka:
    def __init__(self, kafka: Kafka, mode: str) -> None:
        self._kafka = kafka
        self.mode = mode
        # Each protocol once is enough: either mode is to work with both.
        self._protocol = "classic" if mode == "at-least-once" else "auto"
        self._group = f"group-{uuid.uuid4()}"
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap})
        self._topics: list[str] = []
        self._open: dict[int, tuple[AtLeastOnceSink | ExactlyOnceSink, KafkaSource]] = {}

    def new_topic(self, partitions: int = 1, max_bytes: int = 1_000_000) -> str:
        name = f"test-{uuid.uuid4()}"
        topic = NewTopic(name, num_partitions=partitions, config={"max.message.bytes": str(max_bytes + 200)})
        self._admin.create_topics([topic])[name].result(30)
        self._topics.append(name)
        return name

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result(30)
        poll_until(lambda: topic not in self._admin.list_topics(timeout=10).topics, "the topic's end")
        self._topics.remove(topic)

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers = (),
        *,
        partition: int = 0,
    ) -> None:
        self._producer.produce(topic, value, key, partition, headers=list(headers))
        assert self._producer.flush(30) == 0

    def join(
        self,
        events: str,
        outputs: Sequence[str],
        *,
        stopped_after_ms: int = 60_000,
    ) -> Member:
        """The member leaves the group when it does not poll for `stopped_after_ms`."""
        consumer_properties = PROMPT | {"max.poll.interval.ms": str(stopped_after_ms)}
        if self._protocol == "classic":
            consumer_properties["session.timeout.ms"] = "1000"
        settings = KafkaSettings.model_validate(
            {
                "bootstrap_servers": self._kafka.bootstrap,
                "group_id": self._group,
                "group_protocol": self._protocol,
                "consumer_properties": consumer_properties,
                "producer_properties": {"message.timeout.ms": "2000"},
            }
        )
        source = KafkaSource(settings, topic=events, observer=Unobserved())
        sink = (
            AtLeastOnceSink(settings, source, outputs, threading.Event())
            if self.mode == "at-least-once"
            else ExactlyOnceSink(settings, source, outputs, threading.Event(), lambda: None)
        )
        source.check()
        sink.check()
        member = Member(source, sink)
        self._open[id(member)] = (sink, source)
        return member

    def leave(self, member: Member) -> None:
        for part in self._open.pop(id(member)):
            part.close()

    def close(self) -> None:
        for member in list(self._open):
            for part in self._open.pop(member):
                part.close()
        for deleted in self._admin.delete_topics(self._topics).values():
            deleted.result(30)

    def published(self, topic: str) -> Sequence[Message]:
        return published(self._kafka, topic)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("at-least-once", marks=pytest.mark.broker),
        pytest.param("exactly-once", marks=pytest.mark.broker),
    ]
)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    name = request.node.originalname
    if reason := CANNOT.get((request.param, name)):
        request.applymarker(pytest.mark.xfail(reason=f"{request.param}: {reason}", strict=True))
    if request.param == "memory":
        yield InMemory()
    else:
        on_kafka = OnKafka(request.getfixturevalue("broker"), request.param)
        yield on_kafka
        on_kafka.close()


def read(source: Source, count: int) -> list[Message]:
    """Poll until at least `count` messages came."""
    found: list[Message] = []

    def enough() -> bool:
        found.extend(source.poll())
        return len(found) >= count

    poll_until(enough, f"{count} messages", 20)
    return found


def values(messages: Sequence[Message]) -> list[bytes | None]:
    return [message.value() for message in messages]


def after(messages: Sequence[Message]) -> Offsets:
    """The offsets that say: these messages are done."""
    return {(m.topic() or "", m.partition() or 0): (m.offset() or 0) + 1 for m in messages}


def outgoing(topic: str, value: bytes | None = b"a finding") -> Outgoing:
    return Outgoing(topic, b"key", value, [("rule_id", b"a rule")], NOW)


# --- reading -----------------------------------------------------------------------------------


def test_messages_come_in_the_order_of_their_partition(backend: Backend) -> None:
    events = backend.new_topic(partitions=3)
    for number in range(30):
        backend.send(events, b"%d" % number, partition=number % 3)
    found = read(backend.join(events, []).source, 30)
    for partition in range(3):
        of_partition = [message for message in found if message.partition() == partition]
        assert [message.offset() for message in of_partition] == list(range(10))
        assert values(of_partition) == [b"%d" % number for number in range(partition, 30, 3)]


def test_a_poll_gives_no_more_than_a_chunk_and_nothing_when_there_is_nothing(backend: Backend) -> None:
    events = backend.new_topic()
    sent = [b"%d" % number for number in range(CHUNK_MESSAGES + 5)]
    for value in sent:
        backend.send(events, value)
    source = backend.join(events, []).source
    found: list[bytes | None] = []
    while len(found) < len(sent):
        chunk = poll_until(source.poll, "a chunk")
        assert len(chunk) <= CHUNK_MESSAGES
        found += values(chunk)
    assert found == sent
    assert list(source.poll()) == []


def test_what_a_message_holds_survives(backend: Backend) -> None:
    """No value is no empty value; keys and headers may be absent, empty or binary; a name may come twice."""
    events = backend.new_topic()
    headers = [("none", None), ("empty", b""), ("binary", b"\xff\x00"), ("twice", b"1"), ("twice", b"2")]
    backend.send(events, None, b"\x00key\xff", headers)
    backend.send(events, b"", b"")
    backend.send(events, b"\xff\x00value", None)
    tombstone, empty, binary = read(backend.join(events, []).source, 3)
    assert (tombstone.value(), tombstone.key(), tombstone.headers()) == (None, b"\x00key\xff", headers)
    assert (empty.value(), empty.key(), empty.headers()) == (b"", b"", None)
    assert (binary.value(), binary.key(), binary.headers()) == (b"\xff\x00value", None, None)
    assert [message.topic() for message in (tombstone, empty, binary)] == [events] * 3
    assert tombstone.timestamp()[0] != 0


def test_a_new_member_resumes_where_the_group_committed(backend: Backend) -> None:
    """With and without output; what was read but not committed is read again."""
    events, findings = backend.new_topic(), backend.new_topic()
    for number in range(6):
        backend.send(events, b"%d" % number)
    member = backend.join(events, [findings])
    found = read(member.source, 6)
    member.sink.deliver([outgoing(findings)], after(found[:2]))
    member.sink.deliver([], after(found[:4]))
    backend.leave(member)
    assert values(read(backend.join(events, [findings]).source, 2)) == [b"4", b"5"]


def test_rewind_reads_again_what_was_not_committed(backend: Backend) -> None:
    events = backend.new_topic()
    for number in range(4):
        backend.send(events, b"%d" % number)
    member = backend.join(events, [])
    found = read(member.source, 4)
    member.source.rewind()
    assert values(read(member.source, 4)) == [b"0", b"1", b"2", b"3"]
    member.sink.deliver([], after(found[:3]))
    member.source.rewind()
    assert values(read(member.source, 1)) == [b"3"]


def test_nothing_is_lost_while_idle(backend: Backend) -> None:
    events = backend.new_topic()
    backend.send(events, b"before")
    member = backend.join(events, [])
    member.sink.deliver([], after(read(member.source, 1)))
    backend.send(events, b"meanwhile")
    for _ in range(3):
        member.source.idle()
    member.source.rewind()
    assert values(read(member.source, 1)) == [b"meanwhile"]


def test_a_paused_partition_stays_paused_over_a_rewind_and_the_others_go_on(backend: Backend) -> None:
    events = backend.new_topic(partitions=2)
    for partition in range(2):
        backend.send(events, b"%d" % partition, partition=partition)
    source = backend.join(events, []).source
    read(source, 2)
    source.pause([(events, 0)])
    source.rewind()
    backend.send(events, b"later", partition=1)
    assert values(read(source, 2)) == [b"1", b"later"]
    assert list(source.poll()) == []


# --- delivering --------------------------------------------------------------------------------


def test_outputs_are_published_as_they_were_given(backend: Backend) -> None:
    events, findings = backend.new_topic(), backend.new_topic()
    backend.send(events, b"an event")
    member = backend.join(events, [findings])
    headers = [("none", None), ("empty", b""), ("binary", b"\xff\x00"), ("twice", b"1"), ("twice", b"2")]
    outputs = [
        Outgoing(findings, b"\x00key\xff", b"\xff\x00value", headers, NOW),
        Outgoing(findings, b"", b"", [], NOW - 1_000),
        Outgoing(findings, None, None, [], NOW),
    ]
    member.sink.deliver(outputs, after(read(member.source, 1)))
    found = backend.published(findings)
    assert [message.key() for message in found] == [b"\x00key\xff", b"", None]
    assert values(found) == [b"\xff\x00value", b"", None]
    assert [message.headers() for message in found] == [headers, None, None]
    assert [message.timestamp()[1] for message in found] == [NOW, NOW - 1_000, NOW]


def test_a_message_too_large_for_its_topic_fails_and_commits_nothing(backend: Backend) -> None:
    """Recovering, twice even, makes the sink usable again."""
    events, findings = backend.new_topic(), backend.new_topic(max_bytes=SMALL)
    backend.send(events, b"an event")
    member = backend.join(events, [findings])
    found = read(member.source, 1)
    with pytest.raises(DeliveryError, match="large"):
        member.sink.deliver([outgoing(findings, LARGE)], after(found))
    member.sink.recover()
    member.sink.recover()
    member.source.rewind()
    again = read(member.source, 1)
    assert values(again) == [b"an event"]
    member.sink.deliver([outgoing(findings)], after(again))
    assert values(backend.published(findings)) == [b"a finding"]
    backend.leave(member)
    assert list(backend.join(events, [findings]).source.poll()) == []


def test_a_topic_that_is_gone_is_refused_at_last_and_commits_nothing(backend: Backend) -> None:
    events, findings, dead_letters = backend.new_topic(), backend.new_topic(), backend.new_topic()
    backend.send(events, b"first")
    backend.send(events, b"second")
    member = backend.join(events, [findings, dead_letters])
    found = read(member.source, 2)
    member.sink.deliver([outgoing(dead_letters)], after(found[:1]))
    backend.delete(dead_letters)
    with pytest.raises(Refused, match=dead_letters):
        deliver_and_recover(member.sink, [outgoing(findings), outgoing(dead_letters)], after(found))
    backend.leave(member)
    assert values(read(backend.join(events, [findings]).source, 1)) == [b"second"]


def deliver_and_recover(sink: Sink, outputs: Sequence[Outgoing], offsets: Offsets) -> None:
    with pytest.raises(DeliveryError):
        sink.deliver(outputs, offsets)
    sink.recover()


def test_nothing_of_a_failed_delivery_is_published(backend: Backend) -> None:
    """The good output before the bad one was sent, and stays invisible to readers of committed messages."""
    events, findings, small = backend.new_topic(), backend.new_topic(), backend.new_topic(max_bytes=SMALL)
    backend.send(events, b"an event")
    member = backend.join(events, [findings, small])
    found = read(member.source, 1)
    with pytest.raises(DeliveryError):
        member.sink.deliver([outgoing(findings, b"half"), outgoing(small, LARGE)], after(found))
    member.sink.recover()
    member.sink.deliver([outgoing(findings, b"whole")], after(found))
    assert values(backend.published(findings)) == [b"whole"]


def test_a_member_that_lost_its_partitions_commits_nothing(backend: Backend) -> None:
    """A worker that was stopped for a while finds its batch refused: another one has its partitions."""
    events, findings = backend.new_topic(), backend.new_topic()
    backend.send(events, b"an event")
    assert isinstance(backend, OnKafka)
    zombie = backend.join(events, [findings], stopped_after_ms=1_000)
    old = read(zombie.source, 1)
    heir = backend.join(events, [findings])
    new = read(heir.source, 1)
    with pytest.raises(DeliveryError, match=r"(?i)member|generation|epoch"):
        zombie.sink.deliver([outgoing(findings, b"zombie")], after(old))
    with suppress(DeliveryError):
        zombie.sink.recover()  # else its open transaction holds up readers until that times out
    heir.sink.deliver([outgoing(findings, b"heir")], after(new))
    zombies = [b"zombie"] if backend.mode == "at-least-once" else []
    assert values(backend.published(findings)) == [*zombies, b"heir"]
