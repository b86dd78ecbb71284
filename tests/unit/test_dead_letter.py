"""Dead letters keep what they were, say why they are here, fit into a message, and know when they are too many."""

from dataclasses import dataclass

from confluent_kafka import KafkaException, Producer
from hypothesis import example, given
from hypothesis import strategies as st

from service.dead_letter import (
    CUT_HEADER,
    MAX_IN_A_ROW,
    PREFIX,
    TIMESTAMP_HEADER,
    WINDOW,
    Headers,
    Limit,
    dead_letter,
)
from service.envelopes import Rejected, unwrap
from service.intake import MAX_MESSAGE_BYTES

PROBLEM = "json: broken JSON"
OURS = {
    f"{PREFIX}topic": b"events",
    f"{PREFIX}partition": b"3",
    f"{PREFIX}offset": b"42",
    f"{PREFIX}stage": b"VALUE_CONVERTER",
    f"{PREFIX}exception.class.name": b"service.errors.DecodeError",
    f"{PREFIX}exception.message": PROBLEM.encode(),
    TIMESTAMP_HEADER: b"1700000000123",
}


@dataclass(frozen=True)
class Message:
    kept_key: bytes | None = None
    kept_headers: Headers | None = None

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 42

    def key(self) -> bytes | None:
        return self.kept_key

    def headers(self) -> Headers | None:
        return self.kept_headers

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_700_000_000_123


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10).filter(
    lambda name: not name.startswith(PREFIX)
)
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=20)), max_size=5)


@given(st.none() | st.binary(), st.none() | st.binary(), headers)
def test_key_value_and_headers_stay_as_they_were(key: bytes | None, value: bytes | None, kept: Headers) -> None:
    found_key, found_value, found = dead_letter(Message(key, kept), value, PROBLEM, MAX_MESSAGE_BYTES)
    assert (found_key, found_value) == (key, value)
    assert found[: len(kept)] == kept
    assert found[len(kept) :] == list(OURS.items())


def test_the_names_of_headers_are_those_that_others_look_for() -> None:
    assert PREFIX == "__connect.errors."
    assert (CUT_HEADER, TIMESTAMP_HEADER) == ("tokentrail.value.cut", "tokentrail.original.timestamp")


def test_a_message_without_headers_gets_those_of_kafka_connect() -> None:
    assert dead_letter(Message(), b"rubbish", PROBLEM, MAX_MESSAGE_BYTES) == (None, b"rubbish", list(OURS.items()))


@given(headers)
def test_sent_again_the_headers_of_the_first_time_are_replaced(kept: Headers) -> None:
    earlier = dead_letter(Message(b"key", kept), b"rubbish" * 100, "not_json: neither JSON nor gzip", 800)[2]
    again = dead_letter(Message(b"key", earlier), b"rubbish", PROBLEM, MAX_MESSAGE_BYTES)[2]
    assert again == [*kept, *OURS.items()]


def fits(key: bytes | None, value: bytes | None, kept: Headers) -> bool:
    """Whether the client takes the message; its limit is 1,000,000 bytes with all that Kafka adds."""
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    try:
        producer.produce("dead-letters", value, key, headers=list(kept))
    except KafkaException:
        return False
    producer.purge()
    return True


HEADERS_OF_ALL_SIZES: dict[str, Headers] = {
    "none": [],
    "short": [("a", b"b")] * 20,
    "long names": [("a" * 200, None)] * 3,
    # A length up to 63 takes one byte, from 64 on two.
    "many": [("a", None), ("a" * 63, b"b"), ("a" * 64, b"b" * 64)] * 700,
    "enormous": [("a", b"b" * 999_900)],
}


