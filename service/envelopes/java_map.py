"""Reads what Java's `Map.toString` wrote: `{name=alice, policyArns=[{arn=arn:aws:iam::…}], durationSeconds=900}`.

That text quotes nothing, so a value may hold what looks like its end. An end is taken for one only where what
follows goes on as such a text does, and JSON inside is read as JSON. What is still doubtful is said to be:
https://docs.oracle.com/javase/8/docs/api/java/util/AbstractMap.html#toString--
"""

import json
import re
from dataclasses import dataclass, field
from typing import Final

_MAX_DEPTH: Final = 20
_KEY: Final = re.compile(r"""\s*([^\s={}\[\],"']+)=""")
_NEXT_KEY: Final = re.compile(r""",\s+[^\s={}\[\],"']+=""")
_NEXT_ELEMENT: Final = re.compile(r",\s")
_PERHAPS_AN_END: Final = re.compile(r",\s|[}\]]+")
_JSON: Final = re.compile(r'\{\s*["}]|\[\s*(?:\{\s*)?["\]]')
_BLANK: Final = re.compile(r"\s*")
_decode: Final = json.JSONDecoder(strict=False).raw_decode


@dataclass(slots=True)
class JavaMap:
    """What was read. Values are text, None (`null`), or objects and lists of values.

    `closed` is false when the text ends before the map does, so keys may be missing; `cut` is then the key whose
    value the text ends in. `doubtful` are keys that came twice, or whose value begins like an object or a list
    and does not end like one.
    """

    values: dict[str, object] = field(default_factory=dict)
    closed: bool = False
    cut: str | None = None
    doubtful: set[str] = field(default_factory=set)


def read(text: str) -> JavaMap | None:
    """None for what is no such text."""
    text = text.strip()
    if text == "{}":
        return JavaMap(closed=True)
    if not text.startswith("{") or not _KEY.match(text, 1):
        return None
    reading = _Reading(text)
    reading.found.values = reading.map()
    return reading.found


class _Reading:
    """One call of `read`. It only ever moves forward, so hostile text costs no more than its length."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found = JavaMap()
        self._at = 1
        self._closers = "}"  # of what is open, innermost first
        self._key = ""  # of the outermost map

    def map(self) -> dict[str, object]:
        """From behind the opening brace to behind the closing one, or to the end of the text."""
        values: dict[str, object] = {}
        outermost = len(self._closers) == 1
        while key := _KEY.match(self.text, self._at):
            self._at = key.end()
            if outermost:
                self._key = key[1]
            value = self._value()
            if key[1] in values:
                self.found.doubtful.add(self._key)
            values.setdefault(key[1], value)
            if not self._goes_on():
                break
        return values

    def _list(self) -> list[object]:
        values = [self._value()]
        while self._goes_on():
            self._at = _blank(self.text, self._at)
            values.append(self._value())
        return values

    def _goes_on(self) -> bool:
        """Behind a value: whether another one follows. Steps over the comma, or what closes."""
        if self._at >= len(self.text):
            if len(self._closers) > 1:
                self.found.cut = self._key
            return False
        self._at += 1
        if self.text[self._at - 1] == ",":
            return True
        self.found.closed = len(self._closers) == 1
        return False

    def _value(self) -> object:
        start = self._at
        if self.text.startswith(("{", "["), start):
            value = self._enclosed()
            if value is not None and self._may_end():
                return value
            self.found.doubtful.add(self._key)
        return self._scalar(start)

    def _enclosed(self) -> object:
        """An object or a list; JSON stays text. None where there is neither."""
        start = self._at
        if _JSON.match(self.text, start):
            return self._json()
        if len(self._closers) > _MAX_DEPTH:
            return None
        is_list = self.text[start] == "["
        if not is_list and not _KEY.match(self.text, start + 1):
            return None
        self._at, self._closers = start + 1, ("]" if is_list else "}") + self._closers
        value: object = self._list() if is_list else self.map()
        self._closers = self._closers[1:]
        return value

    def _json(self) -> object:
        start = self._at
        try:
            value, end = _decode(self.text, start)
        except (ValueError, RecursionError):
            return None
        self._at = _blank(self.text, end)
        return self.text[start:end] if value else value

    def _scalar(self, start: int) -> str | None:
        end = None
        for perhaps in _PERHAPS_AN_END.finditer(self.text, self._at):
            end = self._end(perhaps)
            if end is not None:
                break
        else:
            self.found.cut = self._key
        self._at = len(self.text) if end is None else end
        value = self.text[start : self._at]
        return None if value == "null" else value

    def _may_end(self) -> bool:
        """Whether a value may end here."""
        perhaps = _PERHAPS_AN_END.match(self.text, self._at)
        return self._at >= len(self.text) or (perhaps is not None and self._end(perhaps) == self._at)

    def _end(self, perhaps: re.Match[str]) -> int | None:
        """Where a value ends that is followed by this; None where it belongs to the value."""
        found = perhaps[0]
        if found[0] == ",":
            return perhaps.start() if self._follows(perhaps.start(), self._closers) else None
        for count in range(min(len(found), len(self._closers)), 0, -1):
            closes = self._closers.startswith(found[-count:])
            if closes and self._follows(perhaps.end(), self._closers[count:]):
                return perhaps.end() - count
        return None

    def _follows(self, place: int, closers: str) -> bool:
        """Whether the text goes on at this place as it would where these are open."""
        if place >= len(self.text):
            return True
        if not closers:
            return False
        following = _NEXT_ELEMENT if closers[0] == "]" else _NEXT_KEY
        return following.match(self.text, place) is not None


def _blank(text: str, place: int) -> int:
    """The place behind white space."""
    found = _BLANK.match(text, place)
    return found.end() if found else place
