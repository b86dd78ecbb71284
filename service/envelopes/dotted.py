"""Values by path in objects whose keys may be nested or dotted: `{"a": {"b": 1}}` and `{"a.b": 1}` are the same.

Elasticsearch makes no difference between the two, so its shippers mix them, within one document too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from service.envelopes.mending import BROKEN

_SEGMENTS: Final = re.compile(r"[^.\[\]]+")
_NULL: Final = Raw(b"null")
_MAX_DEPTH: Final = 20

_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_anything: Final = msgspec.json.Decoder().decode


def members(data: bytes | Raw, *opened: str) -> dict[str, Any] | None:
    """The values of an object by key, each still as JSON (`Raw`); objects at the `opened` keys come apart alike,
    for who looks into them more than once. None for what is no readable object.
    """
    try:
        found: dict[str, Any] = _members(data)
        for key in opened:
            if bytes(found.get(key, b"")).startswith(b"{"):
                found[key] = _members(found[key])
    except BROKEN:
        return None
    return found


def at(scope: object, path: str) -> object:
    """The value at a dotted path, None where there is none. Null counts as absent.

    Objects may still be JSON (`Raw`): only those on the way are opened. Where only keys below the path exist
    (`a.b.c`, asked for `a.b`), an object of the rest of those keys is made.
    """
    if isinstance(scope, Raw):
        scope = members(scope)
    elif isinstance(scope, list) and len(scope) == 1:
        scope = scope[0]
    if not isinstance(scope, dict):
        return None
    value = scope.get(path)
    if _is_there(value):
        return value
    head, _, rest = path.partition(".")
    value = at(scope[head], rest) if rest and head in scope else None
    return _at_dotted(scope, path) if value is None else value


def _at_dotted(scope: dict[str, object], path: str) -> object:
    dotted = [key for key in scope if "." in key]
    if not dotted:
        return None
    for key in dotted:
        if path.startswith(f"{key}."):
            value = at(scope[key], path[len(key) + 1 :])
            if value is not None:
                return value
    start = f"{path}."
    below = {key[len(start) :]: scope[key] for key in dotted if key.startswith(start)}
    return {key: value for key, value in below.items() if _is_there(value)} or None


def _is_there(value: object) -> bool:
    return value is not None and not (isinstance(value, Raw) and value == _NULL)


def value_at(scope: object, *paths: str) -> object:
    """The first of the paths that holds something. An array of one value is that value, as in Elasticsearch."""
    for path in paths:
        value = at(scope, path)
        if isinstance(value, Raw):
            value = _decoded(value)
        if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict):
            value = value[0]
        if value is not None and value != "":
            return value
    return None


def text_at(scope: object, *paths: str) -> str | None:
    value = value_at(scope, *paths)
    return value if isinstance(value, str) else None


def values_at(scope: object, fields: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """What `value_at` finds for each name, without the names it finds nothing for."""
    found = {name: value_at(scope, *paths) for name, paths in fields.items()}
    return {name: value for name, value in found.items() if value is not None}


def _decoded(value: Raw) -> object:
    try:
        return _anything(value)
    except BROKEN:
        return None


def unflattened(value: Mapping[str, object]) -> dict[str, object]:
    """Dotted keys made objects, numbered ones (`a.0.b`, `a[0].b`) arrays. Where keys contradict each other, all
    stay as they are.
    """
    if not any("." in key or "[" in key for key in value):
        return dict(value)
    tree: dict[str, object] = {}
    for key, inner in value.items():
        *way, last = _SEGMENTS.findall(key) or [key]
        branch = _branch(tree, way)
        if branch is None or last in branch:
            return dict(value)
        branch[last] = inner
    return {key: _with_arrays(inner) for key, inner in tree.items()}


def _branch(tree: dict[str, object], way: list[str]) -> dict[str, object] | None:
    if len(way) > _MAX_DEPTH:
        return None
    for segment in way:
        inner = tree.setdefault(segment, {})
        if not isinstance(inner, dict):
            return None
        tree = inner
    return tree


def _with_arrays(value: object, depth: int = 0) -> object:
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return value
    inner = {key: _with_arrays(element, depth + 1) for key, element in value.items()}
    return list(inner.values()) if inner and all(key.isdecimal() for key in inner) else inner
