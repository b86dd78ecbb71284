"""Throws damaged messages and schemas at the Avro reader for as long as it is told to: nothing may raise or hang.

    python -m tests.fuzz.fuzz_avro --inputs 200000 --schemas 20000 --seed 1

Every input follows from the seed and its number. Values that are whole are compared with what fastavro reads.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from fastavro import parse_schema, schemaless_reader

from service.avro.messages import AvroReader
from service.avro.plan import compile_plan
from service.avro.read import Reads, read_whole, readable
from service.avro.registry import Registry
from service.avro.schema import UnusableSchema, parse
from service.avro.skip import Skips
from service.settings import RegistrySettings
from tests.avro import SHAPES, message, payload, zigzag
from tests.fuzz import fuzz_core
from tests.fuzz.fuzz_core import MUTATIONS, attempt_parts, report
from tests.unit.strategies import asking, console_exchange, issuance, paths, put

LIMIT: Final = 1_000_000
SLOW_MS: Final = 5_000  # what no input takes on a machine that is not worn out
Json = dict[str, Any]

EVENTS: Final = (
    issuance(),
    issuance(eventName="GetCallerIdentity", requestParameters=None, responseElements=None),
    asking(durationSeconds=129_600, policy='{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'),
    asking(policyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]),
    console_exchange(),
)
# What those who write decoders are afraid of: lengths, counts and branches that cannot be.
NUMBERS: Final = tuple(zigzag(number) for number in (-1, -(2**63), 2**31, 2**40, 2**62, 100_000, -3, 5, 64))
SCHEMA_PARTS: Final[tuple[Any, ...]] = (
    *("null", "string", "bytes", "CloudTrail", "com.example.CloudTrail", "com.example.UserIdentity", "", "record"),
    *([], {}, None, 7, -1, True, 2**70, ["null", "null"], ["null", ["null"]], ["eventName", "eventSource"]),
    {"type": "fixed", "name": "F", "size": 0},
    {"type": "fixed", "name": "F", "size": 2**40},
    {"type": "array", "items": "null"},
    {"type": "array", "items": "com.example.CloudTrail"},
    {"type": "map", "values": ["null", "com.example.UserIdentity"]},
    {"type": "record", "name": "E", "fields": []},
    {"type": "record", "name": "S", "fields": [{"name": "a", "type": "S"}]},
    {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 10**9},
    {"type": "string", "__fastavro_parsed": True},
)


@dataclass
class Figures(fuzz_core.Figures):
    schemas: int = 0
    usable_schemas: int = 0
    compared: int = 0
    slowest_ms: int = 0
    slowest: int = 0  # its number


class Corpus:
    """A reader that knows all shapes, and messages under each."""

    def __init__(self) -> None:
        registry = Registry(RegistrySettings.model_construct(url="mock://fuzz"))
        self.reader = AvroReader(registry, RegistrySettings())
        self.messages = []
        for name, shape in SHAPES.items():
            schema_id = registry.subject_id(f"{name}-value", json.dumps(shape.schema))
            self.messages += [message(schema_id, payload(shape.schema, shape.value(event))) for event in EVENTS]


# --- making inputs ---------------------------------------------------------------------------------


def damaged_message(random: Random, messages: Sequence[bytes]) -> bytes:
    data = random.choice(messages)
    head, data = data[:5], data[5:]
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        if random.random() < 0.4 and data:
            place = random.randrange(len(data))
            data = data[:place] + random.choice(NUMBERS) + data[place + random.randrange(3) :]
        elif data:
            data = random.choice(MUTATIONS)(random, data)
    if random.random() < 0.1:
        data = random.randbytes(random.randrange(200))
    if random.random() < 0.05:
        return random.randbytes(random.randrange(100))
    return head + data


def damaged_schema(random: Random) -> str:
    schema = random.choice(list(SHAPES.values())).schema
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        if places := paths(schema):
            schema = put(schema, random.choice(places), random.choice(SCHEMA_PARTS))
    text = json.dumps(schema)
    if random.random() < 0.2:
        text = random.choice(MUTATIONS)(random, text.encode()).decode("utf-8", "replace")
    return text


def any_schema(random: Random, names: list[str], depth: int = 0) -> Any:
    """A schema of any shape, named types made anew or used again."""
    kinds = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
    nested: list[Callable[[], Any]] = [
        lambda: {"type": "array", "items": any_schema(random, names, depth + 1)},
        lambda: {"type": "map", "values": any_schema(random, names, depth + 1)},
        lambda: _record(random, names, depth),
        lambda: {"type": "enum", "name": _name(names), "symbols": ["A", "B", "C"]},
        lambda: {"type": "fixed", "name": _name(names), "size": random.randrange(9)},
        lambda: ["null", _record(random, names, depth), *random.sample(kinds[1:], 2)],
        lambda: random.sample(["null", "string"], 2),
    ]
    return random.choice(nested)() if depth < 4 and random.random() < 0.6 else random.choice(kinds)


def _name(names: list[str]) -> str:
    names.append(f"N{len(names)}")
    return names[-1]


def _record(random: Random, names: list[str], depth: int) -> Json:
    name = _name(names)
    fields = [
        {"name": f"f{number}", "type": any_schema(random, names, depth + 1)}
        for number in range(random.randrange(5))
    ]
    return {"type": "record", "name": name, "fields": fields}


def any_value(random: Random, schema: Any) -> Any:
    """A value of such a schema, as fastavro takes it."""
    if isinstance(schema, list):
        branch = random.choice(schema)
        value = any_value(random, branch)
        return (branch["name"], value) if isinstance(branch, dict) else value
    word = schema if isinstance(schema, str) else schema["type"]
    compound: dict[str, Callable[[], Any]] = {
        "array": lambda: [any_value(random, schema["items"]) for _ in range(random.randrange(4))],
        "map": lambda: {f"k{n}": any_value(random, schema["values"]) for n in range(random.randrange(4))},
        "record": lambda: {each["name"]: any_value(random, each["type"]) for each in schema["fields"]},
        "enum": lambda: random.choice(schema["symbols"]),
        "fixed": lambda: random.randbytes(schema["size"]),
        "null": lambda: None,
        "boolean": lambda: random.random() < 0.5,
        "int": lambda: random.choice([0, -1, 63, 64, -65, 2**31 - 1, -(2**31), random.randrange(10_000)]),
        "long": lambda: random.choice([0, -1, 2**63 - 1, -(2**63), random.randrange(2**40)]),
        "float": lambda: random.choice([0.0, 1.5, -2.25]),
        "double": lambda: random.choice([0.0, 0.1, 1e300]),
        "bytes": lambda: random.randbytes(random.choice([0, 3, 64, 200])),
        "string": lambda: random.choice(["", "a", "ü" * 40, "\0", "x" * 63, "y" * 64, "z" * 9_000]),
    }
    return compound[word]()


# --- trying them -----------------------------------------------------------------------------------


def compare(random: Random, figures: Figures) -> None:
    """A whole value under a schema of any shape: as fastavro reads it, and skipped to its very end."""
    schema = any_schema(random, [])
    data = payload(schema, any_value(random, schema))
    ours = parse(json.dumps(schema))
    expected = as_json(schemaless_reader(io.BytesIO(data), parse_schema(schema), None))
    assert read_whole(Reads(ours).of(ours.root), data, 0, 10_000_000) == expected, schema
    assert Skips(ours).of(ours.root)(data, 0) == len(data), schema
    figures.compared += 1


def as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return readable(value)
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    return [as_json(inner) for inner in value] if isinstance(value, list) else value


def attempt_message(data: bytes, reader: AvroReader, figures: Figures) -> None:
    figures.inputs += 1
    attempt_parts(reader.unwrap(data, LIMIT), figures)


def attempt_schema(text: str, data: bytes, figures: Figures) -> None:
    figures.schemas += 1
    try:
        plan = compile_plan(parse(text), 5)
    except UnusableSchema:
        return
    figures.usable_schemas += 1
    attempt_parts(plan(data, LIMIT), figures)


def fuzz(seed: int, inputs: int, schemas: int) -> Figures:
    """Raises what the reader should not have, or AssertionError, with the input's number in a note."""
    figures, corpus = Figures(), Corpus()
    for number in range(inputs + schemas):
        random = Random(f"{seed}/{number}")
        began = time.perf_counter()
        try:
            if number >= inputs:
                attempt_schema(damaged_schema(random), random.choice(corpus.messages), figures)
            elif number % 20 == 0:
                compare(random, figures)
            else:
                attempt_message(damaged_message(random, corpus.messages), corpus.reader, figures)
        except Exception as error:
            error.add_note(f"seed {seed}, number {number}, of {inputs} inputs")
            raise
        took_ms = round(1000 * (time.perf_counter() - began))
        figures.slowest_ms, figures.slowest = max((figures.slowest_ms, figures.slowest), (took_ms, number))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="messages (default: 20,000)")
    parser.add_argument("--schemas", type=int, default=2_000, help="schemas (default: 2,000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    figures = fuzz(options.seed, options.inputs, options.schemas)
    report(options.seed, figures, began)
    return 1 if figures.slowest_ms > SLOW_MS else 0


if __name__ == "__main__":
    sys.exit(main())
