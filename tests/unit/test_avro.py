"""Avro messages, single objects and containers -> the records and findings that the same in JSON gives."""

import io
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from service.avro import messages
from service.avro.container import unwrap_container
from service.avro.findings import avro_findings
from service.avro.messages import MAX_KNOWN, TRIES, AvroReader, connect
from service.avro.plan import compile_plan
from service.avro.registry import Registry
from service.avro.schema import MAX_SCHEMA_BYTES, UnusableSchema, parse
from service.detect import Detector
from service.envelopes import Part, Record, Rejected, load, unwrap
from service.errors import DecodeError, Refused, SchemaUnavailable, SettingsError
from service.files import find_files
from service.finding import Finding, avro_schema, to_json
from service.rules import RULES
from service.scan import scan, scan_file
from service.settings import RegistrySettings
from tests.avro import (
    IDENTITY,
    SHAPES,
    TEXT_WRAPPER,
    V1,
    V2,
    V3,
    in_v1,
    message,
    optional,
    payload,
    record,
    zigzag,
)
from tests.broker import ROOT
from tests.fuzz import fuzz_avro
from tests.registry import Clock, FakeRegistry
from tests.unit.strategies import asking, issuance

LIMIT = 1_000_000
SAMPLES = sorted((ROOT / "tests" / "rules" / "samples").glob("*/*.json"))
POLICY = '{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
DETECTOR = Detector(RULES)
Json = dict[str, Any]


def plan_parts(schema: Any, data: bytes, limit: int = LIMIT) -> list[Part]:
    return list(compile_plan(parse(json.dumps(schema)), 0)(data, limit))


def decoded(schema: Any, data: bytes) -> Json:
    """The one record of a message, in full."""
    (part,) = plan_parts(schema, data)
    assert isinstance(part, Record), part
    return load(part)


def field_value(type_: Any, value: bytes) -> object:
    """What a field of that type, in a record of CloudTrail's, is decoded to."""
    names = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    return decoded(record("R", *names, {"name": "x", "type": type_}), b"\x02a\x02b" + value)["x"]


def whole(type_: Any, data: bytes) -> Rejected:
    """What is wrong with a message whose whole value is of that type."""
    (part,) = plan_parts(type_, data)
    assert isinstance(part, Rejected), part
    return part


def findings(parts: list[Part]) -> list[Finding]:
    found: list[Finding] = []
    for part in parts:
        if isinstance(part, Record) and DETECTOR.watches(part.source, part.name):
            found += DETECTOR.detect_record(load(part)).findings
    return found


def told(parts: list[Part]) -> list[Json]:
    """The findings' fields, without what the way of arriving changes."""
    fields = [json.loads(to_json(finding)) for finding in findings(parts)]
    return [{name: value for name, value in each.items() if name not in ("event", "envelope")} for each in fields]


# --- every shape -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "event",
    [
        issuance(),
        asking(durationSeconds=129_600, policy=POLICY),
        asking(policyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]),
        issuance(errorCode="AccessDenied", requestParameters=None, responseElements=None),
        issuance(eventSource="s3.amazonaws.com", eventName="GetObject"),
    ],
)
def test_every_shape_gives_the_findings_of_the_same_record_in_json(name: str, event: Json) -> None:
    shape = SHAPES[name]
    parts = plan_parts(shape.schema, payload(shape.schema, shape.value(event)))
    assert [part.envelope for part in parts if isinstance(part, Record)] == ["avro"]
    lacking = {} if name != "v3" else {"responseElements": None, "readOnly": None}  # which that schema has not
    expected = told(list(unwrap(json.dumps(event | lacking).encode())))
    assert told(parts) == expected
    assert bool(expected) == (event["eventName"] == "GetFederationToken")


def fits_v1(event: Json) -> bool:
    """Whether that schema has a place for all of it, and its ids are the same in every envelope."""
    identity = event.get("userIdentity")
    known = {each["name"] for each in IDENTITY["fields"]}
    parameters = event.get("requestParameters")
    is_object_as_text = isinstance(parameters, str) and parameters.startswith("{")  # unreadable in JSON only
    return (
        set(event) <= {each["name"] for each in V1["fields"]}
        and isinstance(event.get("eventID"), str)
        and (identity is None or (isinstance(identity, dict) and set(identity) <= known))
        and not is_object_as_text
    )


