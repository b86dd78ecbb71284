"""The same for what reads shippers' documents: ECS, OCSF, and the text that Java makes of an object.

python -m tests.fuzz.fuzz_shipped --target ecs --inputs 250000 --seed 1
"""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from service.envelopes import java_map, parameters
from tests.fuzz.fuzz_core import WATCHED, Figures, Target, attempt, damaged, main, odd
from tests.unit.shipped import DOCUMENTS, as_ecs, as_ocsf, flat, java
from tests.unit.strategies import JSON_WRAPS, ODDITIES, console_exchange, issuance, paths, put

ECS: Final = [json.loads(path.read_bytes()) for path in sorted(DOCUMENTS.glob("ecs-*.json"))]
OCSF: Final = [json.loads(path.read_bytes()) for path in sorted(DOCUMENTS.glob("ocsf-*.json"))]
FORMS: Final = ("original", "flattened", "text", "dotted", "object", "unmapped")
# Texts that a reader of such documents thinks about.
TEXTS: Final = (
    *("{", "}", "[{", "}]", ", ", "=", "null", "{}", "[]", ", policy=", ", durationSeconds=129600", "{a=[{b=c}]}"),
    *('{"a":"}', "[[" * 400, "{a=" * 400, '{"a":' * 400, "H4sIAAAA", '"', "\\", "arn:", "a.b", "vpce-"),
)


def _shipped(
    random: Random,
    samples: Sequence[dict[str, Any]],
    build: Callable[[dict[str, Any], str], dict[str, Any]],
    records: Sequence[dict[str, Any]],
) -> bytes:
    """A document of a product, or one made of a record; wrong values here and there, damaged or not."""
    if random.random() < 0.4:
        made: Any = random.choice(samples)
    else:
        kept = {key: random.choice(records).get(key) for key in ("requestParameters", "responseElements")}
        source, name = random.choice(WATCHED)
        base = random.choice([issuance(), console_exchange()])
        made = build(base | kept | {"eventSource": source, "eventName": name}, random.choice(FORMS))
    for _ in range(random.choice([0, 1, 2, 5])):
        made = put(made, random.choice(paths(made)), _value(random)) if paths(made) else made
    if random.random() < 0.2:
        made = odd(random, flat(made)) if made else made
    documents = [damaged(random, json.dumps(made).encode(), 0.15)]
    if random.random() < 0.2:
        with suppress(ValueError, RecursionError):  # what was damaged cannot be put inside of JSON
            documents = JSON_WRAPS[random.choice(sorted(JSON_WRAPS))](documents)
    return documents[0]


def _value(random: Random) -> object:
    if random.random() < 0.5:
        return random.choice(ODDITIES)
    parameters_of = random.choice([*ECS, *OCSF])
    text = java(parameters_of) if random.random() < 0.5 else json.dumps(parameters_of)
    return _text(random, text[: random.randrange(1, 600)])


def _text(random: Random, text: str) -> str:
    for _ in range(random.choice([0, 1, 1, 3, 8])):
        place = random.randrange(len(text) + 1)
        text = text[:place] + random.choice(TEXTS) + text[place + random.choice([0, 0, 1, 9]) :]
    return text


def make_ecs(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    return _shipped(Random(f"ecs/{seed}/{number}"), ECS, as_ecs, records)


def make_ocsf(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    return _shipped(Random(f"ocsf/{seed}/{number}"), OCSF, as_ocsf, records)


def make_java_map(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    random = Random(f"java/{seed}/{number}")
    if random.random() < 0.1:
        return b"{a=" + random.randbytes(random.randrange(1, 200))
    value = random.choice(records).get(random.choice(["requestParameters", "responseElements", "userIdentity"]))
    return damaged(random, _text(random, java(value)).encode("utf-8", "replace"), 0.2)


def attempt_java_map(data: bytes, figures: Figures) -> None:
    figures.inputs += 1
    text = data.decode("utf-8", "replace")
    read = java_map.read(text)
    if read is None:
        figures.no_maps += 1
    elif read.closed and not read.doubtful:
        figures.maps += 1
    else:
        figures.doubtful_maps += 1
    for value in (parameters.request(text), parameters.response(text)):
        assert value is None or isinstance(value, dict | str), type(value)


TARGETS: Final = {
    "ecs": Target(make_ecs, attempt),
    "ocsf": Target(make_ocsf, attempt),
    "java-map": Target(make_java_map, attempt_java_map),
}

if __name__ == "__main__":
    sys.exit(main(targets=TARGETS))
