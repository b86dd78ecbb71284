"""A CloudTrail record -> the ECS document that Elastic's AWS integration stores of it. Reads nothing back.

The pipeline: https://github.com/elastic/integrations/tree/main/packages/aws/data_stream/cloudtrail
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from service.feed.reshape import CloudTrail, is_address, milliseconds, moved
from service.timestamps import time_of

_LONGEST_OBJECT: Final = 32_766  # Lucene's longest term: the pipeline keeps the text only of what is longer

_IDENTITY: Final = "aws.cloudtrail.user_identity"
_CONTEXT: Final = f"{_IDENTITY}.session_context"
_FIELDS: Final = (
    ("event.provider", "eventSource"),
    ("event.action", "eventName"),
    ("event.id", "eventID"),
    (f"{_IDENTITY}.type", "userIdentity.type"),
    (f"{_IDENTITY}.arn", "userIdentity.arn"),
    (f"{_IDENTITY}.access_key_id", "userIdentity.accessKeyId"),
    (f"{_IDENTITY}.invoked_by", "userIdentity.invokedBy"),
    (f"{_CONTEXT}.mfa_authenticated", "userIdentity.sessionContext.attributes.mfaAuthenticated"),
    (f"{_CONTEXT}.creation_date", "userIdentity.sessionContext.attributes.creationDate"),
    (f"{_CONTEXT}.session_issuer.type", "userIdentity.sessionContext.sessionIssuer.type"),
    (f"{_CONTEXT}.session_issuer.principal_id", "userIdentity.sessionContext.sessionIssuer.principalId"),
    (f"{_CONTEXT}.session_issuer.arn", "userIdentity.sessionContext.sessionIssuer.arn"),
    (f"{_CONTEXT}.session_issuer.account_id", "userIdentity.sessionContext.sessionIssuer.accountId"),
    ("user.name", "userIdentity.userName"),
    ("user.name", "userIdentity.sessionContext.sessionIssuer.userName"),  # where the caller has none
    ("user.id", "userIdentity.principalId"),
    ("cloud.account.id", "userIdentity.accountId"),
    ("cloud.region", "awsRegion"),
    ("source.address", "sourceIPAddress"),
    ("user_agent.original", "userAgent"),
    ("aws.cloudtrail.api_version", "apiVersion"),
    ("aws.cloudtrail.error_code", "errorCode"),
    ("aws.cloudtrail.error_message", "errorMessage"),
    ("aws.cloudtrail.event_category", "eventCategory"),
    ("aws.cloudtrail.event_type", "eventType"),
    ("aws.cloudtrail.event_version", "eventVersion"),
    ("aws.cloudtrail.management_event", "managementEvent"),
    ("aws.cloudtrail.read_only", "readOnly"),
    ("aws.cloudtrail.recipient_account_id", "recipientAccountId"),
    ("aws.cloudtrail.request_id", "requestID"),
    ("aws.cloudtrail.resources", "resources"),
    ("aws.cloudtrail.vpc_endpoint_id", "vpcEndpointId"),
    ("tls.cipher", "tlsDetails.cipherSuite"),
    ("tls.client.server_name", "tlsDetails.clientProvidedHostHeader"),
)
_OBJECTS: Final = (
    ("request_parameters", "requestParameters"),
    ("response_elements", "responseElements"),
    ("additional_eventdata", "additionalEventData"),
    ("service_event_details", "serviceEventDetails"),
)


def ecs(record: CloudTrail) -> dict[str, Any]:
    """Without `event.original`, which the pipeline keeps only when asked to.

    The pipeline drops what is null or empty, at any depth, and what it has no field for: `sharedEventID`,
    `addendum`, an identity that is no object. An unreadable time it replaces by the ingest's: here it is absent.
    """
    kept = _without_empty(record)
    document = moved(kept, _FIELDS)
    outcome = "failure" if "errorCode" in kept or "errorMessage" in kept else "success"
    document.setdefault("event", {}).update(kind="event", type=["info"], outcome=outcome)
    document.setdefault("aws", {}).setdefault("cloudtrail", {}).update(_objects(kept))
    document["data_stream"] = {"type": "logs", "dataset": "aws.cloudtrail", "namespace": "default"}
    document["ecs"] = {"version": "8.11.0"}
    if (time := time_of(kept.get("eventTime"))) is not None:
        document["@timestamp"] = milliseconds(time)
    if is_address(kept.get("sourceIPAddress")):
        document["source"]["ip"] = kept["sourceIPAddress"]
    return document


def _objects(record: CloudTrail) -> dict[str, Any]:
    """Each object twice: as text, and as it is under `flattened`."""
    texts = {name: java_text(record[key]) for name, key in _OBJECTS if key in record}
    flattened = {
        name: record[key] for name, key in _OBJECTS if len(texts.get(name, "")) in range(1, _LONGEST_OBJECT)
    }
    return {**texts, "flattened": flattened}


def java_text(value: object) -> str:
    """What Java's `toString()` makes of it: no quotes, no escapes, so it cannot always be read back."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={java_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(java_text, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def _without_empty(value: Any) -> Any:
    """The value without what is null or empty in it, and without what that leaves empty."""
    if isinstance(value, Mapping):
        kept = {key: _without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if not _is_empty(inner)}
    if isinstance(value, list):
        return [inner for inner in map(_without_empty, value) if not _is_empty(inner)]
    return value


def _is_empty(value: object) -> bool:
    return value is None or value in ("", {}, [])