def test_the_samples_of_the_rules_give_in_avro_what_they_give_in_json() -> None:
    compared = 0
    for path in SAMPLES:
        event = json.loads(path.read_bytes())
        if not fits_v1(event):
            continue
        try:
            data = payload(V1, in_v1(event))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # a value that the schema does not have, such as a list for a name
        assert told(plan_parts(V1, data)) == told(list(unwrap(json.dumps(event).encode()))), path.name
        compared += 1
    assert compared > 100


def test_the_names_are_read_before_anything_is_decoded() -> None:
    """And they are CloudTrail's, also where the schema has them as aliases or before each other."""
    for schema, name in ((V1, "v1"), (V2, "v2"), (V3, "v3")):
        (part,) = plan_parts(schema, payload(schema, SHAPES[name].value(issuance())))
        assert isinstance(part, Record)
        assert (part.source, part.name) == ("sts.amazonaws.com", "GetFederationToken")


@pytest.mark.parametrize(
    ("type_", "content", "name"),
    [
        ("string", b"\x02x", "x"),
        (["null", "string"], b"\x00", None),
        (["null", "string"], b"\x02\x02x", "x"),
        (["string", "null"], b"\x02", None),
        (["string", "null"], b"\x00\x02x", "x"),
        ({"type": "string", "logicalType": "uuid"}, b"\x02x", "x"),
        ("string", zigzag(300) + b"y" * 300, "y" * 300),
        ("string", b"\x04\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_a_name_may_be_a_text_or_a_union_of_null_and_text(type_: Any, content: bytes, name: str | None) -> None:
    schema = record("R", {"name": "eventSource", "type": "string"}, {"name": "eventName", "type": type_})
    (part,) = plan_parts(schema, b"\x02s" + content)
    assert isinstance(part, Record)
    assert (part.source, part.name) == ("s", name)


@pytest.mark.parametrize("other", ["int", ["null", "string", "int"], {"type": "array", "items": "string"}])
def test_names_of_other_types_take_the_long_way(other: Any) -> None:
    """Through JSON, where a name that is no text is known to be none."""
    schema = record("R", {"name": "eventSource", "type": "string"}, {"name": "eventName", "type": other})
    value = {"eventSource": "s", "eventName": ["x"] if isinstance(other, dict) else 5}
    (part,) = plan_parts(schema, payload(schema, value))
    assert isinstance(part, Record)
    assert (part.source, part.name, part.envelope) == ("s", None, "avro")


def test_an_alias_never_takes_the_place_of_a_field_that_is_there() -> None:
    fields = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    schema = record("R", *fields, {"name": "mine", "type": "string", "aliases": ["eventName", "errorCode"]})
    assert decoded(schema, b"\x02s\x02n\x02m") == {"eventSource": "s", "eventName": "n", "errorCode": "m"}


# --- values, as JSON has them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "data", "value"),
    [
        (
            {"type": "long", "logicalType": "timestamp-millis"},
            zigzag(1_732_956_197_123),
            "2024-11-30T08:43:17.123000Z",
        ),
        ({"type": "long", "logicalType": "timestamp-millis"}, zigzag(1_732_956_197_000), "2024-11-30T08:43:17Z"),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            zigzag(1_732_956_197_000_000),
            "2024-11-30T08:43:17Z",
        ),
        (
            {"type": "long", "logicalType": "timestamp-nanos"},
            zigzag(1_732_956_197 * 10**9),
            "2024-11-30T08:43:17Z",
        ),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, zigzag(0), "1970-01-01T00:00:00Z"),
        ({"type": "long", "logicalType": "timestamp-millis"}, zigzag(-(2**62)), -(2**62)),
        ({"type": "int", "logicalType": "date"}, zigzag(20_057), "2024-11-30"),
        ({"type": "int", "logicalType": "date"}, zigzag(2**31 - 1), 2**31 - 1),
        ({"type": "long", "logicalType": "of-their-own"}, zigzag(7), 7),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, b"\x04\x30\x39", "123.45"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9}, b"\x04\x0e\x10", 3_600),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9}, b"\x02\xff", -1),
        ({"type": "fixed", "name": "F", "size": 2, "logicalType": "decimal", "precision": 4}, b"\x0e\x10", 3_600),
        (
            {"type": "fixed", "name": "F", "size": 16, "logicalType": "uuid"},
            bytes(range(16)),
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
        ),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x02", "B"),
        ({"type": "fixed", "name": "F", "size": 3}, b"abc", "abc"),
        ("bytes", b"\x04\xff\xfe", "//4="),
        ("boolean", b"\x01", True),
        (["null", "int"], b"\x00", None),
        ({"type": "array", "items": "int"}, b"\x03\x04\x02\x04\x00", [1, 2]),  # a block that tells its size
        ({"type": "map", "values": "int"}, b"\x02\x02k\x04\x00", {"k": 2}),
    ],
)
def test_a_value_becomes_what_json_would_have(type_: Any, data: bytes, value: object) -> None:
    assert field_value(type_, data) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"name": "alice", "policy": "{}"}', {"name": "alice", "policy": "{}"}),
        ("null", None),
        ("HIDDEN_DUE_TO_SECURITY_REASONS", "HIDDEN_DUE_TO_SECURITY_REASONS"),
        ('{"name": "ali', '{"name": "ali'),
        ("nonsense", "nonsense"),
        ('"{}"', '"{}"'),
        ("[" * 5_000, "[" * 5_000),
    ],
)
def test_json_text_in_an_objects_place_is_parsed_once_and_else_stays(text: str, value: object) -> None:
    found = decoded(V1, payload(V1, {**in_v1(issuance()), "requestParameters": text}))
    assert found["requestParameters"] == value


