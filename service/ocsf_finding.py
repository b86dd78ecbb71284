"""A finding -> OCSF Detection Finding. What OCSF has no place for keeps its own name, under `unmapped`."""

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import msgspec

from service import ocsf
from service.finding import MAX_FINDING_BYTES, Finding, Format, Technique, without_event
from service.rules import EVERY_RULE

_PRODUCT: Final = ocsf.Product(
    uid="tokentrail", name="Tokentrail", vendor_name="Tokentrail", version=version("tokentrail")
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ATTACK: Final = "https://attack.mitre.org"
_NO_VERSION: Final = "unknown"

_CONFIDENCES: Final = {rule.id: rule.confidence for rule in EVERY_RULE}
_CONFIDENCE_IDS: Final = {"unknown": 0, "low": 1, "medium": 2, "high": 3}
_RISK_LEVELS: Final = ("Info", "Low", "Medium", "High", "Critical")

# (id, name). OCSF has numbers for the last three too, 19, 35 and 16, which the readers of its early versions
# refuse, py-ocsf-models among them: 99 stands for "see the name", and the names are OCSF's.
_IP_ADDRESS: Final = (2, "IP Address")
_USER_NAME: Final = (4, "User Name")
_RESOURCE: Final = (10, "Resource UID")
_CREDENTIAL: Final = (99, "User Credential ID")
_ACCOUNT: Final = (99, "Account UID")
_USER_AGENT: Final = (99, "HTTP User-Agent")

# The fields of a finding that OCSF has a place for; every other one goes to `unmapped`.
_MAPPED: Final = frozenset(
    """
    finding_id rule_id rule_name rule_version severity severity_id risk_score title description error_code
    mitre_version mitre runbook references event_time detected_at principal_arn principal_name principal_id
    principal_access_key_id session_issuer_arn related_finding_ids source_ip user_agent region account_id
    event_id request_id event_name event_source
    """.split()
)
_UNMAPPED: Final = tuple(name for name in Finding.__struct_fields__ if name not in _MAPPED)


def to_ocsf(finding: Finding, max_bytes: int = MAX_FINDING_BYTES) -> bytes:
    """UTF-8 JSON. A finding of more than `max_bytes` goes without its event."""
    encoded = msgspec.json.encode(detection_finding(finding))
    if len(encoded) > max_bytes:
        encoded = msgspec.json.encode(detection_finding(without_event(finding)))
    return encoded


OCSF: Final = Format("application/json", to_ocsf)


def ocsf_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of what `to_ocsf` writes; OCSF itself allows more."""
    schema = msgspec.json.schema(ocsf.DetectionFinding)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def detection_finding(finding: Finding) -> ocsf.DetectionFinding:
    """`time` is the detection's, else the event's, else 0: OCSF insists on one."""
    info = _finding_info(finding)
    confidence = _CONFIDENCES.get(finding.rule_id, "unknown")
    suppressed = finding.suppressed_by is not None
    return ocsf.DetectionFinding(
        class_uid=2004,
        class_name="Detection Finding",
        category_uid=2,
        category_name="Findings",
        activity_id=1,
        activity_name="Create",
        type_uid=200401,
        type_name="Detection Finding: Create",
        time=info.created_time or info.first_seen_time or 0,
        message=finding.title,
        severity_id=finding.severity_id,
        severity=finding.severity.capitalize(),
        status_id=3 if suppressed else 1,
        status="Suppressed" if suppressed else "New",
        confidence_id=_CONFIDENCE_IDS[confidence],
        confidence=confidence.capitalize(),
        risk_level_id=finding.severity_id - 1,
        risk_level=_RISK_LEVELS[finding.severity_id - 1],
        risk_score=finding.risk_score,
        is_alert=not (suppressed or finding.canary or finding.stage),
        metadata=_metadata(finding),
        cloud=_cloud(finding),
        finding_info=info,
        evidences=[_evidence(finding)],
        resources=list(_resources(finding)) or None,
        remediation=ocsf.Remediation(desc=_numbered(finding.runbook), references=finding.references),
        observables=list(_observables(finding)) or None,
        unmapped=_unmapped(finding),
    )


def _metadata(finding: Finding) -> ocsf.Metadata:
    return ocsf.Metadata(
        uid=finding.finding_id,
        version=ocsf.VERSION,
        product=_PRODUCT,
        profiles=["cloud"],
        log_name="CloudTrail",
        log_provider="AWS",
        correlation_uid=finding.session_key,
        original_time=finding.event_time,
    )


def _finding_info(finding: Finding) -> ocsf.FindingInfo:
    event_time = _milliseconds(finding.event_time)
    event = [ocsf.RelatedEvent(uid=finding.event_id, type="AWS CloudTrail event")] if finding.event_id else []
    others = [
        ocsf.RelatedEvent(uid=other, type_uid=200401, type_name="Detection Finding: Create")
        for other in finding.related_finding_ids
    ]
    return ocsf.FindingInfo(
        uid=finding.finding_id,
        title=finding.title,
        desc=finding.description,
        types=finding.clauses,
        analytic=ocsf.Analytic(
            uid=finding.rule_id, name=finding.rule_name, version=finding.rule_version, type="Rule", type_id=1
        ),
        attacks=[_attack(technique, finding.mitre_version) for technique in finding.mitre],
        created_time=_milliseconds(finding.detected_at),
        first_seen_time=event_time,
        last_seen_time=event_time,
        data_sources=["AWS CloudTrail"],
        related_events=event + others or None,
    )


def _attack(found: Technique, matrix: str) -> ocsf.Attack:
    """ATT&CK's T1550.001, "Use Alternate …: Application Access Token", is a technique and a sub-technique."""
    technique_id, _, number = found.technique_id.partition(".")
    name, _, sub_name = found.technique.partition(": ")
    url = f"{_ATTACK}/techniques/{technique_id}/"
    return ocsf.Attack(
        version=matrix,
        tactic=ocsf.AttackPart(
            uid=found.tactic_id, name=found.tactic, src_url=f"{_ATTACK}/tactics/{found.tactic_id}/"
        ),
        technique=ocsf.AttackPart(uid=technique_id, name=name, src_url=url),
        sub_technique=ocsf.AttackPart(uid=found.technique_id, name=sub_name, src_url=f"{url}{number}/")
        if number
        else None,
    )


def _cloud(finding: Finding) -> ocsf.Cloud:
    return ocsf.Cloud(
        provider="AWS",
        account=_account(finding.account_id, finding.account_alias),
        region=finding.region,
        cloud_partition=_arn(finding.principal_arn)[0],
    )


def _evidence(finding: Finding) -> ocsf.Evidence:
    user = _user(finding)
    issuer = finding.session_issuer_arn
    session = ocsf.Session(issuer=issuer) if issuer else None
    source = finding.event_source
    return ocsf.Evidence(
        uid=finding.event_id,
        name=finding.event_name,
        actor=ocsf.Actor(user=user, session=session) if user or session else None,
        api=ocsf.Api(
            operation=finding.event_name or "unknown",
            service=ocsf.Service(name=source, uid=source, version=_NO_VERSION) if source else None,
            request=ocsf.Request(uid=finding.request_id) if finding.request_id else None,
            response=ocsf.Response(error=finding.error_code) if finding.error_code else None,
        ),
        src_endpoint=_endpoint(finding.source_ip),
        http_request=ocsf.HttpRequest(user_agent=finding.user_agent) if finding.user_agent else None,
    )


def _user(finding: Finding) -> ocsf.User | None:
    """OCSF wants a user to have a name or an id: what is known best stands in for a missing ARN."""
    uid = finding.principal_arn or finding.principal_id or finding.principal_access_key_id
    if uid is None and finding.principal_name is None:
        return None
    return ocsf.User(
        name=finding.principal_name,
        uid=uid,
        uid_alt=finding.principal_id,
        type=finding.principal_type,
        type_id=99 if finding.principal_type else 0,
        credential_uid=finding.principal_access_key_id,
        account=_account(_arn(finding.principal_arn)[2]),
    )


def _account(number: str | None, name: str | None = None) -> ocsf.Account | None:
    return ocsf.Account(uid=number, name=name or number, type="AWS Account", type_id=10) if number else None


def _endpoint(source: str | None) -> ocsf.Endpoint | None:
    """AWS's own services call from a host name, or from the words "AWS Internal"."""
    if source is None:
        return None
    return ocsf.Endpoint(ip=source) if _is_ip(source) else ocsf.Endpoint(name=source)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _resources(finding: Finding) -> Iterator[ocsf.Resource]:
    if finding.containment_arn:
        yield _resource(finding.containment_arn, "identity to contain")
    if finding.federated_user_arn:
        yield _resource(finding.federated_user_arn, "federated session")


def _resource(arn: str, label: str) -> ocsf.Resource:
    partition, service, number, name = _arn(arn)
    kind = name.partition("/")[0] if name else None
    owner = number and ocsf.User(uid=number, name=number, type="AWS Account", type_id=99, account=_account(number))
    return ocsf.Resource(
        uid=arn,
        name=name,
        type=f"{service}:{kind}" if service and kind else None,
        labels=[label],
        cloud_partition=partition,
        owner=owner or None,
    )


def _arn(arn: str | None) -> tuple[str | None, str | None, str | None, str | None]:
    """Partition, service, account and resource of an ARN; None for what an event calls an ARN and is none."""
    parts = arn.split(":", 5) if arn else []
    if len(parts) < 6 or parts[0] != "arn":
        return None, None, None, None
    return parts[1] or None, parts[2] or None, parts[4] or None, parts[5] or None


def _observables(finding: Finding) -> Iterator[ocsf.Observable]:
    """Each value once, under the first of its places."""
    arns = [resource.uid for resource in _resources(finding)]
    user = "evidences[0].actor.user"
    places = [
        *((f"resources[{n}].uid", _RESOURCE, arn) for n, arn in enumerate(arns)),
        (f"{user}.uid", _RESOURCE, finding.principal_arn),
        (f"{user}.name", _USER_NAME, finding.principal_name),
        (f"{user}.credential_uid", _CREDENTIAL, finding.principal_access_key_id),
        ("unmapped.issued_access_key_id", _CREDENTIAL, finding.issued_access_key_id),
        ("cloud.account.uid", _ACCOUNT, finding.account_id),
        ("evidences[0].http_request.user_agent", _USER_AGENT, finding.user_agent),
    ]
    if finding.source_ip and _is_ip(finding.source_ip):
        places.append(("evidences[0].src_endpoint.ip", _IP_ADDRESS, finding.source_ip))
    seen: set[str] = set()
    for name, (type_id, kind), value in places:
        if value is not None and value not in seen:
            seen.add(value)
            yield ocsf.Observable(name=name, type_id=type_id, type=kind, value=value)


def _unmapped(finding: Finding) -> dict[str, Any]:
    """The event is a JSON string, as in Avro: its fields would be without number in a store of typed columns."""
    fields = {name: getattr(finding, name) for name in _UNMAPPED}
    fields["event"] = msgspec.json.encode(finding.event).decode()
    return {name: value for name, value in fields.items() if value is not None}


def _numbered(steps: list[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def _milliseconds(moment: str | None) -> int | None:
    """Since 1970, of an RFC 3339 time."""
    return (datetime.fromisoformat(moment) - _EPOCH) // timedelta(milliseconds=1) if moment else None
