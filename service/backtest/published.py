"""The two published rules ours must never be narrower than, evaluated on a raw record as their engines would.

Written from what the rules do, in our own words. Must know nothing of ours, so that the comparison is fair.
Both engines compare names exactly. A name that is not one string matches nothing here, as it would leave
neither engine with a single value to compare.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

WATCHED: Final = ("sts.amazonaws.com", "GetFederationToken")  # eventSource and eventName of both
ADMINISTRATOR_ACCESS: Final = "AdministratorAccess"
_WHITE_SPACE: Final = "".join(map(chr, range(33)))  # what Java's String.trim() takes away
_DECIMAL: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def rule_a(record: Mapping[str, object]) -> bool:
    """Datadog's rule: the name and the source, as exact facets; success or failure alike."""
    return (record.get("eventSource"), record.get("eventName")) == WATCHED


def rule_b(record: Mapping[str, object]) -> bool:
    """Elastic's ES|QL hunt 3f8393b2-5f0b-11ef-8a25-f661ea17fbce: over 24 hours, or AdministratorAccess.

    Assumed: the document came through Elastic's CloudTrail integration and lies within the hunt's time range;
    fields keep the record's order (Java's map may shuffle them: the property test draws every order); no
    field is cut or left out of the index for its length, which could only make the hunt narrower.
    Raises RecursionError for parameters nested deeper than Python follows.
    """
    if not rule_a(record):
        return False
    seconds = to_integer(duration_text(record))
    return (seconds is not None and seconds // 60 > 1440) or ADMINISTRATOR_ACCESS in (policies_text(record) or "")


def duration_text(record: Mapping[str, object]) -> str | None:
    """What the hunt takes for the duration: up to a comma, which a last field does not have."""
    return dissected(parameters_text(record), "durationSeconds=", ",")


def policies_text(record: Mapping[str, object]) -> str | None:
    """What it takes for the list of policy ARNs."""
    return dissected(parameters_text(record), "policyArns=[", "]")


def parameters_text(record: Mapping[str, object]) -> str | None:
    """The integration's text of `requestParameters`: absent and null have none, a string is its own text."""
    parameters = record.get("requestParameters")
    return None if parameters is None else java_text(parameters)


def java_text(value: object) -> str:
    """Java's `toString()` of parsed JSON: `{name=x, policyArns=[{arn=y}]}`, nothing quoted or escaped.

    Java writes large floats with an exponent; both forms read back as the same number.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}={java_text(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(java_text, value)) + "]"
        case _:
            return str(value)


def dissected(text: str | None, start: str, end: str) -> str | None:
    """Elasticsearch's dissect, for the hunt's form of pattern: a brace, anything, `start`, the value, `end`.

    The first `start` counts, wherever in the text it stands; without an `end` after it there is no value.
    """
    if text is None or not text.startswith("{"):
        return None
    _, started, rest = text[1:].partition(start)
    value, ended, _ = rest.partition(end)
    return value if started and ended else None


def to_integer(text: str | None) -> int | None:
    """ES|QL's conversion: decimals are rounded; no number, or one beyond 32 bits, is null with a warning.

    Java also reads hexadecimal floats and the suffixes of its literals; no event has them, they are left out.
    """
    if text is None or not _DECIMAL.fullmatch(trimmed := text.strip(_WHITE_SPACE)):
        return None
    number = float(trimmed)
    return math.floor(number + 0.5) if -(2**31) <= number < 2**31 else None
