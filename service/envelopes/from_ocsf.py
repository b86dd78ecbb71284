"""Events of the Open Cybersecurity Schema Framework, made of CloudTrail records -> the records.

As Amazon Security Lake and other shippers write them, from 1.0.0-rc.2 to 1.5; told by the API's names, whatever
the class. AWS's mapping: https://github.com/ocsf/examples/tree/main/mappings/markdown/AWS/v1.1.0/CloudTrail
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from service.envelopes import parameters
from service.envelopes.dotted import at, text_at, unflattened, value_at, values_at

_FAILED: Final = "the event's status says failure, without a reason"
_FAILURE_ID: Final = 2  # of `status_id`, in every version

# CloudTrail's name of a field, and where it is found: placements changed between versions.
_FIELDS: Final = {
    "eventVersion": ("metadata.product.version",),
    "eventSource": ("api.service.name",),
    "eventName": ("api.operation",),
    "awsRegion": ("cloud.region",),
    "sourceIPAddress": ("src_endpoint.ip", "src_endpoint.domain", "src_endpoint.hostname"),
    "userAgent": ("http_request.user_agent",),
    "errorCode": ("api.response.error", "unmapped.errorCode"),
    "errorMessage": ("api.response.message", "unmapped.errorMessage"),
    "requestID": ("api.request.uid", "unmapped.requestID"),
    "eventID": ("metadata.uid", "unmapped.eventID"),
    "eventType": ("metadata.event_code", "metadata.log_name", "unmapped.eventType"),
    "apiVersion": ("api.version",),
    "eventCategory": ("metadata.product.feature.name",),
    "recipientAccountId": ("unmapped.recipientAccountId", "cloud.account.uid", "cloud.account_uid"),
    "readOnly": ("unmapped.readOnly",),
    "managementEvent": ("unmapped.managementEvent",),
    "sharedEventID": ("unmapped.sharedEventID",),
    "additionalEventData": ("unmapped.additionalEventData",),
    "tlsDetails": ("unmapped.tlsDetails",),
}
_REQUEST: Final = ("api.request.data", "unmapped.requestParameters")
_RESPONSE: Final = ("api.response.data", "unmapped.responseElements")
_USERS: Final = ("actor.user", "identity.user", "user")  # `identity` before 1.0; `user` in Authentication
_USER: Final = {
    "accountId": ("account.uid", "account_uid"),
    "accessKeyId": ("credential_uid",),
    "userName": ("name",),
}
_ATTRIBUTES: Final = {
    "creationDate": ("actor.session.created_time_dt",),
    "mfaAuthenticated": ("actor.session.is_mfa", "actor.session.mfa"),
}
# The types that CloudTrail has; OCSF's own (`User`, `Admin`, `Unknown`) say less than the ARN does.
_TYPES: Final = frozenset(
    "Root IAMUser AssumedRole Role FederatedUser Directory AWSAccount AWSService IdentityCenterUser "
    "SAMLUser WebIdentityUser".split()
)
_TYPE_BY_RESOURCE: Final = {
    "federated-user": "FederatedUser",
    "assumed-role": "AssumedRole",
    "user": "IAMUser",
    "root": "Root",
}


def tell(document: Mapping[str, object]) -> tuple[str | None, str | None] | None:
    """The service's and the operation's name; None for what has neither. Values may still be JSON."""
    names = text_at(document, "api.service.name"), text_at(document, "api.operation")
    return None if names == (None, None) else names


def is_ocsf(document: Mapping[str, object]) -> bool:
    """Whether a document that tells no names is an event of another source."""
    return at(document, "class_uid") is not None and at(document, "metadata") is not None


def originals(document: Mapping[str, object]) -> Iterator[object]:
    """Where the event may hold the record itself: a text, or an object."""
    value = at(document, "raw_data")
    if value is not None:
        yield unflattened(value) if isinstance(value, Mapping) else value


def record(document: Mapping[str, object]) -> dict[str, object]:
    """The CloudTrail record that a decoded event tells of, as far as it does."""
    document = {**document, "unmapped": parameters.opened(document.get("unmapped"))}
    made = values_at(document, _FIELDS)
    made["eventTime"] = _time(document)
    made["userIdentity"] = _identity(document)
    made["requestParameters"] = parameters.request(value_at(document, *_REQUEST))
    made["responseElements"] = parameters.response(value_at(document, *_RESPONSE))
    endpoint = text_at(document, "src_endpoint.uid", "unmapped.vpcEndpointId")
    if endpoint is not None and endpoint.startswith("vpce-"):
        made["vpcEndpointId"] = endpoint
    if _failed(document) and "errorCode" not in made and "errorMessage" not in made:
        code = text_at(document, "status_code")
        made |= {} if code is None else {"errorCode": code}
        made["errorMessage"] = value_at(document, "status_detail") or _FAILED
    return made


def _failed(document: Mapping[str, object]) -> bool:
    status = text_at(document, "status") or ""
    return status.lower() == "failure" or value_at(document, "status_id") in (_FAILURE_ID, str(_FAILURE_ID))


def _time(document: Mapping[str, object]) -> object:
    """As text where there is one; `time` itself counts milliseconds."""
    stated = text_at(document, "time_dt", "unmapped.eventTime")
    counted = value_at(document, "time")
    if stated is not None or isinstance(counted, bool) or not isinstance(counted, int | float):
        return stated or counted
    try:
        return datetime.fromtimestamp(counted / 1_000, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def _identity(document: Mapping[str, object]) -> dict[str, object]:
    user = next((user for user in (at(document, path) for path in _USERS) if user is not None), None)
    unmapped = at(document, "unmapped.userIdentity")
    identity = unflattened(unmapped) if isinstance(unmapped, Mapping) else {}
    identity |= values_at(user, _USER)
    uids = [uid for path in ("uid", "uuid", "uid_alt") if (uid := text_at(user, path)) is not None]
    arns = [uid for uid in uids if uid.startswith("arn:")]
    others = [uid for uid in uids if not uid.startswith("arn:")]
    identity |= ({"arn": arns[0]} if arns else {}) | ({"principalId": others[0]} if others else {})
    kind = _type(value_at(user, "type"), identity.get("type"), identity.get("arn"))
    if kind is not None:
        identity["type"] = kind
    invoked_by = value_at(document, "actor.invoked_by")
    if invoked_by is not None:
        identity["invokedBy"] = invoked_by
    return identity | _context(document, identity.get("sessionContext"))


def _type(stated: object, unmapped: object, arn: object) -> object:
    for kind in (stated, unmapped):
        if isinstance(kind, str) and kind in _TYPES:
            return kind
    resource = arn.split(":", 5)[-1] if isinstance(arn, str) else ""
    otherwise = stated if stated is not None else unmapped
    return _TYPE_BY_RESOURCE.get(resource.partition("/")[0], otherwise)


def _context(document: Mapping[str, object], unmapped: object) -> dict[str, object]:
    context = dict(unmapped) if isinstance(unmapped, Mapping) else {}
    attributes = values_at(document, _ATTRIBUTES)
    if attributes:
        context["attributes"] = attributes
    issuer = context.get("sessionIssuer")
    arn = value_at(document, "actor.session.issuer")
    if arn is not None:
        context["sessionIssuer"] = {**(issuer if isinstance(issuer, Mapping) else {}), "arn": arn}
    return {"sessionContext": context} if context else {}
