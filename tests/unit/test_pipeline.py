"""The pipeline's guarantee and its bookkeeping, on topics in memory."""

import dataclasses
import gzip
import json
import math
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.batch import Message
from service.canary import HEADER
from service.dead_letter import CUT_HEADER, MAX_IN_A_ROW
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Part, Rejected, unwrap
from service.errors import DeliveryError, Refused, SchemaUnavailable
from service.event import Event
from service.finding import SEVERITIES, Finding, Format
from service.intake import MAX_MESSAGE_BYTES, MIN_MESSAGE_BYTES, Intake, Topics, Unwrap
from service.metrics import Metrics
from service.pipeline import CHUNK_MESSAGES, Pipeline
from service.rules import RULES
from service.rules.rule import Answer, Rule
from service.screen import Screen
from tests.broker import poll_until
from tests.memory import MemorySink, MemorySource, MemoryTopic
from tests.unit.strategies import asking, issuance, watched_records

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
QUIET = {"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "eventID": "quiet"}
ISSUED, SUSPICIOUS = (rule.id for rule in RULES[:2])


class Source(MemorySource):
    """Counts the seconds that a real one would take, most of them where it waits or idles."""

    seconds = 0.0
    can_rewind = True

    def poll(self, *, wait: bool = True) -> Sequence[Message]:
        self.seconds += 1.0 if wait else 0.001
        return super().poll(wait=wait)

    def idle(self) -> None:
        self.seconds += 1.0

    def rewind(self) -> None:
        if not self.can_rewind:
            raise DeliveryError("no answer in time")
        super().rewind()


class World:
    """A pipeline between topics in memory; `events` has two partitions."""

    def __init__(
        self,
        rules: Sequence[Rule] = RULES,
        *,
        chunk_messages: int = 5_000,
        limit: int = DEFAULT_LIMIT,
        unwrap: Unwrap = unwrap,
        staged: str | None = None,
        commit_seconds: float = 0,
        most_outputs: int = 5_000,
        screen: Screen | None = None,
    ) -> None:
        self.events = MemoryTopic("events", partitions=2)
        self.findings = MemoryTopic("findings")
        self.dead_letters = MemoryTopic("dead-letters")
        self.staged = MemoryTopic("staged")
        self.metrics = Metrics(rules)
        self.source = Source(self.events, chunk_messages)
        self.intake = Intake(
            Detector(rules),
            Topics("findings", "dead-letters", staged),
            clock=lambda: NOW,
            unwrap=unwrap,
            limit=limit,
            screen=screen,
        )
        self.pipeline = Pipeline(
            source=self.source,
            sink=MemorySink(self.events, [self.findings, self.dead_letters, self.staged]),
            intake=self.intake,
            observer=self.metrics,
            max_outputs=most_outputs,
            commit_seconds=commit_seconds,
        )

    def count(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"tokentrail_{metric}", labels) or 0

    def found(self) -> list[dict[str, Any]]:
        return [json.loads(message.value() or b"") for message in self.findings.messages]

    def found_events(self) -> list[str]:
        return [finding["event_id"] for finding in self.found()]

    def settle(self) -> None:
        """Commit a first message, which is always due: what follows waits for its time, or for an output."""
        self.events.append(encoded(QUIET))
        assert self.pipeline.run_once() == 1

    def tell_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on time passes in the source alone."""
        start = math.ceil(time.monotonic())
        monkeypatch.setattr(time, "monotonic", lambda: start + self.source.seconds)


@pytest.fixture
def world() -> World:
    return World()


def encoded(record: object) -> bytes:
    return json.dumps(record).encode()


def event(number: int) -> bytes:
    """An event that gives one finding, of the first rule."""
    return encoded(issuance(eventID=f"event-{number}"))


def only(messages: Sequence[Message]) -> Message:
    (message,) = messages
    return message


# --- the guarantee -----------------------------------------------------------------------------


def test_what_gives_nothing_is_committed_by_time_and_what_gives_something_at_once() -> None:
    """The first batch is long due; after it a quiet message waits for the next one that has an output."""
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    world.events.append(encoded(QUIET))
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [1, 0]
    world.events.append(encoded(QUIET))
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 0]
    assert world.events.committed == {0: 1}
    assert world.count("messages_total") == 1
    world.events.append(event(0))
    assert world.pipeline.run_once() == 2
    assert world.events.committed == {0: 3}
    assert world.count("messages_total") == 3
    assert (world.count("batch_messages_count"), world.count("commits_total", result="success")) == (2, 2)


def test_while_more_waits_a_batch_grows_up_to_its_outputs_limit() -> None:
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES, most_outputs=2)
    world.settle()
    for number in range(3 * CHUNK_MESSAGES):
        world.events.append(event(number) if number % 200 == 0 else encoded(QUIET))
    assert world.pipeline.run_once() == CHUNK_MESSAGES  # two findings
    assert world.pipeline.run_once() == 2 * CHUNK_MESSAGES  # one more, then another
    assert world.count("records_total", envelope="record") == 3 * CHUNK_MESSAGES + 1
    assert len(world.found()) == 4


def test_a_batch_grows_no_longer_than_its_time() -> None:
    world = World(chunk_messages=CHUNK_MESSAGES)
    for _ in range(2 * CHUNK_MESSAGES):
        world.events.append(encoded(QUIET))
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [CHUNK_MESSAGES] * 2


def test_what_gives_something_is_delivered_when_no_more_waits() -> None:
    """A chunk that is not full tells that: the next one may be long in coming."""
    world = World(commit_seconds=3_600, chunk_messages=1)
    world.settle()
    world.events.append(event(0))
    world.events.append(event(1))
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [1, 1]


def test_a_message_that_cannot_be_read_ends_no_batch() -> None:
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    world.settle()
    for value in [b"rubbish", *[encoded(QUIET)] * CHUNK_MESSAGES, event(0)]:
        world.events.append(value)
    assert world.pipeline.run_once() == CHUNK_MESSAGES + 2


def test_what_gives_nothing_is_committed_when_its_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(commit_seconds=5)
    world.tell_time(monkeypatch)
    world.settle()
    world.events.append(encoded(QUIET))
    assert [world.pipeline.run_once() for _ in range(5)] == [0, 0, 0, 0, 1]


def test_a_finding_waits_for_no_further_message_and_what_gives_nothing_does() -> None:
    """Else the one comes late, and the other keeps a processor busy."""
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    world.settle()
    world.source.seconds = 0
    for number in range(CHUNK_MESSAGES):
        world.events.append(event(0) if number == 7 else encoded(QUIET))
    assert world.pipeline.run_once() == CHUNK_MESSAGES
    assert 1 <= world.source.seconds < 2  # for the first message
    world.source.seconds = 0
    world.events.append(encoded(QUIET))
    for _ in range(3):
        assert world.pipeline.run_once() == 0
    assert world.source.seconds == 3


def test_only_where_more_waits_is_anything_screened() -> None:
    screen = Screen(Detector(RULES).needles)
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES, screen=screen)
    for _ in range(CHUNK_MESSAGES):
        world.events.append(encoded(QUIET))
    world.events.append(event(0))
    assert world.pipeline.run_once() == CHUNK_MESSAGES
    screened = world.count("screened_messages_total")
    assert 0 < screened < CHUNK_MESSAGES
    for _ in range(CHUNK_MESSAGES - 2):
        world.events.append(encoded(QUIET))
    assert world.pipeline.run_once() == CHUNK_MESSAGES - 1
    assert world.count("screened_messages_total") == screened


@pytest.mark.parametrize("pending", [encoded(QUIET), event(0)], ids=["quiet", "with-output"])
def test_what_was_read_before_partitions_were_taken_away_is_forgotten(pending: bytes) -> None:
    """It may be another member's by now: nothing of it is published, committed or counted from here."""
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    for _ in range(2):
        world.events.append(encoded(QUIET))
        world.pipeline.run_once()
    assert world.events.committed == {0: 1}
    world.events.append(pending)
    world.source.revocations += 1
    assert world.pipeline.run_once() == 0
    assert (world.events.committed, world.found()) == ({0: 1}, [])
    world.events.append(event(1))
    assert world.pipeline.run_once() == 3
    assert world.events.committed == {0: 4}
    assert world.count("messages_total") == 4
    assert [finding["event_id"] for finding in world.found()][-1] == "event-1"


def test_what_comes_with_the_news_that_partitions_were_taken_away_is_read_again(world: World) -> None:
    """The poll that tells it may give messages, too."""
    world.events.append(event(0))
    world.source.revocations += 1
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 1]
    assert world.found_events() == ["event-0"]


