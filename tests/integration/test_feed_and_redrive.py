"""Files into a topic, and dead letters back into it, on a real broker."""

from pathlib import Path

from confluent_kafka import Producer

from service.dead_letter import dead_letter
from tests.broker import Kafka
from tests.running import read, record, tokentrail


def test_feed_sends_every_record_once_keyed_by_its_id(broker: Kafka, tmp_path: Path) -> None:
    topic = broker.new_topic(3)
    lines, file = tmp_path / "a.jsonl", tmp_path / "b.json"
    lines.write_bytes(b"\n".join(record(f"e{n}") for n in range(50)))
    file.write_bytes(b'{"Records": [' + record("last") + b"]}")
    done = tokentrail(broker, "feed", str(tmp_path), "--topic", topic)
    assert (done.returncode, done.stderr.decode().strip()) == (0, f"51 of 51 records acknowledged in {topic}")
    found = {message.key(): message.value() for message in read(broker, topic, 51)}
    assert found == {f"e{n}".encode(): record(f"e{n}") for n in range(50)} | {b"last": record("last")}


def test_feed_reads_standard_input_and_says_what_it_could_not_read(broker: Kafka) -> None:
    topic = broker.new_topic()
    done = tokentrail(broker, "feed", "-", "/no/such", "--topic", topic, stdin=record("a") + b"\n{broken\n")
    assert done.returncode == 1
    assert len(done.stderr.decode().splitlines()) == 3
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
        key, value, marked = dead_letter(message, message.value(), "json: broken", room)  # type: ignore[arg-type]
        producer.produce(dead, value, key, headers=list(marked), partition=number % 2)
    producer.flush(10)

    assert b"2 dead letters would be sent" in tokentrail(broker, "redrive", "--dry-run", environment=topics).stderr
    done = tokentrail(broker, "redrive", environment=topics)
    assert done.returncode == 1  # one was cut
    assert b"2 dead letters sent" in done.stderr
    again = sorted(read(broker, events, 2), key=lambda message: message.value() or b"")
    assert [message.value() for message in again] == [b"value 0", b"value 1"]
    assert [message.key() for message in again] == [b"\x00key"] * 2
    assert [message.headers() for message in again] == [headers] * 2
    assert [message.timestamp()[1] for message in again] == [1_700_000_000_000, 1_700_000_000_001]
    assert b"0 dead letters sent" in tokentrail(broker, "redrive", environment=topics).stderr
