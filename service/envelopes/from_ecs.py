"""Elastic Common Schema documents of CloudTrail -> CloudTrail records.

As Elastic Agent's aws.cloudtrail data stream, Filebeat's aws module and Logstash write them:
https://github.com/elastic/integrations/tree/main/packages/aws/data_stream/cloudtrail
Their pipeline drops whatever is null or empty, so parameters that are absent here are unknown, not none.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from msgspec import Raw

from service.envelopes import parameters
from service.envelopes.dotted import at, text_at, unflattened, value_at, values_at

_DATASET: Final = "aws.cloudtrail"
# Where a document may hold the record itself: kept by choice, or not yet gone through Elastic's pipeline.
_ORIGINALS: Final = ("event.original", "message", "json")
_FAILED: Final = "event.outcome says failure, without a reason"

_TRAIL: Final = "aws.cloudtrail"
_IDENTITY: Final = f"{_TRAIL}.user_identity"
_CONTEXT: Final = f"{_IDENTITY}.session_context"
# CloudTrail's name of a field, and where it is found.
_FIELDS: Final = {
    "eventVersion": (f"{_TRAIL}.event_version",),
    "eventTime": ("@timestamp",),
    "eventSource": ("event.provider",),
    "eventName": ("event.action",),
    "awsRegion": ("cloud.region",),
    "sourceIPAddress": ("source.address", "source.ip"),
    "userAgent": ("user_agent.original",),
    "errorCode": (f"{_TRAIL}.error_code",),
    "errorMessage": (f"{_TRAIL}.error_message",),
    "requestID": (f"{_TRAIL}.request_id",),
    "eventID": ("event.id",),
    "readOnly": (f"{_TRAIL}.read_only",),
    "eventType": (f"{_TRAIL}.event_type",),
    "apiVersion": (f"{_TRAIL}.api_version",),
    "managementEvent": (f"{_TRAIL}.management_event",),
    "recipientAccountId": (f"{_TRAIL}.recipient_account_id",),
    "sharedEventID": (f"{_TRAIL}.shared_event_id",),
    "vpcEndpointId": (f"{_TRAIL}.vpc_endpoint_id",),
    "eventCategory": (f"{_TRAIL}.event_category",),
}
_IDENTITY_FIELDS: Final = {
    "type": (f"{_IDENTITY}.type",),
    "principalId": ("user.id",),
    "arn": (f"{_IDENTITY}.arn",),
    "accountId": ("cloud.account.id",),
    "accessKeyId": (f"{_IDENTITY}.access_key_id",),
    "invokedBy": (f"{_IDENTITY}.invoked_by",),
}
_ATTRIBUTES: Final = {
    "creationDate": (f"{_CONTEXT}.creation_date",),
    "mfaAuthenticated": (f"{_CONTEXT}.mfa_authenticated",),
}
_ISSUER: Final = {
    "type": (f"{_CONTEXT}.session_issuer.type",),
    "principalId": (f"{_CONTEXT}.session_issuer.principal_id",),
    "arn": (f"{_CONTEXT}.session_issuer.arn",),
    "accountId": (f"{_CONTEXT}.session_issuer.account_id",),
}
_TLS: Final = {"cipherSuite": ("tls.cipher",), "clientProvidedHostHeader": ("tls.client.server_name",)}


class Told(NamedTuple):
    """What a glance tells. `kind` is None where nothing says what the document is of."""

    source: str | None
    name: str | None
    kind: Literal["cloudtrail", "digest", "insight", "not_cloudtrail"] | None


def tell(document: Mapping[str, object]) -> Told:
    """Tell a document by its content. Its values may still be JSON (`msgspec.Raw`)."""
    source, name = text_at(document, "event.provider"), text_at(document, "event.action")
    if at(document, _TRAIL) is None:
        dataset = text_at(document, "event.dataset", "data_stream.dataset")
        if dataset != _DATASET:
            return Told(source, name, None if dataset is None else "not_cloudtrail")
    if source is None and name is None:
        if _flattened(document, "digest") is not None:
            return Told(None, None, "digest")
        if _flattened(document, "insight_details") is not None:
            return Told(None, None, "insight")
    return Told(source, name, "cloudtrail")


def is_ecs(document: Mapping[str, object]) -> bool:
    """Whether a document that tells nothing else comes from a shipper of Elastic's."""
    return "@timestamp" in document or at(document, "ecs.version") is not None


def originals(document: Mapping[str, object]) -> Iterator[object]:
    """Where the document may hold the record itself: texts that may be JSON, objects, or either as JSON."""
    for path in _ORIGINALS:
        value = at(document, path)
        if isinstance(value, Mapping):
            yield unflattened(value)
        elif _may_be_json(value):
            yield value


def _may_be_json(value: object) -> bool:
    if isinstance(value, Raw):
        return bytes(value).lstrip(b'"\\nrt ')[:1] in (b"{", b"[")
    return isinstance(value, str) and value.lstrip()[:1] in ("{", "[")


def record(document: Mapping[str, object]) -> dict[str, object]:
    """The CloudTrail record that the fields of a decoded document tell of, as far as they do."""
    made = values_at(document, _FIELDS)
    made["userIdentity"] = _identity(document)
    made["requestParameters"] = parameters.request(_either(document, "request_parameters"))
    made["responseElements"] = parameters.response(_either(document, "response_elements"))
    for name, place in (("additionalEventData", "additional_eventdata"), ("resources", "resources")):
        value = _either(document, place)
        if value is not None:
            made[name] = value
    tls = values_at(document, _TLS)
    version = text_at(document, "tls.version")
    if tls or version:
        made["tlsDetails"] = tls | ({"tlsVersion": f"TLSv{version}"} if version else {})
    failed = (text_at(document, "event.outcome") or "").lower() == "failure"
    if failed and "errorCode" not in made and "errorMessage" not in made:
        made["errorMessage"] = _FAILED
    return made


def _identity(document: Mapping[str, object]) -> dict[str, object]:
    identity = values_at(document, _IDENTITY_FIELDS)
    issuer, attributes = values_at(document, _ISSUER), values_at(document, _ATTRIBUTES)
    name = value_at(document, "user.name")
    if name is not None:
        # Elastic's pipeline puts the issuer's name there where the caller has none of its own.
        owner = issuer if issuer and identity.get("type") not in ("IAMUser", "Root") else identity
        owner["userName"] = name
    context = {"attributes": attributes, "sessionIssuer": issuer}
    if issuer or attributes:
        identity["sessionContext"] = {key: value for key, value in context.items() if value}
    return identity


def _either(document: Mapping[str, object], place: str) -> object:
    """The object under `flattened` where there is one, else what stands beside it, text as a rule."""
    flattened = _flattened(document, place)
    if isinstance(flattened, Mapping):
        return flattened
    beside = value_at(document, f"{_TRAIL}.{place}")
    return flattened if beside is None else beside


def _flattened(document: Mapping[str, object], place: str) -> object:
    return at(document, f"{_TRAIL}.flattened.{place}")
