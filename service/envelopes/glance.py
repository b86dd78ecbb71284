"""Tells what a JSON object is by a few of its keys. All else stays undecoded, yet its syntax is checked.

Speed lives here: every message is looked at once, and a record without surprises no second time.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.envelopes import from_ecs, from_ocsf
from service.envelopes.dotted import members
from service.envelopes.mending import BROKEN
from service.envelopes.parts import Envelope, Ignored, IgnoredKind, Part, Record, Rejected


class Names(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The names of a record, where both are text. Refused is what has `Records`: it is no record, whatever else
    it has. Frozen, so that names can be looked up in a set.
    """

    event_name: str | UnsetType = UNSET
    event_source: str | UnsetType = UNSET
    records: UnsetType = msgspec.field(name="Records", default=UNSET)


class Glance(msgspec.Struct, gc=False, rename="camel"):
    """The keys that tell envelopes apart. All but the names stay undecoded."""

    event_name: str | UnsetType | None = UNSET
    event_source: str | UnsetType | None = UNSET
    records: Raw | UnsetType = msgspec.field(name="Records", default=UNSET)
    detail: Raw | UnsetType = UNSET
    detail_type: Raw | UnsetType = msgspec.field(name="detail-type", default=UNSET)
    message_type: Raw | UnsetType = UNSET
    log_events: Raw | UnsetType = UNSET
    type: Raw | UnsetType = msgspec.field(name="Type", default=UNSET)
    message: Raw | UnsetType = msgspec.field(name="Message", default=UNSET)


class _Telltales(msgspec.Struct, rename="camel"):
    """The keys that tell what an object without two names is."""

    event_name: Any = UNSET
    event_source: Any = UNSET
    event_type: Any = None
    event_category: Any = None
    event_version: Raw | UnsetType = UNSET
    user_identity: Raw | UnsetType = UNSET
    insight_details: Raw | UnsetType = UNSET
    digest_s3_bucket: Raw | UnsetType = UNSET
    digest_start_time: Raw | UnsetType = UNSET
    s3_bucket: Raw | UnsetType = UNSET
    s3_object_key: Raw | UnsetType = UNSET


names_of: Final = msgspec.json.Decoder(Names).decode  # raises mending.BROKEN
glance_at: Final = msgspec.json.Decoder(Glance).decode  # raises mending.BROKEN
_telltales: Final = msgspec.json.Decoder(_Telltales).decode


def nameless(data: bytes, envelope: Envelope | None) -> Part | None:
    """An object that is no envelope and lacks at least one of a record's names, or has one that is no text (a
    list, say). None when it cannot be decoded as it stands.
    """
    try:
        seen = _telltales(data)
    except BROKEN:
        return None
    kind = _kind(seen)
    if kind is not None:
        return Ignored(kind)
    if _has(seen.event_name, seen.event_source, seen.user_identity, seen.event_version):
        source = seen.event_source if isinstance(seen.event_source, str) else None
        name = seen.event_name if isinstance(seen.event_name, str) else None
        return Record(data, source, name, envelope or "record")
    document = members(data) or {}
    if from_ecs.is_ecs(document) or from_ocsf.is_ocsf(document):
        return Ignored("not_cloudtrail")
    return Rejected(data, "not_a_record", "neither a CloudTrail record nor an envelope that is known")


def _kind(seen: _Telltales) -> IgnoredKind | None:
    if seen.event_type == "AwsCloudTrailInsight" or seen.event_category == "Insight" or _has(seen.insight_details):
        return "insight"
    if _has(seen.digest_s3_bucket, seen.digest_start_time):
        return "digest"
    return "s3_pointer" if _has(seen.s3_bucket, seen.s3_object_key) else None


def _has(*values: object) -> bool:
    return any(value is not UNSET for value in values)
