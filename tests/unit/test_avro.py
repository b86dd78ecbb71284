"""Avro values -> the records and findings that the same in JSON gives; messages and schemas that lie."""

import json
import random
import tracemalloc
from typing import Any

import pytest

from service.avro.plan import compile_plan
from service.avro.schema import MAX_SCHEMA_BYTES, UnusableSchema, parse
from service.detect import Detector
from service.envelopes import Part, Record, Rejected, load, unwrap
from service.errors import DecodeError
from service.finding import Finding, to_json
from service.rules import RULES
from tests.avro import IDENTITY, SHAPES, V1, V2, V3, in_v1, optional, payload, record, zigzag
from tests.broker import ROOT
from tests.fuzz import fuzz_avro
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
