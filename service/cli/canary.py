"""`tokentrail canary`: an attack that nobody made, through the running system and back."""

import json
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import click
from confluent_kafka import KafkaError, KafkaException, Producer

from service import canary
from service.batch import Message, Outgoing
from service.cli import complain
from service.cli.settings_flags import CONNECTION, settings_of, settings_options
from service.errors import SettingsError
from service.finding import finding_id
from service.kafka.clients import check_topic, new_client, producer_config
from service.kafka.errors import in_our_terms
from service.kafka.sink import produce
from service.rules import RULES
from service.settings import Settings
from service.tail import Follower, headers_of

_TIMEOUT_SECONDS: Final = 30.0


@dataclass
class Trip:
    """`seconds` is how long the finding took, from before the event was sent; None where none came."""

    event_id: str
    result: Literal["found", "not_believed", "not_found"] = "not_found"
    seconds: float | None = None
    sent_to: str | None = None  # topic[partition] at offset N, once it is acknowledged


@click.command("canary")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=_TIMEOUT_SECONDS,
    show_default=True,
    help="Seconds to wait for the finding.",
)
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text: a line for people. json: the same as one object.",
)
@settings_options(*CONNECTION, "topics.events", "topics.findings")
def command(*, timeout: float, output: str, **options: Any) -> int:
    """Send a synthetic attack to the events topic, wait for its finding, print how long it took.

    The running service has to have the same canary.key: then the finding says canary: true, in its header too, and
    is not counted among the findings.

    Exits 0 when the finding came, 1 when it did not in time or not as a canary's, 2 for a wrong setting, 3 when
    the brokers refuse us or do not answer.
    """
    settings = settings_of(options)
    key = settings.canary.key
    if key is None:
        ways = "set TOKENTRAIL_CANARY__KEY, TOKENTRAIL_CANARY__KEY_FILE or [canary] key_file"
        raise SettingsError([f"canary.key is required: {ways}"])
    trip = _round_trip(settings, key.get_secret_value(), timeout)
    if output == "json":
        click.echo(json.dumps(asdict(trip)))
    elif trip.result == "found":
        click.echo(f"found after {trip.seconds:.3f} s: {trip.sent_to}")
    if trip.result == "not_believed":
        complain("found, but not as a canary's: is canary.key the same in `run`, and the time of both hosts?")
    elif trip.result == "not_found":
        complain(f"no finding within {timeout:g} s: {trip.sent_to or 'the event was not even acknowledged'}")
    return 0 if trip.result == "found" else 1


def _round_trip(settings: Settings, key: str, timeout: float) -> Trip:
    """Raises Unreachable, Refused, DeliveryError."""
    topic = settings.topics.events
    follower = Follower(settings.kafka, settings.topics.findings, "end")
    producer = new_client(Producer, producer_config(settings.kafka))
    try:
        check_topic(producer, topic)
        trip = Trip(f"{canary.EVENT_ID_PREFIX}{uuid.uuid4()}")
        started = time.monotonic()
        _send(producer, topic, key, trip)
        awaited = {finding_id(rule.id, {"eventID": trip.event_id}) for rule in RULES}
        while trip.seconds is None and time.monotonic() < started + timeout:
            producer.poll(0)
            _look(follower.poll(), awaited, trip, started)
        producer.poll(0)
        return trip
    finally:
        producer.purge()
        follower.close()


def _send(producer: Producer, topic: str, key: str, trip: Trip) -> None:
    now = datetime.now(UTC)
    value = canary.attack(trip.event_id, now)
    headers = [(canary.HEADER, canary.seal(key, topic, value, now))]

    def on_delivery(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            raise in_our_terms(KafkaException(error), f"producing to {topic}")
        trip.sent_to = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"

    # Keyed as `feed` keys events, so that one canary after the other tries all partitions.
    produce(producer, Outgoing(topic, trip.event_id.encode(), value, headers, 0), on_delivery)


def _look(messages: Collection[Message], awaited: Collection[str], trip: Trip, started: float) -> None:
    for message in messages:
        headers = headers_of(message)
        if headers.get("ce_id") in awaited:
            trip.seconds = round(time.monotonic() - started, 3)
            trip.result = "found" if headers.get("canary") == "true" else "not_believed"
