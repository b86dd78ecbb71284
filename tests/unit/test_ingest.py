"""The ways of CloudTrail into the topic: each file names the topic, and makes what the table says it makes."""

import base64
import gzip
import importlib.util
import json
import re
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import yaml

from service.envelopes import Record, load, unwrap
from service.feed.wrap import WRAPS
from service.rules import RULES
from service.settings import Settings
from tests.broker import ROOT
from tests.unit.strategies import issuance

INGEST = ROOT / "deploy" / "ingest"
TOPIC = Settings().topics.events
RECORD = issuance()
_ROW = re.compile(r"\| (?P<way>[^|]+) \| \[(?P<file>[^]]+)\]\([^)]+\) \| `(?P<envelope>[^`]+)` \|")


def table() -> dict[str, tuple[str, str]]:
    """File and envelope by way, as the README says."""
    text = (INGEST / "README.md").read_text(encoding="utf-8")
    return {row["way"]: (row["file"], row["envelope"]) for row in _ROW.finditer(text)}


def parsed(name: str) -> Any:
    text = (INGEST / name).read_text(encoding="utf-8")
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


def forwarder(monkeypatch: pytest.MonkeyPatch, **properties: str) -> ModuleType:
    """The Lambda's module, which reads its settings when it is loaded; the topic is by KAFKA_TOPIC."""
    monkeypatch.setenv("KAFKA_PROPERTIES", json.dumps(properties))
    spec = importlib.util.spec_from_file_location("forward", INGEST / "lambda" / "forward.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bus_event() -> dict[str, Any]:
    event: dict[str, Any] = json.loads(WRAPS["eventbridge"]([RECORD]))
    return event


def by_rest_proxy(_: pytest.MonkeyPatch) -> bytes:
    """What the REST proxy writes to the topic of the body that EventBridge posts."""
    resources = parsed("eventbridge.yaml")["Resources"]
    endpoint = resources["Destination"]["Properties"]["InvocationEndpoint"]["Fn::Sub"]
    assert endpoint.endswith(f"/topics/{TOPIC}/records")
    (target,) = resources["Rule"]["Properties"]["Targets"]
    body = target["InputTransformer"]["InputTemplate"].replace("<aws.events.event.json>", json.dumps(bus_event()))
    value = json.loads(body)["value"]
    assert value["type"] == "JSON"
    return json.dumps(value["data"]).encode()


def by_lambda(event: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bytes:
    module = forwarder(monkeypatch)
    assert module.TOPIC == TOPIC
    value: bytes = module.value(event)
    return value


def by_vector(sink: str, message: bytes) -> bytes:
    """`message` is the event as its source has it; the transform makes the record of it."""
    config = parsed("vector.yaml")["sinks"][sink]
    assert config["topic"] == TOPIC
    return {"raw_message": message, "json": json.dumps(RECORD).encode()}[config["encoding"]["codec"]]


def by_filebeat(_: pytest.MonkeyPatch) -> bytes:
    output = parsed("filebeat.yml")["output.kafka"]
    assert output["topic"] == TOPIC
    template: str = output["codec.format.string"]
    return template.replace("%{[message]}", json.dumps(RECORD)).encode()


def by_s3_connector(_: pytest.MonkeyPatch) -> bytes:
    query = parsed("kafka-connect-s3.json")["config"]["connect.s3.kcql"]
    assert query.startswith(f"INSERT INTO `{TOPIC}` ")
    assert query.endswith("STOREAS `BYTES`")  # the object as it is
    return gzip.compress(WRAPS["records"]([RECORD]))


def by_file_connector(_: pytest.MonkeyPatch) -> bytes:
    assert parsed("kafka-connect-file.json")["config"]["topic"] == TOPIC
    return json.dumps(RECORD).encode()


SUBSCRIBED = WRAPS["cloudwatch"]([RECORD])
# A message as each way makes it, by its configuration.
SAMPLES: dict[str, Callable[[pytest.MonkeyPatch], bytes]] = {
    "EventBridge to a Kafka REST proxy": by_rest_proxy,
    "EventBridge to a Lambda": partial(by_lambda, bus_event()),
    "CloudWatch Logs subscription to a Lambda": partial(
        by_lambda, {"awslogs": {"data": base64.b64encode(SUBSCRIBED).decode()}}
    ),
    "CloudWatch Logs subscription, Firehose, Vector": lambda _: by_vector("log_events_to_kafka", SUBSCRIBED),
    "S3, SQS, Vector": lambda _: by_vector("records_to_kafka", b""),
    "S3, SQS, Filebeat": by_filebeat,
    "S3, Kafka Connect": by_s3_connector,
    "a file of lines, Kafka Connect": by_file_connector,
}


@pytest.mark.parametrize("way", table())
def test_a_way_makes_messages_of_the_envelope_that_the_table_names(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file names the topic of the settings, and what it sends there is read back as the record."""
    (part,) = unwrap(SAMPLES[way](monkeypatch))
    assert isinstance(part, Record)
    assert part.envelope == table()[way][1]
    assert load(part) == RECORD


def test_every_file_is_in_the_table() -> None:
    """And no row without its file."""
    files = {
        str(path.relative_to(INGEST)) for path in INGEST.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {file for file, _ in table().values()} == files - {"README.md"}


def test_the_rule_of_eventbridge_lets_through_what_the_rules_here_watch() -> None:
    """Another watched call must not be forgotten there."""
    detail = parsed("eventbridge.yaml")["Resources"]["Rule"]["Properties"]["EventPattern"]["detail"]
    watched = [name for rule in RULES for name in rule.watches]
    assert set(detail["eventSource"]) == {source for source, _ in watched}
    assert set(detail["eventName"]) == {name for _, name in watched}


def test_the_rule_of_eventbridge_gets_read_only_calls_too() -> None:
    """Without that state a call which CloudTrail marks as read-only is not delivered."""
    rule = parsed("eventbridge.yaml")["Resources"]["Rule"]["Properties"]
    assert rule["State"] == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
    assert {bus_event()["detail-type"], "AWS Console Sign In via CloudTrail"} == set(
        rule["EventPattern"]["detail-type"]
    )


@pytest.mark.parametrize(
    ("event", "key"),
    [(bus_event(), RECORD["eventID"]), ({"awslogs": {"data": ""}}, None), ({"detail": {}}, None)],
)
def test_the_lambda_keys_an_event_by_its_id(
    event: dict[str, Any], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log events of a subscription have none in common."""
    assert forwarder(monkeypatch).key(event) == key


def test_no_file_holds_a_secret() -> None:
    """Logins are parameters, variables or the environment's."""
    files = [path for path in INGEST.rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    logins = re.findall(r"(?i)(?:password|secret|access_key)[\"']?[^\S\n]*[:=][^\S\n]*(\S+)", text)
    assert logins
    assert [login for login in logins if not login.startswith(("$", "{"))] == []
