"""Files into a topic, and dead letters back into it, on a real broker."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from service.avro.messages import AvroReader, connect
from service.dead_letter import dead_letter
from service.envelopes import Record, load, unwrap
from service.feed.wrap import SEVERAL, WRAPS
from service.settings import RegistrySettings
from tests.broker import Kafka
from tests.registry import FakeRegistry
from tests.running import read, record, tokentrail


def test_feed_sends_every_record_once_keyed_by_its_id(broker: Kafka, tmp_path: Path) -> None:
    topic = broker.new_topic(3)
    lines, file = tmp_path / "a.jsonl", tmp_path / "b.json"
    lines.write_bytes(b"\n".join(record(f"e{n}") for n in range(50)))
    file.write_bytes(b'{"Records": [' + record("last") + b"]}")
    done = tokentrail(broker, "feed", str(tmp_path), "--topic", topic)
    assert (done.returncode, done.stderr.strip()) == (0, f"51 of 51 records acknowledged in {topic}")
    found = {message.key(): message.value() for message in read(broker, topic, 51)}
    assert found == {f"e{n}".encode(): record(f"e{n}") for n in range(50)} | {b"last": record("last")}


@pytest.mark.parametrize("shape", sorted(set(WRAPS) - SEVERAL))
def test_feed_wraps_each_record_in_the_shape_that_was_asked_for(broker: Kafka, shape: str) -> None:
    """Keyed by the record's id, wherever the shape puts that."""
    topic = broker.new_topic()
    lines = b"\n".join(record(f"e{n}") for n in range(3))
    done = tokentrail(broker, "feed", "-", "--topic", topic, "--as", shape, stdin=lines)
    assert (done.returncode, done.stderr.strip()) == (0, f"3 of 3 records acknowledged in {topic}")
    for number, message in enumerate(read(broker, topic, 3)):
        (part,) = unwrap(message.value() or b"")
        assert isinstance(part, Record)
        assert (message.key(), part.envelope) == (f"e{number}".encode(), shape)
        assert load(part)["eventID"] == f"e{number}"


@pytest.mark.parametrize("shape", sorted(SEVERAL))
def test_feed_puts_as_many_records_in_a_message_as_asked_for(broker: Kafka, shape: str) -> None:
    """The last message holds the rest; none has a key, as their records have no id in common."""
    topic = broker.new_topic()
    lines = b"\n".join(record(f"e{n}") for n in range(8))
    done = tokentrail(broker, "feed", "-", "--topic", topic, "--as", shape, "--batch", "3", stdin=lines)
    assert done.stderr.strip() == f"3 of 3 messages of 8 records acknowledged in {topic}"
    messages = read(broker, topic, 3)
    held = [[part for part in unwrap(message.value() or b"") if isinstance(part, Record)] for message in messages]
    assert [len(parts) for parts in held] == [3, 3, 2]
    assert {part.envelope for parts in held for part in parts} == {shape}
    assert [load(part)["eventID"] for parts in held for part in parts] == [f"e{n}" for n in range(8)]
    assert {message.key() for message in messages} == {None}


def test_feed_in_avro_registers_its_schema_and_is_read_back(broker: Kafka) -> None:
    """The schema stands under the topic's name; a reader that asks the registry finds the records."""
    topic = broker.new_topic()
    with FakeRegistry() as registry:
        settings = RegistrySettings(url=registry.url)
        environment = {"TOKENTRAIL_REGISTRY__URL": registry.url}
        lines = b"\n".join(record(f"e{n}") for n in range(3))
        done = tokentrail(
            broker, "feed", "-", "--topic", topic, "--as", "avro", stdin=lines, environment=environment
        )
        assert (done.returncode, done.stderr.strip()) == (0, f"3 of 3 records acknowledged in {topic}")
        assert list(registry.subjects) == [f"{topic}-value"]
        reader = AvroReader(connect(settings), settings)
        for number, message in enumerate(read(broker, topic, 3)):
            (part,) = reader.unwrap(message.value() or b"")
            assert isinstance(part, Record)
            assert (part.envelope, part.name) == ("avro", "GetFederationToken")
            assert (message.key(), load(part)["eventID"]) == (f"e{number}".encode(), f"e{number}")


def test_feed_in_avro_needs_a_registry(broker: Kafka) -> None:
    """One line says which setting is missing."""
    done = tokentrail(broker, "feed", "-", "--as", "avro", stdin=record("a"))
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "tokentrail: registry.url: --as avro needs a schema registry",
    )


def test_feed_reads_standard_input_and_says_what_it_could_not_read(broker: Kafka) -> None:
    topic = broker.new_topic()
    done = tokentrail(broker, "feed", "-", "/no/such", "--topic", topic, stdin=record("a") + b"\n{broken\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert [message.key() for message in read(broker, topic, 1)] == [b"a"]


def test_redrive_sends_dead_letters_again_once_as_they_were(broker: Kafka) -> None:
    events, dead = broker.new_topic(), broker.new_topic(2)
    topics = {"TOKENTRAIL_TOPICS__EVENTS": events, "TOKENTRAIL_TOPICS__DEAD_LETTERS": dead}
    topics["TOKENTRAIL_KAFKA__GROUP_ID"] = f"group-{events}"
    original = broker.new_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    headers: list[tuple[str, str | bytes | None]] = [("mine", b"\xff\x00"), ("none", None)]
    for number in range(3):
        producer.produce(
            original, f"value {number}", b"\x00key", headers=headers, timestamp=1_700_000_000_000 + number
        )
    producer.flush(10)
    failed = read(broker, original, 3)
    for number, message in enumerate(failed):
        room = 1_000_000 if number < 2 else 0
        key, value, marked = dead_letter(message, message.value(), "json: broken", room)  # type: ignore[arg-type]  # stubs: headers may be text
        producer.produce(dead, value, key, headers=list(marked), partition=number % 2)
    producer.flush(10)

    assert "2 dead letters would be sent" in tokentrail(broker, "redrive", "--dry-run", environment=topics).stderr
    done = tokentrail(broker, "redrive", environment=topics)
    assert done.returncode == 1  # one was cut
    assert "2 dead letters sent" in done.stderr
    again = sorted(read(broker, events, 2), key=lambda message: message.value() or b"")
    assert [message.value() for message in again] == [b"value 0", b"value 1"]
    assert [message.key() for message in again] == [b"\x00key"] * 2
    assert [message.headers() for message in again] == [headers] * 2
    assert [message.timestamp()[1] for message in again] == [1_700_000_000_000, 1_700_000_000_001]
    assert "0 dead letters sent" in tokentrail(broker, "redrive", environment=topics).stderr
