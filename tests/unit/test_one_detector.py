"""One event gives one finding, whatever shape it came in.

What differs by nature is where it came from (`envelope`, `origin`) and the record as it was read (`event`). All
else is the same, save what a shape cannot carry: each such case is named in `LOST`, with the fields that differ.
"""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.avro.messages import AvroReader
from service.avro.registry import Registered, Registry
from service.detect import Detection, Detector
from service.envelopes import Record, load
from service.envelopes.mending import decode_json
from service.feed.to_avro import avro
from service.feed.to_ecs import ecs
from service.feed.to_ocsf import ocsf
from service.feed.wrap import WRAPS, Wrap
from service.rules import RULES
from service.settings import RegistrySettings
from tests.broker import ROOT
from tests.unit.strategies import (
    asking,
    base64_gzip,
    console_exchange,
    issuance,
    policies,
    statements,
    watched_records,
)

DETECTOR = Detector(RULES)
SAMPLES = ROOT / "tests" / "rules" / "samples"
BY_NATURE: Final = {"envelope", "origin", "event", "detected_at"}

Json = dict[str, Any]
Shape = Callable[[Json], bytes]


class Schemas:
    """In place of the registry: the one schema that is written, kept here."""

    failures = 0

    def subject_id(self, _subject: str, text: str) -> int:
        self.text = text
        return 1

    def by_id(self, _schema_id: int) -> Registered:
        return Registered("AVRO", self.text)


REGISTRY = cast("Registry", Schemas())
READER = AvroReader(REGISTRY, RegistrySettings())


def detect(data: bytes) -> Detection:
    """What comes of a message that holds one record."""
    (part,) = READER.unwrap(data)
    assert isinstance(part, Record), part
    return DETECTOR.detect_record(load(part), envelope=part.envelope)


def told(detection: Detection) -> dict[str, Any]:
    """Verdicts, and every field of the findings that does not differ by nature."""
    fields: dict[str, Any] = {f"verdict of {rule}": verdict for rule, verdict in detection.verdicts.items()}
    for finding in detection.findings:
        for name, value in msgspec.to_builtins(finding).items():
            if name not in BY_NATURE:
                fields[f"{name} of {finding.rule_id}"] = value
    return fields


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """The fields, without the rules they are of, that both tell but not alike."""
    both = one.keys() & other.keys()
    return {name.partition(" of ")[0] for name in both if one[name] != other[name]}


# --- events --------------------------------------------------------------------------------------


def events() -> list[tuple[str, Json]]:
    """Distinct events with a name each: what other tests begin with, and every sample of a rule."""
    found: list[tuple[str, Json]] = [
        ("issuance", issuance()),
        (
            "asking for all",
            asking(
                durationSeconds=129_600,
                policy='{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
                policyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
                tags=[{"key": "team", "value": "red, blue=green"}],
            ),
        ),
        ("console exchange", console_exchange()),
        (
            "denied",
            issuance(
                errorCode="AccessDenied",
                errorMessage="no, {really}",
                requestParameters=None,
                responseElements=None,
            ),
        ),
    ]
    for path in sorted(SAMPLES.glob("*/*.json")):
        record = decode_json(path.read_bytes())
        if isinstance(record, dict) and record and record not in (known for _, known in found):
            found.append((path.stem, record))
    return found


EVENTS: Final = events()

# --- shapes --------------------------------------------------------------------------------------


def alone(wrap: Wrap, record: Json) -> bytes:
    return wrap([record])


def encoded(shape: Callable[[Json], Json]) -> Shape:
    return lambda record: json.dumps(shape(record)).encode()


def ecs_with_original(record: Json) -> Json:
    """As with the tag `preserve_original_event`."""
    document = ecs(record)
    return document | {"event": document["event"] | {"original": json.dumps(record)}}


def ecs_before_the_pipeline(record: Json) -> Json:
    """As Elastic Agent sends to Kafka: the record is the message, nothing was taken out of it."""
    return {
        "@timestamp": "2026-01-01T00:00:00.000Z",
        "message": json.dumps(record),
        "event": {"dataset": "aws.cloudtrail"},
        "data_stream": {"type": "logs", "dataset": "aws.cloudtrail", "namespace": "default"},
    }


def ecs_text_only(record: Json) -> Json:
    """Without the objects: what a query of Elasticsearch gives that leaves `flattened` out."""
    document = ecs(record)
    del document["aws"]["cloudtrail"]["flattened"]
    return document


def dotted(value: Json, prefix: str = "") -> Json:
    """Each object's keys joined into one, as ES|QL and some shippers write them; `flattened` stays objects."""
    flat: Json = {}
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if isinstance(inner, dict) and not path.startswith("aws.cloudtrail.flattened."):
            flat |= dotted(inner, f"{path}.")
        else:
            flat[path] = inner
    return flat


def ocsf_with_objects(record: Json) -> Json:
    """Parameters and response as objects, as shippers write that have no columns of text."""
    event = ocsf(record)
    for place, key in (("request", "requestParameters"), ("response", "responseElements")):
        if record.get(key) is not None:
            event["api"].setdefault(place, {})["data"] = record[key]
    return event


