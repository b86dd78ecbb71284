"""A finding: what it holds, how it is named, how it is written.

The struct below is the one place that knows the fields; the JSON and Avro schemas are made from it.
"""

import hashlib
import json
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from service.event import MAX_TEXT, bounded

SCHEMA_VERSION: Final = "1.1"
MITRE_VERSION: Final = "17.1"  # https://attack.mitre.org/resources/versions/

# RFC 4122, version 5, below a name space of our own: the same event gives the same ids for ever.
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "tokentrail.io")

Severity = Literal["informational", "low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = typing.get_args(Severity)
RISK_SCORES: Final[dict[Severity, int]] = dict(zip(SEVERITIES, (10, 21, 47, 73, 99), strict=True))

# Below the 1,048,588 bytes that brokers take by default, with room for the headers: for `scan`, and for what
# `check` asks of a topic. `run` has intake.MAX_MESSAGE_BYTES, headers included.
MAX_FINDING_BYTES: Final = 900_000
_MAX_EVENT_CHARACTERS: Final = 100_000
_MAX_EVENT_ITEMS: Final = 200


def _doc(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Reason(msgspec.Struct, frozen=True):
    clause: str
    path: Annotated[str, _doc("where in the record the value stands")]
    value: Annotated[str | None, _doc("the value, as JSON text where it is no text, cut when long")]
    explanation: str


class NotEvaluable(msgspec.Struct, frozen=True):
    rule_id: str
    clause: str
    reason: Annotated[str, _doc("a short stable code")]


class Technique(msgspec.Struct, frozen=True):
    tactic_id: str
    tactic: str
    technique_id: str
    technique: str


class Action(msgspec.Struct, frozen=True):
    service: str
    operation: str
    parameters: dict[str, str]
    undo: Annotated[str | None, _doc("how it is taken back")]


class Pivot(msgspec.Struct, frozen=True):
    system: str
    query: str


class Tag(msgspec.Struct, frozen=True):
    key: str | None
    value: str | None


class Origin(msgspec.Struct, frozen=True):
    """Where the record was read: a place in a topic, or one in a file."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp: Annotated[str | None, _doc("the message's own time, RFC 3339")] = None
    file: str | None = None
    index: Annotated[int | None, _doc("the record's number in the file, from 0")] = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. Times are RFC 3339 in UTC with `Z`; absent is null, never an empty text."""

    schema_version: str = SCHEMA_VERSION
    finding_id: Annotated[str, _doc("UUIDv5 of rule and event: the same for a replay or a redelivery")]
    rule_id: str
    rule_name: str
    rule_version: str
    severity: Severity
    severity_id: Annotated[int, _doc("as OCSF has it: 1 informational, 2 low, 3 medium, 4 high, 5 critical")]
    risk_score: Annotated[int, _doc("0 to 100, follows from the severity")]
    title: str
    description: str
    clauses: Annotated[list[str], _doc("the clauses that hold")]
    reasons: list[Reason]
    not_evaluable: Annotated[list[NotEvaluable], _doc("what could not be read, so may hold")]
    outcome: Literal["success", "failure"]
    error_code: str | None
    mitre_version: str = MITRE_VERSION
    mitre: list[Technique]
    runbook: Annotated[list[str], _doc("what to do, in this order")]
    actions: Annotated[list[Action], _doc("containment steps as data")] = msgspec.field(default_factory=list)
    pivots: Annotated[list[Pivot], _doc("queries ready to run")] = msgspec.field(default_factory=list)
    false_positives: list[str]
    references: list[str]
    event_time: str | None
    detected_at: Annotated[str | None, _doc("null when the detector was given no time")]
    principal_arn: str | None
    principal_type: str | None
    principal_name: str | None
    principal_id: str | None
    principal_access_key_id: str | None
    session_issuer_arn: str | None
    containment_arn: Annotated[str | None, _doc("the identity to act on; a federated user's is its issuer")]
    root_caller: bool
    federated_user_name: str | None
    federated_user_arn: str | None
    name_mismatch: Annotated[bool | None, _doc("federated name differs from the caller's; null: unknown")]
    duration_seconds_requested: int | None
    duration_seconds_effective: Annotated[int | None, _doc("43,200 when none was asked, 3,600 at most for root")]
    expires_at: str | None
    policy_arns: list[str]
    inline_policy_grade: Annotated[
        Literal["full_admin", "broad", "iam_admin", "scoped", "no_power", "absent", "unknown"] | None,
        _doc("what the inline policy asks for; null when the event is no request for a session"),
    ]
    policy_contents_unknown: Annotated[bool, _doc("a policy of the customer's own is among the ARNs")]
    session_tags: list[Tag] | None
    issued_access_key_id: str | None
    session_key: Annotated[str | None, _doc("UUIDv5 of the issued key: joins all findings of one session")]
    related_finding_ids: list[str]
    source_ip: str | None
    vpc_endpoint_id: str | None
    user_agent: str | None
    region: str | None
    account_id: str | None
    account_alias: Annotated[str | None, _doc("the operator's name of the account")] = None
    account_owner: Annotated[str | None, _doc("whom to ask about the account")] = None
    known_broker: Annotated[str | None, _doc("the broker that the principal is known for")] = None
    event_id: str | None
    request_id: str | None
    event_name: str | None
    event_source: str | None
    origin: Origin
    envelope: Annotated[str | None, _doc("how the record arrived")]
    stage: Annotated[str | None, _doc("set when the rule is on trial")] = None
    canary: bool = False
    suppressed_by: str | None = None
    event: Annotated[dict[str, Any], _doc("the record without its secrets, long values cut")]

    @property
    def key(self) -> str:
        """The message key: an attack's findings share a partition."""
        return self.containment_arn or self.principal_arn or self.account_id or self.finding_id


def finding_id(rule_id: str, record: Mapping[str, object]) -> str:
    event_id = record.get("eventID")
    if not isinstance(event_id, str) or not event_id:
        canonical = json.dumps(record, sort_keys=True, default=str)
        event_id = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    return str(uuid.uuid5(NAMESPACE, f"finding/{rule_id}/{event_id}"))


def session_key(access_key_id: str | None) -> str | None:
    return None if access_key_id is None else str(uuid.uuid5(NAMESPACE, f"session/{access_key_id}"))


def bounded_record(record: dict[str, Any]) -> dict[str, Any]:
    """The record with long values cut, so that a finding never outgrows a message; itself where none is."""
    if _room_after(record, _MAX_EVENT_CHARACTERS) > 0:
        return record
    left = _MAX_EVENT_CHARACTERS

    def cut(value: object) -> object:
        nonlocal left
        if left <= 0:
            return "…[cut]"
        if isinstance(value, str):
            value = bounded(value)
            left -= len(value)
        elif isinstance(value, dict):
            items = list(value.items())[:_MAX_EVENT_ITEMS]
            return {cut(key): cut(inner) for key, inner in items}
        elif isinstance(value, list):
            return [cut(inner) for inner in value[:_MAX_EVENT_ITEMS]]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return str(value)[:100]
        left -= 8
        return value

    return {str(cut(key)): cut(value) for key, value in list(record.items())[:_MAX_EVENT_ITEMS]}


def _room_after(value: object, left: int) -> int:
    """What the value leaves of so many characters; 0 or less when something in it has to be cut."""
    if isinstance(value, str):
        return left - len(value) - 8 if len(value) <= MAX_TEXT else 0
    if isinstance(value, dict):
        for key, inner in value.items():
            left = _room_after(inner, left - len(key) - 8) if len(key) <= MAX_TEXT else 0
    elif isinstance(value, list):
        for inner in value:
            left = _room_after(inner, left)
    else:
        return left - 8 if not isinstance(value, int) or -(2**63) <= value < 2**63 else 0
    return left if len(value) <= _MAX_EVENT_ITEMS else 0


# --- encodings ---------------------------------------------------------------------------------


class Format(msgspec.Struct, frozen=True):
    """How findings are written. `encode` takes a most of bytes: a finding of more goes without its event."""

    content_type: str
    encode: Callable[[Finding, int], bytes]


def without_event(finding: Finding) -> Finding:
    return msgspec.structs.replace(finding, event={"omitted": True})


def to_json(finding: Finding, max_bytes: int = MAX_FINDING_BYTES) -> bytes:
    """UTF-8 JSON. A finding of more than `max_bytes` goes without its event."""
    encoded = msgspec.json.encode(finding)
    return encoded if len(encoded) <= max_bytes else msgspec.json.encode(without_event(finding))


JSON: Final = Format("application/json", to_json)


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a finding."""
    schema = msgspec.json.schema(Finding)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def avro_schema() -> dict[str, Any]:
    """The Avro schema of a finding; `event` is a JSON string there. Kept in config/schemas/finding.avsc."""
    return _avro_record(Finding, "io.tokentrail")


def _avro_record(struct: type[msgspec.Struct], namespace: str | None = None) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = [_avro_field(field.name, hints[field.name]) for field in msgspec.structs.fields(struct)]
    head = {"type": "record", "name": struct.__name__}
    return {**head, **({"namespace": namespace} if namespace else {}), "fields": fields}


def _avro_field(name: str, hint: Any) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name}
    if typing.get_origin(hint) is Annotated:
        hint, meta = typing.get_args(hint)
        field["doc"] = meta.description
    field["type"] = _avro_type(hint)
    if isinstance(field["type"], list):
        field["default"] = None
    return field


def _avro_type(hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return ["null", _avro_type(inner)]
    if origin is dict and arguments[1] is str:
        return {"type": "map", "values": "string"}
    if origin is dict or origin is Literal:
        return "string"
    if origin is list:
        return {"type": "array", "items": _avro_type(arguments[0])}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _avro_record(hint)
    return {str: "string", int: "long", bool: "boolean"}[hint]
