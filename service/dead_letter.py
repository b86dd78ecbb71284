"""A message that could not be read -> a dead letter, with the headers Kafka Connect gives its own; and the limit
beyond which a partition's messages are no accident any more.

Header names: https://cwiki.apache.org/confluence/display/KAFKA/KIP-298%3A+Error+Handling+in+Connect
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

PREFIX: Final = "__connect.errors."
CUT_HEADER: Final = "tokentrail.value.cut"
TIMESTAMP_HEADER: Final = "tokentrail.original.timestamp"

MAX_IN_A_ROW: Final = 500
WINDOW: Final = 1_000
MAX_SHARE: Final = 0.5
# What Kafka adds to a message and to a batch of one, and the header that says "cut".
_FRAMING: Final = 150
_STAGE: Final = "VALUE_CONVERTER"
_OURS: Final = (CUT_HEADER, TIMESTAMP_HEADER)

Headers = list[tuple[str, bytes | None]]


class Failed(Protocol):
    """As much of a Kafka message as a dead letter keeps."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def headers(self) -> Headers | None: ...
    def timestamp(self) -> tuple[int, int]: ...


def dead_letter(
    message: Failed, value: bytes | None, problem: str, max_bytes: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the dead letter, `max_bytes` in all. `problem` must hold no event text.

    Key, headers and value stay as they were; headers that an earlier failure left are replaced. A value that
    would not fit a message any more is cut, and a header says how long it was; a key and headers that leave no
    room at all go as well. The message's own timestamp becomes a header, since retention would delete a dead
    letter that looked as old as its message.
    """
    kept = [
        (name, content)
        for name, content in message.headers() or ()
        if not name.startswith(PREFIX) and name not in _OURS
    ]
    said = {
        f"{PREFIX}topic": message.topic(),
        f"{PREFIX}partition": message.partition(),
        f"{PREFIX}offset": message.offset(),
        f"{PREFIX}stage": _STAGE,
        f"{PREFIX}exception.class.name": "service.errors.DecodeError",
        f"{PREFIX}exception.message": problem,
        TIMESTAMP_HEADER: message.timestamp()[1],
    }
    ours: Headers = [(name, str(content).encode()) for name, content in said.items()]
    key = message.key()
    room = max_bytes - _size(key, [*kept, *ours])
    fits = room >= 0
    if not fits:
        key, kept, room = None, [], max_bytes - _size(None, ours)
    if value is not None and not (fits and len(value) <= room):
        ours.append((CUT_HEADER, str(len(value)).encode()))
        value = value[:room]
    return key, value, [*kept, *ours]


def _size(key: bytes | None, headers: Headers) -> int:
    """Bytes of a message without its value."""
    of_headers = sum(_counted(name.encode()) + _counted(content or b"") for name, content in headers)
    return _FRAMING + len(key or b"") + of_headers


def _counted(text: bytes) -> int:
    # The length stands before it, as a zig-zag number of variable length: https://kafka.apache.org/protocol
    return len(text) + max(1, ((2 * len(text)).bit_length() + 6) // 7)


class Limit:
    """Counts one partition's messages: true when too many of the last ones could not be read at all."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._window: deque[bool] = deque(maxlen=WINDOW)

    @property
    def clean(self) -> bool:
        """Whether none of the last messages was unreadable."""
        return not any(self._window)

    def reached(self, unreadable: Iterable[bool]) -> bool:
        """Take note of messages, in their order. True as soon as one of them reaches the limit."""
        for bad in unreadable:
            self._window.append(bad)
            self._in_a_row = self._in_a_row + 1 if bad else 0
            if bad and (self._in_a_row >= MAX_IN_A_ROW or sum(self._window) > MAX_SHARE * WINDOW):
                return True
        return False