def ocsf_of_1_0(record: Json) -> Json:
    """With the names that version 1.0 had for a user's ids."""
    event = ocsf(record)
    user = event.get("actor", {}).get("user", {})
    renamed = {
        "uid": user.pop("uid", None),
        "uid_alt": user.pop("uid_alt", None),
        "account": user.pop("account", {}),
    }
    user |= {"uuid": renamed["uid"], "uid": renamed["uid_alt"], "account_uid": renamed["account"].get("uid")}
    event["metadata"]["version"] = "1.0.0"
    return event


SHAPES: Final[dict[str, Shape]] = {
    **{name: partial(alone, wrap) for name, wrap in WRAPS.items()},
    "avro": partial(alone, avro(REGISTRY, "events")),
    "array": lambda record: json.dumps([record]).encode(),
    "gzip": lambda record: gzip.compress(json.dumps(record).encode()),
    "base64 of gzip": lambda record: base64_gzip(json.dumps(record).encode()),
    "ecs, with the original": encoded(ecs_with_original),
    "ecs, before the pipeline": encoded(ecs_before_the_pipeline),
    "ecs, text only": encoded(ecs_text_only),
    "ecs, dotted": encoded(lambda record: dotted(ecs(record))),
    "ocsf, with objects": encoded(ocsf_with_objects),
    "ocsf, of 1.0": encoded(ocsf_of_1_0),
}

# --- what a shape cannot carry -------------------------------------------------------------------

_OF_PARAMETERS: Final = {"duration_seconds_effective", "inline_policy_grade", "not_evaluable", "verdict"}
_NEWLY_FOUND: Final = {"duration_seconds_requested", "policy_arns", "related_finding_ids"}
_OF_SEVERITY: Final = {"risk_score", "severity", "severity_id"}

# Without an eventID the id is made of the record as it was read.
WITHOUT_ID: Final[dict[str, set[str]]] = {
    name: {"finding_id"}
    for name in (
        "fires-event-id-a-number",
        "fires-event-id-null",
        "fires-federated-user-no-event-id",
        "fires-minimal-record",
        "fires-no-event-id",
    )
}
# An array of one value is that value in Elasticsearch, and the mappings keep a field whatever it holds.
NAME_IN_A_LIST: Final[dict[str, set[str]]] = {
    name: {"verdict"} for name in ("quiet-event-name-a-list", "quiet-event-source-a-list")
}
TYPE_IN_A_LIST: Final[dict[str, set[str]]] = {"quiet-identity-type-a-list": {"verdict"}}
# Parameters are text there anyhow, so JSON in a text is read: of a raw record such a text is not evaluable.
JSON_IN_A_TEXT: Final = {
    "fires-parameters-a-json-string": _OF_PARAMETERS | _OF_SEVERITY | {"duration_seconds_requested"},
    "quiet-parameters-a-json-string": _OF_PARAMETERS | _NEWLY_FOUND,
}
# So is Java's text of an object.
JAVA_IN_A_TEXT: Final = {"quiet-parameters-flattened-text": _OF_PARAMETERS | _NEWLY_FOUND}
# The pipeline of Elastic drops what is null or empty: parameters without any are as good as unknown.
EMPTY: Final = {
    "fires-parameters-empty": _OF_PARAMETERS | _OF_SEVERITY,
    "fires-administrator-access-beside-null-arn": {"not_evaluable"},
}
# A type that is missing, or none of CloudTrail's, is told by the ARN.
TYPE_BY_ARN: Final[dict[str, set[str]]] = {
    name: {"verdict"} for name in ("quiet-identity-type-in-lower-case", "quiet-identity-type-null")
}
# Java's text of an object has no quotes: ", " and "=" in a value may end it. What thereby could be another field,
# or hide one, is not evaluable: a rule that could be missed says so.
TEXT_WITHOUT_QUOTES: Final = {
    "asking for all": {"session_tags"},
    "fires-duration-beside-unreadable-policy": {"not_evaluable"},
    "quiet-inline-broken-json": {"duration_seconds_effective", "not_evaluable"},
    "quiet-inline-deeply-nested": {"duration_seconds_effective", "not_evaluable"},
}

_MAPPED: Final = WITHOUT_ID | NAME_IN_A_LIST | TYPE_IN_A_LIST | JSON_IN_A_TEXT | JAVA_IN_A_TEXT
_ECS: Final = _MAPPED | EMPTY
_OCSF: Final = _MAPPED | TYPE_BY_ARN

