"""Times as CloudTrail, its shippers and Java write them -> UTC; and as we write them: RFC 3339."""

import re
from datetime import UTC, datetime
from typing import Final

_EXPIRATION: Final = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}), (?P<year>\d{4}),? "
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)\s?(?P<half>[AP]M)",
    re.ASCII,
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FINER: Final = re.compile(r"(\.\d{6})\d+")  # than microseconds


def time_of(value: object) -> datetime | None:
    """In UTC, which a time without a zone is taken for; None for what is no time."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.replace("\u202f", " ").strip()  # newer JDKs put a narrow space before PM
    found = _EXPIRATION.fullmatch(text)
    try:
        if found is not None:
            hour = int(found["hour"]) % 12 + (12 if found["half"] == "PM" else 0)
            month = _MONTHS.index(found["month"]) + 1
            clock = (int(found["day"]), hour, int(found["minute"]), int(found["second"]))
            return datetime(int(found["year"]), month, *clock, tzinfo=UTC)
        moment = datetime.fromisoformat(_FINER.sub(r"\1", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def rfc3339(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    text = utc.isoformat("T", "milliseconds" if utc.microsecond else "seconds")
    return f"{text.removesuffix('+00:00')}Z"
