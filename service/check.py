"""All that `tokentrail check` asks, in its order: files, registry, then the brokers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import KafkaException

from service import context_file, tuning_file
from service.avro.findings import avro_findings
from service.avro.messages import connect
from service.errors import WorldError
from service.kafka.errors import in_words
from service.kafka.preflight import Result, brokers, cluster
from service.settings import Settings


def preflight(settings: Settings, again: Callable[[], bool]) -> Iterator[Result]:
    """Every check's result, as soon as it is known. Raises SettingsError.

    Brokers that do not answer are asked again for as long as `again` says so; it may block between two tries.
    """
    yield Result("ok", "configuration", f"read from {settings.config or 'environment and flags'}")
    yield from _tuning(settings.tuning)
    if settings.context:
        context = context_file.read(settings.context)
        known = f"{len(context.accounts)} accounts, {len(context.brokers)} brokers"
        yield Result("ok", "context", f"{settings.context}: {known}")
    yield _registry(settings)
    yield from (found := list(brokers(settings.kafka, again)))
    if any(result.level == "ok" for result in found):
        try:
            yield from cluster(settings)
        except KafkaException as failure:
            yield Result("FAIL", "cluster", in_words(failure.args[0]))


def _tuning(path: Path | None) -> Iterator[Result]:
    if path is None:
        yield Result("ok", "tuning", "no file")
        return
    tuning = tuning_file.read(path)
    yield Result(
        "ok", "tuning", f"{path}: {len(tuning.rules)} rules tuned, {len(tuning.suppressions)} suppressions"
    )
    for suppression in tuning.expired(datetime.now(UTC).date()):
        said = f"expired on {suppression.expires}, suppresses nothing"
        yield Result("warn", f"suppression {suppression.name}", said)


def _registry(settings: Settings) -> Result:
    """Asks for a schema, any; and, where findings are Avro and ours is to be there already, for that."""
    thing = f"registry {settings.registry.url}"
    registry = connect(settings.registry)
    if registry is None:
        return Result("ok", "registry", "not used")
    try:
        registry.by_id(1)
        if settings.findings.format == "avro" and not settings.registry.auto_register:
            avro_findings(registry, settings.topics.findings)
    except WorldError as problem:
        return Result("FAIL", thing, str(problem))
    return Result("ok", thing, "answers")
