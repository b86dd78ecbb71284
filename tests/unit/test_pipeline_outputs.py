"""What a pipeline gives: findings, dead letters, counts, on topics in memory."""

import dataclasses
import gzip
import json
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.canary import HEADER
from service.dead_letter import CUT_HEADER, MAX_IN_A_ROW
from service.envelopes import Part, Rejected
from service.event import Event
from service.finding import SEVERITIES, Finding, Format
from service.intake import MAX_MESSAGE_BYTES, MIN_MESSAGE_BYTES
from service.pipeline import CHUNK_MESSAGES
from service.rules import RULES
from service.rules.rule import Answer
from tests.unit.strategies import asking, issuance, watched_records
from tests.unit.world import ISSUED, NOW, QUIET, SUSPICIOUS, World, encoded, event, only


@pytest.fixture
def world() -> World:
    return World()


# --- what is too large ---------------------------------------------------------------------------


def test_what_is_too_large_for_its_topic_is_tried_again_with_less_until_it_fits(world: World) -> None:
    """A finding without its event, a dead letter cut and marked; the next batch has all the room again."""
    world.findings.max_bytes = world.dead_letters.max_bytes = MIN_MESSAGE_BYTES
    large = issuance(eventID="large", extra=["x" * 1_000] * 50)
    world.events.append(encoded(large))
    world.events.append(b"rubbish" * 100_000)
    tries = 0
    while not world.events.committed:
        world.pipeline.run_once()
        tries += 1
        assert tries < 20
    assert [finding["event"] for finding in world.found()] == [{"omitted": True}]
    letter = only(world.dead_letters.messages)
    assert dict(letter.headers() or [])[CUT_HEADER] == b"700000"
    assert (b"rubbish" * 100_000).startswith(letter.value() or b"?")

    world.findings.max_bytes = world.dead_letters.max_bytes = 1_000_000
    world.events.append(encoded(large))
    world.events.append(b"rubbish" * 100_000)
    assert world.pipeline.run_once() == 2
    assert world.found()[-1]["event"]["eventID"] == "large"
    assert world.dead_letters.messages[-1].value() == b"rubbish" * 100_000


def test_no_more_is_left_out_than_must_be() -> None:
    """With a quarter of the usual room a finding is whole, and a dead letter keeps as much."""
    world = World()
    world.dead_letters.max_bytes = 260_000
    world.events.append(encoded(issuance(eventID="large", extra=["x" * 1_000] * 100)))
    world.events.append(b"rubbish" * 100_000)
    assert [world.pipeline.run_once() for _ in range(3)] == [0, 0, 2]
    assert world.found()[0]["event"]["eventID"] == "large"
    assert 240_000 < len(only(world.dead_letters.messages).value() or b"") < 260_000


def test_an_outage_makes_no_message_smaller(world: World) -> None:
    world.events.append(b"rubbish" * 100_000)
    world.dead_letters.reachable = False
    world.pipeline.run_once()
    world.dead_letters.reachable = True
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 1]
    assert only(world.dead_letters.messages).value() == b"rubbish" * 100_000


# --- dead letters ------------------------------------------------------------------------------


def test_one_bad_record_of_many_goes_alone(world: World) -> None:
    bad = b'{"eventName": "GetFederationToken", "eventSource": oops}'
    world.events.append(b'{"Records": [' + b",".join([event(0), bad, event(1)]) + b"]}", b"the key")
    world.pipeline.run_once()
    assert [finding["event_id"] for finding in world.found()] == ["event-0", "event-1"]
    letter = only(world.dead_letters.messages)
    assert (letter.key(), letter.value()) == (b"the key", bad)
    assert dict(letter.headers() or [])["__connect.errors.exception.message"] == b"json: broken JSON"
    assert world.count("records_total", envelope="records") == 2
    assert world.count("dead_letters_total", reason="json") == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"rubbish", "not_json"),
        (b"", "empty"),
        (event(0)[:-20], "json"),
        (b'"\xff\x00', "json"),
        (gzip.compress(event(0))[:-9], "gzip"),
        (gzip.compress(b"x" * 5_000), "too_large"),
        (b"[1]", "not_a_record"),
        (b'{"Records": [{"no": "record"}]}', "not_a_record"),
    ],
    ids=["text", "empty", "cut", "binary", "gzip-cut", "bomb", "number", "one-part-of-one"],
)
def test_a_message_that_is_bad_as_a_whole_goes_untouched(value: bytes, reason: str) -> None:
    world = World(limit=4_000)
    headers = [("binary", b"\xff\x00"), ("none", None)]
    world.events.append(event(1), partition=1)
    world.events.append(value, b"\x00key", headers, partition=1, timestamp=1_700_000_000_000)
    world.pipeline.run_once()
    letter = only(world.dead_letters.messages)
    assert (letter.key(), letter.value()) == (b"\x00key", value)
    assert (letter.headers() or [])[:2] == headers
    said = dict(letter.headers() or [])
    assert said["__connect.errors.topic"] == b"events"
    assert said["__connect.errors.partition"] == b"1"
    assert said["__connect.errors.offset"] == b"1"
    assert (said["__connect.errors.exception.message"] or b"").startswith(f"{reason}: ".encode())
    assert letter.timestamp()[1] == int(NOW.timestamp() * 1000)
    assert world.count("dead_letters_total", reason=reason) == 1
    assert world.events.committed == {1: 2}


