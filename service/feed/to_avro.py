"""CloudTrail records -> Avro in Confluent's wire format, under a schema that the registry holds. For `feed`."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from service.feed.reshape import CloudTrail
from service.feed.wrap import Wrap

if TYPE_CHECKING:
    from service.avro.registry import Registry

_ISSUER: Final = {"type": str, "principalId": str, "arn": str, "accountId": str, "userName": str}
_IDENTITY: Final = {
    "type": str,
    "principalId": str,
    "arn": str,
    "accountId": str,
    "accessKeyId": str,
    "userName": str,
    "invokedBy": str,
    "identityProvider": str,
    "sessionContext": {
        "attributes": {"mfaAuthenticated": str, "creationDate": str},
        "sessionIssuer": _ISSUER,
    },
}
# A field's type in Python; `object` is JSON in a string, since its contents differ from call to call.
_FIELDS: Final[Mapping[str, Any]] = {
    "eventVersion": str,
    "userIdentity": _IDENTITY,
    "eventTime": str,
    "eventSource": str,
    "eventName": str,
    "awsRegion": str,
    "sourceIPAddress": str,
    "userAgent": str,
    "errorCode": str,
    "errorMessage": str,
    "requestParameters": object,
    "responseElements": object,
    "additionalEventData": object,
    "requestID": str,
    "eventID": str,
    "readOnly": bool,
    "resources": object,
    "eventType": str,
    "apiVersion": str,
    "managementEvent": bool,
    "recipientAccountId": str,
    "serviceEventDetails": object,
    "sharedEventID": str,
    "vpcEndpointId": str,
    "vpcEndpointAccountId": str,
    "eventCategory": str,
    "addendum": object,
    "sessionCredentialFromConsole": str,
    "tlsDetails": {"tlsVersion": str, "cipherSuite": str, "clientProvidedHostHeader": str},
}


def avro(registry: "Registry", topic: str) -> Wrap:
    """A wrap of one record. The schema stands under `<topic>-value`. Raises Unreachable, Refused."""
    from fastavro import parse_schema, schemaless_writer  # noqa: PLC0415  # for those who ask for Avro

    schema = cloudtrail_schema()
    head = struct.pack(">bI", 0, registry.subject_id(f"{topic}-value", json.dumps(schema)))
    parsed = parse_schema(schema)

    def wrap(records: Sequence[CloudTrail]) -> bytes:
        (record,) = records
        buffer = io.BytesIO()
        schemaless_writer(buffer, parsed, fitted(record))
        return head + buffer.getvalue()

    return wrap


def cloudtrail_schema() -> dict[str, Any]:
    """The Avro schema of a record, every field nullable. Kept in config/schemas/cloudtrail.avsc."""
    return _record("CloudTrailRecord", _FIELDS) | {"namespace": "io.tokentrail.cloudtrail"}


def fitted(record: CloudTrail, fields: Mapping[str, Any] = _FIELDS) -> dict[str, Any]:
    """What of the record the schema has a place for. A value of another type than its field's is null."""
    return {name: _fitted(record.get(name), kind) for name, kind in fields.items()}


def _fitted(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, Mapping):
        return fitted(value, kind) if isinstance(value, Mapping) else None
    if kind is object and not isinstance(value, str):
        return json.dumps(value)
    if not isinstance(value, kind):
        return None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _record(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": field, "type": ["null", _type(field, kind)], "default": None}
            for field, kind in fields.items()
        ],
    }


def _type(field: str, kind: Any) -> Any:
    if isinstance(kind, Mapping):
        return _record(field[:1].upper() + field[1:], kind)
    return "boolean" if kind is bool else "string"
