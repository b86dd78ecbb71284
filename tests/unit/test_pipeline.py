"""The pipeline's guarantee: what is committed, and when, on topics in memory."""

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.dead_letter import MAX_IN_A_ROW
from service.detect import Detector
from service.envelopes import Part, unwrap
from service.errors import Refused, SchemaUnavailable
from service.pipeline import CHUNK_MESSAGES
from service.rules import RULES
from service.screen import Screen
from tests.broker import poll_until
from tests.unit.world import ISSUED, QUIET, World, encoded, event


@pytest.fixture
def world() -> World:
    return World()


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
