"""A pipeline between topics in memory."""

import json
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from service.batch import Message
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, unwrap
from service.errors import DeliveryError
from service.intake import Intake, Topics, Unwrap
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.rules import RULES
from service.rules.rule import Rule
from service.screen import Screen
from tests.memory import MemorySink, MemorySource, MemoryTopic
from tests.unit.strategies import issuance

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


def encoded(record: object) -> bytes:
    return json.dumps(record).encode()


def event(number: int) -> bytes:
    """An event that gives one finding, of the first rule."""
    return encoded(issuance(eventID=f"event-{number}"))


def only(messages: Sequence[Message]) -> Message:
    (message,) = messages
    return message
