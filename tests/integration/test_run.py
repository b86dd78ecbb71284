"""`tokentrail run` as its users have it: the real program, a real Kafka, real records."""

import base64
import gzip
import json
import random
import signal
import socket
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from service.batch import Message
from service.detect import Detector
from service.rules import EVERY_RULE, RULES
from tests.broker import ROOT, Broker, Kafka, poll_until
from tests.program import PROGRAM, environment
from tests.proxy import Proxy
from tests.running import published
from tests.unit.strategies import JSON_WRAPS, asking, issuance

RECORDS = ROOT.parent / "shared" / "cloudtrail"
SINGLE, FILES = 499, 10


# --- the program and its topics ------------------------------------------------------------------


@dataclass
class Program:
    """`tokentrail run`, its log going to a file. `settings` are added to the environment."""

    bootstrap: str
    events: str
    findings: str
    dead_letters: str
    folder: Path
    group: str = field(default_factory=lambda: f"group-{uuid.uuid4()}")
    settings: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator["Run"]:
        log = self.folder / f"{uuid.uuid4()}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*PROGRAM, "run"], env=environment(self._environment()), cwd=ROOT, stdout=stream, stderr=stream
            )
        try:
            yield Run(process, log)
        finally:
            process.kill()
            process.wait(10)

    def _environment(self) -> dict[str, str]:
        settings = {
            "KAFKA__BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA__GROUP_ID": self.group,
            "TOPICS__EVENTS": self.events,
            "TOPICS__FINDINGS": self.findings,
            "TOPICS__DEAD_LETTERS": self.dead_letters,
            "HTTP__HOST": "127.0.0.1",
            "HTTP__PORT": "0",
            "LOG__FORMAT": "json",
        }
        return {f"TOKENTRAIL_{name}": value for name, value in (settings | self.settings).items()}


