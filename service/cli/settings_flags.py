"""The flags of commands that talk to Kafka: one for each setting. A flag wins over environment and file."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from service import log
from service.settings import Settings, load, require_bootstrap
from service.settings_table import describe

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_options(command: Command) -> Command:
    for row in reversed(describe()):
        if row.flag:
            default = "" if row.default == "none" else f"  [default: {row.default}]"
            option = click.option(row.flag, "__".join(row.name), metavar="VALUE", help=row.meaning + default)
            command = option(command)
    return command


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings of a command that needs brokers, with the log set up by them. Raises SettingsError."""
    settings = load(flags_of(options))
    require_bootstrap(settings)
    log.configure(settings.log.level, settings.log.format, sys.stderr)
    return settings


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
