"""Request parameters and response elements, however a shipper wrote them: as objects, as objects of dotted keys,
as JSON text, or as the text that Java makes of an object.

What the rules judge never goes missing here: where it may be there and cannot be told, it comes out as something
that `service.event` reads as there and unreadable.
"""

import re
from collections.abc import Mapping
from typing import Final

from service.envelopes import java_map
from service.envelopes.dotted import unflattened
from service.envelopes.mending import decode_json
from service.errors import DecodeError
from service.event import LONGEST_SECONDS

_JUDGED: Final = ("durationSeconds", "policy", "policyArns")
_BELOW_JUDGED: Final = re.compile(rf"({'|'.join(_JUDGED)})\W", re.ASCII)
# Where a key may stand. No name, tag or ARN that the API takes can look like it.
_MENTIONED: Final = {key: re.compile(rf"""(?:\{{|,\s)\s*["']?{key}["']?\s*[=:]""", re.ASCII) for key in _JUDGED}
_UNREADABLE: Final = "[unreadable]"


def request(value: object) -> object:
    """Request parameters as CloudTrail has them; text that cannot be read stays text."""
    if isinstance(value, str):
        return _request_of_text(value)
    return _checked(unflattened(value)) if isinstance(value, Mapping) else value


def response(value: object) -> object:
    """Response elements as CloudTrail has them. What cannot be read is not handed on: somewhere in it is a session
    token, and no telling where.
    """
    if isinstance(value, str) and value.strip() == "null":
        return None
    if isinstance(value, str):
        read = java_map.read(value)
        value = _json(value) or (_UNREADABLE if read is None else read.values)
    if not isinstance(value, Mapping):
        return None if value is None else _UNREADABLE
    elements = {key: opened(inner) for key, inner in unflattened(value).items()}
    if not isinstance(elements.get("credentials", {}), Mapping):
        elements["credentials"] = _UNREADABLE
    return elements


def _request_of_text(text: str) -> object:
    if text.strip() == "null":
        return None
    parameters = _json(text)
    if parameters is not None:
        return _checked(unflattened(parameters))
    read = java_map.read(text)
    if read is None:
        return text
    whole = read.closed and not read.doubtful  # else keys may lie in what was cut or misread
    outside = _without_json(text, read)
    for key in _JUDGED:
        mentions = sum(
            1 for _ in _MENTIONED[key].finditer(outside)
        )  # read once or not, it must not stand elsewhere
        known = mentions == 1 if key in read.values else whole and mentions == 0
        cut = key == read.cut and not (key == "durationSeconds" and _is_whole(read.values[key]))
        if not known or cut or key in read.doubtful:
            read.values[key] = _unreadable(key, read.values.get(key))
    return _checked(read.values)


def _without_json(text: str, read: java_map.JavaMap) -> str:
    """JSON says for certain where it ends, so what it mentions is no key of ours."""
    for key, value in read.values.items():
        if isinstance(value, str) and value.startswith("{") and key not in read.doubtful:
            text = text.replace(value, "", 1)
    return text


def _is_whole(seconds: object) -> bool:
    """Whether a number at the end of a text that was cut is as long as a duration gets."""
    return isinstance(seconds, str) and seconds.isdecimal() and int(seconds[:9]) > LONGEST_SECONDS // 10


def _unreadable(key: str, value: object) -> object:
    if key == "policyArns":
        return [*value, None] if isinstance(value, list) else [None]
    return f"{value} {_UNREADABLE}" if isinstance(value, str) else _UNREADABLE


def _checked(parameters: dict[str, object]) -> dict[str, object]:
    for key in list(parameters):
        below = _BELOW_JUDGED.match(key)  # a flattened key that fits nowhere
        if below is not None:
            parameters[below[1]] = _unreadable(below[1], parameters.get(below[1]))
    for key in ("policyArns", "tags"):
        value = parameters.get(key)
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            inner = opened(value)
            parameters[key] = [value, None] if isinstance(inner, str) else inner
    return parameters


def opened(value: object) -> object:
    """JSON inside of a text, as where a table holds texts only."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        inner = decode_json(value.encode("utf-8", "replace"))
    except DecodeError:
        return value
    return inner if isinstance(inner, dict | list) else value


def _json(text: str) -> dict[str, object] | None:
    inner = opened(text)
    return inner if isinstance(inner, dict) else None
