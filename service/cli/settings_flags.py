"""The flags of commands that talk to Kafka: one for each setting. A flag wins over environment and file."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from service import log
from service.settings import Settings, load, require_bootstrap
from service.settings_table import describe

Command = TypeVar("Command", bound=Callable[..., Any])


CONNECTION: Final = (
    "kafka.bootstrap_servers",
    "kafka.security_protocol",
    "kafka.msk_iam_region",
    "kafka.sasl_mechanism",
    "log",
    "config",
)
REGISTRY: Final = (
    "registry.url",
    "registry.ca_location",
    "registry.certificate_location",
    "registry.key_location",
    "registry.timeout_seconds",
)


def settings_options(*heeded: str) -> Callable[[Command], Command]:
    """A flag for each setting: every command takes what `run` takes, as it takes its environment and file.

    `heeded` are settings, `kafka.group_id`, or sections, `log`: `--help` shows the flags of these alone. It shows
    all where none is named.
    """

    def decorate(command: Command) -> Command:
        for row in reversed(describe()):
            if row.flag:
                default = "" if row.default == "none" else f"  [default: {row.default}]"
                hidden = bool(heeded) and {row.name[0], ".".join(row.name)}.isdisjoint(heeded)
                name, text = "__".join(row.name), row.meaning + default
                command = click.option(row.flag, name, metavar="VALUE", help=text, hidden=hidden)(command)
        return command

    return decorate


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
