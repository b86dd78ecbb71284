"""`tokentrail check` before a real Kafka: a line for each thing, and what to do where one is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker import ROOT, Kafka, free_ports
from tests.proxy import Proxy
from tests.running import tokentrail
from tests.secured import NEEDS, NEEDS_OF_CHECK, PASSWORD, USER, Need, SecuredBroker, password, tls, token


class Checked:
    """What `check` printed, line by line, and its exit code."""

    def __init__(self, broker: Kafka, environment: Mapping[str, str], *arguments: str) -> None:
        ended = tokentrail(broker, "check", *arguments, environment=environment)
        self.code = ended.returncode
        self.output = ended.stdout
        self.complaints = ended.stderr
        self.lines = self.output.splitlines()
        assert "Traceback" not in self.complaints

    def of(self, level: str) -> list[str]:
        return [line[6:] for line in self.lines if line.startswith(f"{level:<4}  ")]


def topics(broker: Kafka, **config: Mapping[str, str]) -> dict[str, str]:
    """Settings that name three new topics, made with the configuration given for each."""
    return {
        f"TOKENTRAIL_TOPICS__{name.upper()}": broker.new_topic(2, config.get(name))
        for name in ("events", "findings", "dead_letters")
    }


def test_all_that_is_well_is_told_in_a_line_each(broker: Kafka) -> None:
    settings = topics(broker)
    events, findings, dead_letters = settings.values()
    checked = Checked(broker, {**settings, "TOKENTRAIL_KAFKA__GROUP_ID": events})
    assert checked.code == 0, checked.output
    good = checked.of("ok")
    assert good[4:] == [
        f"broker {broker.bootstrap}: answers",
        f"topic {events}: 2 partitions, READ allowed",
        f"topic {findings}: 2 partitions, WRITE allowed",
        f"topic {dead_letters}: 2 partitions, WRITE allowed",
        f"size of {findings}: max.message.bytes 1,048,588",
        f"size of {dead_letters}: max.message.bytes 1,048,588, that of the events 1,048,588",
        f"group {events}: offsets on 0 of 2 partitions, begins at earliest",
        "group protocol: consumer (KIP-848)",
        good[-1],
    ]
    assert re.fullmatch(rf"transactional id {events}-.*: begun and aborted", good[-1])
    assert len(good) + len(checked.of("warn")) == len(checked.lines)


def test_topics_that_can_lose_or_cut_data_are_warned_of(broker: Kafka) -> None:
    settings = topics(
        broker, findings={"max.message.bytes": "500000"}, dead_letters={"max.message.bytes": "500000"}
    )
    _, findings, dead_letters = settings.values()
    checked = Checked(broker, settings)
    assert checked.code == 0
    cut = "the largest dead letters will be cut"
    risk = "1, min.insync.replicas 1: the loss of one broker can lose data; 3 and 2 are usual"
    assert checked.of("warn") == [
        f"replication of {findings}: {risk}",
        f"replication of {dead_letters}: {risk}",
        f"size of {findings}: max.message.bytes 500,000: large findings go without their event; set 904,096",
        f"size of {dead_letters}: max.message.bytes 500,000, that of the events 1,048,588: {cut}",
    ]


def test_more_replicas_in_sync_than_there_are_is_a_failure(broker: Kafka) -> None:
    settings = topics(broker, findings={"min.insync.replicas": "2"})
    checked = Checked(broker, settings)
    assert checked.code == 3
    findings = settings["TOKENTRAIL_TOPICS__FINDINGS"]
    assert checked.of("FAIL") == [f"replication of {findings}: 1, min.insync.replicas 2: nothing can be written"]


def test_a_missing_topic_is_a_failure(broker: Kafka) -> None:
    settings = {**topics(broker), "TOKENTRAIL_TOPICS__FINDINGS": "no-such-topic"}
    checked = Checked(broker, settings)
    assert checked.code == 3
    assert checked.of("FAIL") == ["topic no-such-topic: missing: create it, or correct its name"]


def test_json_says_the_same(broker: Kafka) -> None:
    settings = {**topics(broker), "TOKENTRAIL_TOPICS__FINDINGS": "no-such-topic"}
    checked = Checked(broker, settings, "--output", "json")
    failures = [result for result in json.loads(checked.output) if result["level"] == "FAIL"]
    assert failures == [
        {"level": "FAIL", "thing": "topic no-such-topic", "text": "missing: create it, or correct its name"}
    ]


def test_what_is_not_used_is_not_tried(broker: Kafka) -> None:
    environment = {"TOKENTRAIL_DELIVERY__MODE": "at-least-once", "TOKENTRAIL_KAFKA__GROUP_PROTOCOL": "classic"}
    checked = Checked(broker, {**topics(broker), **environment})
    assert checked.code == 0
    assert checked.of("ok")[-2:] == [
        "group protocol: classic, as set",
        "transactions: not used: delivery.mode is at-least-once",
    ]


def test_one_broker_of_two_that_answers_is_enough(broker: Kafka) -> None:
    (nobody,) = free_ports(1)
    checked = Checked(broker, topics(broker), "--bootstrap-servers", f"127.0.0.1:{nobody},{broker.bootstrap}")
    assert checked.code == 0
    assert f"broker {broker.bootstrap}: answers" in checked.of("ok")
    assert checked.of("warn")[0].startswith(f"broker 127.0.0.1:{nobody}: no broker answers: ")


def test_no_broker_at_all_is_a_failure(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    hostile = tmp_path / "a\x1b[31m.toml"
    hostile.write_text("")
    checked = Checked(Kafka(f"127.0.0.1:{nobody}"), {}, "--config", str(hostile))
    assert checked.code == 3
    assert "\x1b" not in checked.output
    assert checked.of("ok")[0].endswith("a\\x1b[31m.toml")
    (line,) = checked.of("FAIL")
    assert line.startswith(f"broker 127.0.0.1:{nobody}: no broker answers: ")
    assert "Connection refused" in line


def test_a_wrong_setting_has_an_exit_code_of_its_own() -> None:
    checked = Checked(Kafka("127.0.0.1:1"), {"TOKENTRAIL_KAFKA__PROPERTIES": '{"no.such.property": 1}'})
    assert checked.code == 2
    assert (
        checked.complaints == 'tokentrail: kafka.properties: No such configuration property: "no.such.property"\n'
    )


def start_waiting(port: int, environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "service", "check", "--wait", *arguments],
        env={**os.environ, **environment, "TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waits(program: "subprocess.Popen[str]") -> bool:
    assert program.stderr is not None
    return program.stderr.readline() == "tokentrail: no broker answers, waiting\n"


def test_waiting_ends_when_a_broker_answers(broker: Kafka) -> None:
    (port,) = free_ports(1)
    waiting = start_waiting(port, topics(broker))
    assert waits(waiting)
    with Proxy(port, int(broker.bootstrap.rpartition(":")[2])):
        output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert f"ok    broker 127.0.0.1:{port}: answers\n" in output


def test_waiting_ends_with_a_signal_or_with_its_time() -> None:
    ports = free_ports(3)
    terminated, interrupted = start_waiting(ports[0], {}), start_waiting(ports[1], {})
    late = start_waiting(ports[2], {}, "--timeout", "1")
    assert all(waits(program) for program in (terminated, interrupted, late))
    terminated.send_signal(signal.SIGTERM)
    interrupted.send_signal(signal.SIGINT)
    for waiting in (terminated, interrupted, late):
        output, complaints = waiting.communicate(timeout=60)
        assert waiting.returncode == 3
        assert "FAIL  broker " in output
        assert complaints == ""


# --- where access is controlled --------------------------------------------------------------------------------


def test_the_access_the_readme_asks_for_is_enough(secured: SecuredBroker) -> None:
    tenant = secured.tenant()
    secured.allow(tenant.user, tenant.needs((*NEEDS, *NEEDS_OF_CHECK)))
    checked = Checked(secured, {**token(secured, f"principal={tenant.user}"), **tenant.environment()})
    assert checked.code == 0, checked.output
    assert not [line for line in checked.of("warn") if not line.startswith("replication of ")]


def test_without_describe_configs_it_warns_that_it_cannot_tell(secured: SecuredBroker) -> None:
    tenant = secured.tenant()
    secured.allow(tenant.user, tenant.needs())
    checked = Checked(secured, {**token(secured, f"principal={tenant.user}"), **tenant.environment()})
    assert checked.code == 0, checked.output
    advice = "access denied: allow DESCRIBE_CONFIGS on it, and its limits are checked; `run` does without"
    for topic in (tenant.events, tenant.findings, tenant.dead_letters):
        assert f"limits of {topic}: {advice}" in checked.of("warn")


def described(need: Need) -> Need:
    return replace(need, operations=("DESCRIBE",))


@pytest.mark.parametrize("index", range(len(NEEDS)), ids=[f"{need.resource} {need.name}" for need in NEEDS])
def test_a_denied_access_is_told_with_what_to_allow(secured: SecuredBroker, index: int) -> None:
    tenant = secured.tenant()
    needs = tenant.needs()
    denied = needs[index]
    secured.allow(tenant.user, [described(need) if need is denied else need for need in needs])
    checked = Checked(secured, {**token(secured, f"principal={tenant.user}"), **tenant.environment()})
    assert checked.code == 3
    (line,) = checked.of("FAIL")
    advice = {
        "topic": f"topic {denied.name}: access denied: allow {denied.operations[0]} on it",
        "group": f"group {denied.name}: access denied: allow READ on it",
        "transactional id": f": access denied: allow WRITE on ids that begin with {denied.name}",
    }[denied.resource]
    assert line.endswith(advice)


def test_a_refused_login_and_a_certificate_are_told_as_such(secured: SecuredBroker) -> None:
    secured.add_scram_user(USER, PASSWORD)
    refused = Checked(secured, password(secured, "SCRAM-SHA-512", "battery-staple"))
    untrusted = Checked(secured, tls(secured, secured.certificates.strange_authority))
    assert (refused.code, untrusted.code) == (3, 3)
    (login,), (certificate,) = refused.of("FAIL"), untrusted.of("FAIL")
    assert "login refused: " in login
    assert "the broker's certificate cannot be trusted" in certificate
    assert "battery-staple" not in refused.output + refused.complaints
