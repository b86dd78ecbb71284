"""`tokentrail feed`: CloudTrail files into the events topic."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import click
from confluent_kafka import KafkaError

from service.cli import complain
from service.cli.progress import reading
from service.cli.settings_flags import CONNECTION, REGISTRY, settings_of, settings_options
from service.errors import SettingsError
from service.feed.messages import Message, Reading, as_found, paced, wrapped
from service.feed.send import Feeder
from service.feed.wrap import SEVERAL, WRAPS, Wrap
from service.files import find_files
from service.scan import FileResult
from service.settings import Settings

_BATCH: Final = 100
_BATCHED: Final = " or ".join(sorted(SEVERAL))
_SHAPES: Final = (*WRAPS, "avro")


@click.command("feed")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--topic", help="Another topic than the events topic of the settings.")
@click.option(
    "--as", "shape", type=click.Choice(_SHAPES), help="Wrap the records in this shape; as found by default."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help=f"Most records in a message, for --as {_BATCHED}; {_BATCH} by default.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second; as fast as it goes by default."
)
@settings_options(*CONNECTION, "topics.events", *REGISTRY, "registry.auto_register")
def command(
    paths: tuple[str, ...],
    topic: str | None,
    shape: str | None,
    batch: int | None,
    rate: float | None,
    **options: Any,
) -> int:
    """Send every record of CloudTrail files as a message, keyed by eventID.

    Reads what `scan` reads, - for standard input too. Events go as they are, with the session tokens in them:
    another topic needs the same access control as the events topic. Avro needs the registry of the settings.

    Exits 0 when every record was acknowledged, 1 when a file could not be read or a record was not, 2 for a wrong
    setting, 3 when the brokers refuse us or do not answer.
    """
    if batch is not None and shape not in SEVERAL:
        raise click.UsageError(f"--batch is for --as {_BATCHED}: other messages hold one record")
    most = (batch or _BATCH) if shape in SEVERAL else 1
    settings = settings_of(options)
    topic = topic or settings.topics.events
    wrap = _wrap(shape, settings, topic)
    files, problems = find_files(paths)
    source = Reading(files)
    counts: Counter[str] = Counter()

    def acknowledged(error: KafkaError | None, _message: object) -> None:
        if error is None:
            counts["acknowledged"] += 1
        elif not counts["failed"]:
            problems.append(f"a message was not acknowledged: {error.str()}")
        counts["failed"] += error is not None

    feeder = Feeder(settings.kafka, topic, acknowledged)
    try:
        with reading("feeding", source.size) as tell:
            for message in paced(_messages(source, wrap, most, counts), rate):
                feeder.send(message.value, message.key)
                counts["sent"] += 1
                counts["records"] += message.records
                tell(source.position, counts["records"])
    finally:
        unsent = feeder.close()
    problems += filter(None, map(_problem, source.reports))
    if counts["unreadable"]:
        problems.append(f"{counts['unreadable']:,} records could not be decoded in full, and were left out")
    for problem in problems:
        complain(problem)
    what = f"messages of {counts['records']:,} records" if shape in SEVERAL else "records"
    done = f"{counts['acknowledged']:,} of {counts['sent']:,} {what} acknowledged in {topic}"
    click.echo(done + (f", {unsent:,} still on their way" if unsent else ""), err=True)
    return 1 if problems or unsent or counts["failed"] else 0


def _wrap(shape: str | None, settings: Settings, topic: str) -> Wrap | None:
    """Raises SettingsError, Unreachable or Refused for Avro without a registry, or with one that does not help."""
    if shape != "avro":
        return WRAPS[shape] if shape else None
    from service.avro.messages import connect  # noqa: PLC0415  # for those who ask for Avro
    from service.feed.to_avro import avro  # noqa: PLC0415  fastavro, for those who write Avro

    registry = connect(settings.registry)
    if registry is None:
        raise SettingsError(["registry.url: --as avro needs a schema registry"])
    return avro(registry, topic)


def _messages(source: Reading, wrap: Wrap | None, most: int, counts: Counter[str]) -> Iterator[Message]:
    if wrap is None:
        return as_found(source.records())
    return wrapped(source.records(), wrap, most, lambda records: counts.update(unreadable=records))


def _problem(report: FileResult) -> str | None:
    rejected = sum(report.rejected.values())
    problem = report.problem or (f"{rejected} parts could not be read" if rejected else None)
    return problem and f"{report.file}: {problem}"