def test_a_map_of_texts_keeps_the_policy_as_text_and_opens_the_policy_arns() -> None:
    """The policy is JSON text in CloudTrail as well; the ARNs are a list there."""
    event = asking(policy=POLICY, policyArns=[{"arn": "a"}], durationSeconds=3_600)
    found = decoded(V3, payload(V3, SHAPES["v3"].value(event)))
    assert found["requestParameters"] == {
        "name": "alice",
        "policy": POLICY,
        "policyArns": [{"arn": "a"}],
        "durationSeconds": "3600",
    }


def test_values_of_any_schema_are_read_as_fastavro_reads_them() -> None:
    for seed in range(300):
        try:
            fuzz_avro.compare(random.Random(seed), fuzz_avro.Figures())
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


def test_a_short_fuzz_run_reaches_everything_and_raises_nothing() -> None:
    figures = fuzz_avro.fuzz(20_241_130, 2_000, 500)
    assert figures.records > 500
    assert figures.usable_schemas > 50
    assert min(figures.findings, figures.rejected, figures.undecodable) > 50


# --- messages that lie -------------------------------------------------------------------------

ITSELF = record("Itself", {"name": "a", "type": "com.example.Itself"})
LIST = record("List", optional("next", "com.example.List"))
TREE = record("Tree", {"name": "kids", "type": {"type": "array", "items": "com.example.Tree"}})
NOTHING = record("Nothing", *({"name": f"f{number}", "type": "null"} for number in range(200)))


