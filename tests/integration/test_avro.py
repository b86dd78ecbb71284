"""Avro through the running program: a registry that comes and goes, findings in Avro, messages that lie."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tests.avro import SHAPES, in_v1, message, payload, zigzag
from tests.broker import Kafka, poll_until
from tests.integration.test_run import Program, committed, expected_ids, finding_ids, send
from tests.registry import FakeRegistry
from tests.running import published
from tests.unit.strategies import issuance

WAITING = (503, "waiting for the schema registry\n")
Json = dict[str, Any]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as started:
        yield started


@pytest.fixture
def program(broker: Kafka, registry: FakeRegistry, tmp_path: Path) -> Program:
    settings = {"REGISTRY__URL": registry.url, "REGISTRY__TIMEOUT_SECONDS": "1"}
    topics = (broker.new_topic(3), broker.new_topic(2), broker.new_topic())
    return Program(broker.bootstrap, *topics, tmp_path, settings=settings)


def numbered(count: int, start: int = 0) -> list[Json]:
    return [issuance(eventID=f"event-{number}") for number in range(start, start + count)]


def in_avro(schema_id: int, name: str, events: list[Json]) -> list[tuple[bytes | None, bytes | None]]:
    shape = SHAPES[name]
    messages = [message(schema_id, payload(shape.schema, shape.value(event))) for event in events]
    return [(b"%d" % number, data) for number, data in enumerate(messages)]


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_three_versions_of_a_schema_lose_nothing_while_the_registry_comes_and_goes(
    broker: Kafka, registry: FakeRegistry, program: Program, mode: str
) -> None:
    """What needs an answer waits, alive and not ready; what is known goes on; JSON needs nobody."""
    program.settings["DELIVERY__MODE"] = mode
    ids = {name: registry.add(SHAPES[name].schema) for name in ("v1", "v2", "v3")}
    events = numbered(150)
    registry.stop()
    send(broker, program.events, in_avro(ids["v1"], "v1", events[:50]))
    with program.running() as run:
        run.wait_for("waiting for the schema registry")
        poll_until(lambda: run.get("/readyz") == WAITING, "the probe's reason")
        assert run.get("/livez")[0] == 200
        assert run.count("messages_total") == 0
        assert sum(committed(broker, program).values()) == 0
        registry.start()
        run.wait_for_messages(50)
        registry.stop()
        send(broker, program.events, in_avro(ids["v1"], "v1", events[50:60]))
        run.wait_for_messages(60)  # that version is known
        send(broker, program.events, in_avro(ids["v2"], "v2", events[60:100]))
        run.wait_for("waiting for the schema registry", times=2)
        registry.start()
        run.wait_for_messages(100)
        send(broker, program.events, in_avro(ids["v3"], "v3", events[100:140]))
        send(broker, program.events, [(None, json.dumps(event).encode()) for event in events[140:]])
        run.wait_for_messages(150)
        poll_until(lambda: run.get("/readyz")[0] == 200, "a program that is ready")
        assert run.count("records_total", envelope="avro") == 140
        assert run.count("records_total", envelope="record") == 10
        assert run.count("dead_letters_total") == 0
        assert run.stop() == 0
        assert {line["event"] for line in run.log() if line["level"] == "warning"} == {
            "waiting for the schema registry"
        }
    assert finding_ids(published(broker, program.findings)) == expected_ids(events)
    assert sum(committed(broker, program).values()) == 150


@pytest.mark.long
def test_a_kill_while_the_registry_is_away_loses_nothing(
    broker: Kafka, registry: FakeRegistry, program: Program
) -> None:
    schema_id = registry.add(SHAPES["v1"].schema)
    events = numbered(20)
    registry.stop()
    send(broker, program.events, in_avro(schema_id, "v1", events))
    with program.running() as run:
        run.wait_for("waiting for the schema registry")
        run.process.kill()
        run.process.wait(10)
    registry.start()
    with program.running() as run:
        run.wait_for_messages(20)
        assert run.stop() == 0
    assert finding_ids(published(broker, program.findings)) == expected_ids(events)


def test_what_lies_or_is_unknown_is_dead_lettered_untouched_and_the_others_go_on(
    broker: Kafka, registry: FakeRegistry, program: Program
) -> None:
    schema_id = registry.add(SHAPES["v1"].schema)
    broken = registry.add('{"type": "array"}', "other")
    whole = payload(SHAPES["v1"].schema, in_v1(issuance()))
    bad = {
        message(99_999, whole): "schema_unknown: schema 99999 is not in the registry",
        message(broken, whole): "schema_unknown: its schema cannot be used",
        message(schema_id, whole[:-20]): "avro: ",
        message(schema_id, whole + b"\0"): "avro: 1 bytes left over",
        message(schema_id, zigzag(2**40)): "avro: ",
        b"\x03\x00" + bytes(16) + whole: "glue_schema: ",
    }
    good = numbered(10)
    send(broker, program.events, [(b"bad", data) for data in bad] + in_avro(schema_id, "v1", good))
    with program.running() as run:
        run.wait_for_messages(len(bad) + 10)
        assert run.count("dead_letters_total", reason="avro") == 3
        assert run.count("dead_letters_total", reason="schema_unknown") == 2
        assert run.count("dead_letters_total", reason="glue_schema") == 1
        assert run.stop() == 0
    letters = published(broker, program.dead_letters)
    assert Counter(letter.value() for letter in letters) == Counter(bad.keys())
    for letter in letters:
        said = dict(letter.headers() or [])["__connect.errors.exception.message"] or b""
        assert said.decode().startswith(bad[letter.value() or b""])
    assert finding_ids(published(broker, program.findings)) == expected_ids(good)


def test_findings_in_avro_are_read_with_the_schema_that_the_registry_holds(
    broker: Kafka, registry: FakeRegistry, program: Program
) -> None:
    program.settings["FINDINGS__FORMAT"] = "avro"
    events = numbered(5)
    registry.stop()
    send(broker, program.events, [(None, json.dumps(event).encode()) for event in events])
    with program.running() as run:
        run.wait_for("waiting for the schema registry")
        assert run.get("/readyz") == WAITING
        registry.start()
        run.wait_for_messages(5)
        assert run.stop() == 0
    (schema_id,) = registry.subjects[f"{program.findings}-value"]
    schema = fastavro.parse_schema(json.loads(registry.schemas[schema_id]["schema"]))
    found = []
    for letter in published(broker, program.findings):
        data = letter.value() or b""
        assert data[:5] == message(schema_id, b"")
        assert dict(letter.headers() or [])["content-type"] == b"application/avro"
        value: Any = fastavro.schemaless_reader(io.BytesIO(data[5:]), schema, None)
        assert "EXAMPLE-SESSION-TOKEN" not in value["event"]
        found.append(value["finding_id"])
    assert Counter(found) == expected_ids(events)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"REGISTRY__USERNAME": "tokentrail", "REGISTRY__PASSWORD": "not-the-one"}, "the login is refused"),
        ({"REGISTRY__AUTO_REGISTER": "false"}, "auto_register is off"),
    ],
)
def test_a_registry_that_refuses_ends_the_program_with_one_line_and_no_password(
    registry: FakeRegistry, program: Program, settings: dict[str, str], said: str
) -> None:
    if "REGISTRY__PASSWORD" in settings:
        registry.login = ("tokentrail", "the-one")
    program.settings |= {"FINDINGS__FORMAT": "avro", **settings}
    with program.running() as run:
        assert run.process.wait(30) == 3
        (refused,) = run.logged("refused")
        assert said in refused["problem"]
        assert "not-the-one" not in json.dumps(run.log())