def test_a_record_that_passes_the_glance_but_not_the_full_decoding_is_a_dead_letter(world: World) -> None:
    """Found by depth: the full decoding stands a little deeper in the stack than the glance."""
    depths = range(sys.getrecursionlimit() - 250, sys.getrecursionlimit())
    for depth in depths:
        nested = "[" * depth + "]" * depth
        world.events.append(encoded(asking()).replace(b'"readOnly"', f'"x": {nested}, "readOnly"'.encode()))
    assert world.pipeline.run_once() == len(depths)
    letters = [letter.value() for letter in world.dead_letters.messages]
    assert letters
    assert set(letters) < {message.value() for message in world.events.messages}
    assert len(letters) + len(world.found()) == len(depths)
    assert world.count("records_total", envelope="record") == len(world.found())
    reasons = {
        dict(letter.headers() or [])["__connect.errors.exception.message"]
        for letter in world.dead_letters.messages
    }
    assert b"json: the record cannot be decoded in full" in reasons


def test_rubbish_of_many_pieces_is_one_dead_letter_untouched(world: World) -> None:
    rubbish = gzip.compress(b"[" + b"0," * 1_000 + b"0]")
    world.events.append(rubbish)
    assert world.pipeline.run_once() == 1
    assert only(world.dead_letters.messages).value() == rubbish
    assert world.count("dead_letters_total", reason="not_a_record") == 1


def test_the_pause_of_one_partition_counts_nothing_twice_for_another(world: World) -> None:
    """The batch is read again: what another partition has in it is not twice as much for that."""
    for _ in range(MAX_IN_A_ROW):
        world.events.append(b"rubbish", partition=0)
    for _ in range(MAX_IN_A_ROW - 100):
        world.events.append(b"rubbish", partition=1)
    for _ in range(5):
        world.pipeline.run_once()
    assert world.count("paused_partitions") == 1
    assert world.events.committed == {1: MAX_IN_A_ROW - 100}


def test_dead_letters_for_want_of_a_registry_pause_no_partition() -> None:
    def without_registry(value: bytes, _limit: int) -> Sequence[Part]:
        return (Rejected(value, "schema_unavailable", "no answer"),)

    world = World(unwrap=without_registry)
    for _ in range(2 * MAX_IN_A_ROW):
        world.events.append(b"\0\0\0\0\1avro")
    assert world.pipeline.run_once() == 2 * MAX_IN_A_ROW
    assert world.count("dead_letters_total", reason="schema_unavailable") == 2 * MAX_IN_A_ROW
    assert world.count("paused_partitions") == 0


def test_rubbish_is_counted_over_chunks_and_batches() -> None:
    """A chunk alone is too small to reach the limit."""
    world = World(chunk_messages=CHUNK_MESSAGES)
    for _ in range(MAX_IN_A_ROW):
        world.events.append(b"rubbish")
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [CHUNK_MESSAGES, 0]
    assert world.count("paused_partitions") == 1


def test_good_messages_between_rubbish_count_whatever_chunk_they_come_in() -> None:
    world = World(chunk_messages=CHUNK_MESSAGES)
    for value in (b"rubbish", encoded(QUIET), b"rubbish"):
        for _ in range(CHUNK_MESSAGES):
            world.events.append(value)
    assert [world.pipeline.run_once() for _ in range(3)] == [CHUNK_MESSAGES] * 3
    assert world.count("paused_partitions") == 0


def test_a_partition_full_of_rubbish_is_paused_and_poured_nowhere(world: World) -> None:
    for _ in range(MAX_IN_A_ROW):
        world.events.append(b"rubbish")
    world.events.append(event(0), partition=1)
    with capture_logs() as logs:
        assert world.pipeline.run_once() == 0
    assert [(entry["log_level"], entry["topic"], entry["partition"]) for entry in logs] == [("error", "events", 0)]
    assert logs[0]["reasons"] == {"not_json": MAX_IN_A_ROW}
    assert world.pipeline.run_once() == 1
    assert world.events.committed == {1: 1}
    assert (len(world.found()), world.dead_letters.messages) == (1, [])
    assert world.count("paused_partitions") == 1
    assert world.count("dead_letters_total", reason="not_json") == 0


