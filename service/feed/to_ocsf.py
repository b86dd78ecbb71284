"""A CloudTrail record -> the OCSF event that Amazon Security Lake stores of it. Reads nothing back.

AWS's mapping: https://github.com/ocsf/examples/tree/main/mappings/markdown/AWS/v1.1.0/CloudTrail
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from service.feed.reshape import CloudTrail, is_address, milliseconds, moved, put
from service.timestamps import time_of

_FIELDS: Final = (
    ("actor.user.account.uid", "userIdentity.accountId"),
    ("actor.user.credential_uid", "userIdentity.accessKeyId"),
    ("actor.user.name", "userIdentity.userName"),
    ("actor.user.type", "userIdentity.type"),
    ("actor.user.uid", "userIdentity.arn"),
    ("actor.user.uid_alt", "userIdentity.principalId"),
    ("actor.session.created_time_dt", "userIdentity.sessionContext.attributes.creationDate"),
    ("actor.session.is_mfa", "userIdentity.sessionContext.attributes.mfaAuthenticated"),
    ("actor.session.issuer", "userIdentity.sessionContext.sessionIssuer.arn"),
    ("actor.invoked_by", "userIdentity.invokedBy"),
    ("actor.idp.name", "userIdentity.identityProvider"),
    ("api.operation", "eventName"),
    ("api.request.uid", "requestID"),
    ("api.response.error", "errorCode"),
    ("api.response.message", "errorMessage"),
    ("api.service.name", "eventSource"),
    ("api.version", "apiVersion"),
    ("cloud.region", "awsRegion"),
    ("http_request.user_agent", "userAgent"),
    ("metadata.event_code", "eventType"),
    ("metadata.product.feature.name", "eventCategory"),
    ("metadata.product.version", "eventVersion"),
    ("metadata.uid", "eventID"),
    ("src_endpoint.uid", "vpcEndpointId"),
)
_DATA: Final = ("requestParameters", "responseElements")
_MAPPED: Final = frozenset({*_DATA, "eventTime", "sourceIPAddress", *(path for _, path in _FIELDS)})
_CONSTANTS: Final = {
    "activity_id": 99,
    "activity_name": "Other",
    "category_name": "Application Activity",
    "category_uid": 6,
    "class_name": "API Activity",
    "class_uid": 6003,
    "severity": "Informational",
    "severity_id": 1,
    "type_name": "API Activity: Other",
    "type_uid": 600399,
}


def ocsf(record: CloudTrail) -> dict[str, Any]:
    """API Activity of OCSF 1.1. Parameters and response are JSON in a string; what has no place of its own lies
    in `unmapped`, under dotted keys, as text.

    What is null or absent is absent alike, and so is an unreadable time.
    """
    event = moved(record, _FIELDS) | _CONSTANTS
    failed = bool(record.get("errorCode") or record.get("errorMessage"))
    event |= {"status": "Failure", "status_id": 2} if failed else {"status": "Success", "status_id": 1}
    if (time := time_of(record.get("eventTime"))) is not None:
        event |= {"time": int(time.timestamp() * 1_000), "time_dt": milliseconds(time)}
    for place, key in zip(("api.request.data", "api.response.data"), _DATA, strict=True):
        if (value := record.get(key)) is not None:
            put(event, place, _text(value))
    address = record.get("sourceIPAddress")
    if address is not None:
        put(event, "src_endpoint.ip" if is_address(address) else "src_endpoint.domain", address)
    put(event, "cloud.provider", "AWS")
    put(event, "metadata.product.name", "CloudTrail")
    put(event, "metadata.product.vendor_name", "AWS")
    put(event, "metadata.profiles", ["cloud", "datetime"])
    put(event, "metadata.version", "1.1.0")
    event["unmapped"] = {path: text for path, text in _dotted(record) if path not in _MAPPED}
    return event


def _dotted(record: CloudTrail, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every value outside of `_DATA`; a list is JSON."""
    for key, value in record.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{path}.") if path not in _DATA else ()
        elif value is not None:
            yield path, _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
