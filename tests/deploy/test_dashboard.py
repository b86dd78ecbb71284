"""The dashboard: what its panels ask for exists, fits its unit, and comes back from a real Prometheus."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana import dashboard
from service import canary
from service.metrics import Metrics
from service.rules import RULES
from tests.broker import ROOT, Broker, free_ports, poll_until
from tests.deploy.prometheus import Prometheus, Series, promtool
from tests.program import PROGRAM, environment
from tests.unit.strategies import JSON_WRAPS, asking, console_exchange, issuance

TABLE = ROOT / ".cache" / "panels.md"
BOARD: dict[str, Any] = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

VARIABLES = {"$__rate_interval": "10s", "$__range": "60s", "$namespace": ".*", "$job": "tokentrail"}

# Metrics that no panel shows, and why.
NOT_SHOWN = {
    "process_max_fds": "a limit of the operating system's",
    "process_open_fds": "one socket a broker and one a scrape; a leak shows in the memory too",
    "process_virtual_memory_bytes": "says little; resident memory is shown",
}

# Panels that show zeros only under this test's load, and why.
ZERO = {
    "Rule errors": "no event is known that makes a rule raise",
    "Screened messages": "detect.screen is not available in this version",
}

# How a query is written -> the unit its panel must have. The first that fits counts.
# Ids of units: https://github.com/grafana/grafana, packages/grafana-data/src/valueFormats/categories.ts
UNITS = (
    (r"^sum by \(rule\) \(rate\(.*\) / ", "percentunit"),
    (r"tokentrail_consumer_lag\{.*/ .*tokentrail_messages_total", "s"),
    (r"^rate\(process_cpu_seconds_total", "percentunit"),
    (r"rate\(\w+_bytes_total\b", "Bps"),
    (r"_bytes\{", "bytes"),
    (r"_seconds_bucket\{|^time\(\) - ", "s"),
    (r"increase\(|^count", "short"),
    (r"rate\(\w+_total\b", "cps"),
    (r"", "short"),
)


def targets() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel, target


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:tokentrail|process)_\w+(?=\{)", expression))


def families(text: str) -> set[str]:
    """Names as queries write them, save that a histogram has its bare name."""
    found = text_string_to_metric_families(text)
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in found}


# --- what can be said without a server ---------------------------------------------------------------------------


def test_the_file_is_what_the_code_makes() -> None:
    made = dashboard.text()
    assert dashboard.FILE.read_text(encoding="utf-8") == made, "run `python -m deploy.grafana.dashboard`"


def test_every_metric_of_a_panel_exists_and_every_metric_is_on_a_panel_or_has_a_reason() -> None:
    known = families(Metrics(RULES, ["111122223333"]).text().decode())
    asked = {name.removesuffix("_bucket") for _, target in targets() for name in metrics_in(target["expr"])}
    assert asked - known == set()
    assert known - asked == NOT_SHOWN.keys()


def test_every_panel_has_a_name_of_its_own_a_description_legends_and_the_chosen_data_source() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    for panel, target in targets():
        assert target["datasource"]["uid"] == "${datasource}"
        assert target.get("legendFormat") or panel["type"] == "table", panel["title"]


def test_the_unit_of_a_panel_is_that_of_its_metric() -> None:
    for panel, target in targets():
        is_heatmap = panel["type"] == "heatmap"
        unit = panel["options"]["yAxis"]["unit"] if is_heatmap else panel["fieldConfig"]["defaults"]["unit"]
        expected = next(unit for pattern, unit in UNITS if re.search(pattern, target["expr"]))
        assert unit == expected, panel["title"]


def test_panels_lie_beside_each_other() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in BOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert {x for x, _ in cells} == set(range(24))


def test_every_query_is_of_the_chosen_deployment() -> None:
    for panel, target in targets():
        selectors = re.findall(r"\{(namespace[^}]*)\}", target["expr"])
        assert selectors, panel["title"]
        assert len(selectors) == len(re.findall(r"_\w+\{", target["expr"])), panel["title"]
        assert all(each.startswith('namespace=~"$namespace", job=~"$job"') for each in selectors)


# --- the real thing ----------------------------------------------------------------------------------------------

SEEN, ALSO_SEEN, NEVER_SEEN = "111122223333", "444455556666", "777788889999"
CANARY_KEY = "a key for canaries, only for tests"
SUPPRESSED = "arn:aws:iam::111122223333:user/portal"
TUNING = f"""
[[suppressions]]
name = "portal"
rules = ["sts-federation-token-issued"]
principal_arn = "{SUPPRESSED}"
owner = "identity team"
reason = "the portal mints sessions for its users"
expires = {datetime.now(UTC).date() + timedelta(days=1)}
"""
STAGED = ROOT / "tests" / "rules" / "samples" / "federated-user-changes-iam" / "fires-create-access-key.json"
ADMIN = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'


def load_of(number: int) -> list[bytes | None]:
    """A little of everything that there is to count, at this moment."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    common: dict[str, Any] = {"eventID": f"event-{number}", "eventTime": now}
    quiet = issuance(**common, eventSource="s3.amazonaws.com", eventName="GetObject")
    records = [
        *[quiet] * 30,
        quiet | {"recipientAccountId": ALSO_SEEN},
        issuance(**common),
        asking(**common, durationSeconds=100_000),
        asking(**common, durationSeconds=129_600, policy=ADMIN),
        asking(**common, policyArns=[{"arn": "arn:aws:iam::aws:policy/PowerUserAccess"}]),
        issuance(**common, errorCode="AccessDenied", requestParameters=None, responseElements=None),
        console_exchange(**common),
        quiet | {"eventSource": "sts.amazonaws.com", "eventName": "getfederationtoken"},
        issuance(**common, userIdentity={"type": "IAMUser", "userName": "portal", "arn": SUPPRESSED}),
        json.loads(STAGED.read_bytes()) | common,
    ]
    documents = [json.dumps(record).encode() for record in records]
    for wrap in JSON_WRAPS.values():
        documents += wrap(documents[:3])
    ignored = [None, b'{"messageType": "CONTROL_MESSAGE", "logEvents": []}']
    return [*documents, *ignored, b"rubbish", b'{"cut": "sho']


