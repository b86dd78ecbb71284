"""`tokentrail redrive`: dead letters back into the events topic."""

from typing import Any

import click

from service.cli import complain
from service.cli.settings_flags import CONNECTION, settings_of, settings_options
from service.redrive import redrive


@click.command("redrive")
@click.option("--dry-run", is_flag=True, help="Count what would be sent, send nothing.")
@settings_options(*CONNECTION, "kafka.group_id", "topics.events", "topics.dead_letters")
def command(*, dry_run: bool, **options: Any) -> int:
    """Send dead letters to the events topic again, once what made them unreadable was mended.

    Key, headers and timestamp are the original ones. Each letter is sent once: the group GROUP-redrive
    remembers how far it came.

    Exits 0 when all were sent, 1 when some were cut, so cannot be sent whole, 2 for a wrong setting, 3 when the
    brokers refuse us or do not answer.
    """
    settings = settings_of(options)
    counts = redrive(settings, dry_run=dry_run)
    done = "would be sent" if dry_run else "sent"
    click.echo(f"{counts['sent']:,} dead letters {done} to {settings.topics.events}", err=True)
    if counts["cut"]:
        complain(f"{counts['cut']:,} were cut when they failed, and were left")
    return 1 if counts["cut"] else 0
