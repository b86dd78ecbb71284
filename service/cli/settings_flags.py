"""The flags of commands that talk to Kafka: one for each setting. A flag wins over environment and file."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from service.settings_table import describe

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    for row in reversed(describe()):
        if row.flag:
            default = "" if row.default == "none" else f"  [default: {row.default}]"
            option = click.option(row.flag, "__".join(row.name), metavar="VALUE", help=row.meaning + default)
            command = option(command)
    return command


def flags_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as given -> the nested mapping that `service.settings.load` takes."""
    flags: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        *section, key = name.split("__")
        target = flags.setdefault(section[0], {}) if section else flags
        target[key] = value
    return flags