# By shape: the events that lose something, and the fields that differ for it. Shapes not named lose nothing.
LOST: Final[Mapping[str, Mapping[str, set[str]]]] = {
    "avro": WITHOUT_ID | JSON_IN_A_TEXT,
    "ecs": _ECS,
    "ecs, dotted": _ECS,
    "ecs, text only": _ECS | TEXT_WITHOUT_QUOTES,
    "ecs, with the original": NAME_IN_A_LIST,
    "ocsf": _OCSF,
    "ocsf, with objects": _OCSF,
    "ocsf, of 1.0": _OCSF,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_gives_the_same_finding_in_every_shape(shape: str) -> None:
    """All that differs is what is stated above, and what is stated there does differ."""
    found: dict[str, set[str]] = {}
    for name, record in EVENTS:
        plain, wrapped = (told(detect(data)) for data in (json.dumps(record).encode(), SHAPES[shape](record)))
        if differing := differences(plain, wrapped):
            found[name] = found.get(name, set()) | differing
    assert found == LOST.get(shape, {})


def test_there_are_enough_distinct_events_that_give_findings() -> None:
    """Quiet events alone would prove nothing."""
    findings = [finding for _, record in EVENTS for finding in DETECTOR.detect_record(record).findings]
    assert len(EVENTS) >= 250
    assert len(findings) >= 200
    assert {finding.rule_id for finding in findings} == {rule.id for rule in RULES}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_lets_the_session_token_into_a_finding(shape: str) -> None:
    """Nor where a shape has it inside of a text."""
    token = "IQoJb3JpZ2luX2VjEXAMPLE-of-a-token-that-stays-here"
    record = issuance()
    record["responseElements"]["credentials"]["sessionToken"] = token
    findings = detect(SHAPES[shape](record)).findings
    assert findings
    assert all(token not in str(msgspec.to_builtins(finding)) for finding in findings)


# --- random events in random envelopes -----------------------------------------------------------

Layer = Callable[[bytes], bytes]

# By what they take: a JSON value, any text, any bytes.
JSON_LAYERS: Final[dict[str, Layer]] = {
    "records": lambda data: b'{"Records": [' + data + b"]}",
    "array": lambda data: b"[" + data + b"]",
    "eventbridge": lambda data: b'{"detail-type": "AWS API Call via CloudTrail", "detail": ' + data + b"}",
}
TEXT_LAYERS: Final[dict[str, Layer]] = {
    "sns": lambda data: json.dumps({"Type": "Notification", "Message": data.decode()}).encode(),
    "cloudwatch": lambda data: json.dumps(
        {"messageType": "DATA_MESSAGE", "logEvents": [{"id": "0", "timestamp": 0, "message": data.decode()}]}
    ).encode(),
}


@st.composite
def layered(draw: st.DrawFn, data: bytes, most: int = 3) -> tuple[bytes, list[str]]:
    """The JSON in up to `most` envelopes, one around the other, and their names from the inside out."""
    names: list[str] = []
    packed = False
    for _ in range(draw(st.integers(0, most))):
        layers = TEXT_LAYERS if packed else JSON_LAYERS | TEXT_LAYERS | {"gzip": gzip.compress}
        name = draw(st.sampled_from(sorted(layers)))
        if packed:
            data = base64.b64encode(data)
        data = layers[name](data)
        packed = name == "gzip"
        names.append(name)
    return (base64.b64encode(data), [*names, "base64"]) if packed and draw(st.booleans()) else (data, names)


@given(watched_records(), st.data())
def test_envelopes_around_an_event_change_nothing(record: Json, data: st.DataObject) -> None:
    """However odd the event, and several deep."""
    plain = json.dumps(record).encode()
    message, names = data.draw(layered(plain))
    detection = detect(message)
    assert told(detection) == told(detect(plain)), names
    outermost = next((name for name in reversed(names) if name not in ("gzip", "base64")), "record")
    labels = {finding.envelope for finding in detection.findings}
    assert labels <= {{"array": "documents"}.get(outermost, outermost)}


@st.composite
def asked(draw: st.DrawFn) -> Json:
    """An issuance as AWS writes it: values are odd only in what the API lets a caller choose."""
    names = st.text("abc019_+=,.@-", min_size=2, max_size=32)
    parameters: Json = {"name": draw(names)}
    if draw(st.booleans()):
        parameters["durationSeconds"] = draw(st.integers(900, 129_600))
    if draw(st.booleans()):
        parameters["policy"] = json.dumps(draw(policies(statements())), indent=draw(st.sampled_from([None, 2])))
    if arns := draw(st.lists(names, max_size=3)):
        account = draw(st.sampled_from(["aws", "111122223333"]))
        chosen = draw(st.sampled_from(["AdministratorAccess", "IAMFullAccess", *arns]))
        parameters["policyArns"] = [{"arn": f"arn:aws:iam::{account}:policy/{name}"} for name in [*arns, chosen]]
    changes: Json = {"eventID": draw(st.uuids().map(str)), "requestParameters": parameters}
    if draw(st.booleans()):
        changes |= {
            "errorCode": "AccessDenied",
            "errorMessage": "User: x is not authorized",
            "responseElements": None,
        }
    return issuance(**changes)


@given(st.sampled_from(sorted(SHAPES)), asked(), st.data())
def test_an_event_as_aws_writes_it_is_the_same_in_every_shape_and_envelope(
    shape: str, record: Json, data: st.DataObject
) -> None:
    """Nothing is lost of it, its ids least of all."""
    shaped = SHAPES[shape](record)
    if shaped[:1] in (b"{", b"["):
        shaped, _ = data.draw(layered(shaped, most=2))
    assert told(detect(shaped)) == told(detect(json.dumps(record).encode()))
