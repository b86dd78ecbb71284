"""The canary: an attack that nobody made, and the mark by which its findings are told from real ones.

The mark is a Kafka header with a MAC over the message, its topic and the time. Whoever lacks the key cannot make
one, and even with it nothing real can be hidden: a marked record must be the canary's own. Knows no clock and no
client.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

HEADER: Final = "tokentrail-canary"
MAX_AGE_SECONDS: Final = 300
MAX_AHEAD_SECONDS: Final = 60  # clocks differ
MAX_SEEN: Final = 1_000

# No AWS account has it, and a record of AWS's own has a UUID for its id.
ACCOUNT: Final = "000000000000"
EVENT_ID_PREFIX: Final = "canary-"
IDENTITY: Final[Mapping[str, str]] = {
    "type": "IAMUser",
    "principalId": "AIDACANARY0000000000",
    "arn": f"arn:aws:iam::{ACCOUNT}:user/tokentrail-canary",
    "accountId": ACCOUNT,
    "accessKeyId": "AKIACANARY0000000000",
    "userName": "tokentrail-canary",
}

Mark = bytes  # the header's value

# What became of a mark; the values are metric labels.
MarkResult = Literal[
    "accepted",
    "no_key",  # none is configured here, so no mark is believed
    "wrong_mark",  # not ours, or of another key, message or topic
    "expired",  # made more than five minutes ago, or in the future
    "not_canary",  # on a record that is not the canary's
    "replayed",  # accepted before
]

_MARK: Final = re.compile(rb"v1 (?P<seconds>\d{1,12}) (?P<mac>[0-9a-f]{64})")


def attack(event_id: str, moment: datetime) -> bytes:
    """A record that gives findings: 36 hours, every action on every resource. `event_id` begins as ours do."""
    name, issued = "tokentrail-canary", "ASIACANARY0000000000"
    federated = {"federatedUserId": f"{ACCOUNT}:{name}", "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{name}"}
    expiration = (moment + timedelta(hours=36)).astimezone(UTC).strftime("%b %d, %Y, %I:%M:%S %p")
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    record = {
        "eventVersion": "1.08",
        "userIdentity": IDENTITY,
        "eventTime": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "sts.amazonaws.com",
        "eventName": "GetFederationToken",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "192.0.2.1",  # RFC 5737: for documentation
        "userAgent": "tokentrail-canary",
        "requestParameters": {"name": name, "durationSeconds": 129_600, "policy": policy},
        "responseElements": {
            "credentials": {"accessKeyId": issued, "expiration": expiration},
            "federatedUser": federated,
        },
        "requestID": event_id,
        "eventID": event_id,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }
    return json.dumps(record).encode()


def seal(key: str, topic: str, value: bytes, moment: datetime) -> Mark:
    seconds = b"%d" % moment.timestamp()
    return b"v1 %s %s" % (seconds, _mac(key.encode(), topic, seconds, value))


def _mac(key: bytes, topic: str, seconds: bytes, value: bytes) -> bytes:
    # Neither a topic's name nor a number holds a line break, so no two messages give the same text.
    said = b"\n".join((b"tokentrail canary v1", topic.encode(), seconds, hashlib.sha256(value).digest()))
    return hmac.new(key, said, hashlib.sha256).hexdigest().encode()


def mark_of(headers: Collection[tuple[str, bytes | None]] | None) -> Mark | None:
    return next((value for name, value in headers or () if name == HEADER), None)


class Canary:
    """Judges marks. Not for several threads.

    A mark is accepted once, as far as this process remembers. After a restart, or on a partition that another
    process reads, a copy made within five minutes is accepted again: it repeats the canary's own finding, no more.
    """

    def __init__(self, key: str | None, topic: str) -> None:
        self._key = None if key is None else key.encode()
        self._topic = topic
        self._seen: dict[Mark, None] = {}

    def verify(self, mark: Mark, value: bytes, record: Mapping[str, Any], now: datetime) -> MarkResult:
        """What to make of a mark on a message of that value, of which `record` was decoded. Changes nothing."""
        if self._key is None:
            return "no_key"
        found = _MARK.fullmatch(mark)
        if found is None or not hmac.compare_digest(
            found["mac"], _mac(self._key, self._topic, found["seconds"], value)
        ):
            return "wrong_mark"
        if not -MAX_AHEAD_SECONDS <= now.timestamp() - int(found["seconds"]) <= MAX_AGE_SECONDS:
            return "expired"
        if not _is_canary(record):
            return "not_canary"
        return "replayed" if mark in self._seen else "accepted"

    def remember(self, marks: Iterable[Mark]) -> None:
        """To be called once the findings are committed: until then the same message may have to be read again."""
        self._seen.update(dict.fromkeys(marks))
        while len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]


def _is_canary(record: Mapping[str, Any]) -> bool:
    event_id = record.get("eventID")
    return (
        record.get("userIdentity") == IDENTITY
        and record.get("recipientAccountId") == ACCOUNT
        and isinstance(event_id, str)
        and event_id.startswith(EVENT_ID_PREFIX)
    )
