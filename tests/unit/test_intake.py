"""The ways past reading in full change nothing that is found, and hide no rubbish."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import cast

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.accounts import Accounts
from service.batch import Batch, Message
from service.canary import HEADER, Canary, attack, seal
from service.detect import Detector
from service.envelopes import Part, Record, unwrap
from service.errors import DecodeError
from service.intake import Intake, Topics
from service.rules import RULES
from service.screen import MAX_BYTES, Screen
from tests.fuzz import fuzz_core
from tests.fuzz.fuzz_intake import (
    DETECTOR,
    NOW,
    QUIET,
    TARGETS,
    make_hidden,
    message,
    new_intake,
    one_by_one,
    through_intake,
)
from tests.unit.strategies import issuance

CORPUS = fuzz_core.corpus()
WATCHED = json.dumps(issuance()).encode()
BUS = json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": issuance()}).encode()
FULL = 250  # messages of a chunk

inputs = st.integers(0, 10**9).map(lambda number: make_hidden(1, number, CORPUS))
messages = st.lists(st.one_of(inputs, st.sampled_from([QUIET, WATCHED, BUS, None, b"", b"{}"])), max_size=12)


def screened_intake() -> Intake:
    return new_intake(Screen(DETECTOR.needles))


@given(st.lists(messages, max_size=3))
def test_messages_taken_together_give_what_each_gives_alone(chunks: list[list[bytes | None]]) -> None:
    """Whatever came before them: what the intake remembers is for speed."""
    intake = new_intake()
    for values in chunks:
        batch, taken = through_intake(intake, values)
        assert taken == one_by_one(values)
        assert batch.messages == len(values)
        assert batch.bytes == sum(len(value or b"") for value in values)
        assert batch.screened == 0


@given(st.lists(messages, max_size=3))
def test_the_screen_leaves_out_nothing_that_a_rule_would_answer(chunks: list[list[bytes | None]]) -> None:
    intake = screened_intake()
    for values in chunks:
        batch, taken = through_intake(intake, values, hurry=True)
        expected = one_by_one(values)
        assert (taken.findings, taken.verdicts) == (expected.findings, expected.verdicts)
        assert taken.unreadable <= expected.unreadable
        assert batch.messages == len(values)


def test_a_short_fuzz_run_finds_no_difference() -> None:
    figures, culprit = fuzz_core.fuzz(20_241_130, 300, 100, target=TARGETS["intake"])
    assert culprit is None
    assert figures.inputs == 300
    assert min(figures.findings, figures.screened, figures.rejected) > 100


@pytest.mark.parametrize(
    "rubbish",
    [
        b"rubbish",
        b"",
        WATCHED[:-20],
        QUIET.decode().encode("utf-16"),
        b"{" + b"x" * 50 + b"}",
        b'{"cut": "in the mid}',
        b'{"neither": "record", "nor": "envelope"}',
        b"\x00\x00\x00\x00\x07avro",
    ],
    ids=["text", "empty", "cut", "utf-16", "framed", "cut-and-framed", "other-json", "avro"],
)
def test_rubbish_is_noticed_in_the_first_chunk_of_it(rubbish: bytes) -> None:
    """All of it, with the reasons that it has when it is read message by message."""
    values: list[bytes | None] = [rubbish] * FULL
    batch, taken = through_intake(screened_intake(), values, hurry=True)
    expected = one_by_one(values)
    assert taken.unreadable == expected.unreadable
    assert taken.rejected == expected.rejected
    assert len(batch.outputs) == batch.rejected.total()
    assert batch.screened == 0


def test_a_share_of_what_is_screened_is_read_in_turn() -> None:
    """Whatever stands at one place of each chunk is read within a hundred of them."""
    intake = screened_intake()
    values: list[bytes | None] = [QUIET] * FULL
    screened = 0
    for _ in range(100):
        batch, taken = through_intake(intake, values, hurry=True)
        assert 2 <= taken.records["record"] <= 3
        screened += batch.screened
    assert screened == 100 * FULL - FULL  # each place once
    rejected: Counter[str] = Counter()
    for _ in range(100):
        batch, _ = through_intake(intake, [*values[:-1], b'{"cut": "in the mid}'], hurry=True)
        rejected += batch.rejected
    assert rejected == {"json": 1}


def test_without_hurry_nothing_is_screened() -> None:
    batch = Batch(polled_at=0)
    screened_intake().take(batch, [message(QUIET, offset) for offset in range(FULL)])
    assert (batch.screened, batch.records["record"]) == (0, FULL)


def test_so_many_bytes_that_copying_them_would_hurt_are_read() -> None:
    values = [b'{"a": "' + b"x" * (MAX_BYTES // 2) + b'"}'] * 2
    assert Screen(["needle"]).suspects(values) == {0, 1}
    assert Screen(["needle"]).suspects(values[:1]) == set()


@pytest.mark.parametrize("count", [1, 4, 5, 40])
def test_each_of_many_needles_is_found_where_it_stands(count: int) -> None:
    needles = [f"needle-{number:02}" for number in range(count)]
    values = [b"{" + f"needle-{number:02}".encode() * (number % 3) + b"}" for number in range(-3, count + 3)]
    holding = {at for at, value in enumerate(values) if any(needle.encode() in value for needle in needles)}
    assert Screen(needles).suspects(values) == holding
    assert holding or count == 1


def test_an_account_is_seen_though_its_events_are_screened() -> None:
    event = {"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "recipientAccountId": "111122223333"}
    value = json.dumps(event | {"eventTime": "2026-01-02T03:04:05Z"}).encode()
    for hurry in (True, False):
        batch = Batch(polled_at=0, accounts=Accounts(["111122223333", "444455556666"]))
        screened_intake().take(batch, [message(value, index) for index in range(FULL)], hurry=hurry)
        assert (batch.screened > 0) == hurry
        assert list(batch.accounts.newest) == ["111122223333"]


def test_an_account_is_seen_in_a_message_that_nothing_else_reads() -> None:
    value = json.dumps(
        {
            "eventSource": "s3.amazonaws.com",
            "eventName": "GetObject",
            "recipientAccountId": "111122223333",
            "eventTime": "2026-01-02T03:04:05Z",
        }
    ).encode()
    batch = Batch(polled_at=0, accounts=Accounts(["111122223333"]))
    values = [value if index == 7 else QUIET for index in range(FULL)]
    screened_intake().take(batch, [message(each, index) for index, each in enumerate(values)], hurry=True)
    assert batch.screened > 0.9 * FULL
    assert list(batch.accounts.newest) == ["111122223333"]


def test_an_account_is_seen_in_an_envelope() -> None:
    batch = Batch(polled_at=0, accounts=Accounts(["111122223333"]))
    new_intake().take(batch, [message(BUS)])
    assert list(batch.accounts.newest) == ["111122223333"]


def test_what_holds_nothing_is_not_unreadable() -> None:
    """A delivery without records, or a tombstone, is no rubbish that a partition is paused for."""
    batch, taken = through_intake(new_intake(), [b"[]", b'{"Records": []}', b"[{}]", None])
    assert (taken.unreadable, taken.ignored) == ({2}, {"tombstone": 1})
    assert batch.bytes == len(b'[]{"Records": []}[{}]')


@pytest.mark.parametrize("form", [b"[%s, {}]", b"[{}, %s]"], ids=["before", "behind"])
def test_a_message_is_readable_when_a_part_of_it_is(form: bytes) -> None:
    batch, taken = through_intake(new_intake(), [form % WATCHED])
    assert (taken.unreadable, taken.rejected, len(batch.findings)) == (set(), {"not_a_record": 1}, 1)


def test_what_is_ignored_was_read() -> None:
    pointer = b'{"s3Bucket": "b"}'
    _, taken = through_intake(new_intake(), [pointer, b"[%s, {}]" % pointer, b"[{}, %s]" % pointer])
    assert (taken.unreadable, taken.ignored, taken.rejected) == (set(), {"s3_pointer": 3}, {"not_a_record": 2})


def test_a_record_that_nobody_watches_is_never_unwrapped() -> None:
    """Its names are enough, from the first time that they are seen."""
    unwrapped = []

    def noted(value: bytes, limit: int) -> Sequence[Part]:
        unwrapped.append(value)
        return unwrap(value, limit)

    intake = Intake(DETECTOR, Topics("findings", "dead-letters"), unwrap=noted)
    for _ in range(3):
        through_intake(intake, [QUIET, WATCHED, QUIET, b"cut", None, QUIET])
    assert unwrapped == [WATCHED, b"cut"] * 3


@pytest.mark.parametrize(("count", "expected"), [(1, b"message"), (2, b"part")])
def test_a_watched_record_that_cannot_be_decoded_is_rejected_with_its_message_or_alone(
    count: int, expected: bytes
) -> None:
    def broken(data: bytes) -> object:
        raise DecodeError("json", "broken")

    part = Record(b"part", "sts.amazonaws.com", "GetFederationToken", "avro", broken)
    topics = Topics("findings", "dead-letters")
    batch, taken = through_intake(
        Intake(DETECTOR, topics, unwrap=lambda _value, _limit: (part,) * count), [b"message"]
    )
    assert (taken.rejected, batch.records["avro"]) == ({"json": count}, 0)
    assert [letter.value for letter in batch.outputs] == [expected] * count


def test_what_was_rejected_first_stays_the_reason_of_a_whole_message() -> None:
    value = b'["{", 7]'  # broken JSON, and a number
    batch, taken = through_intake(new_intake(), [value])
    assert (taken.rejected, taken.unreadable) == ({"json": 1}, {0})
    assert [letter.value for letter in batch.outputs] == [value]


@pytest.mark.parametrize("key", ["eventSource", "eventName"])
def test_one_name_hides_no_envelope(key: str) -> None:
    batch, _ = through_intake(new_intake(), [b'{"%s": "X", "detail": %s}' % (key.encode(), WATCHED)])
    assert len(batch.findings) == 1


def test_two_names_hide_no_records() -> None:
    batch, _ = through_intake(new_intake(), [b'{"eventSource": "a", "eventName": "b", "Records": [%s]}' % WATCHED])
    assert len(batch.findings) == 1


def test_a_message_without_a_timestamp_gives_a_finding_without() -> None:
    batch, _ = through_intake(new_intake(), [WATCHED])
    (finding,) = batch.findings
    assert (finding.origin.topic, finding.origin.timestamp) == ("events", None)


def test_offsets_are_those_after_the_last_message_of_each_partition() -> None:
    batch = Batch(polled_at=0)
    intake = new_intake()
    intake.take(batch, [message(QUIET, 0)])
    assert batch.offsets == {("events", 0): 1}
    intake.take(batch, [message(QUIET, offset) for offset in range(7)])
    assert batch.offsets == {("events", 0): 7, ("events", 1): 5, ("events", 2): 6}
    intake.take(batch, [message(QUIET, offset) for offset in (9, 7)])
    assert batch.offsets == {("events", 0): 10, ("events", 1): 8, ("events", 2): 6}


def test_counts_add_up_over_what_is_taken_into_a_batch() -> None:
    batch, intake = Batch(polled_at=0), screened_intake()
    for _ in range(2):
        intake.take(batch, [message(QUIET, offset) for offset in range(FULL)], hurry=True)
    assert (batch.messages, batch.bytes) == (2 * FULL, 2 * FULL * len(QUIET))
    assert batch.screened + batch.records["record"] == 2 * FULL
    assert batch.screened > FULL


@pytest.mark.parametrize(("name", "expected"), [("getfederationtoken", 1), ("GetCallerIdentity", 0)])
def test_a_near_miss_is_counted_in_an_envelope_as_beside_one(name: str, expected: int) -> None:
    event = issuance(eventName=name)
    for value in (event, {"detail": event}):
        batch, _ = through_intake(new_intake(), [json.dumps(value).encode()] * 2)
        assert batch.near_misses == 2 * expected


def test_a_finding_says_the_envelope_and_only_answers_of_rules_are_counted() -> None:
    batch, _ = through_intake(new_intake(), [BUS])
    assert {finding.envelope for finding in batch.findings} == {"eventbridge"}
    assert batch.verdicts[batch.findings[0].rule_id, "match"] == 1
    assert "no_match" not in {verdict for _, verdict in batch.verdicts}


def test_a_mark_on_another_message_is_wrong_though_its_own_came_in_the_same_batch() -> None:
    """What a canary's metric says of a stolen mark is what is wrong with it."""
    value = attack("canary-1", NOW)
    headers: list[tuple[str, str | bytes | None]] = [(HEADER, seal("key", "events", value, NOW))]
    messages = [
        confluent_kafka.Message(topic="events", partition=0, offset=offset, value=value, headers=headers)
        for offset, value in enumerate([value, WATCHED, value, value])
    ]
    batch = Batch(polled_at=0)
    topics = Topics("findings", "dead-letters")
    intake = Intake(DETECTOR, topics, canary=Canary("key", "events"), clock=lambda: NOW)
    intake.take(batch, cast("list[Message]", messages))
    assert batch.canaries == {"accepted": 1, "wrong_mark": 1, "replayed": 2}


def test_invented_names_are_told_from_watched_ones_however_many_come() -> None:
    intake = Intake(Detector(RULES), Topics("findings", "dead-letters"))
    for start in range(0, 50_000, 10_000):
        values: list[bytes | None] = [
            b'{"eventSource": "s%d.amazonaws.com", "eventName": "%s"}' % (start + number, b"n" * (number % 300))
            for number in range(10_000)
        ]
        batch, taken = through_intake(intake, [*values, WATCHED])
        assert (taken.records["record"], len(batch.findings)) == (10_001, 1)


@pytest.mark.parametrize(("count", "length"), [(100_000, 200), (400, 100_000)], ids=["many", "long"])
def test_invented_names_fill_no_memory(count: int, length: int) -> None:
    """All of them would take over 30 MB."""
    intake = Intake(Detector(RULES), Topics("findings", "dead-letters"))
    chunk = count // 20
    tracemalloc.start()
    try:
        for start in range(0, count, chunk):
            name = b"n" * length
            through_intake(
                intake,
                [
                    b'{"eventSource": "s%d.amazonaws.com", "eventName": "%s"}' % (start + number, name)
                    for number in range(chunk)
                ],
            )
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000_000
