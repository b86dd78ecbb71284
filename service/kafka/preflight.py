"""What `run` needs of the brokers, asked for in ways that change nothing there: for `service.check`."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented there, declared elsewhere
    AclOperation,
    AdminClient,
    ConfigResource,
    ConsumerGroupDescription,
    TopicDescription,
)

from service.errors import Refused, Unreachable, Untrusted, WorldError
from service.finding import MAX_FINDING_BYTES
from service.kafka.clients import (
    CALL_SECONDS,
    NO_CONSUMER_PROTOCOL,
    POLL_SECONDS,
    client_config,
    consumer_config,
    first_protocol,
    new_client,
    producer_config,
    transactional_id,
)
from service.kafka.errors import ALL_BROKERS_DOWN, UNKNOWN_TOPIC, in_words, is_final, no_answer, refusal
from service.settings import KafkaSettings, Settings

ANSWER_SECONDS: Final = 3.0  # for a connection, its TLS and its login
HEADER_BYTES: Final = 4_096  # of a finding, with room for what Kafka adds

_SETTLING: Final = frozenset(
    {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}
)

Level = Literal["ok", "warn", "FAIL"]
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Result:
    level: Level
    thing: str
    text: str


def cluster(settings: Settings) -> Iterator[Result]:
    """Topics, their limits, the group and its protocol, transactions."""
    topics = settings.topics
    admin = new_client(AdminClient, client_config(settings.kafka))
    limits: dict[str, int] = {}
    for topic, operation in (
        (topics.events, AclOperation.READ),
        (topics.findings, AclOperation.WRITE),
        (topics.dead_letters, AclOperation.WRITE),
        *([(topics.staged, AclOperation.WRITE)] if topics.staged else []),
    ):
        found = _described(admin, topic)
        if isinstance(found, Result):
            yield found
            continue
        yield _topic(found, operation)
        config = _config(admin, topic)
        if isinstance(config, Result):
            yield config
            config = {}
        if operation is AclOperation.WRITE:
            yield _durability(found, config.get("min.insync.replicas"))
        if "max.message.bytes" in config:
            limits[topic] = config["max.message.bytes"]
    if topics.findings in limits:
        yield _finding_size(topics.findings, limits[topics.findings])
    if {topics.events, topics.dead_letters} <= limits.keys():
        yield _dead_letter_size(topics.dead_letters, limits[topics.dead_letters], limits[topics.events])
    yield _group(settings.kafka, topics.events, admin)
    yield _group_protocol(settings.kafka, topics.events)
    yield _transactions(settings)


# --- brokers -----------------------------------------------------------------------------------


def brokers(settings: KafkaSettings, again: Callable[[], bool]) -> Iterator[Result]:
    """One for each bootstrap broker. Those that do not answer matter only where none does."""
    addresses = (settings.bootstrap_servers or "").split(",")
    config = client_config(settings)
    with ThreadPoolExecutor() as pool:
        ask = partial(_problem, config)
        problems = list(pool.map(ask, addresses))
        while all(isinstance(problem, Unreachable) for problem in problems) and again():
            problems = list(pool.map(ask, addresses))
    level: Level = "warn" if None in problems else "FAIL"
    for address, problem in zip(addresses, problems, strict=True):
        if problem is None:
            yield Result("ok", f"broker {address}", "answers")
        else:
            yield Result("FAIL" if isinstance(problem, Refused) else level, f"broker {address}", str(problem))


def _problem(config: Mapping[str, Any], address: str) -> WorldError | None:
    """Why the broker is of no use, if so."""
    errors: list[KafkaError] = []
    client = new_client(Producer, {**config, "bootstrap.servers": address, "error_cb": errors.append})
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            client.list_topics(timeout=1)
        except KafkaException as failure:
            client.poll(POLL_SECONDS)  # serves error_cb
            telling = [error for error in errors if error.code() != ALL_BROKERS_DOWN]
            error = telling[-1] if telling else failure.args[0]
            problem = refusal(error, "login refused") if is_final(error) else no_answer(error)
            if isinstance(problem, Refused | Untrusted) or time.monotonic() > deadline:
                return problem
        else:
            return None


# --- topics ------------------------------------------------------------------------------------


def _described(admin: AdminClient, topic: str) -> TopicDescription | Result:
    asked = admin.describe_topics(
        TopicCollection([topic]), include_authorized_operations=True, request_timeout=CALL_SECONDS
    )
    found: TopicDescription | KafkaError = _answer(asked[topic])
    return _failed(f"topic {topic}", found, "allow DESCRIBE on it") if isinstance(found, KafkaError) else found


def _topic(found: TopicDescription, needed: AclOperation) -> Result:
    thing = f"topic {found.name}"
    partitions: list[Any] = found.partitions
    if leaderless := [partition.id for partition in partitions if partition.leader is None]:
        return Result("FAIL", thing, f"partitions without a leader: {leaderless}")
    if found.authorized_operations and needed not in found.authorized_operations:
        return Result("FAIL", thing, f"access denied: allow {needed.name} on it")
    count = len(found.partitions)
    return Result("ok", thing, f"{count} partition{'s' * (count != 1)}, {needed.name} allowed")


def _config(admin: AdminClient, topic: str) -> dict[str, int] | Result:
    """Those settings of the topic that are numbers."""
    asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
    found: Any = _answer(admin.describe_configs([asked], request_timeout=CALL_SECONDS)[asked])
    if isinstance(found, KafkaError):
        advice = "allow DESCRIBE_CONFIGS on it, and its limits are checked; `run` does without"
        return Result("warn", f"limits of {topic}", _failed("", found, advice).text)
    return {name: int(entry.value) for name, entry in found.items() if str(entry.value).isdecimal()}


def _durability(found: TopicDescription, in_sync: int | None) -> Result:
    thing = f"replication of {found.name}"
    replicas = min(len(partition.replicas) for partition in found.partitions)
    text = f"{replicas}, min.insync.replicas {'unknown' if in_sync is None else in_sync}"
    if in_sync is not None and in_sync > replicas:
        return Result("FAIL", thing, f"{text}: nothing can be written")
    if 1 in {replicas, in_sync}:
        return Result("warn", thing, f"{text}: the loss of one broker can lose data; 3 and 2 are usual")
    return Result("ok", thing, text)


def _finding_size(topic: str, limit: int) -> Result:
    needed = MAX_FINDING_BYTES + HEADER_BYTES
    text = f"max.message.bytes {limit:,}"
    if limit < needed:
        return Result("warn", f"size of {topic}", f"{text}: large findings go without their event; set {needed:,}")
    return Result("ok", f"size of {topic}", text)


def _dead_letter_size(topic: str, limit: int, of_events: int) -> Result:
    text = f"max.message.bytes {limit:,}, that of the events {of_events:,}"
    if limit < of_events:
        return Result("warn", f"size of {topic}", f"{text}: the largest dead letters will be cut")
    return Result("ok", f"size of {topic}", text)


# --- group and transactions --------------------------------------------------------------------


def _group(settings: KafkaSettings, topic: str, admin: AdminClient) -> Result:
    thing, advice = f"group {settings.group_id}", "allow READ on it"
    committed = _settled(lambda: _committed(settings, topic))
    if isinstance(committed, KafkaError):
        return _failed(thing, committed, advice)
    found = _settled(lambda: _described_group(admin, settings.group_id))
    if isinstance(found, KafkaError):
        return _failed(thing, found, advice)
    if found.authorized_operations and AclOperation.READ not in found.authorized_operations:
        return Result("FAIL", thing, f"access denied: {advice}")
    known = sum(position.offset >= 0 for position in committed)
    begins = "" if known else f", begins at {settings.start}"
    return Result("ok", thing, f"offsets on {known} of {len(committed)} partitions{begins}")


def _committed(settings: KafkaSettings, topic: str) -> list[TopicPartition] | KafkaError:
    consumer = new_client(Consumer, consumer_config(settings))
    try:
        numbers = consumer.list_topics(topic, timeout=CALL_SECONDS).topics[topic].partitions
        partitions = [TopicPartition(topic, number) for number in numbers]
        return consumer.committed(partitions, timeout=CALL_SECONDS) if partitions else []
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        return error
    finally:
        consumer.close()


def _described_group(admin: AdminClient, group: str) -> ConsumerGroupDescription | KafkaError:
    asked = admin.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=CALL_SECONDS
    )
    return _answer(asked[group])


def _group_protocol(settings: KafkaSettings, topic: str) -> Result:
    """Joins a group of another name: the service's own would have to share out its partitions anew.

    Where that name is denied, the brokers have understood the question, which is the answer.
    """
    thing = "group protocol"
    if (protocol := first_protocol(settings)) == "classic":
        return Result("ok", thing, "classic, as set")
    config = {**consumer_config(settings), "group.id": f"{settings.group_id}-check", "group.protocol": protocol}
    joined: list[object] = []
    consumer = new_client(Consumer, config)
    try:
        consumer.subscribe([topic], on_assign=lambda *_: joined.append(True))
        deadline = time.monotonic() + CALL_SECONDS / 2
        while not joined and time.monotonic() < deadline:
            message = consumer.poll(POLL_SECONDS)
            error = message.error() if message is not None else None
            if error is not None and error.code() in NO_CONSUMER_PROTOCOL and not is_final(error):
                return _no_consumer_protocol(settings)
            joined.extend([True] if message is not None else [])
    finally:
        consumer.close()
    return (
        Result("ok", thing, "consumer (KIP-848)") if joined else Result("warn", thing, "the brokers did not tell")
    )


def _no_consumer_protocol(settings: KafkaSettings) -> Result:
    if settings.group_protocol == "consumer":
        return Result(
            "FAIL", "group protocol", "the brokers have no KIP-848 groups: set kafka.group_protocol = auto"
        )
    return Result("ok", "group protocol", "classic: the brokers have no KIP-848 groups")


def _transactions(settings: Settings) -> Result:
    if settings.delivery.mode == "at-least-once":
        return Result("ok", "transactions", "not used: delivery.mode is at-least-once")
    own = transactional_id(settings.kafka.group_id)
    producer = new_client(Producer, {**producer_config(settings.kafka), "transactional.id": own})
    thing = f"transactional id {own}"
    try:
        producer.init_transactions(CALL_SECONDS)
        producer.begin_transaction()
        producer.abort_transaction(CALL_SECONDS)
    except KafkaException as failure:
        return _failed(thing, failure.args[0], f"allow WRITE on ids that begin with {settings.kafka.group_id}-")
    return Result("ok", thing, "begun and aborted")


# --- answers -----------------------------------------------------------------------------------


def _answer(asked: Future[Answer]) -> Answer | KafkaError:
    try:
        return asked.result()
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        return error


def _settled(ask: Callable[[], Answer | KafkaError]) -> Answer | KafkaError:
    """Asked again while the brokers are finding a coordinator, as new clusters do."""
    deadline = time.monotonic() + CALL_SECONDS
    while isinstance(answer := ask(), KafkaError) and answer.code() in _SETTLING and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return answer


def _failed(thing: str, error: KafkaError, when_denied: str) -> Result:
    if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, UNKNOWN_TOPIC}:
        return Result("FAIL", thing, "missing: create it, or correct its name")
    denied = error.name().endswith("AUTHORIZATION_FAILED")
    return Result(
        "FAIL", thing, f"access denied: {when_denied}" if denied else f"{in_words(error)} ({error.name()})"
    )
