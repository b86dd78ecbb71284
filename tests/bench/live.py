"""Records a second off a topic: the service, a loop that does nothing, and what a user could pick instead.

Every contestant reads its topic from the beginning in a group and a process of its own, and is clocked from its
first message to its last: starting up is not counted, for nobody. One at a time, in turn, for several rounds.
Topics have six partitions, are uncompressed unless their row says otherwise, and are in the page cache. Whoever
reads fewer messages than there are, or finds others than are there, is not measured.
"""

import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from tests.bench.contestant import Contestant, NotMeasured, Result
from tests.bench.peer_programs import (
    consumer_performance,
    environment,
    loop,
    python,
    streams,
    streams_jars,
)
from tests.bench.stage import DataSet, Stage, stage
from tests.bench.table import Row, Scale
from tests.bench.tokentrail import Tokentrail

NAME: Final = "live"
LOOP: Final = "do-nothing loop"
OURS: Final = "Tokentrail, at-least-once"
EXACTLY_ONCE: Final = "Tokentrail, exactly-once"
SCREEN: Final = "Tokentrail, at-least-once, screen"
STREAMS: Final = "Kafka Streams, 2 threads"
STREAMS_SCREEN: Final = "Kafka Streams, 2 threads, screen"
PEERS: Final = ("Quix Streams", "aiokafka + orjson", "Arroyo + orjson", "Faust + orjson")

_AT_LEAST_ONCE: Final = Tokentrail("at-least-once")
# The part of the loop's rate that a row should reach.
_GOALS: Final = {
    OURS: ">= 0.6",
    EXACTLY_ONCE: ">= 0.6",
    SCREEN: ">= 0.8",
    "findings 1 in 10: at-least-once": ">= 0.25",
    "findings 1 in 10: exactly-once": ">= 0.25",
    "Avro": ">= 0.5",
}
# How many times the second's rate the first should have.
_FACTORS: Final = (
    (OURS, STREAMS, ">= 2.5"),
    (SCREEN, STREAMS_SCREEN, ">= 2.5"),
    *((OURS, peer, ">= 4") for peer in PEERS),
)


def contestants(scale: Scale) -> list[Contestant]:
    """In the order of a round. Who is slow reads fewer of the same records: a rate is a rate."""
    fast, medium, slow = (400_000, 100_000, 20_000) if scale.quick else (4_000_000, 1_000_000, 150_000)
    even, some, few = DataSet(fast), DataSet(medium), DataSet(slow)
    dense, real = DataSet(slow, watched_every=10), DataSet(medium, mix="real")
    wrapped = DataSet(medium, copies=25)
    return [
        Contestant(LOOP, even, loop),
        Contestant(OURS, even, _AT_LEAST_ONCE),
        Contestant(EXACTLY_ONCE, even, Tokentrail("exactly-once")),
        Contestant(SCREEN, even, Tokentrail("at-least-once", screen=True)),
        Contestant("Tokentrail, exactly-once, screen", even, Tokentrail("exactly-once", screen=True)),
        Contestant("Kafka ConsumerPerformance", even, consumer_performance),
        Contestant(STREAMS, even, streams("parse"), streams_jars),
        Contestant(STREAMS_SCREEN, even, streams("screen"), streams_jars),
        Contestant("Quix Streams", some, python("quix", "peers-quix"), partial(environment, "peers-quix")),
        Contestant("aiokafka + orjson", some, python("aio", "peers"), partial(environment, "peers")),
        Contestant("Arroyo + orjson", some, python("arroyo_", "peers"), partial(environment, "peers")),
        Contestant("Faust + orjson", few, python("faust_", "peers"), partial(environment, "peers")),
        Contestant("findings 1 in 10: at-least-once", dense, _AT_LEAST_ONCE),
        Contestant("findings 1 in 10: exactly-once", dense, Tokentrail("exactly-once")),
        Contestant("real sizes: do-nothing loop", real, loop),
        Contestant("real sizes: at-least-once", real, _AT_LEAST_ONCE),
        *_compressed(some),
        Contestant("files of 200", replace(wrapped, envelope="records", records_a_message=200), _AT_LEAST_ONCE),
        Contestant(
            "CloudWatch Logs of 200, gzip",
            replace(wrapped, envelope="cloudwatch", records_a_message=200),
            _AT_LEAST_ONCE,
        ),
        Contestant("EventBridge", replace(wrapped, envelope="eventbridge"), _AT_LEAST_ONCE),
        Contestant("ECS", replace(wrapped, envelope="ecs"), _AT_LEAST_ONCE),
        Contestant("Avro", replace(wrapped, envelope="avro"), _AT_LEAST_ONCE),
    ]


