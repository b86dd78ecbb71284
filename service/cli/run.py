"""`tokentrail run`: the service."""

import sys
from typing import Any

import click

from service import app, log
from service.cli.settings_flags import flags_of, settings_options
from service.settings import load, require_bootstrap


@click.command("run")
@settings_options
def command(**options: Any) -> int:
    """Read CloudTrail events from Kafka, publish findings, until SIGTERM or SIGINT.

    Settings come from flags, then TOKENTRAIL_... variables, then the file (--config), then defaults; the README
    lists them. Exits 0 when told to stop, 2 for a wrong setting, 3 when the brokers refuse us (login, ACL, missing
    topic). Brokers that are away are waited for.
    """
    settings = load(flags_of(options))
    require_bootstrap(settings)
    log.configure(settings.log.level, settings.log.format, sys.stderr)
    return app.run(settings)
