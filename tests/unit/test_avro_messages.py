"""Avro messages that name their schema, by a registry's id or a fingerprint: what is asked for, and how often."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from service.avro import messages
from service.avro.messages import MAX_KNOWN, TRIES, AvroReader, connect
from service.avro.registry import Registry
from service.envelopes import Record, Rejected, load, unwrap
from service.errors import Refused, SchemaUnavailable, SettingsError
from service.scan import scan, scan_file
from service.settings import RegistrySettings
from tests.avro import SHAPES, V1, V2, in_v1, message, payload
from tests.registry import Clock, FakeRegistry
from tests.unit.strategies import issuance

LIMIT = 1_000_000


Reader = Callable[..., AvroReader]


@pytest.fixture
def reader(server: FakeRegistry, clock: Clock) -> Iterator[Reader]:
    """A reader that asks the server, with these settings."""
    made: list[Registry] = []

    def with_settings(**settings: Any) -> AvroReader:
        chosen = RegistrySettings(url=server.url, timeout_seconds=1, **settings)
        made.append(Registry(chosen, clock))
        return AvroReader(made[-1], chosen, clock)

    yield with_settings
    for registry in made:
        registry.close()


DATA = payload(V1, in_v1(issuance()))


def test_a_schema_is_asked_for_once(server: FakeRegistry, reader: Reader) -> None:
    data = message(server.add(V1), DATA)
    unwrapping = reader()
    for _ in range(3):
        (part,) = unwrapping.unwrap(data, LIMIT)
        assert isinstance(part, Record)
        assert load(part)["eventID"] == issuance()["eventID"]
        assert part.data == data
    assert server.requests == ["GET /schemas/ids/1"]


def test_versions_of_a_schema_are_read_side_by_side(server: FakeRegistry, reader: Reader) -> None:
    unwrapping = reader()
    for name in ("v1", "v2", "v3", "v1"):
        data = payload(SHAPES[name].schema, SHAPES[name].value(issuance()))
        (part,) = unwrapping.unwrap(message(server.add(SHAPES[name].schema), data), LIMIT)
        assert isinstance(part, Record)
        assert load(part)["userIdentity"]["userName"] == "alice"  # type: ignore[index]  # else it fails
    assert len(server.requests) == 3


def test_a_schema_may_refer_to_others(server: FakeRegistry, reader: Reader) -> None:
    server.add(V1["fields"][1]["type"][1], "identity")
    own = {**V1, "fields": [dict(each) for each in V1["fields"]]}
    own["fields"][1]["type"] = ["null", "com.example.UserIdentity"]
    data = message(server.add(own, references=(("com.example.UserIdentity", "identity"),)), DATA)
    (part,) = reader().unwrap(data, LIMIT)
    assert isinstance(part, Record)
    assert load(part)["userIdentity"] == {**issuance()["userIdentity"], "sessionContext": None}


def test_json_with_a_schema_id_before_it_is_json(server: FakeRegistry, reader: Reader) -> None:
    data = message(server.add({"type": "object"}, kind="JSON"), json.dumps(issuance()).encode())
    (part,) = reader().unwrap(data, LIMIT)
    assert isinstance(part, Record)
    assert part.envelope == "record"


@pytest.mark.parametrize(("schema", "kind"), [("syntax = 'proto3';", "PROTOBUF"), ('{"type": "array"}', "AVRO")])
def test_what_cannot_be_read_by_its_schema_is_rejected_and_not_asked_for_again(
    server: FakeRegistry, reader: Reader, schema: str, kind: str
) -> None:
    unwrapping = reader()
    data = message(server.add(schema, kind=kind), b"\x02a")
    for _ in range(3):
        (part,) = unwrapping.unwrap(data, LIMIT)
        assert isinstance(part, Rejected)
        assert part.reason == "schema_unknown"
    assert len(server.requests) == 1


def test_an_unknown_schema_is_asked_for_again_after_a_while(
    server: FakeRegistry, reader: Reader, clock: Clock
) -> None:
    unwrapping = reader()
    for _ in range(5):
        (part,) = unwrapping.unwrap(message(1, DATA), LIMIT)
        assert isinstance(part, Rejected)
        assert part.reason == "schema_unknown"
    assert len(server.requests) == 1
    server.add(V1)
    clock.now += 31
    (part,) = unwrapping.unwrap(message(1, DATA), LIMIT)
    assert isinstance(part, Record)


def test_a_topic_full_of_invented_ids_fills_no_memory_and_silences_no_new_schema(
    server: FakeRegistry, reader: Reader, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each id is asked for once in a while, and a schema that is really new is asked for all the same."""
    monkeypatch.setattr(messages, "MAX_UNKNOWN", most := 300)
    unwrapping = reader()
    tracemalloc.start()
    for schema_id in [*range(1_000, 1_000 + most + 100), *range(1_200, 1_300)]:
        (part,) = unwrapping.unwrap(message(schema_id, DATA), LIMIT)
        assert isinstance(part, Rejected)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(server.requests) == most + 100
    assert peak < 20_000_000
    assert isinstance(unwrapping.unwrap(message(server.add(V1), DATA), LIMIT)[0], Record)
    clock.now += 31
    unwrapping.unwrap(message(1_200, DATA), LIMIT)
    assert len(server.requests) == most + 102


