"""What a message or a file comes apart into: records, and parts that are none."""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from service.envelopes.mending import decode_json

Envelope = Literal["record", "records", "documents", "eventbridge", "cloudwatch", "sns", "ecs", "ocsf", "avro"]

# Why a part is ignored; the values are metric labels.
IgnoredKind = Literal[
    "cloudwatch_control",  # a subscription's reachability test
    "digest",  # a digest file of CloudTrail's own integrity check
    "insight",  # an Insights event: about rates of calls, not about a call
    "not_cloudtrail",  # another event of EventBridge, an ECS document or OCSF event of another source
    "s3_pointer",  # only says where in S3 a log file lies
    "sns_control",  # subscription confirmations
    "tombstone",  # a message without value
]

# Why a part is rejected; the values are metric labels.
REASONS: Final = (
    "avro",  # bytes that do not fit their schema
    "base64",  # looks like base64 of gzip, and is not
    "empty",  # no bytes, or white space only
    "glue_schema",  # the header of AWS Glue Schema Registry, which is not supported
    "gzip",  # a damaged or truncated gzip stream
    "json",  # broken or truncated JSON
    "not_a_record",  # JSON, but neither a record nor a known envelope
    "not_json",  # binary or plain text
    "schema_unavailable",  # the schema registry does not answer, and waiting for it is not what was asked for
    "schema_unknown",  # the registry does not know the schema, or none is configured
    "too_deep",  # nested beyond what is worth following
    "too_large",  # decompresses to more than the limit
)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as it was found. `source` and `name` are CloudTrail's eventSource and eventName, None where they
    are absent or no text. `decode` makes a CloudTrail record, a dict, of `data`, or raises DecodeError.
    """

    data: bytes
    source: str | None
    name: str | None
    envelope: Envelope
    decode: Callable[[bytes], object] = decode_json


class Ignored(msgspec.Struct, frozen=True):
    kind: IgnoredKind


class Rejected(msgspec.Struct, frozen=True):
    """`data` is the part as it was found; `detail` says what is wrong and where, without event text."""

    data: bytes
    reason: str
    detail: str


Part = Record | Ignored | Rejected
