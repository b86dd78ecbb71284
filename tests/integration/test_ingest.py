"""Ways of CloudTrail into the topic that can run here, run: Kafka Connect and the Lambda, up to findings."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from service.feed.wrap import WRAPS
from tests.broker import CACHE, JAVA_OPTIONS, KAFKA_VERSION, Kafka, fetch_jars, free_ports
from tests.conftest import cannot_run
from tests.running import RECORD, read, record, service
from tests.unit.test_ingest import INGEST, forwarder

PLUGIN = CACHE / f"connect-file-{KAFKA_VERSION}.jar"


def found(broker: Kafka, findings: str, count: int) -> set[tuple[str, str]]:
    """Event id and envelope of the findings."""
    values = [json.loads(message.value() or b"") for message in read(broker, findings, count)]
    return {(value["event_id"], value["envelope"]) for value in values}


# --- Kafka Connect -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def file_connector() -> Path:
    """Kafka's own connector for files: it is in none of the jars that the broker needs."""
    fetch_jars()
    if not PLUGIN.is_file():
        maven = shutil.which("mvn")
        if maven is None:
            cannot_run("no mvn to fetch Kafka Connect's file connector with: apt-get install maven (Debian)")
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
        artifact = f"-Dartifact=org.apache.kafka:connect-file:{KAFKA_VERSION}"
        command = [maven, "--batch-mode", "--quiet", goal, artifact, f"-DoutputDirectory={PLUGIN.parent}"]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    return PLUGIN


@contextmanager
def connect(broker: Kafka, connector: Path, config: Path, folder: Path) -> Iterator[None]:
    """A Kafka Connect worker that runs the one connector; its output is in the folder's `connect.log`."""
    worker = {
        "bootstrap.servers": broker.bootstrap,
        "listeners": f"http://127.0.0.1:{free_ports(1)[0]}",
        "key.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": "1000",
    }
    properties = folder / "worker.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in worker.items()))
    java = shutil.which("java")
    assert java is not None
    jars = f"{fetch_jars()}/*:{connector}"
    main = "org.apache.kafka.connect.cli.ConnectStandalone"
    with (folder / "connect.log").open("wb") as log:
        process = subprocess.Popen(
            [java, *JAVA_OPTIONS, "-cp", jars, main, str(properties), str(config)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("kafka_tools")
def test_lines_of_a_file_become_findings_by_way_of_kafka_connect(
    broker: Kafka, file_connector: Path, tmp_path: Path
) -> None:
    """The shipped configuration, with this test's file and topic; a line appended later is read too."""
    events, findings, dead_letters = broker.new_topic(), broker.new_topic(), broker.new_topic()
    lines, config = tmp_path / "records.ndjson", tmp_path / "connector.json"
    shipped = json.loads((INGEST / "kafka-connect-file.json").read_text())
    shipped["config"] |= {"file": str(lines), "topic": events}
    config.write_text(json.dumps(shipped))
    lines.write_bytes(b"".join(record(f"e{number}") + b"\n" for number in range(20)))
    with (
        service(broker, events, findings, dead_letters, "exactly-once"),
        connect(broker, file_connector, config, tmp_path),
    ):
        assert found(broker, findings, 20) == {(f"e{number}", "record") for number in range(20)}
        with lines.open("ab") as more:
            more.write(record("later") + b"\n")
        assert ("later", "record") in found(broker, findings, 21)


# --- the Lambda ----------------------------------------------------------------------------------


def test_the_lambda_forwards_what_eventbridge_and_cloudwatch_hand_over(
    broker: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to findings, whose envelopes are those that the README names."""
    events, findings, dead_letters = broker.new_topic(), broker.new_topic(), broker.new_topic()
    monkeypatch.setenv("KAFKA_TOPIC", events)
    lambda_function = forwarder(monkeypatch, **{"bootstrap.servers": broker.bootstrap})
    lambda_function.handler(json.loads(WRAPS["eventbridge"]([RECORD | {"eventID": "a"}])), None)
    subscribed = WRAPS["cloudwatch"]([RECORD | {"eventID": "b"}, RECORD | {"eventID": "c"}])
    lambda_function.handler({"awslogs": {"data": base64.b64encode(subscribed).decode()}}, None)
    with service(broker, events, findings, dead_letters, "exactly-once"):
        expected = {("a", "eventbridge"), ("b", "cloudwatch"), ("c", "cloudwatch")}
        assert found(broker, findings, 3) == expected
    assert [message.key() for message in read(broker, events, 2)] == [b"a", None]


def test_the_lambda_fails_when_kafka_did_not_take_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that AWS hands it over again."""
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    properties = {"bootstrap.servers": nobody, "message.timeout.ms": "500", "log_level": "0"}
    module = forwarder(monkeypatch, **properties)
    with pytest.raises(KafkaException):
        module.handler({"detail": {}}, None)
