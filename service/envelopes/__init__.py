"""Bytes -> CloudTrail records, whatever they were wrapped in. Core: no I/O, no clock.

unwrapping    the one way in: `unwrap` tells an envelope by its content, `load` decodes a record in full
parts         what comes out: records, and what is ignored or rejected, with the reason
glance        a JSON object told by a few of its keys, the rest undecoded
inflate       gzip, never more than a limit
mending       several documents in one message, and broken ones
from_ecs, from_ocsf      shippers' documents -> records
dotted, parameters, java_map   below these: nested or dotted keys, parameters as text
"""

from service.envelopes.parts import REASONS, Envelope, Ignored, IgnoredKind, Part, Record, Rejected
from service.envelopes.unwrapping import DEFAULT_LIMIT, load, unwrap

__all__ = [
    "DEFAULT_LIMIT",
    "REASONS",
    "Envelope",
    "Ignored",
    "IgnoredKind",
    "Part",
    "Record",
    "Rejected",
    "load",
    "unwrap",
]
