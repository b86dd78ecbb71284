"""Rubbish and oversize on a real broker: one partition is given up, the others go on; nothing blocks for ever."""

import json
import random

import pytest

from service.app import Service
from service.dead_letter import MAX_IN_A_ROW
from tests.broker import Kafka, poll_until
from tests.running import feed, read, read_until, record, service


def test_a_partition_full_of_rubbish_is_paused_and_the_others_go_on(broker: Kafka) -> None:
    events, findings, dead = broker.new_topic(2), broker.new_topic(), broker.new_topic()
    feed(broker, events, [(0, b"rubbish")] * (MAX_IN_A_ROW + 50) + [(1, record(f"e{n}")) for n in range(20)])
    with service(broker, events, findings, dead, "exactly-once") as running:
        assert {json.loads(m.value() or b"")["event_id"] for m in read(broker, findings, 20)} == {
            f"e{n}" for n in range(20)
        }
        poll_until(lambda: b"tokentrail_paused_partitions 1.0" in running.metrics.text(), "a paused partition")
        feed(broker, events, [(1, record("later")), (0, record("behind the rubbish"))])
        assert json.loads(read(broker, findings, 21)[-1].value() or b"")["event_id"] == "later"
        assert running.ready() is None


def test_a_little_rubbish_goes_to_the_dead_letters_and_pauses_nothing(broker: Kafka) -> None:
    events, findings, dead = broker.new_topic(), broker.new_topic(), broker.new_topic()
    feed(broker, events, [(0, b"rubbish"), (0, record("good"))] * 200)
    with service(broker, events, findings, dead, "at-least-once") as running:
        assert len(read(broker, dead, 200)) == 200
        assert len(read(broker, findings, 200)) == 200
        assert b"tokentrail_paused_partitions 0.0" in running.metrics.text()


@pytest.mark.parametrize("rubbish", [b"rubbish", b'{"cut": "in the mid}', "{}".encode("utf-16")])
def test_rubbish_is_noticed_at_full_speed_though_messages_are_screened(broker: Kafka, rubbish: bytes) -> None:
    """Behind a backlog of good messages in the same partition: it is paused before half a thousand went by."""
    events, findings, dead = broker.new_topic(2), broker.new_topic(), broker.new_topic()
    quiet = record("quiet", eventName="GetCallerIdentity")
    feed(broker, events, [(number % 2, quiet) for number in range(20_000)])
    feed(broker, events, [(0, rubbish)] * 5_000 + [(1, quiet)] * 5_000 + [(1, record("good"))])
    with service(broker, events, findings, dead, "exactly-once", screen=True) as running:
        (found,) = read(broker, findings, 1)
        assert json.loads(found.value() or b"")["event_id"] == "good"
        text = poll_until(lambda: _text_with(running, b"tokentrail_paused_partitions 1.0"), "a paused partition")
        assert _value(text, b"tokentrail_screened_messages_total") > 10_000
        letters = _value(text, b'tokentrail_dead_letters_total{reason="')
        assert letters <= MAX_IN_A_ROW
        assert len(read(broker, dead, int(letters))) == letters


def _text_with(running: Service, line: bytes) -> bytes | None:
    text = running.metrics.text()
    return text if line in text else None


def _value(text: bytes, start: bytes) -> float:
    return sum(float(line.rsplit(b" ", 1)[1]) for line in text.splitlines() if line.startswith(start))


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_what_is_larger_than_its_topic_takes_is_tried_again_with_less(broker: Kafka, mode: str) -> None:
    events = broker.new_topic()
    findings = broker.new_topic(config={"max.message.bytes": "20000", "compression.type": "uncompressed"})
    dead = broker.new_topic(config={"max.message.bytes": "20000", "compression.type": "uncompressed"})
    noise = random.Random(1).randbytes(45_000).hex()  # compresses to half
    feed(broker, events, [(0, record("large", extra=[noise[n : n + 2_000] for n in range(0, len(noise), 2_000)]))])
    feed(broker, events, [(0, noise.encode()), (0, record("small"))])
    with service(broker, events, findings, dead, mode):
        found = {
            f["event_id"]: f
            for f in (json.loads(m.value() or b"") for m in read_until(broker, findings, b"large"))
        }
        assert found["large"]["event"] == {"omitted": True}
        letter = read(broker, dead, 1)[-1]
        headers = dict(letter.headers() or [])
        assert headers["tokentrail.value.cut"] == str(len(noise.encode())).encode()
        assert noise.encode().startswith(letter.value() or b"?")