@pytest.mark.parametrize(
    ("type_", "data", "reason"),
    [
        ("string", zigzag(2**40) + b"a", "avro"),
        ("string", zigzag(-5) + b"abcde", "avro"),
        ("bytes", zigzag(-1) + b"abc", "avro"),
        ("long", b"\xff" * 100_000 + b"\0", "avro"),
        ("boolean", b"\x07", "avro"),
        ("double", b"\x07", "avro"),
        ("long", b"", "avro"),
        ("int", b"\x02\x02", "avro"),  # one byte left over
        (["null", "int"], zigzag(7), "avro"),
        (["null", "int"], zigzag(-1), "avro"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, zigzag(-1), "avro"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, zigzag(2), "avro"),
        ({"type": "array", "items": "int"}, zigzag(100_000) + b"\x02", "too_large"),
        ({"type": "array", "items": "int"}, zigzag(2**60) + b"\x02", "too_large"),
        ({"type": "array", "items": "int"}, zigzag(-(2**63)) + zigzag(-(2**63)) + b"\x02", "too_large"),
        ({"type": "array", "items": "null"}, zigzag(2**40) + b"\0", "too_large"),
        ({"type": "array", "items": NOTHING}, zigzag(100_000) + b"\0", "too_large"),
        ({"type": "map", "values": "null"}, zigzag(2**50), "too_large"),
        ({"type": "fixed", "name": "F", "size": 2**40}, b"a", "avro"),
        (ITSELF, b"", "too_deep"),
        (LIST, b"\x02" * 100_000 + b"\0", "too_deep"),
        (TREE, b"\x02" * 100_000, "too_deep"),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 9},
            zigzag(900_000) + b"\x7f" * 900_000,
            "not_json",
        ),
    ],
)
def test_a_message_that_lies_is_rejected_and_takes_no_room(type_: Any, data: bytes, reason: str) -> None:
    plan = compile_plan(parse(json.dumps(type_)), 0)
    tracemalloc.start()
    try:
        (part,) = plan(data, LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(part, Rejected)
    assert part.reason == reason
    assert part.data == data or reason == "not_json"
    assert peak < 50_000_000


BEFORE_NAMES = [
    (["null", "string"], b"\x04"),
    (["null", "string"], b"\x02" + zigzag(2**40)),
    (["null", "string"], b"\x02" + zigzag(-2)),
    ("string", b""),
    ("string", zigzag(-2)),
    ("int", b"\xff" * 50),
    ("boolean", b""),
    (["int", "long"], zigzag(-2)),
    (["int", "long"], zigzag(500)),
    ({"type": "array", "items": "int"}, zigzag(2**60)),
    ({"type": "array", "items": "int"}, zigzag(-1) + zigzag(-9)),
    ({"type": "array", "items": "int"}, zigzag(-1) + zigzag(-2)),  # back to where it began
    ({"type": "array", "items": "string"}, zigzag(2**40) + zigzag(-1)),  # every text back to where it began
    ({"type": "array", "items": "int"}, zigzag(-1) + zigzag(2**60)),
    ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 1}}, zigzag(2**60)),
    ({"type": "map", "values": "int"}, zigzag(2) + zigzag(2**50)),
    (LIST, b"\x02" * 100_000),
    (TREE, b"\x02" * 100_000),
]


@pytest.mark.parametrize(("type_", "data"), BEFORE_NAMES)
def test_what_lies_before_the_names_is_noticed_on_the_way_to_them(type_: Any, data: bytes) -> None:
    names = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    part = whole(record("R", {"name": "x", "type": type_}, *names), data)
    assert part.reason in ("avro", "too_deep")


def test_a_length_is_judged_before_it_is_believed() -> None:
    assert whole("string", zigzag(2**40) + b"a").detail == "a length that cannot be"


@pytest.mark.parametrize("branch", [2, 3, -1, -2, 100, -100, 2**40])
@pytest.mark.parametrize("type_", [["null", "string"], ["null", "int"], ["int", "null"]])
def test_a_branch_that_a_union_does_not_have_is_noticed(type_: Any, branch: int) -> None:
    names = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    for fields in ([{"name": "x", "type": type_}, *names], [{**names[0], "type": type_}, names[1]]):
        assert whole(record("R", *fields), zigzag(branch) + b"\x02s\x02n").reason == "avro"


@pytest.mark.parametrize("name", [zigzag(50) + b"short", zigzag(-1), zigzag(2**40), b"\xff" * 20, b""])
def test_a_name_that_does_not_fit_is_noticed(name: bytes) -> None:
    fields = [{"name": each, "type": "string"} for each in ("eventSource", "eventName")]
    for data in (name, b"\x02s" + name):
        assert whole(record("R", *fields), data).reason == "avro"


def test_an_array_of_nothing_is_skipped_whatever_it_counts() -> None:
    names = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    schema = record("R", {"name": "x", "type": {"type": "array", "items": NOTHING}}, *names)
    (part,) = plan_parts(schema, zigzag(2**60) + b"\0" + b"\x02s\x02n")
    assert isinstance(part, Record)
    assert (part.source, part.name) == ("s", "n")
    with pytest.raises(DecodeError, match="limit"):
        load(part)


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_what_is_missing_or_left_over_behind_the_names_is_noticed_by_the_full_decode(cut: int) -> None:
    """No sooner: until a rule watches the record, nobody looks there."""
    data = payload(V3, SHAPES["v3"].value(issuance()))
    (part,) = plan_parts(V3, data[:-cut] if cut > 0 else data + b"\0")
    assert isinstance(part, Record)
    with pytest.raises(DecodeError) as caught:
        load(part)
    assert caught.value.reason == "avro"


