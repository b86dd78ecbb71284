"""Throws damaged messages at the two ways past reading in full: what they leave out must have nothing to find.

    python -m tests.fuzz.fuzz_intake --inputs 200000 --seed 1

An input is a message: it is taken in among messages that are like most. What comes of it is compared with what
the envelopes and the detector say of it alone.
"""

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any, Final, cast

import confluent_kafka

from service.batch import Batch, Message
from service.detect import Detector
from service.envelopes import DEFAULT_LIMIT, Ignored, Record, Rejected, load, unwrap
from service.errors import DecodeError
from service.intake import Intake, Topics
from service.rules import EVERY_RULE
from service.screen import Screen
from tests.fuzz.fuzz_core import Figures, Target, main, make, odd
from tests.fuzz.fuzz_shipped import make_ecs, make_ocsf
from tests.unit.strategies import base64_gzip

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DETECTOR: Final = Detector(EVERY_RULE)
NAMES: Final = sorted({name for rule in EVERY_RULE for name in rule.watches})
QUIET: Final = b'{"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "eventID": "quiet"}'
WORDS: Final = (*sorted(DETECTOR.needles), "eventName", "eventSource", "amazonaws")


@dataclass
class Taken:
    """What came of messages, as far as the short ways must not change it."""

    records: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    near_misses: int = 0
    findings: list[str] = field(default_factory=list)
    unreadable: set[int] = field(default_factory=set)


def message(value: bytes | None, offset: int = 0) -> Message:
    made = confluent_kafka.Message(topic="events", partition=offset % 3, offset=offset, value=value)
    return cast("Message", made)


def one_by_one(values: Sequence[bytes | None]) -> Taken:
    """Each message by itself, all of it, without the intake."""
    taken = Taken()
    for index, value in enumerate(values):
        if value is None:
            taken.ignored["tombstone"] += 1
            continue
        parts = list(unwrap(value, DEFAULT_LIMIT))
        if parts and all(isinstance(part, Rejected) for part in parts):
            parts = parts[:1]
            taken.unreadable.add(index)
        for part in parts:
            if isinstance(part, Ignored):
                taken.ignored[part.kind] += 1
            elif isinstance(part, Rejected):
                taken.rejected[part.reason] += 1
            else:
                _detected(taken, part)
    return taken


def _detected(taken: Taken, record: Record) -> None:
    taken.near_misses += DETECTOR.is_near_miss(record.source, record.name)
    if not DETECTOR.watches(record.source, record.name):
        taken.records[record.envelope] += 1
        return
    try:
        loaded = load(record)
    except DecodeError as error:
        taken.rejected[error.reason] += 1
        return
    taken.records[record.envelope] += 1
    detection = DETECTOR.detect_record(loaded)
    taken.verdicts.update((rule, verdict) for rule, verdict in detection.verdicts.items() if verdict != "no_match")
    taken.findings.extend(finding.finding_id for finding in detection.findings)


def through_intake(intake: Intake, values: Sequence[bytes | None], *, hurry: bool = False) -> tuple[Batch, Taken]:
    batch = Batch(polled_at=0)
    unreadable = intake.take(batch, [message(value, index) for index, value in enumerate(values)], hurry=hurry)
    return batch, Taken(
        +batch.records,
        batch.ignored,
        batch.rejected,
        batch.verdicts,
        batch.near_misses,
        [finding.finding_id for finding in batch.findings],
        unreadable,
    )


def new_intake(screen: Screen | None = None) -> Intake:
    return Intake(DETECTOR, Topics("findings", "dead-letters", "staged"), screen=screen, clock=lambda: NOW)


# --- inputs that hide what they hold ---------------------------------------------------------------


def _escaped(random: Random, data: bytes) -> bytes:
    """A letter of a word that somebody looks for, as JSON may write it."""
    word = random.choice(WORDS)
    at = random.randrange(len(word))
    hidden = word[:at] + f"\\u{ord(word[at]):04{random.choice('xX')}}" + word[at + 1 :]
    return data.replace(word.encode(), hidden.encode(), random.choice([1, -1]))


def _wide(random: Random, data: bytes) -> bytes:
    encoding = random.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"])
    return data.decode("utf-8", "replace").encode(encoding, "replace")


def _framed(random: Random, data: bytes) -> bytes:
    return b"{" + data + b"}" if random.random() < 0.5 else data + random.choice([b"}", b" }", b"\n"])


def _packed(random: Random, data: bytes) -> bytes:
    """Compressed text inside of JSON."""
    text = base64_gzip(data).decode()
    event = {"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "message": text}]}
    return json.dumps(random.choice([{"Type": "Notification", "Message": text}, event])).encode()


def _behind(random: Random, data: bytes) -> bytes:
    """On the line after a record that hides nothing."""
    return QUIET + b"\n" + random.choice([data, _wide(random, data), gzip.compress(data)])


def _compressed(random: Random, data: bytes) -> bytes:
    return gzip.compress(data) + random.choice([b"", b"\0" * 9, b"}", b"\0}", b"{}"])


_HIDING: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    _escaped,
    _escaped,
    _wide,
    _framed,
    _packed,
    _behind,
    _compressed,
)


def make_hidden(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    """A message in any shape, or a plain watched record; some of it escaped, in another encoding, or framed."""
    random = Random(f"hidden/{seed}/{number}")
    made = random.choice([make, make, make_ecs, make_ocsf, _plain, _plain])(seed, number, records)
    while random.random() < 0.4:
        made = random.choice(_HIDING)(random, made)
    return made


def _plain(seed: int, number: int, records: Sequence[dict[str, Any]]) -> bytes:
    random = Random(f"plain/{seed}/{number}")
    record = random.choice(records)
    source, name = random.choice(NAMES) if random.random() < 0.7 else ("ec2.amazonaws.com", "RunInstances")
    record = {**record, "eventSource": source, "eventName": name}
    if random.random() < 0.5:
        record["userIdentity"] = {"type": "FederatedUser", "arn": "arn:aws:sts::1:federated-user/a"}
    if random.random() < 0.2:
        record = odd(random, record)
    return json.dumps(record, ensure_ascii=random.random() < 0.5).encode("utf-8", "replace")


def attempt(data: bytes, figures: Figures) -> None:
    """Raises AssertionError where a short way changes what is found."""
    figures.inputs += 1
    values = [QUIET, data, QUIET, QUIET, data, QUIET]
    expected = one_by_one(values)
    _, taken = through_intake(_PLAIN, values)
    batch, screened = through_intake(_SCREENED, values, hurry=True)
    # Nested so deeply that it can be read or not as the stack beneath the decoder is high.
    if taken != expected and one_by_one([data]) != _deeper([data], 40):
        return
    assert taken == expected, "the quick look"
    assert screened.findings == expected.findings, "the screen"
    assert screened.verdicts == expected.verdicts, "the screen"
    assert (batch.messages, batch.bytes) == (len(values), sum(map(len, values)))
    figures.records += expected.records.total()
    figures.ignored += expected.ignored.total()
    figures.rejected += expected.rejected.total()
    figures.findings += len(expected.findings)
    figures.screened += batch.screened


def _deeper(values: Sequence[bytes | None], frames: int) -> Taken:
    return _deeper(values, frames - 1) if frames else one_by_one(values)


_PLAIN: Final = new_intake()
_SCREENED: Final = new_intake(Screen(DETECTOR.needles))
TARGETS: Final = {"intake": Target(make_hidden, attempt)}

if __name__ == "__main__":
    sys.exit(main(["--target", "intake", *sys.argv[1:]], TARGETS))
