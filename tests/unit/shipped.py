"""What the tests of shippers' documents share: real-looking documents, and what must come out of any of them."""

import json
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from service.detect import Detector
from service.envelopes import Part, Record, load, unwrap
from service.errors import DecodeError
from service.event import Event
from service.finding import to_json
from service.rules import RULES
from tests.unit.strategies import ODDITIES, paths, put

DOCUMENTS: Final = Path(__file__).parent / "documents"
DETECTOR: Final = Detector(RULES)
# The session token in every document. Not one that is known by how it begins: its key alone must give it away.
TOKEN: Final = "EXAMPLETOKEN+planted0123456789/abcdef=="
FACTS: Final = (
    *("outcome", "time", "account_id", "principal_type", "principal_arn", "principal_name", "session_issuer_arn"),
    *("seconds_requested", "seconds_effective", "policy_arns", "inline_policy", "session_tags", "expires_at"),
    *("federated_user_name", "federated_user_arn", "name_mismatch", "issued_access_key_id"),
)


# What the request for a token in the documents is found for.
LOUD: Final = {
    "federation-token-requested",
    "duration-over-24h",
    "administrator-access-policy",
    "inline-policy-full-admin",
}


def document(name: str) -> dict[str, Any]:
    return dict(json.loads((DOCUMENTS / f"{name}.json").read_bytes()))


def parts(data: object) -> list[Part]:
    return list(unwrap(json.dumps(data).encode()))


def only(data: dict[str, Any]) -> Record:
    (part,) = parts(data)
    assert isinstance(part, Record), part
    return part


def loaded(data: dict[str, Any]) -> dict[str, Any]:
    return load(only(data))


def facts(record: dict[str, Any]) -> dict[str, object]:
    """What the rules and findings read of a record."""
    event = Event(record)
    return {name: getattr(event, name) for name in FACTS}


def findings(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings on a document, as they leave the process."""
    record = only(data)
    detection = DETECTOR.detect_record(load(record), envelope=record.envelope)
    assert not detection.errors
    return [json.loads(to_json(finding)) for finding in detection.findings]


def check_wrong_types(shipped: Any, data: st.DataObject) -> None:
    """Nothing raises, whatever stands in a few places of the document."""
    for _ in range(data.draw(st.integers(1, 6))):
        shipped = put(shipped, data.draw(st.sampled_from(paths(shipped))), data.draw(st.sampled_from(ODDITIES)))
    found = parts(shipped)
    assert found
    for part in found:
        if isinstance(part, Record):
            try:
                record = load(part)
            except DecodeError:
                continue
            assert not DETECTOR.detect_record(record).errors


def clauses(data: dict[str, Any]) -> set[str]:
    return {clause for finding in findings(data) for clause in finding["clauses"]}


def not_evaluable(data: dict[str, Any]) -> set[str]:
    return {item["clause"] for finding in findings(data) for item in finding["not_evaluable"]}


# --- what shippers do ------------------------------------------------------------------------------


def java(value: object) -> str:
    """What Java's `toString` makes of it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={java(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(java, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def flat(value: dict[str, Any], *whole: str, prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted keys, save what lies below the keys that stay whole."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and key not in whole:
            found |= flat(inner, *whole, prefix=f"{prefix}{key}.")
        else:
            found[prefix + key] = inner
    return found


def as_ecs(record: dict[str, Any], form: str) -> dict[str, Any]:
    """The fields that an ECS document has of a record; `form` says where parameters and response stand."""
    identity = record["userIdentity"]
    issuer = identity.get("sessionContext", {}).get("sessionIssuer", {})
    trail: dict[str, Any] = {
        "event_version": record["eventVersion"],
        "recipient_account_id": record["recipientAccountId"],
        "user_identity": {
            "type": identity["type"],
            "arn": identity["arn"],
            "access_key_id": identity["accessKeyId"],
            "session_context": {"session_issuer": {"arn": issuer.get("arn"), "type": issuer.get("type")}},
        },
        "error_code": record.get("errorCode"),
    }
    for key, name in (("request_parameters", "requestParameters"), ("response_elements", "responseElements")):
        if form == "flattened":
            trail.setdefault("flattened", {})[key] = record[name]
        elif form == "text" and record[name] is not None:
            trail[key] = java(record[name])
    made = {
        "@timestamp": record["eventTime"],
        "aws": {"cloudtrail": trail},
        "cloud": {"account": {"id": identity["accountId"]}},
        "event": {"provider": record["eventSource"], "action": record["eventName"], "id": record["eventID"]},
        "user": {"name": identity.get("userName", issuer.get("userName")), "id": identity["principalId"]},
    }
    if form == "original":
        made["event"]["original"] = json.dumps(record)
    return flat(made, "request_parameters", "response_elements") if form == "dotted" else made


def as_ocsf(record: dict[str, Any], form: str) -> dict[str, Any]:
    """The fields that an OCSF event has of a record; `form` says how parameters and response are written."""
    identity = record["userIdentity"]
    issuer = identity.get("sessionContext", {}).get("sessionIssuer", {})
    write = json.dumps if form == "text" else lambda value: value
    data = {name: record[name] for name in ("requestParameters", "responseElements")}
    in_place = form in ("text", "object")
    unmapped = {"recipientAccountId": record["recipientAccountId"]} | ({} if in_place else data)
    return {
        "class_uid": 6003,
        "metadata": {"uid": record["eventID"], "product": {"version": record["eventVersion"]}},
        "time": 1_732_956_197_000,
        "api": {
            "service": {"name": record["eventSource"]},
            "operation": record["eventName"],
            "request": {"data": write(data["requestParameters"]) if in_place else None},
            "response": {
                "data": write(data["responseElements"]) if in_place else None,
                "error": record.get("errorCode"),
            },
        },
        "actor": {
            "user": {
                "type": identity["type"],
                "uid": identity["arn"],
                "uid_alt": identity["principalId"],
                "name": identity.get("userName"),
                "credential_uid": identity["accessKeyId"],
                "account": {"uid": identity["accountId"]},
            },
            "session": {"issuer": issuer.get("arn")},
        },
        "unmapped": flat(unmapped) if form == "dotted" else unmapped,
    }
