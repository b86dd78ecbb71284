"""Moving fields of a CloudTrail record to dotted places of another document, for `to_ecs` and `to_ocsf`."""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

CloudTrail = Mapping[str, object]


def moved(record: CloudTrail, fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A document with the value of each field's second path at its first. What is null or absent is left out,
    and of two fields with the same place the first wins.
    """
    document: dict[str, Any] = {}
    for place, path in fields:
        value = at(record, path)
        if value is not None and at(document, place) is None:
            put(document, place, value)
    return document


def at(document: Mapping[str, object], path: str) -> object:
    value: object = document
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def put(document: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        document = document.setdefault(key, {})
    document[last] = value


def milliseconds(value: datetime) -> str:
    """As in `2024-11-30T08:43:17.000Z`."""
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_address(value: object) -> bool:
    """Whether it is an IP address: CloudTrail also names a service there."""
    try:
        ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True