@pytest.mark.parametrize("odd", ['"\\ud800"', "9" * 300, "NaN", '"\t"'])
def test_json_text_is_read_as_leniently_as_elsewhere(odd: str) -> None:
    """Inside of `Records` too, where it is written and read once more."""
    text = '{"name": "alice", "x": ' + odd + "}"
    event = {**in_v1(issuance()), "requestParameters": text}
    for name, value in (("v1", event), ("records", {"Records": [event]})):
        found = decoded(SHAPES[name].schema, payload(SHAPES[name].schema, value))
        assert isinstance(found["requestParameters"], dict)
        assert found["requestParameters"]["name"] == "alice"


def test_json_in_json_too_deep_to_be_written_again_is_rejected() -> None:
    text = "[" * 900 + "]" * 900
    schema = record("R", {"name": "tags", "type": "string"})
    for _ in range(60):
        schema = record(f"R{_}", {"name": "x", "type": schema})
    assert whole(schema, payload("string", text)).reason in ("too_deep", "not_a_record")


# --- schemas that lie --------------------------------------------------------------------------


def nested(depth: int) -> str:
    return '{"type": "array", "items": ' * depth + '"int"' + "}" * depth


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "null",
        "[]]",
        '"no such type"',
        '{"type": "array"}',
        '{"type": "record", "name": "R", "fields": 7}',
        '{"type": "fixed", "name": "F", "size": -1}',
        '{"type": "fixed", "name": "F", "size": "large"}',
        '{"type": "enum", "name": "E", "symbols": 7}',
        '{"__fastavro_parsed": true, "type": "record", "name": "R", "fields": [{"name": "a", "type": "Gone"}]}',
        '{"type": "bytes", "logicalType": "decimal", "precision": "many"}',
        nested(50_000),
        nested(2_000),
        '"string"' + " " * MAX_SCHEMA_BYTES,
    ],
)
def test_a_schema_that_cannot_be_used_is_said_to_be(text: str) -> None:
    with pytest.raises(UnusableSchema) as caught:
        compile_plan(parse(text), 5)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("leaf", ["null", "boolean", "string", {"type": "fixed", "name": "F", "size": 1}])
def test_records_of_records_that_double_at_each_level_take_no_time(leaf: Any) -> None:
    """2^60 values, that take no byte or are not there."""
    schema: Any = record("R0", {"name": "a", "type": leaf})
    for level in range(1, 60):
        below = f"com.example.R{level - 1}"
        schema = record(f"R{level}", {"name": "a", "type": schema}, {"name": "b", "type": below})
    names = [{"name": name, "type": "string"} for name in ("eventSource", "eventName")]
    assert whole(schema, b"").reason in ("too_large", "too_deep", "avro")
    (part,) = plan_parts(record("R", {"name": "x", "type": schema}, *names), b"\x02s\x02n")
    assert isinstance(part, Record if leaf == "null" else Rejected)


def test_defaults_and_documentation_of_a_writers_schema_are_not_looked_at() -> None:
    """They are for readers; some in the wild are no values of their type."""
    schema = record("R", {"name": "message", "type": "string", "default": [["x"] * 100], "doc": 7})
    (part,) = plan_parts(schema, payload("string", json.dumps(issuance())))
    assert isinstance(part, Record)


# --- the registry's part -----------------------------------------------------------------------


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


# --- container files ---------------------------------------------------------------------------


def container(events: list[Json], codec: str = "null", schema: Any = V1) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, events, codec=codec, sync_interval=2_000)
    return buffer.getvalue()


EVENTS = [in_v1(issuance(eventID=f"event-{number}")) for number in range(50)]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_file_gives_its_findings(tmp_path: Path, codec: str) -> None:
    file = tmp_path / "events.avro"
    file.write_bytes(container(EVENTS, codec))
    assert find_files([str(tmp_path)]) == ([str(file)], [])
    report = scan_file(str(file))
    assert report.problem is None
    assert report.records == {"avro": 50}
    assert report.bytes == file.stat().st_size
    assert {finding.event_id for finding in report.findings} == {f"event-{number}" for number in range(50)}
    assert report.findings[1].origin.index == 1