@given(
    st.integers(MAX_MESSAGE_BYTES - 2_000, MAX_MESSAGE_BYTES + 50_000),
    st.sampled_from([0, 90, 600_000, 1_010_000]),
    st.sampled_from(list(HEADERS_OF_ALL_SIZES)),
)
def test_a_dead_letter_always_fits_and_is_cut_only_where_it_must_be(size: int, key_size: int, of: str) -> None:
    key, value, kept = b"k" * key_size, b"x" * size, HEADERS_OF_ALL_SIZES[of]
    letter = dead_letter(Message(key, kept), value, PROBLEM, MAX_MESSAGE_BYTES)
    assert fits(*letter)
    if letter[2][-1][0] != CUT_HEADER:
        assert letter == (key, value, [*kept, *OURS.items()])
        return
    assert letter[2][-1] == (CUT_HEADER, str(size).encode())
    found = letter[1] or b"?"
    assert value.startswith(found)
    assert len(found) == size or not fits(letter[0], found + b"x" * 200, letter[2])
    assert not fits(key, value, [*kept, *OURS.items(), ("slack", b"x" * 200)])


def test_a_key_and_headers_that_leave_no_room_are_left_out() -> None:
    """Else nobody would ever get past such a message."""
    kept: Headers = [("large", b"x" * 2_000)]
    key, value, found = dead_letter(Message(b"key", kept), b"rubbish", PROBLEM, 1_500)
    assert (key, value) == (None, b"rubbish")
    assert found == [*OURS.items(), (CUT_HEADER, b"7")]


def test_every_byte_of_room_is_used() -> None:
    """What fits exactly is whole; a byte less of room costs one byte of the value, and then the key."""
    value = b"x" * 100
    kept: Headers = [("a", b"b")]
    letters = [dead_letter(Message(b"key", kept), value, PROBLEM, room) for room in range(1_000)]
    whole = next(room for room, letter in enumerate(letters) if CUT_HEADER not in dict(letter[2]))
    assert all(letter[0] == b"key" for letter in letters[whole - 100 :])
    assert [len(letter[1] or b"") for letter in letters[whole - 100 : whole + 2]] == [*range(101), 100]
    assert letters[whole - 101][0] is None


SECRET = b"SECRET-of-the-event"
PIECES = (SECRET, b'"Records"', b'"detail"', b'"Type"', b'"Message"', b'"messageType"', b'"logEvents"')
MARKS = (b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"\n", b"\xff", b"\x1f\x8b", b"H4sI")


@given(st.lists(st.sampled_from(PIECES + MARKS), max_size=15).map(b"".join))
@example(b'{"Records": [{"SECRET-of-the-event": 1}, {"eventName": SECRET-of-the-event}]}')
@example(b'{"messageType": "DATA_MESSAGE", "logEvents": [{"message": "{\\"SECRET-of-the-event"}]}')
def test_headers_hold_nothing_of_the_event(value: bytes) -> None:
    """Every console shows headers, and the session token is a secret."""
    for part in (part for part in unwrap(value) if isinstance(part, Rejected)):
        problem = f"{part.reason}: {part.detail}"
        headers = dead_letter(Message(), part.data, problem, MAX_MESSAGE_BYTES)[2]
        assert all(SECRET not in (content or b"") for _, content in headers)


# --- the limit -----------------------------------------------------------------------------------


def test_the_limit_is_reached_by_500_in_a_row() -> None:
    assert (MAX_IN_A_ROW, WINDOW) == (500, 1_000)
    assert Limit().reached([True] * MAX_IN_A_ROW)
    limit = Limit()
    assert not limit.reached([True] * (MAX_IN_A_ROW - 1))
    assert not limit.reached([False] * WINDOW)
    assert not limit.reached([True] * (MAX_IN_A_ROW - 1))
    assert limit.reached([True])


def test_the_limit_is_reached_by_more_than_half_of_the_last_thousand() -> None:
    limit = Limit()
    assert not limit.reached([True, False] * WINDOW)
    assert limit.reached([True, True])


def test_the_limit_is_clean_while_none_of_the_last_thousand_was_unreadable() -> None:
    limit = Limit()
    assert limit.clean
    limit.reached([True, *[False] * (WINDOW - 1)])
    assert not limit.clean
    limit.reached([False])
    assert limit.clean


def test_a_minority_of_rubbish_never_reaches_the_limit() -> None:
    limit = Limit()
    assert not any(limit.reached([True, True, False, False, False]) for _ in range(WINDOW))