def test_what_was_read_of_a_partition_that_is_gone_is_never_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(commit_seconds=5)
    world.tell_time(monkeypatch)
    world.settle()
    world.events.append(encoded(QUIET))
    assert world.pipeline.run_once() == 0
    world.source.revocations += 1
    world.source.pause([("events", 0)])
    assert [world.pipeline.run_once() for _ in range(10)] == [0] * 10
    assert world.events.committed == {0: 1}


def test_while_nothing_is_read_partitions_may_be_taken_away_at_no_cost(world: World) -> None:
    world.source.can_rewind = False
    world.source.revocations += 1
    assert world.pipeline.run_once() == 0
    assert world.pipeline.trouble is None


def test_latency_counts_from_the_message_that_gave_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from a quiet one that waited with it: the batch's own time has that."""
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    world.events.append(encoded(QUIET))
    world.pipeline.run_once()
    now = time.monotonic()
    for later, value in ((1, encoded(QUIET)), (5, event(0))):
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        world.events.append(value)
        world.pipeline.run_once()
    latest = (world.count("batch_seconds_sum"), world.count("detection_latency_seconds_sum"))
    assert latest[0] >= 4
    assert latest[1] == 0


def test_latency_counts_from_the_first_finding_and_not_the_wait_for_its_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One in each of two chunks, the second read a millisecond after the first, and one more look for a third."""
    world = World(commit_seconds=3_600, chunk_messages=CHUNK_MESSAGES)
    world.tell_time(monkeypatch)
    world.settle()
    for number in range(2 * CHUNK_MESSAGES):
        world.events.append(event(number) if number % CHUNK_MESSAGES == 7 else encoded(QUIET))
    assert world.pipeline.run_once() == 2 * CHUNK_MESSAGES
    assert world.count("detection_latency_seconds_count") == 2
    assert world.count("detection_latency_seconds_sum") == pytest.approx(2 * 0.002)
    assert world.count("batch_seconds_sum") == pytest.approx(0.002)  # the first batch took none


def test_nothing_to_read_commits_and_counts_nothing(world: World) -> None:
    assert world.pipeline.run_once() == 0
    assert world.events.committed == {}
    assert world.count("commits_total", result="success") == 0


def test_a_batch_counts_once_it_is_committed(world: World) -> None:
    for number in range(3):
        world.events.append(event(number), partition=number % 2)
    assert world.pipeline.run_once() == 3
    assert world.events.committed == {0: 2, 1: 1}
    assert [finding["event_id"] for finding in world.found()] == ["event-0", "event-2", "event-1"]
    assert world.count("messages_total") == 3
    assert world.count("message_bytes_total") == sum(len(event(number)) for number in range(3))
    assert world.count("records_total", envelope="record") == 3
    assert world.count("commits_total", result="success") == 1
    assert world.count("findings_total", rule=ISSUED, severity="low", outcome="success") == 3
    assert world.count("rule_verdicts_total", rule=ISSUED, verdict="match") == 3


def test_a_failed_delivery_commits_counts_and_loses_nothing(world: World) -> None:
    """Not usable until the sink recovered and the source went back to what was committed."""
    world.events.append(event(0))
    world.events.append(b"rubbish")
    world.findings.reachable = False
    with capture_logs() as logs:
        assert world.pipeline.run_once() == 0
    (entry,) = logs
    assert (entry["log_level"], entry["messages"], entry["problem"]) == ("warning", 2, "no broker answers")
    assert world.pipeline.trouble
    assert world.events.committed == {}
    assert world.found() == []
    assert [world.count(name) for name in ("messages_total", "message_bytes_total", "batch_seconds_count")] == [
        0,
        0,
        0,
    ]
    assert world.count("dead_letters_total", reason="not_json") == 0
    assert world.count("commits_total", result="failure") == 1

    assert world.pipeline.run_once() == 0
    assert world.pipeline.trouble
    world.findings.reachable = True
    with capture_logs() as logs:
        assert world.pipeline.run_once() == 0
    assert [entry["log_level"] for entry in logs] == ["info"]
    assert world.pipeline.trouble is None
    assert world.pipeline.run_once() == 2
    assert world.events.committed == {0: 2}
    assert len(world.found()) == len(world.dead_letters.messages) == 1
    assert world.count("messages_total") == 2


def test_a_source_that_cannot_rewind_keeps_the_pipeline_from_reading_on(world: World) -> None:
    world.events.append(event(0))
    world.findings.reachable = False
    world.pipeline.run_once()
    world.findings.reachable, world.events.reachable = True, False
    for _ in range(3):
        assert world.pipeline.run_once() == 0
        assert world.pipeline.trouble
    world.events.reachable = True
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 1]
    assert len(world.found()) == 1


def test_a_rewind_that_fails_after_partitions_were_taken_away_is_tried_again(world: World) -> None:
    """Else what was forgotten would be skipped."""
    world.events.append(event(0))
    world.source.revocations += 1
    world.source.can_rewind = False
    assert world.pipeline.run_once() == 0
    world.events.append(event(1))
    assert world.pipeline.run_once() == 0
    assert world.pipeline.trouble
    world.source.can_rewind = True
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 2]
    assert world.found_events() == ["event-0", "event-1"]


def test_a_rewind_that_fails_after_a_pause_is_tried_again() -> None:
    """What shared a batch with the rubbish would be skipped."""
    world = World(commit_seconds=3_600, chunk_messages=MAX_IN_A_ROW + 1)
    world.settle()
    for _ in range(MAX_IN_A_ROW):
        world.events.append(b"rubbish")
    world.events.append(event(0), partition=1)
    world.events.append(event(1), partition=1)
    world.source.can_rewind = False
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 0]
    assert world.events.committed == {0: 1}
    world.source.can_rewind = True
    assert [world.pipeline.run_once(), world.pipeline.run_once()] == [0, 2]
    assert world.found_events() == ["event-0", "event-1"]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=20), st.integers(1, 4))
def test_whatever_fails_when_each_event_is_found_once(
    steps: list[tuple[bool, bool, int]], chunk_messages: int
) -> None:
    world = World(chunk_messages=chunk_messages)
    sent = 0
    for world.events.reachable, world.findings.reachable, more in steps:
        for number in range(sent, sent + more):
            world.events.append(event(number), partition=number % 2)
        sent += more
        world.pipeline.run_once()
        assert sum(world.events.committed.values()) == len(world.found()) == world.count("messages_total")
    world.events.reachable = world.findings.reachable = True
    world.pipeline.run_once()
    while world.pipeline.run_once() > 0:
        pass
    assert sorted(finding["event_id"] for finding in world.found()) == sorted(f"event-{n}" for n in range(sent))


def test_what_waits_for_the_schema_registry_is_read_again_and_counted_once() -> None:
    """One line however long it lasts; what stood before the message that needs it is not published early."""
    answers = iter([SchemaUnavailable("no answer")] * 3)

    def needs_a_schema(value: bytes, limit: int) -> Sequence[Part]:
        if value.startswith(b"\0") and (problem := next(answers, None)) is not None:
            raise problem
        return unwrap(value.lstrip(b"\0"), limit)

    world = World(unwrap=needs_a_schema)
    world.events.append(event(0))
    world.events.append(b"\0" + event(1))
    with capture_logs() as logs:
        for _ in range(3):
            assert world.pipeline.run_once() == 0
            assert world.pipeline.trouble == "waiting for the schema registry"
            assert world.found() == []
    assert [(entry["log_level"], entry["problem"]) for entry in logs] == [("warning", "no answer")]
    assert world.pipeline.run_once() == 2
    assert world.pipeline.trouble is None
    assert [finding["event_id"] for finding in world.found()] == ["event-0", "event-1"]
    assert world.count("messages_total") == 2


def test_a_message_that_waits_for_the_registry_is_not_waited_for_where_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be another member's by now: half a minute after the last try nothing is known to be wrong here."""

    def without_registry(_value: bytes, _limit: int) -> Sequence[Part]:
        raise SchemaUnavailable("no answer")

    world = World(unwrap=without_registry)
    world.tell_time(monkeypatch)
    world.events.append(b"\0avro")
    world.pipeline.run_once()
    world.source.pause([("events", 0)])
    while world.pipeline.trouble and world.source.seconds < 100:
        world.pipeline.run_once()
    assert world.source.seconds == 31  # the message came with the first


