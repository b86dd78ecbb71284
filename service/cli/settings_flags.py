"""The flags that commands which talk to Kafka share. A flag wins over environment and file."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

# flag -> the setting it is. Secrets have no flag: other users of a machine can read a command line.
_FLAGS: Final = {
    "--config": ("config",),
    "--bootstrap-servers": ("kafka", "bootstrap_servers"),
    "--group-id": ("kafka", "group_id"),
    "--group-protocol": ("kafka", "group_protocol"),
    "--start": ("kafka", "start"),
    "--topics-events": ("topics", "events"),
    "--topics-findings": ("topics", "findings"),
    "--topics-dead-letters": ("topics", "dead_letters"),
    "--delivery-mode": ("delivery", "mode"),
    "--http-host": ("http", "host"),
    "--http-port": ("http", "port"),
    "--log-level": ("log", "level"),
    "--log-format": ("log", "format"),
}
_HELP: Final = {
    "--config": "The settings file; config/tokentrail.toml where present.",
    "--bootstrap-servers": "host:port of brokers, comma-separated.",
    "--start": "Where a group without offsets starts: earliest, latest or an RFC 3339 time.",
}


def settings_options(command: Command) -> Command:
    for flag, path in reversed(_FLAGS.items()):
        text = _HELP.get(flag, f"The setting {'.'.join(path)}.")
        command = click.option(flag, "__".join(path), metavar="VALUE", help=text)(command)
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