def test_a_container_that_arrives_as_a_message_is_none_since_it_brings_its_own_schema() -> None:
    (part,) = AvroReader(None, RegistrySettings()).unwrap(container(EVENTS), LIMIT)
    assert isinstance(part, Rejected)
    assert part.reason == "avro"


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_of_a_damaged_container_what_could_be_read_is_given_and_the_rest_told(tmp_path: Path, codec: str) -> None:
    data = container(EVENTS, codec)
    file = tmp_path / "damaged.avro"
    for missing in (1, 15, 17, 100):
        file.write_bytes(data[:-missing])
        report = scan_file(str(file))
        assert report.problem == "the container ends too early"
        assert 0 < report.records["avro"] < 50
    file.write_bytes(data[:-16] + bytes(16))
    report = scan_file(str(file))
    assert report.problem == "damaged: a block does not end with its mark"
    assert report.records["avro"] > 0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"Obj\x01", "ends too early"),
        (b"Obj\x01" + zigzag(2**40), "too many entries"),
        (b"Obj\x01" + zigzag(1) + zigzag(2**50), "impossible length"),
        (b"Obj\x01" + zigzag(1) + zigzag(-1), "impossible length"),
        (b"Obj\x01" + b"\xff" * 50, "impossible number"),
        (b"Obj\x01\0" + bytes(16), "no valid Avro schema"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x0csnappy\0" + bytes(16), "compressed with snappy"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x12zstandard\0" + bytes(16), "compressed with zstandard"),
        (b"Obj\x01" + zigzag(1) + b"\x14avro.codec\x0a\x1b[31m\0" + bytes(16), "a codec of its own"),
    ],
)
def test_a_container_that_cannot_be_read_is_told_in_a_line(tmp_path: Path, data: bytes, problem: str) -> None:
    file = tmp_path / "bad.avro"
    file.write_bytes(data)
    found = scan_file(str(file)).problem
    assert found is not None
    assert problem in found
    assert found.isprintable()


def _with_block(count: int, block: bytes, schema: str = '"string"', codec: bytes = b"null") -> bytes:
    text = schema.encode()
    entries = b"\x16avro.schema" + zigzag(len(text)) + text + b"\x14avro.codec" + zigzag(len(codec)) + codec
    sync = bytes(range(16))
    head = b"Obj\x01" + zigzag(2) + entries + b"\0" + sync
    return head + zigzag(count) + zigzag(len(block)) + block + sync


def deflated(megabytes: int, content: bytes = b"") -> bytes:
    """Without the mark at the end of a deflate stream, which all else is there without."""
    deflate = zlib.compressobj(wbits=-15)
    packed = [deflate.compress(bytes(1_000_000)) for _ in range(megabytes)]
    return b"".join([*packed, deflate.compress(content), deflate.flush(zlib.Z_SYNC_FLUSH)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_with_block(2**60, b"", '"null"'), "avro"),
        (_with_block(2**60, b"\0" * 9, '{"type": "array", "items": "null"}'), "avro"),
        (_with_block(1, b"\x02a", '{"type": "bytes", "logicalType": "decimal", "scale": null}'), "schema_unknown"),
        (_with_block(1, b"\x02a", '{"type": "bytes", "logicalType": "decimal", "scale": true}'), "schema_unknown"),
        (_with_block(1, b"\0", '{"type": "enum", "name": "E", "symbols": {"A": 1}}'), "schema_unknown"),
        (_with_block(2, b"\x02a"), "avro"),
        (_with_block(1, b"\x02a\x02b"), "avro"),
        (_with_block(-1, b"\x02a"), "avro"),
        (_with_block(1, deflated(100), codec=b"deflate"), "too_large"),
        (_with_block(1, deflated(0, b"\x02a"), codec=b"deflate"), "avro"),
        (_with_block(0, b"")[:-17] + zigzag(2**40), "too_large"),
        (_with_block(0, b"")[:-17] + zigzag(-1), "too_large"),
        (_with_block(1, b"\xff\xff", codec=b"deflate"), "avro"),
        (_with_block(1, zlib.compress(b"\x02a", wbits=-15)[:-2], codec=b"deflate"), "avro"),
        (
            _with_block(1, b"", '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "R"}]}'),
            "schema_unknown",
        ),
    ],
)
def test_a_container_that_lies_neither_hangs_nor_takes_room(data: bytes, reason: str) -> None:
    tracemalloc.start()
    with pytest.raises(DecodeError) as raised:
        list(unwrap_container([data], LIMIT))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.reason == reason
    assert peak < 50_000_000


