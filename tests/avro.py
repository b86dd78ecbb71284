"""CloudTrail records in Avro for tests: schemas as people write them, each with how a record looks under it."""

import io
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastavro import parse_schema, schemaless_writer

Json = dict[str, Any]
TEXTS: Final = ("requestParameters", "responseElements", "additionalEventData")  # objects as JSON text


def optional(name: str, type_: Any, **more: Any) -> Json:
    return {"name": name, "type": ["null", type_], "default": None, **more}


def record(name: str, *fields: Json) -> Json:
    return {"type": "record", "name": name, "namespace": "com.example", "fields": list(fields)}


IDENTITY: Final = record(
    "UserIdentity",
    *(optional(name, "string") for name in ("type", "principalId", "arn", "accountId", "accessKeyId", "userName")),
    optional(
        "sessionContext",
        record(
            "SessionContext",
            optional(
                "sessionIssuer",
                record(
                    "Issuer",
                    *(
                        optional(name, "string")
                        for name in ("type", "principalId", "arn", "accountId", "userName")
                    ),
                ),
            ),
            optional("attributes", {"type": "map", "values": "string"}),
        ),
    ),
)
_BEFORE: Final = (
    {"name": "eventVersion", "type": "string"},
    {"name": "userIdentity", "type": ["null", IDENTITY]},
)
_AFTER: Final = tuple(
    optional(name, "string")
    for name in (
        *("awsRegion", "sourceIPAddress", "userAgent", "errorCode", "errorMessage"),
        *("requestID", "eventID", "eventType", "eventCategory", "recipientAccountId", "vpcEndpointId"),
        *("additionalEventData", "sessionCredentialFromConsole"),
    )
)
_TEXT: Final[Json] = {"type": "string", "avro.java.string": "String"}

# Objects as JSON texts, the time as text.
V1: Final = record(
    "CloudTrail",
    *_BEFORE,
    {"name": "eventTime", "type": "string"},
    {"name": "eventSource", "type": "string"},
    {"name": "eventName", "type": _TEXT},
    *_AFTER,
    optional("requestParameters", "string"),
    optional("responseElements", "string"),
    optional("readOnly", "boolean"),
    optional("managementEvent", "boolean"),
    optional("tlsDetails", {"type": "map", "values": "string"}),
)
# The next version: time as a number, parameters as a record, a union the other way round.
V2: Final = record(
    "CloudTrail",
    *_BEFORE,
    {"name": "eventTime", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "eventSource", "type": ["string", "null"], "default": ""},
    {"name": "eventName", "type": ["null", "string"]},
    *_AFTER,
    optional(
        "requestParameters",
        record(
            "Parameters",
            optional("name", "string"),
            optional("durationSeconds", "int"),
            optional("policy", "string"),
            optional(
                "policyArns", {"type": "array", "items": record("PolicyArn", {"name": "arn", "type": "string"})}
            ),
        ),
    ),
    optional("responseElements", {"type": "map", "values": "string"}),
    optional("readOnly", "boolean"),
)
# And the one after that: the house's own names, CloudTrail's as aliases, the names before all else.
V3: Final = record(
    "CloudTrail",
    {"name": "event_name", "type": "string", "aliases": ["operation", "eventName"]},
    {"name": "event_source", "type": "string", "aliases": ["eventSource"]},
    {"name": "actor", "type": ["null", IDENTITY], "aliases": ["userIdentity"]},
    {"name": "eventTime", "type": "string"},
    *_AFTER,
    optional("request", {"type": "map", "values": "string"}, aliases=["requestParameters"]),
)
RECORDS: Final = record("File", {"name": "Records", "type": {"type": "array", "items": V1}})
TEXT_WRAPPER: Final = record("Wrapper", {"name": "host", "type": "string"}, optional("message", "string"))
BYTES_WRAPPER: Final = record("Wrapper", {"name": "value", "type": "bytes"})
ECS: Final = record(
    "Ecs",
    {
        "name": "event",
        "type": record(
            "Event",
            *(optional(name, "string") for name in ("provider", "action", "outcome", "id", "original")),
        ),
    },
)


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _texts(value: Json | None) -> dict[str, str | None] | None:
    return value if value is None else {name: _text(held) for name, held in value.items()}


def in_v1(event: Json) -> Json:
    texts = {name: _text(event.get(name)) for name in TEXTS}
    return {**event, **texts}


def in_v2(event: Json) -> Json:
    moment = datetime.fromisoformat(event["eventTime"])
    return {**event, "eventTime": moment, "responseElements": _texts(event["responseElements"])}


def in_v3(event: Json) -> Json:
    names = {"event_name": event["eventName"], "event_source": event["eventSource"]}
    return {**event, **names, "actor": event["userIdentity"], "request": _texts(event["requestParameters"])}


@dataclass(frozen=True)
class Shape:
    schema: Any
    value: Callable[[Json], Any]


def _plain(event: Json) -> bytes:
    return json.dumps(event).encode()


SHAPES: Final[Mapping[str, Shape]] = {
    "v1": Shape(V1, in_v1),
    "v2": Shape(V2, in_v2),
    "v3": Shape(V3, in_v3),
    "records": Shape(RECORDS, lambda event: {"Records": [in_v1(event)]}),
    "text wrapper": Shape(TEXT_WRAPPER, lambda event: {"host": "a", "message": json.dumps(event)}),
    "bytes wrapper": Shape(BYTES_WRAPPER, lambda event: {"value": _plain(event)}),
    "string": Shape("string", json.dumps),
    "bytes": Shape("bytes", _plain),
    "ecs": Shape(
        ECS,
        lambda event: {
            "event": {
                "provider": event["eventSource"],
                "action": event["eventName"],
                "original": json.dumps(event),
            }
        },
    ),
}


def payload(schema: Any, value: Any) -> bytes:
    """The value alone, as fastavro writes it."""
    buffer = io.BytesIO()
    schemaless_writer(buffer, parse_schema(schema), value)
    return buffer.getvalue()


def message(schema_id: int, content: bytes) -> bytes:
    """Confluent's wire format."""
    return struct.pack(">bI", 0, schema_id) + content


def zigzag(number: int) -> bytes:
    """A long as Avro writes it."""
    rest = (number << 1) ^ (number >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*out, rest])
