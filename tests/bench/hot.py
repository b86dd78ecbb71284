"""What each step of the hot path costs for a message, and what was tried in its place, as a Markdown table.

    python -m tests.bench.hot

Nanoseconds of one core's time for a record of 1,350 bytes, without broker and client: the best of several rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, cast

import confluent_kafka
import msgspec
from ahocorasick_rs import BytesAhoCorasick

from service.batch import Batch, Message
from service.detect import Detector
from service.envelopes import unwrap
from service.envelopes.glance import Names, glance_at, names_of
from service.intake import Intake, Topics
from service.pipeline import CHUNK_MESSAGES
from service.rules import EVERY_RULE
from service.screen import HIDING, Screen
from tests.bench.data import records

MESSAGES: Final = 20 * CHUNK_MESSAGES
Step = Callable[[list[bytes]], object]
_FOUR: Final = (b"GetFederationToken", b"GetSigninToken", b"ConsoleLogin", b"FederatedUser")


def steps() -> dict[str, Step]:
    """By name, what is done with the values of a chunk."""
    syntax, array, undecoded = (
        msgspec.json.Decoder(kind) for kind in (msgspec.Raw, list[Names], list[msgspec.Raw])
    )
    detector = Detector(EVERY_RULE)
    quiet = {names_of(value) for value in records(20_000, 0, watched_every=0)}
    one, four, five, hiding = map(BytesAhoCorasick, (_FOUR[:1], _FOUR, (*_FOUR, b"H4sI"), HIDING))
    return {
        "JSON syntax only": lambda values: list(map(syntax.decode, values)),
        "two names, a message at a time (used)": lambda values: list(map(names_of, values)),
        "… and their look-up in a set (used)": lambda values: quiet.issuperset(map(names_of, values)),
        "nine keys that tell envelopes": lambda values: list(map(glance_at, values)),
        "`unwrap`": lambda values: list(map(unwrap, values)),
        "a chunk as one JSON array": lambda values: array.decode(b"[" + b",".join(values) + b"]"),
        "the same, undecoded": lambda values: undecoded.decode(b"[" + b",".join(values) + b"]"),
        "join a chunk": b"\n".join,
        "`bytes.find` of one name": lambda values: b"\n".join(values).find(_FOUR[0]),
        "`in` of one name, a message at a time": lambda values: [_FOUR[0] in value for value in values],
        "Aho-Corasick, one name": lambda values: one.find_matches_as_indexes(b"\n".join(values)),
        "Aho-Corasick, four names (used)": lambda values: four.find_matches_as_indexes(b"\n".join(values)),
        "Aho-Corasick, five": lambda values: five.find_matches_as_indexes(b"\n".join(values)),
        "Aho-Corasick, what may hide a name (used)": lambda values: hiding.find_matches_as_indexes(
            b"\n".join(values)
        ),
        "`Screen.suspects`": Screen(detector.needles).suspects,
        "`Intake.take`, all in all": _taking(Intake(detector, Topics("findings", "dead-letters"))),
        "`Intake.take` with the screen": _taking(
            Intake(detector, Topics("findings", "dead-letters"), screen=Screen(detector.needles))
        ),
    }


def _taking(intake: Intake) -> Step:
    """Messages are made in the first round, which is never the best."""
    made: dict[int, list[Message]] = {}

    def take(values: list[bytes]) -> None:
        if id(values) not in made:
            made[id(values)] = [_message(number, value) for number, value in enumerate(values)]
        intake.take(Batch(polled_at=0), made[id(values)], hurry=True)

    return take


def _message(number: int, value: bytes) -> Message:
    message = confluent_kafka.Message(topic="events", partition=number % 6, offset=number, value=value)
    return cast("Message", message)


def nanoseconds(step: Step, chunks: Sequence[list[bytes]]) -> float:
    began = time.thread_time_ns()
    for chunk in chunks:
        step(chunk)
    return (time.thread_time_ns() - began) / sum(map(len, chunks))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args(arguments)
    values = list(records(MESSAGES, 0, watched_every=0))
    chunks = [values[start : start + CHUNK_MESSAGES] for start in range(0, MESSAGES, CHUNK_MESSAGES)]
    best: dict[str, float] = {}
    todo = steps()
    for _ in range(options.rounds):
        for name, step in todo.items():
            best[name] = min(best.get(name, float("inf")), nanoseconds(step, chunks))
    lines = [
        "| step | ns a message |",
        "| --- | ---: |",
        *(f"| {name} | {cost:,.0f} |" for name, cost in best.items()),
    ]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