def test_rubbish_that_is_read_again_after_a_failure_counts_once(world: World) -> None:
    for _ in range(MAX_IN_A_ROW - 1):
        world.events.append(b"rubbish")
    for _ in range(3):
        world.dead_letters.reachable = False
        assert world.pipeline.run_once() == 0
        world.dead_letters.reachable = True
        assert world.pipeline.run_once() == 0
    assert world.pipeline.run_once() == MAX_IN_A_ROW - 1
    assert world.count("paused_partitions") == 0


# --- counting ----------------------------------------------------------------------------------


def test_a_tombstone_is_ignored_counted_and_committed(world: World) -> None:
    world.events.append(None, b"key")
    world.events.append(None)
    assert world.pipeline.run_once() == 2
    assert world.events.committed == {0: 2}
    assert world.count("ignored_records_total", kind="tombstone") == 2
    assert world.dead_letters.messages == []


def test_parts_that_are_no_records_are_counted_by_kind(world: World) -> None:
    world.events.append(b'{"messageType": "CONTROL_MESSAGE", "logEvents": []}')
    world.events.append(b'{"Type": "SubscriptionConfirmation"}')
    world.pipeline.run_once()
    assert world.count("ignored_records_total", kind="cloudwatch_control") == 1
    assert world.count("ignored_records_total", kind="sns_control") == 1
    assert world.dead_letters.messages == []


def test_a_name_in_another_letter_case_is_a_near_miss_and_no_match(world: World) -> None:
    world.events.append(encoded(issuance(eventName="getFederationToken")))
    world.events.append(encoded(issuance(eventSource="sts.aliyuncs.com")))
    world.pipeline.run_once()
    assert world.found() == []
    assert world.count("near_misses_total") == 1
    assert world.count("rule_verdicts_total", rule=ISSUED, verdict="no_match") == 2


@given(
    st.lists(watched_records() | st.just(QUIET) | st.just(issuance(eventName="GETFEDERATIONTOKEN")), max_size=8)
)
def test_every_rule_answers_every_record(records: list[dict[str, Any]]) -> None:
    world = World()
    for record in records:
        world.events.append(encoded(record))
    world.pipeline.run_once()
    samples = [sample for metric in world.metrics.verdicts.collect() for sample in metric.samples]
    for rule in RULES:
        assert sum(sample.value for sample in samples if sample.labels["rule"] == rule.id) == len(records)
    matches = sum(sample.value for sample in samples if sample.labels["verdict"] == "match")
    assert matches == len(world.found())
    assert world.count("records_total", envelope="record") == len(records)


def test_a_rule_that_fails_is_counted_and_logged_without_the_event_and_the_others_go_on() -> None:
    def fails(event: Event) -> Answer:
        raise ValueError(event.text("eventID"))

    clauses = tuple(dataclasses.replace(clause, check=fails) for clause in RULES[1].clauses)
    world = World([RULES[0], dataclasses.replace(RULES[1], clauses=clauses)])
    world.events.append(event(0))
    with capture_logs() as logs:
        assert world.pipeline.run_once() == 1
    assert world.count("rule_verdicts_total", rule=SUSPICIOUS, verdict="error") == 1
    assert world.count("rule_verdicts_total", rule=SUSPICIOUS, verdict="no_match") == 0
    assert [finding["rule_id"] for finding in world.found()] == [ISSUED]
    (entry,) = logs
    assert (entry["rule"], entry["exception"], entry["offset"]) == (SUSPICIOUS, "ValueError", 0)
    assert "event-0" not in repr(entry)


# --- findings ----------------------------------------------------------------------------------


def test_a_finding_is_a_cloudevent_keyed_by_the_identity_to_act_on(world: World) -> None:
    world.events.append(event(0), partition=1, timestamp=1_700_000_000_123)
    world.pipeline.run_once()
    message = only(world.findings.messages)
    (finding,) = world.found()
    assert message.key() == finding["containment_arn"].encode() == b"arn:aws:iam::111122223333:user/alice"
    assert message.timestamp()[1] == int(NOW.timestamp() * 1000)
    assert dict(message.headers() or []) == {
        "ce_specversion": b"1.0",
        "ce_id": finding["finding_id"].encode(),
        "ce_type": b"io.tokentrail.finding.v1",
        "ce_source": b"tokentrail",
        "ce_time": b"2026-01-02T03:04:05Z",
        "ce_subject": message.key(),
        "content-type": b"application/json",
        "severity": b"low",
        "rule_id": ISSUED.encode(),
    }
    assert finding["detected_at"] == "2026-01-02T03:04:05Z"
    assert finding["origin"] == {
        "topic": "events",
        "partition": 1,
        "offset": 0,
        "timestamp": "2023-11-14T22:13:20.123Z",
        "file": None,
        "index": None,
    }


