"""What is read together: messages, and all that they gave."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from service.accounts import Accounts
from service.canary import Mark
from service.finding import Finding

Place = tuple[str, int]  # topic, partition
Offsets = Mapping[Place, int]


class Message(Protocol):
    """A Kafka message, read by calls as confluent-kafka has it: no copy is made of what nobody asks for."""

    def error(self) -> Any: ...
    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Outgoing(msgspec.Struct, frozen=True):
    """A message to produce; `timestamp` is in milliseconds."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp: int


def place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


@dataclass(slots=True)
class Batch:
    """What messages gave, counted; nothing of it counts for the metrics before its commit."""

    polled_at: float  # when its first messages came, by time.monotonic
    found_at: float | None = None  # when those came that gave its first output
    messages: int = 0
    bytes: int = 0
    screened: int = 0  # messages that were skipped unread
    records: Counter[str] = field(default_factory=Counter)  # by envelope
    ignored: Counter[str] = field(default_factory=Counter)  # by kind
    # By rule and verdict; "no match", by far the most, is left out.
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    near_misses: int = 0
    accounts: Accounts = field(default_factory=Accounts)
    findings: list[Finding] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    canaries: Counter[str] = field(default_factory=Counter)  # by what became of the mark
    marks: set[Mark] = field(default_factory=set)  # those that were accepted
    outputs: list[Outgoing] = field(default_factory=list)
    offsets: dict[Place, int] = field(default_factory=dict)
