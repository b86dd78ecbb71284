"""`tokentrail feed`: CloudTrail files into the events topic."""

import sys
from collections import Counter
from typing import Any

import click
from confluent_kafka import KafkaError

from service import log
from service.cli.progress import progress
from service.cli.settings_flags import flags_of, settings_options
from service.feed import key_of, paced, records
from service.kafka_sink import Feeder
from service.log import printable
from service.scan import FileReport, find_files
from service.settings import load, require_bootstrap


@click.command("feed")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--topic", help="Another topic than the events topic of the settings.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second; as fast as it goes by default."
)
@settings_options
def command(paths: tuple[str, ...], topic: str | None, rate: float | None, **options: Any) -> int:
    """Send every record of CloudTrail files as a message, keyed by eventID.

    Reads what `scan` reads, - for standard input too.

    Exits 0 when every record was acknowledged, 1 when a file could not be read or a record was not, 2 for a wrong
    setting, 3 when the brokers refuse us or do not answer.
    """
    settings = load(flags_of(options))
    require_bootstrap(settings)
    log.configure(settings.log.level, settings.log.format, sys.stderr)
    topic = topic or settings.topics.events
    files, problems = find_files(paths)
    counts: Counter[str] = Counter()

    def report(done: FileReport) -> None:
        rejected = sum(done.rejected.values())
        problem = done.problem or (f"{rejected} parts could not be read" if rejected else None)
        if problem:
            problems.append(f"{done.file}: {problem}")

    def acknowledged(error: KafkaError | None, _message: object) -> None:
        if error is None:
            counts["acknowledged"] += 1
        elif not counts["failed"]:
            problems.append(f"a record was not acknowledged: {error.str()}")
        counts["failed"] += error is not None

    feeder = Feeder(settings.kafka, topic, acknowledged)
    try:
        with progress("feeding", None) as advance:
            for value in paced(records(files, report), rate):
                feeder.send(value, key_of(value))
                counts["sent"] += 1
                advance()
    finally:
        unsent = feeder.close()
    for problem in problems:
        click.echo(f"tokentrail: {printable(problem, 1_000)}", err=True)
    done = f"{counts['acknowledged']:,} of {counts['sent']:,} records acknowledged in {topic}"
    click.echo(done + (f", {unsent:,} still on their way" if unsent else ""), err=True)
    return 1 if problems or unsent or counts["failed"] else 0
