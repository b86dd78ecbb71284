"""Every shape that events arrive in, mixed on one topic of a real broker; every format that findings leave in."""

import io
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import fastavro
import pytest
from py_ocsf_models.events.findings.detection_finding import (  # type: ignore[import-untyped]  # it has no py.typed
    DetectionFinding,
)

from service.avro.registry import Registry
from service.batch import Message
from service.feed.to_avro import avro
from service.feed.wrap import SEVERAL, WRAPS
from service.settings import RegistrySettings
from tests.broker import Kafka
from tests.integration.test_run import (
    IGNORED,
    Program,
    expected_ids,
    program,
    rubbish,
    send,
)
from tests.registry import FakeRegistry
from tests.running import published
from tests.unit.strategies import asking, issuance

__all__ = ["program"]  # the fixture

MESSAGES = 1_600
TOGETHER = 5  # records in a message of several


def record(number: int, rng: random.Random) -> dict[str, object]:
    quiet = issuance(eventSource="s3.amazonaws.com", eventName="GetObject")
    return rng.choice([quiet, issuance(), asking(durationSeconds=100_000)]) | {"eventID": f"event-{number}"}


def from_json(message: Message, _registry: FakeRegistry) -> str:
    return str(json.loads(message.value() or b"")["finding_id"])


def from_ocsf(message: Message, _registry: FakeRegistry) -> str:
    """By a model that others wrote."""
    return str(DetectionFinding.model_validate_json(message.value() or b"").finding_info.uid)


def from_avro(message: Message, registry: FakeRegistry) -> str:
    value = message.value() or b""
    assert value[0] == 0
    schema = json.loads(registry.schemas[int.from_bytes(value[1:5], "big")]["schema"])
    read: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    return str(read["finding_id"])


READERS: Mapping[str, Callable[[Message, FakeRegistry], str]] = {
    "json": from_json,
    "ocsf": from_ocsf,
    "avro": from_avro,
}
CONTENT_TYPES = {"json": b"application/json", "ocsf": b"application/json", "avro": b"application/avro"}


@pytest.mark.long
@pytest.mark.parametrize("written", READERS)
def test_all_shapes_on_one_topic_add_up_and_their_findings_are_read_by_others(
    broker: Kafka, program: Program, written: str
) -> None:
    rng = random.Random(20_261_122)
    with FakeRegistry() as registry:
        program.settings |= {"REGISTRY__URL": registry.url, "FINDINGS__FORMAT": written}
        wraps = {**WRAPS, "avro": avro(Registry(RegistrySettings(url=registry.url)), program.events)}
        records, messages, shapes = [], [], Counter[str]()
        for number in range(MESSAGES):
            shape = list(wraps)[number % len(wraps)]
            these = [record(10 * number + n, rng) for n in range(TOGETHER if shape in SEVERAL else 1)]
            records += these
            shapes[shape] += len(these)
            messages.append(wraps[shape](these))
        bad = rubbish(rng) + rubbish(rng)[:6]  # one in a hundred
        every = [*messages, *bad, *IGNORED]
        rng.shuffle(every)
        send(broker, program.events, [(None, value) for value in every])
        with program.running() as run:
            run.wait_for_messages(len(every))
            assert {shape: run.count("records_total", envelope=shape) for shape in shapes} == dict(shapes)
            assert run.count("dead_letters_total") == len(bad)
            assert run.count("ignored_records_total") == len(IGNORED)
            assert run.stop() == 0
        found = published(broker, program.findings)
        assert Counter(READERS[written](message, registry) for message in found) == expected_ids(records)
    assert {dict(message.headers() or [])["content-type"] for message in found} == {CONTENT_TYPES[written]}
    assert Counter(letter.value() for letter in published(broker, program.dead_letters)) == Counter(bad)
