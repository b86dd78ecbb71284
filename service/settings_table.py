"""What the documentation says of each setting: its names, its default, its meaning."""

import json
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from service.settings import DEFAULT_FILES, FIELDS, SECRETS, flag
from service.settings_sources import Name, file_variant, is_property_table, variable


@dataclass(frozen=True, kw_only=True)
class SettingDoc:
    name: Name
    environment: str
    in_file: str  # "[kafka] group_id"; empty for the one setting that a file cannot hold
    flag: str  # empty for secrets, and for properties, which may hold some: a command line is no secret
    default: str
    meaning: str


def describe() -> list[SettingDoc]:
    """A row for each name that can be set, in the order of the model."""
    rows = []
    for name, field in FIELDS.items():
        meaning = " ".join((field.description or "").split())
        rows.append(_row(name, _default(name, field), meaning))
        if name in SECRETS:
            rows.append(_row(file_variant(name), "none", f"A file that holds it. {meaning}"))
    return rows


def _row(name: Name, default: str, meaning: str) -> SettingDoc:
    in_file = f"[{name[0]}] {name[1]}" if len(name) == 2 else name[0]
    if is_property_table(name):
        in_file = f"[{'.'.join(name)}]"
    elif name == ("config",):
        in_file = ""
    may_be_secret = name in SECRETS or name not in FIELDS or is_property_table(name)
    return SettingDoc(
        name=name,
        environment=variable(name),
        in_file=in_file,
        flag="" if may_be_secret else flag(name),
        default=default,
        meaning=meaning,
    )


def _default(name: Name, field: FieldInfo) -> str:
    if name[0] in DEFAULT_FILES:
        return f"{DEFAULT_FILES[name[0]]} where present"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "none" if value in (None, {}, ()) else json.dumps(value).strip('"')