def test_what_is_no_record_in_a_container_is_counted_as_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "events.avro"
    control = {"message": '{"messageType": "CONTROL_MESSAGE", "logEvents": []}', "host": "a"}
    other = {"message": "plain words", "host": "a"}
    file.write_bytes(container([control, other], schema=TEXT_WRAPPER))
    report = scan_file(str(file))
    assert (report.ignored, report.rejected) == ({"cloudwatch_control": 1}, {"not_a_record": 1})


def test_a_file_may_be_one_single_object(tmp_path: Path) -> None:
    (tmp_path / "v1.avsc").write_text(json.dumps(V1))
    file = tmp_path / "event.avro"
    file.write_bytes(single_object(V1, DATA))
    assert scan_file(str(file)).rejected == {"schema_unknown": 1}
    (report,) = scan([str(file)], schemas=tmp_path)
    assert len(report.findings) == 1


# --- findings out ------------------------------------------------------------------------------


def a_finding(**changes: Any) -> Finding:
    event = asking(durationSeconds=129_600, policy=POLICY) | changes
    return DETECTOR.detect_record(event).findings[0]


def test_a_finding_in_avro_says_what_it_says_in_json(server: FakeRegistry) -> None:
    settings = RegistrySettings(url=server.url)
    registry = Registry(settings)
    form = avro_findings(registry, "cloudtrail.findings")
    registry.close()
    assert form.content_type == "application/avro"
    finding = a_finding()
    data = form.encode(finding, 100_000)
    (schema_id,) = server.subjects["cloudtrail.findings-value"]
    assert data[:5] == message(schema_id, b"")
    schema = fastavro.parse_schema(json.loads(server.schemas[schema_id]["schema"]))
    stream = io.BytesIO(data[5:])
    read: Any = fastavro.schemaless_reader(stream, schema, None)
    assert stream.read() == b""
    expected = json.loads(to_json(finding))
    assert {**read, "event": json.loads(read["event"])} == expected


def test_a_finding_too_large_goes_without_its_event(server: FakeRegistry) -> None:
    registry = Registry(RegistrySettings(url=server.url))
    form = avro_findings(registry, "findings")
    registry.close()
    finding = a_finding(userAgent="x" * 2_000)
    fits = len(form.encode(finding, 10**9))
    assert len(form.encode(finding, fits)) == fits
    assert len(form.encode(finding, fits - 1)) < fits - 1_000
    assert b'{"omitted":true}' in form.encode(finding, fits - 1)


KEPT = sorted((ROOT / "tests" / "unit" / "schemas").glob("finding-*.avsc"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_readers_of_every_released_schema_read_what_we_write_and_we_what_they_wrote(path: Path) -> None:
    """By Avro's resolution, and as a registry's compatibility check sees it."""
    old, new = json.loads(path.read_text()), avro_schema()
    fields = json.loads(to_json(a_finding()))
    value = {**fields, "event": json.dumps(fields["event"])}
    for writer, reads in ((new, old), (old, new)):
        data = payload(writer, value)
        read: Any = fastavro.schemaless_reader(
            io.BytesIO(data), fastavro.parse_schema(writer), fastavro.parse_schema(reads)
        )
        assert read["finding_id"] == fields["finding_id"]
        assert json.loads(read["event"]) == fields["event"]


def test_a_registry_that_checks_compatibility_takes_our_schema_after_every_released_one(
    server: FakeRegistry,
) -> None:
    assert KEPT
    for path in KEPT:
        server.add(path.read_text(), "findings-value")
    registry = Registry(RegistrySettings(url=server.url))
    avro_findings(registry, "findings")
    registry.close()
    new = {**avro_schema(), "fields": [*avro_schema()["fields"], {"name": "new", "type": "string"}]}
    assert server.answer(
        "POST", "/compatibility/subjects/findings-value/versions/latest", {"schema": json.dumps(new)}
    ) == (
        200,
        {"is_compatible": False},
    )
