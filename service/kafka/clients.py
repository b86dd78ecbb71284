"""Clients of confluent-kafka: their configuration, and the first questions to the brokers.

Facts about librdkafka stand beside the code that needs them; the measured ones are in
DESIGN.md#what-was-learned-about-the-client.
"""

import logging
import secrets
import socket
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
)
from confluent_kafka.admin import AdminClient

from service.errors import SettingsError, Unreachable
from service.kafka.errors import FATAL, UNSUPPORTED_FEATURE, is_final, no_answer, refusal
from service.settings import KafkaSettings

POLL_SECONDS: Final = 0.2  # a signal, and a rebalance, wait this long at most
CALL_SECONDS: Final = 10.0
TRANSACTION_SECONDS: Final = 30.0
STATISTICS_MS: Final = 1_000

# What KIP-848 groups do not take: the brokers decide the first two there.
CLASSIC_ONLY: Final = frozenset({"session.timeout.ms", "heartbeat.interval.ms", "group.instance.id"})

Client = TypeVar("Client", Consumer, Producer, AdminClient)

# What a broker without KIP-848, or with another's static member of our name, answers; `fatal()` is no help.
NO_CONSUMER_PROTOCOL: Final = frozenset({FATAL, KafkaError.UNSUPPORTED_VERSION, UNSUPPORTED_FEATURE})


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """For a client that only asks: neither a consumer nor a producer of messages."""
    return {**_common_config(settings), **settings.properties}


def _common_config(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "tokentrail",
        "log_level": 6,
        "logger": _librdkafka_logger(),
        "allow.auto.create.topics": False,
    }
    optional = {
        "security.protocol": settings.security_protocol,
        **_mechanism(settings),
        "sasl.username": settings.sasl_username and settings.sasl_username.get_secret_value(),
        "sasl.password": settings.sasl_password and settings.sasl_password.get_secret_value(),
    }
    return {**config, **{name: value for name, value in optional.items() if value is not None}}


def _mechanism(settings: KafkaSettings) -> dict[str, Any]:
    """Raises SettingsError where an extra is missing, Refused where AWS credentials are."""
    if settings.sasl_mechanism != "AWS_MSK_IAM" or settings.msk_iam_region is None:
        return {"sasl.mechanism": settings.sasl_mechanism}
    try:
        from service.kafka.msk_iam import Tokens  # noqa: PLC0415  an extra, of use to few
    except ImportError as error:
        raise SettingsError(
            ['kafka.sasl_mechanism: AWS_MSK_IAM needs: pip install "tokentrail[msk-iam]"']
        ) from error
    return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": Tokens(settings.msk_iam_region)}


def consumer_config(settings: KafkaSettings) -> dict[str, Any]:
    return {
        **_common_config(settings),
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # earliest or latest would jump over what retention took, in silence
        "isolation.level": "read_committed",
        # How long a broker may hold a fetch while there is nothing new. What is in that fetch is answered at once;
        # a partition that was given, or resumed, after it was sent, and questions over the same connection, wait
        # for its end. The default, 500, is half a second for the first event after a rebalance.
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 2,  # the default, 1000, starves a fast reader
        "queued.max.messages.kbytes": 16_384,  # as fast as four times as much
        "statistics.interval.ms": STATISTICS_MS,
        "topic.metadata.refresh.interval.ms": 60_000,  # for new partitions; the default is 5 min
        **settings.properties,
        **settings.consumer_properties,
    }


def first_protocol(settings: KafkaSettings) -> str:
    """The group protocol to join with: `auto` means KIP-848, unless a property asks for what only classic has.

    A static member that is killed could not come back under KIP-848 (its name is taken), so static ids are
    for classic groups. Raises SettingsError when both are asked for.
    """
    classic_only = CLASSIC_ONLY & {*settings.properties, *settings.consumer_properties}
    if settings.group_protocol == "consumer" and classic_only:
        names = ", ".join(sorted(classic_only))
        raise SettingsError([f"kafka.properties: {names} needs kafka.group_protocol = classic"])
    return "classic" if settings.group_protocol == "classic" or classic_only else "consumer"


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    return {
        **_common_config(settings),
        "enable.idempotence": True,
        "compression.type": "gzip",  # some consumers of findings read no other
        "linger.ms": 0,
        "message.timeout.ms": 30_000,
        **settings.properties,
        **settings.producer_properties,
    }


def transactional_id(group_id: str) -> str:
    """Fresh for each process: what fences zombies is the group's generation, not this id."""
    return f"{group_id}-{socket.gethostname()}-{secrets.token_hex(4)}"


def new_client(make: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """A client. Raises SettingsError for properties that librdkafka does not take."""
    try:
        return make(config)
    except KafkaException as failure:
        raise SettingsError([f"kafka.properties: {failure.args[0].str()}"]) from failure


def _librdkafka_logger() -> logging.Logger:
    """It repeats itself every second while a broker is away; what matters we say ourselves."""
    logger = logging.getLogger("librdkafka")
    logger.setLevel(logging.DEBUG if logging.getLogger().isEnabledFor(logging.DEBUG) else logging.CRITICAL)
    return logger


class Reachability:
    """Asks, with a client of its own, whether a broker answers at all."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._config = client_config(settings)

    def __call__(self) -> bool:
        try:
            return bool(Producer(self._config).list_topics(timeout=CALL_SECONDS / 2).brokers)
        except KafkaException:
            return False


def check_topic(client: Consumer | Producer, topic: str, seconds: float = CALL_SECONDS / 2) -> Collection[int]:
    """The numbers of the topic's partitions. Raises Unreachable or Refused."""
    try:
        found = client.list_topics(topic, timeout=seconds).topics[topic]
    except KafkaException as failure:
        error = failure.args[0]
        if is_final(error):
            raise refusal(error, f"asking for topic {topic}") from failure
        raise no_answer(error) from failure
    if found.error is not None:
        if is_final(found.error):
            raise refusal(found.error, f"topic {topic}")
        raise Unreachable(f"topic {topic} has no leader yet: {found.error.str()}")
    numbers: Collection[int] = found.partitions.keys()
    return numbers