@dataclass
class Run:
    process: subprocess.Popen[bytes]
    _log: Path

    def log(self) -> list[dict[str, Any]]:
        """Every line is JSON, or the test fails: nothing else may be on the program's output."""
        return [json.loads(line) for line in self._log.read_text(encoding="utf-8").splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def wait_for(self, event: str, times: int = 1) -> None:
        poll_until(lambda: len(self.logged(event)) >= times, f"{times} lines {event!r} in {self._log}")

    def get(self, path: str) -> tuple[int, str]:
        (started,) = poll_until(lambda: self.logged("started"), "the program's first line")
        connection = HTTPConnection(urlsplit(started["metrics"]).netloc, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        poll_until(lambda: self.get("/readyz")[0] == 200, "a program that is ready")

    def count(self, metric: str, **labels: str) -> float:
        """The sum of the series that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples]
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"tokentrail_{metric}" and sample.labels.items() >= labels.items()
        )

    def wait_for_messages(self, count: int) -> None:
        poll_until(lambda: self.count("messages_total") >= count, f"{count} messages committed", 60)
        assert self.count("messages_total") == count

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sent)
        return self.process.wait(15)


@pytest.fixture
def program(broker: Kafka, tmp_path: Path) -> Program:
    return Program(broker.bootstrap, broker.new_topic(3), broker.new_topic(2), broker.new_topic(), tmp_path)


def send(kafka: Kafka, topic: str, messages: Sequence[tuple[bytes | None, bytes | None]]) -> None:
    """Messages of (key, value)."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20})
    for key, value in messages:
        producer.produce(topic, value, key, headers=[("number", key)])
    assert producer.flush(30) == 0


def finding_ids(messages: Sequence[Message]) -> Counter[str]:
    return Counter(json.loads(message.value() or b"")["finding_id"] for message in messages)


def _asked(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition] | None:
    """None while a broker that has just come back is no coordinator yet."""
    try:
        return consumer.committed(places, timeout=10)
    except KafkaException as failure:
        if failure.args[0].code() in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
            return None
        raise


def committed(kafka: Kafka, program: Program) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": program.group})
    try:
        numbers = consumer.list_topics(program.events, timeout=10).topics[program.events].partitions
        places = [TopicPartition(program.events, number) for number in numbers]
        positions = poll_until(lambda: _asked(consumer, places), "the group's coordinator")
        return {position.partition: position.offset for position in positions if position.offset >= 0}
    finally:
        consumer.close()


def expected_ids(records: Sequence[Mapping[str, object]]) -> Counter[str]:
    detector = Detector(RULES)
    return Counter(finding.finding_id for record in records for finding in detector.detect_record(record).findings)


def encoded(record: object) -> bytes:
    return json.dumps(record).encode()


# --- real records ------------------------------------------------------------------------------


def real_messages() -> list[tuple[bytes | None, bytes | None]]:
    if not RECORDS.is_dir():
        pytest.skip(f"the public records are not here: {RECORDS}")
    lines = [line for file in sorted(RECORDS.glob("*.ndjson")) for line in file.read_bytes().splitlines()]
    files = [file.read_bytes() for file in sorted(RECORDS.glob("invictus/*.json.gz"))]
    assert (len(lines), len(files)) == (SINGLE, FILES)
    return [(b"%d" % number, value) for number, value in enumerate(lines + files)]


@pytest.mark.usefixtures("kafka_tools")
def test_real_records_give_what_scan_gives_and_a_second_run_nothing_new(broker: Kafka, program: Program) -> None:
    """The findings, as Kafka's own console consumer prints them; the probes; the numbers; then SIGTERM."""
    messages = real_messages()
    send(broker, program.events, messages)
    with program.running() as run:
        scanned = subprocess.run(
            [*PROGRAM, "scan", str(RECORDS), "--output", "ndjson"],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=True,
        )
        expected = {json.loads(line)["finding_id"] for line in scanned.stdout.splitlines()}
        assert len(expected) == 2
        run.wait_for_messages(SINGLE + FILES)
        assert run.get("/livez") == run.get("/readyz") == (200, "ok\n")
        assert run.count("records_total", envelope="record") == SINGLE
        assert run.count("records_total", envelope="records") == 2_900
        assert run.count("findings_total") == run.count("rule_verdicts_total", verdict="match") == 2
        assert run.count("rule_verdicts_total") == len(EVERY_RULE) * (SINGLE + 2_900)
        assert run.count("dead_letters_total") == 0
        assert run.count("message_bytes_total") == sum(len(value or b"") for _, value in messages)
        assert run.count("assigned_partitions") == 3
        assert run.stop() == 0
        assert [line["event"] for line in run.log()][-1] == "stopped"
    shown = broker.console_consume(program.findings, 2, formatter={"print.key": "true", "print.headers": "true"})
    lines = [line.split("\t", 2) for line in shown.splitlines()]
    assert {json.loads(value)["finding_id"] for _, _, value in lines} == expected
    assert {key for _, key, _ in lines} == {"arn:aws:iam::742491224508:user/stratus-red-team-user-federation-user"}
    assert all("ce_type:io.tokentrail.finding.v1" in headers for headers, _, _ in lines)
    assert sum(committed(broker, program).values()) == SINGLE + FILES

    with program.running() as run:
        send(broker, program.events, [(b"later", encoded(issuance()))])
        run.wait_for_messages(1)
        assert run.stop() == 0
    assert finding_ids(published(broker, program.findings)) == Counter(expected) + expected_ids([issuance()])


def test_of_a_transactional_upstream_only_what_was_committed_counts_and_the_lag_ends_at_zero(
    broker: Kafka, program: Program
) -> None:
    """An aborted event is no event; markers of transactions take offsets, and are no lag."""
    upstream = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": str(uuid.uuid4())})
    upstream.init_transactions(30)
    for number, end in enumerate([upstream.commit_transaction, upstream.abort_transaction] * 3):
        upstream.begin_transaction()
        upstream.produce(program.events, encoded(issuance(eventID=f"event-{number}")), partition=0)
        end(30)
    with program.running() as run:
        run.wait_for_messages(3)
        poll_until(lambda: "tokentrail_consumer_lag{" in run.get("/metrics")[1], "a lag")
        poll_until(lambda: run.count("consumer_lag") == 0, "the lag's end")
    found = [json.loads(message.value() or b"")["event_id"] for message in published(broker, program.findings)]
    assert found == ["event-0", "event-2", "event-4"]


# --- every envelope, and rubbish ------------------------------------------------------------------


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def wrapped(data: bytes, *names: str) -> bytes:
    """The document inside these envelopes, the innermost first."""
    for name in names:
        data = base64.b64encode(zipped(data)) if name == "base64" else zipped(data) if name == "gzip" else data
        (data,) = JSON_WRAPS[name]([data]) if name in JSON_WRAPS else [data]
    return data


# How a record is wrapped -> the envelope that is counted: the outermost.
ENVELOPES = {
    (): "record",
    ("records",): "records",
    ("records", "gzip"): "records",
    ("array",): "documents",
    ("eventbridge",): "eventbridge",
    ("cloudwatch",): "cloudwatch",
    ("cloudwatch", "base64"): "cloudwatch",
    ("sns",): "sns",
    ("eventbridge", "sns"): "sns",
    ("records", "cloudwatch", "gzip"): "cloudwatch",
    ("cloudwatch", "sns", "eventbridge"): "eventbridge",
}

IGNORED: dict[bytes | None, str] = {
    None: "tombstone",
    b'{"messageType": "CONTROL_MESSAGE", "logEvents": []}': "cloudwatch_control",
    b'{"Type": "SubscriptionConfirmation", "Token": "x"}': "sns_control",
    b'{"detail-type": "EC2 Instance State-change Notification", "detail": {}}': "not_cloudtrail",
}


def rubbish(rng: random.Random) -> list[bytes]:
    """Ten kinds of it, each a little different every time."""
    whole = encoded(issuance(eventID=str(rng.random())))
    cut = rng.randrange(20, len(whole) - 20)
    return [
        b"",
        b" \n" * rng.randrange(1, 9),
        b"plain text %d" % rng.randrange(1_000),
        b"\x00\xff\xfe" + rng.randbytes(30),
        whole[:cut],
        b"%d" % rng.randrange(1_000),
        b'{"neither": "record nor envelope %d"}' % rng.randrange(1_000),
        zipped(whole)[: -rng.randrange(5, 20)],
        b"H4sI*" + rng.randbytes(9),
        b'{"Records": "%d"}' % rng.randrange(1_000),
    ]


@dataclass
class Mixture:
    """Messages of every kind, shuffled, and what has to come of them."""

    messages: list[bytes | None] = field(default_factory=list)
    records: list[dict[str, object]] = field(default_factory=list)
    envelopes: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rubbish: list[bytes] = field(default_factory=list)


def mixture(count: int) -> Mixture:
    rng = random.Random(20_260_101)
    made = Mixture()
    quiet = issuance(eventSource="s3.amazonaws.com", eventName="GetObject")
    kinds = list(ENVELOPES.items())
    for number in range(count):
        record = rng.choice([quiet, issuance(), asking(durationSeconds=100_000)]) | {"eventID": f"event-{number}"}
        names, envelope = kinds[number % len(kinds)]
        made.records.append(record)
        made.envelopes[envelope] += 1
        made.messages.append(wrapped(encoded(record), *names))
    for _ in range(count // 200):
        made.rubbish += rubbish(rng)
        made.messages += IGNORED
        made.ignored.update(IGNORED.values())
    made.messages += made.rubbish
    rng.shuffle(made.messages)
    return made


@pytest.mark.parametrize(
    ("mode", "protocol", "ending"),
    [("exactly-once", "consumer", signal.SIGTERM), ("at-least-once", "classic", signal.SIGINT)],
)
def test_findings_ignored_quiet_and_dead_letters_add_up_to_what_was_fed(
    broker: Kafka, program: Program, mode: str, protocol: str, ending: signal.Signals
) -> None:
    fed = mixture(1_900)
    send(broker, program.events, [(b"%d" % number, value) for number, value in enumerate(fed.messages)])
    program.settings |= {"DELIVERY__MODE": mode, "KAFKA__GROUP_PROTOCOL": protocol}
    with program.running() as run:
        run.wait_for_messages(len(fed.messages))
        for envelope, count in fed.envelopes.items():
            assert run.count("records_total", envelope=envelope) == count
        for kind, count in fed.ignored.items():
            assert run.count("ignored_records_total", kind=kind) == count
        assert run.count("dead_letters_total") == len(fed.rubbish)
        parts = run.count("records_total") + run.count("ignored_records_total") + run.count("dead_letters_total")
        assert parts == len(fed.messages)
        assert group_type(broker, program.group) == protocol.upper()
        assert run.stop(ending) == 0
        assert [line for line in run.log() if line["level"] not in ("info", "debug")] == []
    assert finding_ids(published(broker, program.findings)) == expected_ids(fed.records)
    letters = published(broker, program.dead_letters)
    assert Counter(letter.value() for letter in letters) == Counter(fed.rubbish)
    for letter in letters:
        said = dict(letter.headers() or [])
        assert fed.messages[int(letter.key() or b"")] == letter.value()
        assert said["number"] == letter.key()
        assert said["__connect.errors.topic"] == program.events.encode()
        assert said["__connect.errors.exception.message"]
    reasons = Counter(dict(m.headers() or [])["__connect.errors.exception.message"] for m in letters)
    assert len(reasons) >= 6


def group_type(kafka: Kafka, group: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    listed = admin.list_consumer_groups().result(10)
    return next(str(found.type.name) for found in listed.valid if found.group_id == group)


# --- where a new group begins ----------------------------------------------------------------------


def test_a_new_group_begins_where_it_is_told(broker: Kafka, program: Program) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    noon = int(time.time() * 1000) - 3_600_000
    for number in range(4):
        event = encoded(issuance(eventID=f"event-{number}"))
        producer.produce(program.events, event, partition=number % 2, timestamp=noon + number * 60_000)
    producer.flush(30)
    start = datetime.fromtimestamp(noon / 1000 + 60, UTC).isoformat()
    from_a_time = Program(
        program.bootstrap, program.events, broker.new_topic(), program.dead_letters, program.folder
    )
    program.settings["KAFKA__START"] = "latest"
    from_a_time.settings["KAFKA__START"] = start
    with program.running() as latest, from_a_time.running() as timed:
        poll_until(
            lambda: latest.count("assigned_partitions") == timed.count("assigned_partitions") == 3, "partitions"
        )
        send(broker, program.events, [(None, encoded(issuance(eventID="later")))])
        latest.wait_for_messages(1)
        timed.wait_for_messages(4)
    assert finding_ids(published(broker, program.findings)) == expected_ids([issuance(eventID="later")])
    names = ("event-1", "event-2", "event-3", "later")
    expected = expected_ids([issuance(eventID=name) for name in names])
    assert finding_ids(published(broker, from_a_time.findings)) == expected


# --- when the world is bad ---------------------------------------------------------------------------


def test_brokers_that_are_away_at_the_start_are_waited_for(broker: Kafka, program: Program) -> None:
    """One warning; alive, not ready; then ready by itself. Told to stop while it waits, it stops."""
    with socket.create_server(("127.0.0.1", 0)) as closed_again:
        port = closed_again.getsockname()[1]
    program.bootstrap = f"127.0.0.1:{port}"
    with program.running() as run, program.running() as given_up:
        for waiting in (run, given_up):
            waiting.wait_for("waiting for the brokers")
        assert run.get("/readyz") == (503, "waiting for the brokers\n")
        assert run.get("/livez") == (200, "ok\n")
        assert given_up.stop() == 0
        assert given_up.log()[-1]["event"] == "stopped"
        with Proxy(port, int(broker.bootstrap.rpartition(":")[2])):
            run.wait_until_ready()
            send(broker, program.events, [(None, encoded(issuance()))])
            run.wait_for_messages(1)
            assert run.stop() == 0
        assert [line["event"] for line in run.log() if line["level"] == "warning"] == ["waiting for the brokers"]


def test_a_dead_letter_topic_that_is_gone_ends_the_program_and_commits_nothing(
    broker: Kafka, program: Program
) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    program.dead_letters = f"test-{uuid.uuid4()}"
    admin.create_topics([NewTopic(program.dead_letters, num_partitions=1)])[program.dead_letters].result(30)
    program.settings["KAFKA__PRODUCER_PROPERTIES"] = '{"message.timeout.ms": 2000}'
    with program.running() as run:
        send(broker, program.events, [(b"key", encoded(issuance()))])
        run.wait_for_messages(1)
        before = committed(broker, program)
        admin.delete_topics([program.dead_letters])[program.dead_letters].result(30)
        send(broker, program.events, [(b"key", b"rubbish")])
        assert run.process.wait(30) == 3
        (refused,) = run.logged("refused")
        assert program.dead_letters in refused["problem"]
        assert committed(broker, program) == before


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_a_dead_letter_that_no_topic_takes_is_tried_again_and_never_silently(
    broker: Kafka, program: Program, mode: str
) -> None:
    program.dead_letters = broker.new_topic(config={"max.message.bytes": "100"})
    program.settings["DELIVERY__MODE"] = mode
    send(broker, program.events, [(b"key", b"rubbish")])
    with program.running() as run:
        run.wait_for("batch given up, will be read again", times=2)
        poll_until(lambda: run.count("consumer_lag") == 1, "a lag")
        assert run.count("commits_total", result="failure") >= 2
        assert run.count("messages_total") == run.count("dead_letters_total") == 0
        assert run.get("/livez")[0] == 200
        assert run.stop() == 0
        assert "MSG_SIZE_TOO_LARGE" in run.logged("batch given up, will be read again")[0]["problem"]
    assert sum(committed(broker, program).values()) == 0
    assert published(broker, program.dead_letters) == []


def test_an_outage_while_nothing_waits_is_told_and_so_is_its_end(own_broker: Broker, program: Program) -> None:
    """Nothing is to be delivered, so no call fails: the client's own statistics tell."""
    with program.running() as run:
        run.wait_until_ready()
        # A new group commits where it begins: a broker that dies under that leaves a call waiting.
        quiet = {"eventSource": "s3.amazonaws.com", "eventName": "GetObject"}
        send(own_broker, program.events, [(b"key", encoded(quiet))])
        run.wait_for_messages(1)
        own_broker.kill()
        poll_until(lambda: run.get("/readyz") == (503, "no broker answers\n"), "the outage to be seen")
        assert run.get("/livez")[0] == 200
        own_broker.start()
        run.wait_until_ready()
        assert run.stop() == 0
    assert len(run.logged("no broker answers, waiting")) == len(run.logged("brokers answer again")) == 1


def test_a_broker_killed_meanwhile_costs_no_finding_and_doubles_none(own_broker: Broker, program: Program) -> None:
    """Exactly once for readers of committed messages: 7,000 events before, during and after the crash."""
    records = [issuance(eventID=f"event-{number}") for number in range(7_000)]
    messages = [(b"%d" % number, encoded(record)) for number, record in enumerate(records)]
    program.settings["LIMITS__BATCH_MESSAGES"] = "10"  # still at it when the broker dies
    with program.running() as run:
        run.wait_until_ready()
        send(own_broker, program.events, messages[:6_000])
        poll_until(lambda: run.count("messages_total") >= 100, "a beginning")
        own_broker.kill()
        assert 100 <= run.count("messages_total") < 6_000
        own_broker.start()
        send(own_broker, program.events, messages[6_000:])
        run.wait_for_messages(7_000)
        assert run.count("producer_replacements_total") > 0
        assert run.stop() == 0
    assert finding_ids(published(own_broker, program.findings)) == expected_ids(records)
