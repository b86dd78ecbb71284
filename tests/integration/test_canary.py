"""`tokentrail canary` against the running program on a real broker; marks that must not be believed."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from confluent_kafka import Producer

from service.canary import HEADER, MAX_AGE_SECONDS, attack, seal
from tests.broker import Kafka, free_ports, poll_until
from tests.integration.test_run import Program, Run
from tests.program import start, tokentrail
from tests.running import published
from tests.secured import PASSWORD, Need, SecuredBroker, password

KEY = "correct-horse-battery-staple-0123456789"
SUSPICIOUS = b"sts-federation-token-suspicious"


@pytest.fixture
def program(broker: Kafka, tmp_path: Path) -> Program:
    topics = broker.new_topic(3), broker.new_topic(2), broker.new_topic()
    return Program(broker.bootstrap, *topics, tmp_path, settings={"CANARY__KEY": KEY})


def environment(program: Program, key: str = KEY) -> dict[str, str]:
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": program.bootstrap,
        "TOPICS__EVENTS": program.events,
        "TOPICS__FINDINGS": program.findings,
        "CANARY__KEY": key,
    }
    return {f"TOKENTRAIL_{name}": text for name, text in settings.items()}


def send_canary(program: Program, *arguments: str, key: str = KEY) -> CompletedProcess[str]:
    return tokentrail("canary", *arguments, extra=environment(program, key))


def believed(kafka: Kafka, program: Program) -> dict[str, list[bool]]:
    """Event id -> of each of its findings by the strongest rule, whether it is a canary's."""
    found: dict[str, list[bool]] = {}
    for message in published(kafka, program.findings):
        headers = dict(message.headers() or [])
        finding = json.loads(message.value() or b"")
        assert finding["canary"] == (headers.get("canary") == b"true")
        if headers["rule_id"] == SUSPICIOUS:
            found.setdefault(finding["event_id"], []).append(finding["canary"])
    return found


def findings_counted(run: Run) -> float:
    return run.count("findings_total")


@pytest.mark.parametrize("settings", [{}, {"DELIVERY__MODE": "at-least-once", "FINDINGS__FORMAT": "ocsf"}])
def test_the_canary_comes_back(broker: Kafka, program: Program, settings: dict[str, str]) -> None:
    """Whatever its finding is written in; it raises the gauge, and is not among the findings that are counted."""
    program.settings |= settings
    with program.running() as run:
        run.wait_until_ready()
        before = datetime.now(UTC).timestamp()
        done = send_canary(program, "--output", "json")
        assert (done.returncode, done.stderr) == (0, "")
        trip = json.loads(done.stdout)
        assert trip["result"] == "found"
        assert 0 < trip["seconds"] < 30
        assert trip["sent_to"].startswith(f"{program.events}[")
        poll_until(lambda: run.count("canaries_total", result="accepted") == 1, "the canary in the metrics")
        assert run.count("canary_last_success_timestamp_seconds") >= before
        assert findings_counted(run) == 0
        text = send_canary(program)
        assert text.returncode == 0
        assert text.stdout.startswith("found after ")
    values = [json.loads(message.value() or b"") for message in published(broker, program.findings)]
    fields = [value.get("unmapped", value) for value in values]
    assert [each["canary"] for each in fields] == [True] * len(fields)
    assert len(fields) == 4


