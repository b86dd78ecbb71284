"""`tokentrail tail` as its users have it: the real program, a real broker, findings that come while it runs."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from service.avro.findings import avro_findings
from service.avro.messages import connect
from service.detect import Detector
from service.finding import JSON, Finding, Format
from service.ocsf_finding import OCSF
from service.rules import RULES
from service.settings import RegistrySettings
from tests.broker import Broker, Kafka, free_ports, poll_until
from tests.program import start, tokentrail
from tests.registry import FakeRegistry
from tests.secured import PASSWORD, Need, SecuredBroker, password
from tests.unit.strategies import asking

ISSUED, SUSPICIOUS = Detector(RULES).detect_record(asking(durationSeconds=129_600)).findings


def finding(name: str, base: Finding = SUSPICIOUS, **changes: Any) -> Finding:
    return msgspec.structs.replace(base, finding_id=name, title=f"title of {name}", **changes)


def headers_of(one: Finding, form: Format) -> list[tuple[str, str | bytes | None]]:
    headers = {"ce_id": one.finding_id, "severity": one.severity, "rule_id": one.rule_id}
    headers["content-type"] = form.content_type
    return [*headers.items(), *([("canary", "true")] if one.canary else [])]


def publish(kafka: Kafka, topic: str, *findings: Finding, form: Format = JSON, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for one in findings:
        producer.produce(topic, form.encode(one, 900_000), partition=partition, headers=headers_of(one, form))
    assert producer.flush(20) == 0


class Tail:
    """A running `tokentrail tail` whose output is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.complaints: list[str] = []
        pipes = ((process.stdout, self.lines), (process.stderr, self.complaints))
        self._readers = [threading.Thread(target=_collect, args=pipe) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def wait_for(self, *names: str) -> None:
        """Until each finding has come."""
        poll_until(lambda: all(any(name in line for line in self.lines) for name in names), f"{names} to come")

    def interrupt(self, sent: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C. Returns the exit code."""
        self.process.send_signal(sent)
        return self.end()

    def end(self) -> int:
        code = self.process.wait(15)
        for reader in self._readers:
            reader.join(5)
        return code


def _collect(pipe: IO[str], lines: list[str]) -> None:
    with pipe:
        for line in pipe:
            lines.append(line)  # noqa: PERF402  others look at it meanwhile


@contextmanager
def tail(kafka: Kafka, topic: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Iterator[Tail]:
    given = {"TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap, "TOKENTRAIL_TOPICS__FINDINGS": topic}
    running = Tail(start("tail", *arguments, extra={**given, **(extra or {})}))
    try:
        yield running
    finally:
        running.process.kill()
        running.end()


def follow(kafka: Kafka, topic: str, running: Tail) -> None:
    """Until it is seen to follow: nothing else tells when the end is that it begins at."""

    def comes() -> bool:
        publish(kafka, topic, finding("marker"))
        return bool(running.lines)

    poll_until(comes, "a first line")


def names(running: Tail) -> list[str]:
    found = [json.loads(line)["finding_id"] for line in running.lines]
    return [name for name in found if name != "marker"]


# --- what it follows -------------------------------------------------------------------------------


def test_from_the_beginning_it_shows_all_and_goes_on(broker: Kafka) -> None:
    """Of every partition; Ctrl-C ends it well."""
    topic = broker.new_topic(2)
    for partition in (0, 1):
        publish(broker, topic, finding(f"old-{partition}"), partition=partition)
    with tail(broker, topic, "--from", "beginning") as running:
        running.wait_for("old-0", "old-1")
        publish(broker, topic, finding("new"), partition=1)
        running.wait_for("new")
        assert running.interrupt() == 0
        assert running.complaints == []
        assert len(running.lines) == 3
        (line,) = [line for line in running.lines if "title of new" in line]
        for text in (SUSPICIOUS.severity, SUSPICIOUS.rule_id, SUSPICIOUS.principal_arn, SUSPICIOUS.account_id):
            assert text is not None
            assert text in line
        assert "\x1b" not in line


def test_by_default_it_shows_what_comes_from_now_on(broker: Kafka) -> None:
    topic = broker.new_topic(2)
    publish(broker, topic, finding("old"))
    with tail(broker, topic) as running:
        follow(broker, topic, running)
        publish(broker, topic, finding("new"), partition=1)
        running.wait_for("title of new")
        assert not any("title of old" in line for line in running.lines)


def test_a_partition_that_is_added_is_followed_from_its_beginning(broker: Kafka) -> None:
    topic = broker.new_topic()
    with tail(broker, topic) as running:
        follow(broker, topic, running)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(timeout=30)
        poll_until(lambda: len(admin.list_topics(topic, timeout=5).topics[topic].partitions) == 2, "a partition")
        publish(broker, topic, finding("there"), partition=1)
        running.wait_for("title of there")


def test_only_committed_transactions_show(broker: Kafka) -> None:
    topic = broker.new_topic()
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for name, end in (("aborted", producer.abort_transaction), ("committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, JSON.encode(finding(name), 900_000), headers=headers_of(finding(name), JSON))
        assert producer.flush(20) == 0
        end(30)
    with tail(broker, topic, "--from", "beginning") as running:
        running.wait_for("title of committed")
        assert len(running.lines) == 1


def test_it_commits_nothing_and_joins_no_group(broker: Kafka) -> None:
    topic = broker.new_topic()
    group = f"group-{topic}"
    publish(broker, topic, finding("old"))
    with tail(broker, topic, "--from", "beginning", extra={"TOKENTRAIL_KAFKA__GROUP_ID": group}) as running:
        running.wait_for("old")
        assert running.interrupt() == 0
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    listed = admin.list_consumer_groups(request_timeout=10).result().valid or []
    assert group not in {each.group_id for each in listed}


# --- what it shows -----------------------------------------------------------------------------------


def test_json_is_the_message_as_it_is(broker: Kafka) -> None:
    topic = broker.new_topic()
    values = [JSON.encode(finding("a", user_agent="\u202e\x9b é"), 900_000), OCSF.encode(finding("b"), 900_000)]
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value in [*values, b'{\n "finding_id": "on several lines"}\n', b"no finding"]:
        producer.produce(topic, value)
    assert producer.flush(20) == 0
    with tail(broker, topic, "--from", "beginning", "--output", "json") as running:
        running.wait_for("several")
        poll_until(lambda: running.complaints, "the complaint")
        assert running.interrupt() == 0
    assert [line.removesuffix("\n").encode() for line in running.lines[:2]] == values
    assert json.loads(running.lines[2]) == {"finding_id": "on several lines"}
    assert running.complaints == [f"tokentrail: {topic}[0] at offset 3 cannot be read: not JSON\n"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["low", "canary", "high"]),
        (("--severity", "high"), ["canary", "high"]),
        (("--rule", ISSUED.rule_id), ["low"]),
        (("--rule", ISSUED.rule_id, "--rule", SUSPICIOUS.rule_id), ["low", "canary", "high"]),
        (("--canary",), ["canary"]),
        (("--severity", "low", "--no-canary"), ["low", "high"]),
    ],
)
def test_it_shows_what_was_asked_for(broker: Kafka, arguments: tuple[str, ...], expected: list[str]) -> None:
    topic = broker.new_topic()
    findings = [
        finding("low", ISSUED, severity="low"),
        finding("canary", severity="critical", canary=True),
        finding("high", severity="high"),
    ]
    last = next(one for one in findings if one.finding_id == expected[-1])
    publish(broker, topic, *findings, finding("last", last))
    with tail(broker, topic, "--from", "beginning", "--output", "json", *arguments) as running:
        running.wait_for("last")
        assert names(running) == [*expected, "last"]


def test_avro_is_read_by_its_registry(broker: Kafka) -> None:
    topic = broker.new_topic()
    with FakeRegistry() as fake:
        registry = connect(RegistrySettings(url=fake.url))
        assert registry is not None
        publish(broker, topic, finding("first"), form=avro_findings(registry, topic))
        extra = {"TOKENTRAIL_REGISTRY__URL": fake.url}
        with tail(broker, topic, "--from", "beginning", "--output", "json", extra=extra) as running:
            running.wait_for("title of first")
            assert names(running) == ["first"]
            assert running.interrupt() == 0
            assert running.complaints == []
    with tail(broker, topic, "--from", "beginning") as running:
        poll_until(lambda: running.complaints, "the complaint")
        assert "written in Avro, and registry.url is not set" in running.complaints[0]


# --- what ends it, and what does not ---------------------------------------------------------------------


def test_a_reader_that_goes_away_ends_it_quietly(broker: Kafka) -> None:
    topic = broker.new_topic()
    publish(broker, topic, finding("old"))
    given = {"TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap, "TOKENTRAIL_TOPICS__FINDINGS": topic}
    process = start("tail", "--from", "beginning", extra=given)
    assert process.stdout is not None
    assert "old" in process.stdout.readline()
    process.stdout.close()
    publish(broker, topic, *(finding(f"f{number}") for number in range(3)))
    assert process.wait(15) == 1
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.long
def test_an_outage_of_the_brokers_is_told_and_waited_out(own_broker: Broker) -> None:
    topic = own_broker.new_topic()
    with tail(own_broker, topic) as running:
        follow(own_broker, topic, running)
        own_broker.kill()
        poll_until(lambda: running.complaints, "the complaint")
        assert "no broker answers" in running.complaints[0]
        own_broker.start()
        publish(own_broker, topic, finding("after"))
        running.wait_for("title of after")
        own_broker.kill()
        assert running.interrupt(signal.SIGTERM) == 0, running.complaints


def test_brokers_that_do_not_answer_at_the_start_end_it() -> None:
    done = tokentrail("tail", "--bootstrap-servers", f"127.0.0.1:{free_ports(1)[0]}")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no broker answers" in done.stderr


def test_it_needs_to_read_findings_and_nothing_else(secured: SecuredBroker) -> None:
    """No right to any group; without that to the topic it is refused."""
    tenant = secured.tenant()
    secured.add_scram_user(tenant.user, PASSWORD)
    login = password(secured, "SCRAM-SHA-512") | {"TOKENTRAIL_KAFKA__SASL_USERNAME": tenant.user}
    extra = {**tenant.environment(), **login}
    refused = tokentrail("tail", extra=extra)
    assert refused.returncode == 3, refused.stderr
    assert tenant.findings in refused.stderr
    secured.allow(tenant.user, [Need("topic", tenant.findings, "literal", ("READ", "DESCRIBE"))])
    publish(secured, tenant.findings, finding("old"))
    with tail(secured, tenant.findings, "--from", "beginning", extra=extra) as running:
        running.wait_for("title of old")
        publish(secured, tenant.findings, finding("new"))
        running.wait_for("title of new")
        assert running.interrupt() == 0
        assert running.complaints == []