def test_findings_are_written_in_the_format_that_is_asked_for() -> None:
    def encode(finding: Finding, max_bytes: int) -> bytes:
        assert 0 < max_bytes < MAX_MESSAGE_BYTES
        return finding.rule_id.encode()

    world = World()
    world.intake.format = Format("text/plain", encode)
    world.events.append(event(0))
    world.pipeline.run_once()
    message = only(world.findings.messages)
    assert message.value() == ISSUED.encode()
    assert dict(message.headers() or [])["content-type"] == b"text/plain"


def test_an_attackers_text_breaks_no_header_and_leaves_the_key_as_it_is() -> None:
    arn = "arn:aws:iam::111122223333:user/\x1b[2J\n" + "\N{GRINNING FACE}" * 2_000
    world = World()
    world.events.append(encoded(issuance(userIdentity={"type": "IAMUser", "arn": arn})))
    world.pipeline.run_once()
    message = only(world.findings.messages)
    subject = dict(message.headers() or [])["ce_subject"] or b""
    assert (message.key() or b"").decode().startswith(arn[:200])
    assert subject.decode().isprintable()
    assert len(subject.decode()) == 256


@pytest.mark.parametrize("topic", ["staged", None])
def test_findings_of_rules_on_trial_go_to_their_own_topic_or_nowhere(topic: str | None) -> None:
    """They are counted apart either way, and page nobody."""
    on_trial = dataclasses.replace(RULES[0], stage="staged")
    world = World([on_trial], staged=topic)
    world.events.append(event(0))
    assert world.pipeline.run_once() == 1
    assert world.found() == []
    assert [json.loads(m.value() or b"")["stage"] for m in world.staged.messages] == ["staged"] * (
        topic is not None
    )
    labels = {"rule": ISSUED, "severity": "low", "outcome": "success"}
    assert world.count("findings_total", **labels) == 0
    assert world.count("staged_findings_total", **labels) == 1


def test_a_mark_that_is_not_believed_is_logged_with_its_place(world: World) -> None:
    """Whoever forges one is worth a look."""
    world.events.append(event(0), headers=[(HEADER, b"forged")], partition=1)
    with capture_logs() as logs:
        assert world.pipeline.run_once() == 1
    (entry,) = logs
    assert (entry["log_level"], entry["result"]) == ("warning", "no_key")
    assert (entry["topic"], entry["partition"], entry["offset"]) == ("events", 1, 0)
    assert "forged" not in repr(entry)


def test_a_timestamp_of_the_first_millisecond_is_one(world: World) -> None:
    world.events.append(event(0), timestamp=0)
    assert world.pipeline.run_once() == 1
    assert world.found()[0]["origin"]["timestamp"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("timestamp", [-1, 2**62, 253_402_300_800_000])
def test_a_timestamp_that_is_no_time_hinders_no_finding(world: World, timestamp: int) -> None:
    world.events.append(event(0), timestamp=timestamp)
    assert world.pipeline.run_once() == 1
    assert world.found()[0]["origin"]["timestamp"] is None


@given(watched_records())
def test_every_finding_of_any_record_can_be_sent(record: dict[str, Any]) -> None:
    world = World()
    world.events.append(encoded(record))
    assert world.pipeline.run_once() == 1
    assert world.dead_letters.messages == []
    for message, finding in zip(world.findings.messages, world.found(), strict=True):
        assert message.key()
        assert finding["severity"] in SEVERITIES
        assert len(message.value() or b"") < world.findings.max_bytes


@given(st.binary(max_size=40) | st.builds(lambda cut: event(0)[:cut], st.integers(0, len(event(0)) - 1)))
def test_no_message_stops_the_pipeline(value: bytes) -> None:
    """Rubbish of any kind is a dead letter as it came, or at least ignored and counted; it never blocks."""
    world = World()
    world.events.append(value)
    assert world.pipeline.run_once() == 1
    counted = [sample for metric in world.metrics.dead_letters.collect() for sample in metric.samples]
    assert sum(sample.value for sample in counted) == len(world.dead_letters.messages)
    if len(world.dead_letters.messages) == 1:
        assert world.dead_letters.messages[0].value() == value