def test_while_the_world_is_bad_the_source_idles() -> None:
    """So that nothing turns in a circle, and the group keeps its member."""

    def without_registry(_value: bytes, _limit: int) -> Sequence[Part]:
        raise SchemaUnavailable("no answer")

    waiting, recovering = World(unwrap=without_registry), World()
    recovering.findings.reachable = False
    for world in (waiting, recovering):
        world.events.append(event(0))
        world.pipeline.run_once()
        world.source.seconds = 0
        for _ in range(3):
            world.pipeline.run_once()
            assert world.pipeline.trouble
    assert waiting.source.seconds == 3 * 2  # it polls as well
    assert recovering.source.seconds == 3


def test_the_last_move_is_known_from_the_start_and_while_all_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that saw none would end a process that only has to wait."""
    before = time.monotonic()
    world = World()
    assert before <= world.pipeline.moved_at <= time.monotonic()
    world.events.append(event(0))
    world.findings.reachable = False
    world.pipeline.run_once()
    world.tell_time(monkeypatch)
    for _ in range(3):
        now = time.monotonic()
        world.pipeline.run_once()
        assert world.pipeline.moved_at == now


def test_a_move_within_a_chunk_counts(world: World) -> None:
    """A message may take its time: the intake is at it."""
    world.pipeline.run_once()
    world.intake.moved_at = world.pipeline.moved_at + 60
    assert world.pipeline.moved_at == world.intake.moved_at
    world.intake.moved_at -= 120
    assert world.pipeline.moved_at == world.intake.moved_at + 60


def test_each_message_that_is_read_in_full_is_a_move(monkeypatch: pytest.MonkeyPatch) -> None:
    moves = []

    def slowly(value: bytes, limit: int) -> Sequence[Part]:
        moves.append(time.monotonic() - slow.pipeline.moved_at)
        slow.source.seconds += 60  # a registry may be as slow
        return unwrap(value, limit)

    slow = World(unwrap=slowly)
    slow.tell_time(monkeypatch)
    for number in range(3):
        slow.events.append(event(number))
    assert slow.pipeline.run_once() == 3
    assert moves == [0, 0, 0]


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


def test_what_the_brokers_refuse_for_good_is_not_retried(world: World) -> None:
    world.events.append(event(0))
    world.findings.deleted = True
    with pytest.raises(Refused, match="findings"):
        world.pipeline.run_once()
    assert world.events.committed == {}


def test_run_goes_on_until_told_to_stop(world: World) -> None:
    stop = threading.Event()
    worker = threading.Thread(target=world.pipeline.run, args=[stop])
    worker.start()
    world.events.append(event(0))
    poll_until(lambda: world.events.committed == {0: 1}, "the event's commit")
    world.events.append(event(1))
    poll_until(lambda: world.events.committed == {0: 2}, "the next one's")
    stop.set()
    worker.join(10)
    assert not worker.is_alive()


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
