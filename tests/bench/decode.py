"""What one record costs to tell (`unwrap`) and to decode in full (`load`), by envelope, as a Markdown table.

    python -m tests.bench.decode

Nanoseconds of one core's time for a record, the best of several rounds: what others do on the machine shows in
the worse ones.
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from service.avro.plan import compile_plan
from service.avro.schema import parse
from service.envelopes import DEFAULT_LIMIT, Part, Record, load, unwrap
from tests.avro import SHAPES, message, payload

Unwrap = Callable[[bytes], Sequence[Part]]

DOCUMENTS: Final = Path(__file__).parents[1] / "unit" / "documents"
RECORDS_OF_A_FILE: Final = 200
ROUND_SECONDS: Final = 0.1


def records(count: int, seed: int) -> list[dict[str, Any]]:
    """Records of one shape that differ where records do."""
    random, record = Random(seed), _document("record-issuance")
    return [
        record | {"eventID": f"{random.getrandbits(128):032x}", "requestID": f"{random.getrandbits(128):032x}"}
        for _ in range(count)
    ]


def messages(seed: int) -> dict[str, tuple[bytes, int]]:
    """By envelope, a message and how many records are in it."""
    one, *_ = several = records(RECORDS_OF_A_FILE, seed)
    plain = json.dumps(one)
    logs = {
        "messageType": "DATA_MESSAGE",
        "logEvents": [{"id": str(number), "message": json.dumps(record)} for number, record in enumerate(several)],
    }
    bus = {"detail-type": "AWS API Call via CloudTrail", "source": "aws.sts", "detail": one}
    return {
        "record": (plain.encode(), 1),
        f"records of {len(several)}": (json.dumps({"Records": several}).encode(), len(several)),
        "eventbridge": (json.dumps(bus).encode(), 1),
        f"cloudwatch of {len(several)}, gzip": (gzip.compress(json.dumps(logs).encode()), len(several)),
        "sns": (json.dumps({"Type": "Notification", "Message": plain}).encode(), 1),
        **{
            name: (json.dumps(_document(file)).encode(), 1)
            for name, file in (
                ("ecs with original", "ecs-agent-with-original"),
                ("ecs flattened", "ecs-agent"),
                ("ecs key=value", "ecs-filebeat-text-only"),
                ("ocsf", "ocsf-security-lake-1.1"),
            )
        },
    }


def _document(name: str) -> dict[str, Any]:
    return dict(json.loads((DOCUMENTS / f"{name}.json").read_bytes()))


def in_avro(seed: int) -> tuple[bytes, Unwrap]:
    """A message in Confluent's wire format, and what takes it apart once its schema is known."""
    shape = SHAPES["v1"]
    (one,) = records(1, seed)
    plan = compile_plan(parse(json.dumps(shape.schema)), 5)
    return message(1, payload(shape.schema, shape.value(one))), lambda data: plan(data, DEFAULT_LIMIT)


def _told(unwrap: Unwrap, data: bytes) -> int:
    return len(unwrap(data))


def _loaded(unwrap: Unwrap, data: bytes) -> int:
    return sum(1 for part in unwrap(data) if isinstance(part, Record) and load(part))


def nanoseconds(run: Callable[[bytes], int], data: bytes, count: int, rounds: int) -> float:
    """For a record. The number of runs in a round follows from how long the first one takes."""
    began = time.thread_time()
    if run(data) != count:
        raise ValueError("the message does not hold the records that it should")
    runs = max(1, int(ROUND_SECONDS / max(time.thread_time() - began, 1e-7)))
    return min(_round(run, data, runs) for _ in range(rounds)) / (runs * count)


def _round(run: Callable[[bytes], int], data: bytes, runs: int) -> int:
    began = time.thread_time_ns()
    for _ in range(runs):
        run(data)
    return time.thread_time_ns() - began


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    lines = ["| envelope | bytes a record | unwrap, ns | unwrap and load, ns |", "| --- | ---: | ---: | ---: |"]
    avro, avro_unwrap = in_avro(options.seed)
    of_json = [(name, data, count, unwrap) for name, (data, count) in messages(options.seed).items()]
    for name, data, count, how in [*of_json, ("avro", avro, 1, avro_unwrap)]:
        told, loaded = (nanoseconds(partial(run, how), data, count, options.rounds) for run in (_told, _loaded))
        lines.append(f"| {name} | {len(data) // count:,} | {told:,.0f} | {loaded:,.0f} |")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