def test_of_very_many_schemas_the_oldest_is_forgotten(server: FakeRegistry, reader: Reader) -> None:
    unwrapping = reader()
    for number in range(MAX_KNOWN + 1):
        unwrapping.unwrap(message(server.add(f'{{"type": "fixed", "name": "F{number}", "size": 1}}'), b"a"), LIMIT)
    assert len(server.requests) == MAX_KNOWN + 1


@pytest.mark.parametrize(("setting", "error"), [("retry", SchemaUnavailable), ("stop", Refused)])
def test_an_unknown_schema_can_be_waited_for_or_end_the_program(
    server: FakeRegistry, reader: Reader, setting: str, error: type[Exception]
) -> None:
    unwrapping = reader(unknown_schema=setting)
    for _ in range(3):
        with pytest.raises(error, match="schema 1 is not in the registry"):
            unwrapping.unwrap(message(1, DATA), LIMIT)
    assert len(server.requests) == 1


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_lost(
    server: FakeRegistry, reader: Reader, clock: Clock
) -> None:
    unwrapping = reader()
    data = message(server.add(V1), DATA)
    server.stop()
    for _ in range(3 * TRIES):
        with pytest.raises(SchemaUnavailable):
            unwrapping.unwrap(data, LIMIT)
        clock.now += 60
    server.start()
    (part,) = unwrapping.unwrap(data, LIMIT)
    assert isinstance(part, Record)


def test_what_is_known_is_read_while_the_registry_is_away(server: FakeRegistry, reader: Reader) -> None:
    unwrapping = reader()
    data = message(server.add(V1), DATA)
    unwrapping.unwrap(data, LIMIT)
    server.stop()
    assert isinstance(unwrapping.unwrap(data, LIMIT)[0], Record)


def test_an_outage_can_dead_letter_after_some_tries_and_ends_with_the_first_answer(
    server: FakeRegistry, reader: Reader, clock: Clock
) -> None:
    unwrapping = reader(unavailable="dead-letter")
    data = message(server.add(V1), DATA)
    server.status = 503
    for _ in range(TRIES - 1):
        with pytest.raises(SchemaUnavailable):
            unwrapping.unwrap(data, LIMIT)
        clock.now += 60
    for _ in range(3):
        (part,) = unwrapping.unwrap(data, LIMIT)
        assert isinstance(part, Rejected)
        assert part.reason == "schema_unavailable"
    server.status = None
    clock.now += 60
    assert isinstance(unwrapping.unwrap(data, LIMIT)[0], Record)


def test_an_outage_can_end_the_program_after_some_tries(
    server: FakeRegistry, reader: Reader, clock: Clock
) -> None:
    unwrapping = reader(unavailable="stop")
    server.stop()
    for _ in range(TRIES - 1):
        with pytest.raises(SchemaUnavailable):
            unwrapping.unwrap(message(1, DATA), LIMIT)
        clock.now += 60
    with pytest.raises(Refused, match=r"registry\.unavailable is stop"):
        unwrapping.unwrap(message(1, DATA), LIMIT)


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_refuses_us_ends_the_program(server: FakeRegistry, reader: Reader, status: int) -> None:
    server.status = status
    with pytest.raises(Refused):
        reader().unwrap(message(1, DATA), LIMIT)


