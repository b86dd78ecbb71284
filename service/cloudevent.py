"""A finding -> a Kafka message, as CloudEvents has it in binary mode.

https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md
"""

import re
from datetime import datetime
from typing import Final

from service.batch import Outgoing
from service.finding import Finding, Format

_FRAME_BYTES: Final = 500  # what Kafka adds to a message
_MAX_SUBJECT: Final = 256
# What CloudEvents forbids in an attribute; it is an event's text, and the key has it as it is.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


def cloudevent(topic: str, finding: Finding, written: Format, now: datetime, room: int) -> Outgoing:
    """`room` is the most bytes the message may have; a finding that needs more goes without its event."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": finding.finding_id,
        "ce_type": "io.tokentrail.finding.v1",
        "ce_source": "tokentrail",
        "ce_time": finding.detected_at,
        "ce_subject": _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", finding.key[:_MAX_SUBJECT]),
        "content-type": written.content_type,
        "severity": finding.severity,
        "rule_id": finding.rule_id,
        "canary": "true" if finding.canary else None,
    }
    encoded = [(name, value.encode()) for name, value in headers.items() if value is not None]
    key = finding.key.encode()
    beside = len(key) + sum(len(name) + len(value) for name, value in encoded)
    value = written.encode(finding, room - beside - _FRAME_BYTES)
    return Outgoing(topic, key, value, encoded, int(now.timestamp() * 1000))
