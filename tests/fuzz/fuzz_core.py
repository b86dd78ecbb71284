"""Throws damaged CloudTrail at the core for as long as it is told to: nothing may raise.

    python -m tests.fuzz.fuzz_core --inputs 250000 --seed 1

Every input follows from the seed and its number. One that makes the core raise is kept in .cache/fuzz/.
"""

import argparse
import gzip
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from service.detect import Detector
from service.envelopes import REASONS, Ignored, Part, Record, Rejected, load, unwrap
from service.errors import DecodeError
from service.finding import MAX_FINDING_BYTES, to_json
from service.rules import RULES
from tests.unit.strategies import COMPRESSIONS, JOINS, JSON_WRAPS, ODDITIES, paths, put

ROOT: Final = Path(__file__).parents[2]
REAL: Final = ROOT.parent / "shared" / "cloudtrail"
SAMPLES: Final = ROOT / "tests" / "rules" / "samples"
KEPT: Final = ROOT / ".cache" / "fuzz"
LIMIT: Final = 4_000_000  # decompressed bytes of one input
RECORDS_OF_A_FILE: Final = 50

DETECTOR: Final = Detector(RULES)
WATCHED: Final = [name for rule in RULES for name in rule.watches]
# Bytes that decoders, and those who write them, think about.
TOKENS: Final = (
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\x1f\x8b\x08"),
    *(b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 50, b'"\\ud800"', b"\\u0000", b"\xed\xa0\x80", b"H4sI"),
    *(b'{"Records":[', b'"detail":', b'"messageType":"DATA_MESSAGE",', b'"Type":"Notification","Message":'),
    *(b"[" * 600 + b"]" * 600 + b",", b'"x":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b","),
    *(b'"sessionToken":"', b'"policy":"{\\"Statement\\":', b'"omitted":true', b'"durationSeconds":86401,'),
)
# What arrives on such topics beside records.
OTHERS: Final[tuple[dict[str, Any], ...]] = (
    {"messageType": "CONTROL_MESSAGE", "logEvents": [{"id": "", "message": "CWL CONTROL MESSAGE"}]},
    {"s3Bucket": "b", "s3ObjectKey": ["AWSLogs/1/CloudTrail/x.json.gz"]},
    {"detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2", "detail": {}},
    {"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"},
    {"eventVersion": "1.07", "eventType": "AwsCloudTrailInsight", "insightDetails": {"state": "Start"}},
)


@dataclass
class Figures:
    inputs: int = 0
    records: int = 0
    undecodable: int = 0
    ignored: int = 0
    rejected: int = 0
    findings: int = 0
    maps: int = 0  # read whole by the reader of Java's text
    doubtful_maps: int = 0
    no_maps: int = 0
    screened: int = 0  # messages left out by the screen


@dataclass(frozen=True)
class Target:
    """`make` gives an input for a seed and a number; `attempt` tries it, and raises what it should not."""

    make: Callable[[int, int, Sequence[dict[str, Any]]], bytes]
    attempt: Callable[[bytes, Figures], None]


def corpus() -> list[dict[str, Any]]:
    """Our samples, and real records where those are at hand."""
    found = [json.loads(path.read_bytes()) for path in sorted(SAMPLES.glob("*/*.json"))]
    for path in sorted(REAL.glob("*.ndjson")):
        found += [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    for path in sorted(REAL.glob("*/*.json.gz")):
        found += json.loads(gzip.decompress(path.read_bytes()))["Records"][:RECORDS_OF_A_FILE]
    return found


# --- making inputs ---------------------------------------------------------------------------------


def _plant(random: Random, record: dict[str, Any]) -> dict[str, Any]:
    """The record under the names that a rule watches; sign-in events by whom the rule asks for."""
    source, name = random.choice(WATCHED)
    planted = {**record, "eventSource": source, "eventName": name}
    identity = planted.get("userIdentity")
    if isinstance(identity, dict) and random.random() < 0.5:
        planted["userIdentity"] = {**identity, "type": random.choice(["FederatedUser", "Root", "IAMUser"])}
    return planted


def odd(random: Random, record: dict[str, Any]) -> dict[str, Any]:
    places = [path for path in paths(record) if path[0] not in ("eventSource", "eventName")]
    changed: dict[str, Any] = put(record, random.choice(places), random.choice(ODDITIES)) if places else record
    return changed


def _flip(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def _cut(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] if random.random() < 0.7 else data[place:]


def _drop(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + data[start + random.randrange(1, 40) :]


def _repeat(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data))
    piece = data[start : start + random.randrange(1, 200)]
    return data[:start] + piece * random.randrange(2, 6) + data[start:]


def _insert(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + random.choice(TOKENS) + data[place:]


def _move(random: Random, data: bytes) -> bytes:
    """One half before the other, as when two writers share a buffer."""
    one, other = sorted(random.choices(range(len(data)), k=2))
    return data[other:] + data[one:other] + data[:one]


MUTATIONS: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    _flip,
    _flip,
    _cut,
    _drop,
    _repeat,
    _insert,
    _insert,
    _move,
)


def make(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    """One input: a few records, some of them watched, in a few envelopes, damaged here and there or not."""
    random = Random(f"{seed}/{number}")
    chosen = [random.choice(records) for _ in range(random.choice([1, 1, 2, 4]))]
    chosen = [_plant(random, record) if random.random() < 0.6 else record for record in chosen]
    chosen = [random.choice(OTHERS) if random.random() < 0.02 else record for record in chosen]
    for _ in range(random.choice([0, 1, 3])):
        chosen = [odd(random, record) for record in chosen]
    documents = [json.dumps(record).encode() for record in chosen]
    documents = [damaged(random, data, 0.2) for data in documents]
    for _ in range(random.choice([0, 0, 1, 2])):
        try:
            documents = JSON_WRAPS[random.choice(sorted(JSON_WRAPS))](documents)
        except (ValueError, RecursionError):  # what was damaged cannot be put inside of JSON
            break
    if len(documents) != 1:
        documents = JOINS[random.choice(sorted(JOINS))](documents)
    data = damaged(random, documents[0], 0.3)
    data = COMPRESSIONS[random.choice(["plain", "plain", *COMPRESSIONS])](data)
    return damaged(random, data, 0.1)


def damaged(random: Random, data: bytes, share: float) -> bytes:
    while data and random.random() < share:
        data = random.choice(MUTATIONS)(random, data)
    return data


# --- trying them -----------------------------------------------------------------------------------


def attempt(data: bytes, figures: Figures) -> None:
    """Through the core as the pipeline does it. Raises what the core should not have."""
    figures.inputs += 1
    attempt_parts(unwrap(data, LIMIT), figures)


def attempt_parts(parts: Iterable[Part], figures: Figures) -> None:
    for part in parts:
        match part:
            case Ignored():
                figures.ignored += 1
            case Rejected():
                figures.rejected += 1
                assert part.reason in REASONS, part.reason
            case Record():
                figures.records += 1
                _detect(part, figures)


def _detect(part: Record, figures: Figures) -> None:
    try:
        record = load(part)
    except DecodeError as error:
        if error.reason not in REASONS:
            raise
        figures.undecodable += 1
        return
    detection = DETECTOR.detect_record(record, envelope=part.envelope)
    for _, error_of_rule in detection.errors:
        raise error_of_rule
    for finding in detection.findings:
        figures.findings += 1
        encoded = to_json(finding)
        assert len(encoded) <= MAX_FINDING_BYTES, len(encoded)
        json.loads(encoded)


def fuzz(
    seed: int, inputs: int, seconds: float, kept: Path = KEPT, target: Target | None = None
) -> tuple[Figures, Path | None]:
    """The figures, and the file of the input that made the core raise, if one did."""
    chosen = target or Target(make, attempt)
    figures, records, end = Figures(), corpus(), time.monotonic() + seconds
    for number in range(inputs):
        if time.monotonic() > end:
            break
        data = chosen.make(seed, number, records)
        try:
            chosen.attempt(data, figures)
        except Exception:  # noqa: BLE001  whatever it is, it is what we look for
            traceback.print_exc()
            kept.mkdir(parents=True, exist_ok=True)
            path = kept / f"{seed}-{number}.bin"
            path.write_bytes(data)
            return figures, path
    return figures, None


def report(seed: int, figures: Figures, began: float) -> None:
    """What came of a run that began at that time of the monotonic clock."""
    counts = ", ".join(f"{count:,} {name}" for name, count in asdict(figures).items() if count)
    print(f"seed {seed}: {counts} in {time.monotonic() - began:.0f} s")


def main(arguments: Sequence[str] | None = None, targets: Mapping[str, Target] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000, help="at most so many (default: 20,000)")
    parser.add_argument("--seconds", type=float, default=600, help="at most so long (default: 600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--target", choices=sorted(targets or {}), help="what to try; the core as a whole by default"
    )
    options = parser.parse_args(arguments)
    began = time.monotonic()
    figures, culprit = fuzz(
        options.seed, options.inputs, options.seconds, target=(targets or {}).get(options.target)
    )
    report(options.seed, figures, began)
    print(f"RAISED on {culprit}" if culprit else "nothing raised")
    return 1 if culprit else 0


if __name__ == "__main__":
    sys.exit(main())
