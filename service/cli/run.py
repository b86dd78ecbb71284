"""`tokentrail run`: the service."""

from typing import Any

import click

from service import app
from service.cli.settings_flags import settings_of, settings_options


@click.command("run")
@settings_options()
def command(**options: Any) -> int:
    """Read CloudTrail events from Kafka, publish findings, until SIGTERM or SIGINT.

    Settings come from flags, then TOKENTRAIL_... variables, then the file (--config), then defaults; the README
    lists them. Exits 0 when told to stop, 2 for a wrong setting, 3 when the brokers refuse us (login, ACL, missing
    topic). Brokers that are away are waited for.
    """
    settings = settings_of(options)
    return app.run(settings)
