"""The part of OCSF's Detection Finding that we write, as types; it knows nothing of our findings.

The schema: https://schema.ocsf.io/1.5.0/classes/detection_finding. An attribute that is None is not written.
py-ocsf-models, which reads OCSF in Python, asks for some attributes that the schema only recommends.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

VERSION: Final = "1.5.0"  # https://github.com/ocsf/ocsf-schema/releases/tag/1.5.0


class Object(Struct, frozen=True, omit_defaults=True):
    pass


class Account(Object, frozen=True):
    uid: str
    name: Annotated[
        str, Meta(description="the number again where the operator gave no name: py-ocsf-models asks for one")
    ]
    type: Literal["AWS Account"]
    type_id: Literal[10]


class User(Object, frozen=True):
    type_id: Literal[0, 99]
    type: str | None = None
    name: str | None = None
    uid: str | None = None
    uid_alt: str | None = None
    credential_uid: Annotated[str | None, Meta(description="the access key's id")] = None
    account: Account | None = None


class Session(Object, frozen=True):
    issuer: str


class Actor(Object, frozen=True):
    user: User | None = None
    session: Session | None = None


class Service(Object, frozen=True):
    uid: str
    name: str
    version: Annotated[str, Meta(description="a word only: an event has none, and py-ocsf-models asks for one")]


class Request(Object, frozen=True):
    uid: str


class Response(Object, frozen=True):
    error: str


class Api(Object, frozen=True):
    operation: str
    service: Service | None = None
    request: Request | None = None
    response: Response | None = None


class Endpoint(Object, frozen=True):
    ip: str | None = None
    name: Annotated[str | None, Meta(description="where the source is no IP address")] = None


class HttpRequest(Object, frozen=True):
    user_agent: str


class Evidence(Object, frozen=True):
    api: Api
    uid: Annotated[str | None, Meta(description="the event's id")] = None
    name: str | None = None
    actor: Actor | None = None
    src_endpoint: Endpoint | None = None
    http_request: HttpRequest | None = None


class Resource(Object, frozen=True):
    uid: str
    labels: list[str]
    name: str | None = None
    type: Annotated[str | None, Meta(description="service and kind, as in the ARN: iam:user")] = None
    cloud_partition: str | None = None
    owner: User | None = None


class Cloud(Object, frozen=True):
    provider: Literal["AWS"]
    account: Account | None = None
    region: str | None = None
    cloud_partition: str | None = None


class Analytic(Object, frozen=True):
    uid: str
    name: str
    version: str
    type: Literal["Rule"]
    type_id: Literal[1]


class AttackPart(Object, frozen=True):
    uid: str
    name: str
    src_url: str


class Attack(Object, frozen=True):
    version: str
    tactic: AttackPart
    technique: AttackPart
    sub_technique: AttackPart | None = None


class RelatedEvent(Object, frozen=True):
    uid: str
    type: Annotated[str | None, Meta(description="of an event that is not in OCSF")] = None
    type_uid: int | None = None
    type_name: str | None = None


class FindingInfo(Object, frozen=True):
    uid: str
    title: str
    desc: str
    types: list[str]
    analytic: Analytic
    attacks: list[Attack]
    data_sources: list[str]
    created_time: int | None = None
    first_seen_time: int | None = None
    last_seen_time: int | None = None
    related_events: list[RelatedEvent] | None = None


class Remediation(Object, frozen=True):
    desc: str
    references: list[str]


class Product(Object, frozen=True):
    uid: str
    name: str
    vendor_name: str
    version: str


class Metadata(Object, frozen=True):
    uid: str
    version: str
    product: Product
    profiles: list[str]
    log_name: str
    log_provider: str
    correlation_uid: str | None = None
    original_time: str | None = None


class Observable(Object, frozen=True):
    name: Annotated[str, Meta(description="the path of the attribute that holds the value")]
    type: str
    type_id: int
    value: str


class DetectionFinding(Object, frozen=True):
    """Times are milliseconds since 1970. `unmapped` has what OCSF has no place for."""

    class_uid: Literal[2004]
    class_name: Literal["Detection Finding"]
    category_uid: Literal[2]
    category_name: Literal["Findings"]
    activity_id: Literal[1]
    activity_name: Literal["Create"]
    type_uid: Literal[200401]
    type_name: Literal["Detection Finding: Create"]
    time: int
    message: str
    severity_id: Annotated[int, Meta(ge=1, le=5)]
    severity: str
    status_id: Literal[1, 3]
    status: Literal["New", "Suppressed"]
    confidence_id: Annotated[int, Meta(ge=0, le=3)]
    confidence: str
    risk_level_id: Annotated[int, Meta(ge=0, le=4)]
    risk_level: str
    risk_score: Annotated[int, Meta(ge=0, le=100)]
    is_alert: Annotated[bool, Meta(description="false for what is suppressed, on trial or a canary")]
    metadata: Metadata
    cloud: Cloud
    finding_info: FindingInfo
    evidences: list[Evidence]
    remediation: Remediation
    unmapped: dict[str, Any]
    resources: list[Resource] | None = None
    observables: list[Observable] | None = None