def _compressed(data: DataSet) -> list[Contestant]:
    return [
        Contestant(f"{codec} topic: {name}", replace(data, compression=codec), run)
        for codec in ("lz4", "zstd")
        for name, run in ((LOOP, loop), ("at-least-once", _AT_LEAST_ONCE))
    ]


def measure(scale: Scale) -> list[Row]:
    chosen = [each for each in contestants(scale) if re.search(scale.only, each.name)]
    with stage(scale.seed) as prepared:
        for each in chosen:
            prepared.topic(each.data)
            if each.ready is not None:
                with suppress(NotMeasured):  # told of when it is to run
                    each.ready()
        if scale.rounds and chosen:
            _say("warming up")
            loop(prepared, chosen[0].data)
        return _rows(_rounds(prepared, chosen, scale.rounds))


@dataclass
class Runs:
    """What a contestant's runs gave, one a round; `why` it was not measured any more."""

    results: list[Result] = field(default_factory=list)
    why: str = ""


def _rounds(prepared: Stage, chosen: list[Contestant], rounds: int) -> dict[str, Runs]:
    """A contestant that fails is left out of the rounds that follow."""
    runs: dict[str, Runs] = {each.name: Runs() for each in chosen}
    for number in range(rounds):
        for each in chosen:
            its = runs[each.name]
            if its.why:
                continue
            try:
                its.results.append(result := each.run(prepared, each.data))
            except NotMeasured as problem:
                its.results.clear()
                its.why = str(problem)
                _say(f"round {number + 1}, {each.name}: {its.why}")
            else:
                _say(f"round {number + 1}, {each.name}: {result.records / result.seconds:,.0f}/s")
    return runs


def _rows(runs: dict[str, Runs]) -> list[Row]:
    rates = {
        name: Row(
            NAME,
            name,
            "records/s",
            tuple(each.records / each.seconds for each in its.results),
            of=_base(name),
            goal=_GOALS.get(name, ""),
            note=_note(its),
        )
        for name, its in runs.items()
    }
    factors = [
        Row(NAME, f"{ours} / {theirs}", "times", _quotients(rates[ours], rates[theirs]), goal=goal)
        for ours, theirs, goal in _FACTORS
        if ours in rates and theirs in rates
    ]
    memory = [
        Row(NAME, f"memory of {name}", "MB", tuple(each.memory for each in runs[name].results), goal="<= 120")
        for name in (OURS, EXACTLY_ONCE)
        if name in runs
    ]
    return [*rates.values(), *factors, *memory]


def _base(name: str) -> str | None:
    """The row that a ratio is taken to: a loop on the same kind of topic, or plain JSON for other shapes."""
    kind, found, _ = name.partition(": ")
    if name == LOOP or name.endswith(f": {LOOP}"):
        return None
    if name in {"files of 200", "CloudWatch Logs of 200, gzip", "EventBridge", "ECS", "Avro"}:
        return OURS
    return f"{kind}: {LOOP}" if found and not kind.startswith("findings") else LOOP


def _quotients(over: Row, under: Row) -> tuple[float, ...]:
    if len(over.values) != len(under.values):
        return ()
    return tuple(one / other for one, other in zip(over.values, under.values, strict=True))


def _note(runs: Runs) -> str:
    return runs.why or f"up to {max((each.memory for each in runs.results), default=0):,.0f} MB resident"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
