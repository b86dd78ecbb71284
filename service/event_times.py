"""When records happened, told from their bytes alone, at a cost that every record can bear."""

import re
from dataclasses import dataclass
from typing import Final

_KEYS: Final = (b"eventTime", b"@timestamp")
# Within a text of JSON the quotes have backslashes before them.
_TIME: Final = re.compile(rb'\\*"\s*:\s*\\*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z', re.ASCII)


@dataclass(slots=True)
class Times:
    """The earliest and the latest event time, RFC 3339 in whole seconds; `known` is of how many records."""

    first: str | None = None
    last: str | None = None
    known: int = 0

    def note(self, record: bytes) -> None:
        """Only CloudTrail's own form and ECS show the time in plain text; other records are not counted."""
        for key in _KEYS:
            at = record.find(key)
            if at >= 0 and (found := _TIME.match(record, at + len(key))):
                moment = found[1].decode() + "Z"
                self._widen(moment, moment)
                self.known += 1
                return

    def add(self, other: "Times") -> None:
        if other.first is not None and other.last is not None:
            self._widen(other.first, other.last)
            self.known += other.known

    def _widen(self, first: str, last: str) -> None:
        if self.first is None or first < self.first:
            self.first = first
        if self.last is None or last > self.last:
            self.last = last