def produce_canary(producer: Producer, topic: str, number: int) -> None:
    now = datetime.now(UTC)
    value = canary.attack(f"{canary.EVENT_ID_PREFIX}{number}", now)
    mark = canary.seal(CANARY_KEY, topic, value, now)
    producer.produce(topic, value, headers=[(canary.HEADER, mark)], partition=number % 2)


@contextmanager
def under_load(broker: Broker, topic: str) -> Iterator[None]:
    """Some 500 messages a second on two partitions of three; the third is full of rubbish, so it is paused."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, "linger.ms": 20})
    for _ in range(1_000):
        producer.produce(topic, b"rubbish", partition=2)
    done = threading.Event()

    def feed() -> None:
        number = 0
        while not done.wait(0.1):
            for value in load_of(number):
                producer.produce(topic, value, partition=number % 2)
            if number % 10 == 0:
                produce_canary(producer, topic, number)
            producer.poll(0)
            number += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        done.set()
        feeder.join()
        producer.purge()


@contextmanager
def running(broker: Broker, topics: Sequence[str], folder: Path) -> Iterator[str]:
    """The real program; gives the address of its metrics."""
    (port,) = free_ports(1)
    tuning = folder / "tuning.toml"
    tuning.write_text(TUNING, encoding="utf-8")
    settings = {
        "TUNING": f"{tuning}",
        "CANARY__KEY": CANARY_KEY,
        "KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "KAFKA__GROUP_ID": f"group-{topics[0]}",
        "TOPICS__EVENTS": topics[0],
        "TOPICS__FINDINGS": topics[1],
        "TOPICS__DEAD_LETTERS": topics[2],
        "TOPICS__STAGED": topics[3],
        "ACCOUNTS__EXPECTED": f"{SEEN},{ALSO_SEEN},{NEVER_SEEN}",
        "HTTP__HOST": "127.0.0.1",
        "HTTP__PORT": f"{port}",
    }
    with (folder / f"tokentrail-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "run"],
            env=environment({f"TOKENTRAIL_{name}": value for name, value in settings.items()}),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


@dataclass
class World:
    prometheus: Prometheus
    metrics: str
    started: float
    ended: float

    def ask(self, expression: str) -> list[Series]:
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        return self.prometheus.query_range(expression, self.started, self.ended)


@pytest.fixture
def world(own_broker: Broker, tmp_path: Path) -> Iterator[World]:
    """A service under load, scraped; meanwhile a second one comes and goes, and the broker is killed."""
    topics = [own_broker.new_topic(partitions) for partitions in (3, 1, 1, 1)]
    started = time.time()
    with (
        running(own_broker, topics, tmp_path) as address,
        under_load(own_broker, topics[0]),
        Prometheus(tmp_path, address) as prometheus,
    ):

        def holds(condition: str) -> bool:
            return bool(prometheus.get("query", query=condition)["result"])

        poll_until(lambda: holds("count_over_time(tokentrail_messages_total[1m]) > 12"), "a dozen scrapes")
        with running(own_broker, topics, tmp_path):
            poll_until(
                lambda: holds('increase(tokentrail_rebalances_total{kind="revoked"}[5s]) > 0'), "a rebalance"
            )
        own_broker.kill()
        own_broker.start()
        recovered = "tokentrail_producer_replacements_total offset 3s > 0 and tokentrail_ready == 1"
        poll_until(lambda: holds(recovered), "a service that recovered", 90)
        poll_until(lambda: holds("increase(tokentrail_findings_total[5s]) > 0"), "findings again", 60)
        with urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        yield World(prometheus, text, started, time.time())


@pytest.mark.long
@pytest.mark.timeout(400)
def test_every_panel_shows_data_of_a_service_under_load(world: World) -> None:
    rows = ["| panel | query | series | points | not zero |", "| --- | --- | --- | --- | --- |"]
    empty, zero, wrong_legends = [], set(), []
    for panel, target in targets():
        title, found = panel["title"], world.ask(target["expr"])
        points = sum(series.points for series in found)
        others = sum(value != 0 for series in found for value in series.values)
        query = target["expr"].replace("|", "\\|")
        rows.append(f"| {title} | `{query}` | {len(found)} | {points} | {others} |")
        if not any(series.values for series in found):
            empty.append(title)
        elif not others:
            zero.add(title)
        legend = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target.get("legendFormat", "")))
        if any(legend - series.labels.keys() for series in found):
            wrong_legends.append(title)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert empty == []
    assert wrong_legends == []
    assert zero == ZERO.keys()

    linted = promtool("check", "metrics", stdin=world.metrics.encode())
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")
    groups = world.prometheus.get("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    expected = {"TokentrailCriticalFinding", "TokentrailHighFinding"}
    poll_until(lambda: expected <= world.prometheus.firing(), f"{expected} to fire")
    assert "TokentrailRuleErrors" not in world.prometheus.firing()
