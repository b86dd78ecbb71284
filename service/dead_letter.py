"""A message that could not be read -> a dead letter, with the headers Kafka Connect gives its own.

Header names: https://cwiki.apache.org/confluence/display/KAFKA/KIP-298%3A+Error+Handling+in+Connect
"""

from typing import Final, Protocol

PREFIX: Final = "__connect.errors."
CUT_HEADER: Final = "tokentrail.value.cut"
TIMESTAMP_HEADER: Final = "tokentrail.original.timestamp"

# What a broker takes by default is 1,048,588 bytes a message.
MAX_BYTES: Final = 1_000_000
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


def dead_letter(message: Failed, value: bytes | None, problem: str) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the dead letter. `problem` must hold no event text.

    Key, headers and value stay as they were; headers that an earlier failure left are replaced. A value that
    would not fit a message any more is cut, and a header says how long it was. The message's own timestamp
    becomes a header, since retention would delete a dead letter that looked as old as its message.
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
    headers: Headers = [*kept, *((name, str(content).encode()) for name, content in said.items())]
    key = message.key()
    room = MAX_BYTES - len(key or b"") - sum(len(name) + len(content or b"") + 10 for name, content in headers)
    if value is not None and len(value) > room:
        headers.append((CUT_HEADER, str(len(value)).encode()))
        value = value[: max(0, room)]
    return key, value, headers
