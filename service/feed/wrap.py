"""CloudTrail records -> the bytes of a message, in each shape that events arrive in: the inverse of `envelopes`.

Made from what the products document, not from what `envelopes` reads, so that each is a check on the other. It
knows no topic, no file and no schema registry.
"""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from service.feed.reshape import CloudTrail
from service.feed.to_ecs import ecs
from service.feed.to_ocsf import ocsf
from service.timestamps import time_of

Wrap = Callable[[Sequence[CloudTrail]], bytes]

_EXAMPLE_ACCOUNT: Final = "111122223333"  # where a record does not say


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _single(shape: Callable[[CloudTrail], Mapping[str, object]], records: Sequence[CloudTrail]) -> bytes:
    (record,) = records
    return _json(shape(record))


def _records(records: Sequence[CloudTrail]) -> bytes:
    """As CloudTrail delivers to S3, unpacked."""
    return _json({"Records": list(records)})


def _eventbridge(record: CloudTrail) -> dict[str, object]:
    """As a rule of the account's default bus gets it.

    https://docs.aws.amazon.com/eventbridge/latest/ref/events-structure.html
    """
    source = record.get("eventSource")
    sign_in = record.get("eventType") == "AwsConsoleSignIn"
    return {
        "version": "0",
        "id": record.get("eventID"),
        "detail-type": "AWS Console Sign In via CloudTrail" if sign_in else "AWS API Call via CloudTrail",
        "source": f"aws.{source.partition('.')[0]}" if isinstance(source, str) else "aws.cloudtrail",
        "account": _account(record),
        "time": record.get("eventTime"),
        "region": record.get("awsRegion"),
        "resources": [],
        "detail": record,
    }


def _sns(record: CloudTrail) -> dict[str, object]:
    """What an EventBridge rule with an SNS topic as its target sends.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """
    return {
        "Type": "Notification",
        "MessageId": record.get("eventID"),
        "TopicArn": f"arn:aws:sns:us-east-1:{_account(record)}:cloudtrail",
        "Message": json.dumps(_eventbridge(record)),
        "Timestamp": record.get("eventTime"),
        "SignatureVersion": "1",
    }


def _cloudwatch(records: Sequence[CloudTrail]) -> bytes:
    """As a subscription filter sends, gzip included; a log event's message is the record as text.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    """
    account = _account(records[0])
    data = {
        "messageType": "DATA_MESSAGE",
        "owner": account,
        "logGroup": "aws-cloudtrail-logs",
        "logStream": f"{account}_CloudTrail_{records[0].get('awsRegion')}",
        "subscriptionFilters": ["tokentrail"],
        "logEvents": [
            {"id": f"{number:056d}", "timestamp": _epoch_ms(record), "message": json.dumps(record)}
            for number, record in enumerate(records)
        ],
    }
    squeezed = zlib.compressobj(wbits=31)  # 31: with gzip's header
    return squeezed.compress(_json(data)) + squeezed.flush()


def _account(record: CloudTrail) -> object:
    return record.get("recipientAccountId") or _EXAMPLE_ACCOUNT


def _epoch_ms(record: CloudTrail) -> int:
    time = time_of(record.get("eventTime"))
    return 0 if time is None else int(time.timestamp() * 1_000)


# By the envelope that `unwrap` tells. Those not in SEVERAL take exactly one record.
WRAPS: Final[Mapping[str, Wrap]] = {
    "record": partial(_single, lambda record: record),
    "records": _records,
    "eventbridge": partial(_single, _eventbridge),
    "cloudwatch": _cloudwatch,
    "sns": partial(_single, _sns),
    "ecs": partial(_single, ecs),
    "ocsf": partial(_single, ocsf),
}
SEVERAL: Final = frozenset({"records", "cloudwatch"})