def send(kafka: Kafka, topic: str, messages: Sequence[tuple[bytes, bytes | None]]) -> None:
    """Messages of (value, mark), to different partitions."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number, (value, mark) in enumerate(messages):
        producer.produce(topic, value, partition=number % 3, headers=[(HEADER, mark)] if mark else None)
    assert producer.flush(20) == 0


def test_marks_that_prove_nothing_hide_nothing(broker: Kafka, program: Program) -> None:
    """Forged, replayed, expired, of another topic, missing, or on a real event: an ordinary finding each time."""
    now = datetime.now(UTC)
    old = now - timedelta(seconds=MAX_AGE_SECONDS + 5)
    values = {
        name: attack(f"canary-{name}", now)
        for name in ("good", "forged", "expired", "missing", "elsewhere", "moved")
    }
    real = values["good"].replace(b"canary-good", b"real").replace(b"000000000000", b"111122223333")
    good = seal(KEY, program.events, values["good"], now)
    with program.running() as run:
        run.wait_until_ready()
        send(broker, program.events, [(values["good"], good)])
        poll_until(lambda: run.count("canaries_total", result="accepted") == 1, "the good canary")
        send(
            broker,
            program.events,
            [
                (values["forged"], seal(KEY[::-1], program.events, values["forged"], now)),
                (values["good"], good),
                (values["good"], good),
                (values["expired"], seal(KEY, program.events, values["expired"], old)),
                (values["missing"], None),
                (values["elsewhere"], seal(KEY, "another-topic", values["elsewhere"], now)),
                (values["moved"], good),
                (real, seal(KEY, program.events, real, now)),
            ],
        )
        run.wait_for_messages(9)
        assert {result: run.count("canaries_total", result=result) for result in ("accepted", "not_canary")} == {
            "accepted": 1,
            "not_canary": 1,
        }
        assert run.count("canaries_total", result="wrong_mark") == 3
        assert run.count("canaries_total", result="expired") == 1
        assert run.count("canaries_total", result="replayed") == 2
        assert findings_counted(run) == 16
    flags = {name.removeprefix("canary-"): flags for name, flags in believed(broker, program).items()}
    assert sorted(flags.pop("good")) == [False, False, True]
    assert flags == {name: [False] for name in ("forged", "expired", "missing", "elsewhere", "moved", "real")}


def test_a_service_that_is_stopped_is_noticed(program: Program) -> None:
    done = send_canary(program, "--timeout", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tokentrail: no finding within 2 s: {program.events}[")


def test_the_finding_of_another_canary_is_not_taken_for_its_own(broker: Kafka, program: Program) -> None:
    process = start("canary", "--timeout", "2", extra=environment(program))
    producer = Producer({"bootstrap.servers": broker.bootstrap})

    def ended() -> bool:
        producer.produce(program.findings, b"{}", headers=[("ce_id", b"another"), ("canary", b"true")])
        producer.flush(5)
        return process.poll() is not None

    poll_until(ended, "the end of the command")
    output, complaint = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert "no finding within 2 s" in complaint


def test_a_service_with_another_key_is_noticed(program: Program) -> None:
    """Its finding comes, and would wake somebody: that is no success."""
    with program.running() as run:
        run.wait_until_ready()
        done = send_canary(program, "--output", "json", key=KEY[::-1])
        assert done.returncode == 1
        assert json.loads(done.stdout)["result"] == "not_believed"
        assert "is canary.key the same in `run`" in done.stderr
        poll_until(lambda: run.count("canaries_total", result="wrong_mark") == 1, "the mark in the metrics")
        assert KEY not in json.dumps(run.log())


def test_brokers_that_do_not_answer_end_it(program: Program) -> None:
    program.bootstrap = f"127.0.0.1:{free_ports(1)[0]}"
    done = send_canary(program)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no broker answers" in done.stderr


NEEDS = (
    Need("topic", "cloudtrail.events", "literal", ("WRITE", "DESCRIBE")),
    Need("topic", "cloudtrail.findings", "literal", ("READ", "DESCRIBE")),
)


@pytest.mark.long
@pytest.mark.parametrize("lacks", range(len(NEEDS)))
def test_it_needs_to_write_events_and_to_read_findings(secured: SecuredBroker, lacks: int) -> None:
    """No right to any group; without one of the two it is refused."""
    tenant = secured.tenant()
    secured.add_scram_user(tenant.user, PASSWORD)
    needs = tenant.needs(NEEDS)
    login = password(secured, "SCRAM-SHA-512") | {"TOKENTRAIL_KAFKA__SASL_USERNAME": tenant.user}
    extra = {**tenant.environment(), **login, "TOKENTRAIL_CANARY__KEY": KEY}
    secured.allow(tenant.user, [need for number, need in enumerate(needs) if number != lacks])
    refused = tokentrail("canary", "--timeout", "5", extra=extra)
    assert refused.returncode == 3, refused.stderr
    assert needs[lacks].name in refused.stderr
    secured.allow(tenant.user, [needs[lacks]])
    done = tokentrail("canary", "--timeout", "3", extra=extra)
    assert done.returncode == 1, done.stderr  # nobody reads the events
    assert "no finding within 3 s" in done.stderr