def test_without_a_registry_a_schema_id_is_unknown() -> None:
    (part,) = AvroReader(connect(RegistrySettings()), RegistrySettings()).unwrap(message(1, DATA), LIMIT)
    assert isinstance(part, Rejected)
    assert (part.reason, part.detail) == ("schema_unknown", "no registry is configured")


# --- what is no message of a registry's --------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le"])
@pytest.mark.parametrize("text", [json.dumps(issuance()), f" [{json.dumps(issuance())}]"])
def test_text_is_text_in_every_encoding_though_some_begin_with_a_zero(
    server: FakeRegistry, reader: Reader, encoding: str, text: str
) -> None:
    parts = reader().unwrap(text.encode(encoding), LIMIT)
    assert parts == unwrap(text.encode(encoding), LIMIT)
    assert isinstance(parts[0], Record)
    assert server.requests == []


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0", b"\xc3", b"\x03", b"Obj", b"rubbish", b"\xc3\x02" * 9])
def test_what_is_no_avro_is_left_to_the_envelopes(data: bytes) -> None:
    assert AvroReader(None, RegistrySettings()).unwrap(data, LIMIT) == unwrap(data, LIMIT)


def test_an_id_that_looks_like_the_beginning_of_text_is_an_id(server: FakeRegistry, reader: Reader) -> None:
    """00 00 00 7B 00: schema 31,488, or a brace in UTF-32, which stays text when the schema is known as well."""
    server.schemas[0x7B00] = {"schema": json.dumps(V1), "schemaType": "AVRO"}
    unwrapping = reader()
    for length in range(4):  # text in UTF-32 is a multiple of four bytes long
        event = in_v1(issuance(userAgent="x" * length))
        (part,) = unwrapping.unwrap(message(0x7B00, payload(V1, event)), LIMIT)
        assert isinstance(part, Record)
        assert part.envelope == "avro"
    (part,) = unwrapping.unwrap(json.dumps(issuance()).encode("utf-32-be"), LIMIT)
    assert isinstance(part, Record)
    assert part.envelope == "record"


@pytest.mark.parametrize("compression", [b"\x00", b"\x05"])
def test_the_header_of_glue_is_told_by_name(compression: bytes) -> None:
    data = b"\x03" + compression + bytes(range(16)) + DATA
    (part,) = AvroReader(None, RegistrySettings()).unwrap(data, LIMIT)
    assert isinstance(part, Rejected)
    assert part.reason == "glue_schema"
    assert "Glue" in part.detail


def single_object(schema: Any, content: bytes) -> bytes:
    canonical = to_parsing_canonical_form(schema)
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO")) + content


def test_single_objects_are_read_with_the_schemas_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "v1.avsc").write_text(json.dumps(V1))
    (tmp_path / "ignored.txt").write_text("{")
    settings = RegistrySettings(schemas=tmp_path)
    (part,) = AvroReader(None, settings).unwrap(single_object(V1, DATA), LIMIT)
    assert isinstance(part, Record)
    assert load(part)["eventID"] == issuance()["eventID"]
    (part,) = AvroReader(None, settings).unwrap(single_object(V2, DATA), LIMIT)
    assert isinstance(part, Rejected)
    assert part.reason == "schema_unknown"


def test_a_file_may_be_one_single_object(tmp_path: Path) -> None:
    (tmp_path / "v1.avsc").write_text(json.dumps(V1))
    file = tmp_path / "event.avro"
    file.write_bytes(single_object(V1, DATA))
    assert scan_file(str(file)).rejected == {"schema_unknown": 1}
    (report,) = scan([str(file)], schemas=tmp_path)
    assert len(report.findings) == 1


def test_the_fingerprint_is_that_of_the_specification() -> None:
    """Its table has 7275d51a3f395c8f for "int", written little-endian."""
    assert single_object("int", b"")[2:] == bytes.fromhex("7275d51a3f395c8f")[::-1]


def test_a_folder_of_schemas_that_cannot_be_used_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"registry\.schemas: .* is no folder"):
        AvroReader(None, RegistrySettings(schemas=tmp_path / "none"))
    (tmp_path / "bad.avsc").write_text("{")
    (tmp_path / "worse.avsc").write_bytes(b"\xff")
    with pytest.raises(SettingsError) as caught:
        AvroReader(None, RegistrySettings(schemas=tmp_path))
    assert len(caught.value.problems) == 2
