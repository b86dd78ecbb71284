"""Wrong settings and wrong worlds: what the program answers to each, in one line.

The real program runs in each. What it said is written to .cache/worlds.md, as a table to read.
"""

import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.broker import ROOT, Kafka, free_ports
from tests.program import start, tokentrail

SECRET = "hunter2-planted"
BOOTSTRAP = ("--bootstrap-servers", "127.0.0.1:1")
TABLE = ROOT / ".cache" / "worlds.md"


@dataclass(frozen=True, kw_only=True)
class World:
    """`line` holds what the one line on standard error has to contain."""

    name: str
    arguments: Sequence[str] = ("run",)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    code: int = 2
    line: Sequence[str]

    def given(self) -> str:
        parts = [f"{name}={value}" for name, value in self.environment.items()]
        parts += [f"{name}: {content}" for name, content in self.files.items()]
        return "; ".join([" ".join(("tokentrail", *self.arguments)), *parts])


def by_variable(name: str, key: str, value: str, *line: str) -> World:
    return World(name=name, environment={f"TOKENTRAIL_{key}": value}, line=line)


def by_file(name: str, content: str, *line: str) -> World:
    return World(name=name, files={"config/tokentrail.toml": content}, line=("config/tokentrail.toml", *line))


WORLDS = [
    World(
        name="no brokers named",
        line=("kafka.bootstrap_servers is required", "TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS", "--bootstrap-servers"),
    ),
    by_variable("a broker's port out of range", "KAFKA__BOOTSTRAP_SERVERS", "a:1,b:99999", "entry 2"),
    by_variable("an address for a broker", "KAFKA__BOOTSTRAP_SERVERS", "http://a:9092", "must be host:port"),
    by_variable("a port that is no number", "HTTP__PORT", SECRET, "http.port: must be a whole number"),
    World(
        name="a flag out of range",
        arguments=("run", "--http-port", "70000"),
        line=("http.port: must be at most 65535", "flag --http-port"),
    ),
    by_file(
        "an unknown key in the file", f'[kafka]\ngroup = "{SECRET}"', "kafka.group: no such setting", "line 2"
    ),
    by_file("a value of the wrong type", "[http]\nport = true", "http.port: must be a whole number", "line 2"),
    by_file("a section that is none", 'kafka = "a:9092"', "kafka: must be a table", "line 1"),
    by_file("a file that is no TOML", f"[kafka]\nsasl_password = {SECRET}", "is not TOML", "at line 2"),
    World(
        name="a configuration file that is missing",
        arguments=("run", "--config", "none.toml"),
        line=("config: none.toml cannot be read", "No such file", "flag --config"),
    ),
    World(
        name="a folder as the configuration file",
        environment={"TOKENTRAIL_CONFIG": "."},
        line=("config: . cannot be read: Is a directory", "TOKENTRAIL_CONFIG"),
    ),
    by_variable("a tuning file that is missing", "TUNING", "none.toml", "tuning: none.toml cannot be read"),
    by_variable("a variable nobody reads", "KAFKA_GROUP_ID", SECRET, "did you mean TOKENTRAIL_KAFKA__GROUP_ID?"),
    World(
        name="a Service named tokentrail",
        environment={"TOKENTRAIL_PORT": "tcp://10.0.0.1:9464", "TOKENTRAIL_SERVICE_HOST": "10.0.0.1"},
        line=("TOKENTRAIL_PORT, TOKENTRAIL_SERVICE_HOST", "Kubernetes", "enableServiceLinks: false"),
    ),
    by_variable("a mode that there is not", "DELIVERY__MODE", "at-most-once", "must be one of exactly-once"),
    by_variable("a format of another version", "FINDINGS__FORMAT", "xml", "findings.format: must be one of"),
    by_variable(
        "a secret's file that is missing", "REGISTRY__PASSWORD_FILE", SECRET, "registry.password_file: the file"
    ),
    World(
        name="a secret given twice",
        environment={"TOKENTRAIL_KAFKA__SASL_PASSWORD": SECRET, "TOKENTRAIL_KAFKA__SASL_PASSWORD_FILE": "secret"},
        files={"secret": SECRET},
        line=("kafka.sasl_password_file: kafka.sasl_password is given too",),
    ),
    by_variable(
        "a property that breaks the guarantee",
        "KAFKA__PROPERTIES",
        '{"enable.auto.commit": true}',
        "kafka.properties.enable.auto.commit: refused: Tokentrail commits offsets itself",
    ),
    by_variable(
        "properties that are broken JSON",
        "KAFKA__PROPERTIES",
        f'{{"ssl.key.password": "{SECRET}"',
        "kafka.properties: is not JSON",
        "line 1 column",
    ),
    World(
        name="a property that librdkafka does not know",
        arguments=("run", *BOOTSTRAP),
        environment={"TOKENTRAIL_KAFKA__PROPERTIES": '{"linger.msec": 5}'},
        line=("kafka.properties", '"linger.msec"'),
    ),
    World(
        name="a property's value that librdkafka does not take",
        arguments=("run", *BOOTSTRAP),
        environment={"TOKENTRAIL_KAFKA__CONSUMER_PROPERTIES": '{"fetch.max.bytes": "many"}'},
        line=("fetch.max.bytes",),
    ),
    World(
        name="a certificate authority that is missing",
        arguments=("run", *BOOTSTRAP, "--security-protocol", "ssl"),
        environment={
            "TOKENTRAIL_KAFKA__PROPERTIES": f'{{"ssl.ca.location": "none.pem", "ssl.key.password": "{SECRET}"}}'
        },
        line=("ssl.ca.location",),
    ),
    by_variable("two topics that are one", "TOPICS__FINDINGS", "cloudtrail.events", "must be different topics"),
    by_variable(
        "a start without time zone", "KAFKA__START", "2024-12-12T16:04:32", "kafka.start: needs a time zone"
    ),
    by_variable("a login in an address", "REGISTRY__URL", f"https://me:{SECRET}@host", "must not hold a login"),
    World(
        name="an address that is not this machine's",
        arguments=("run", *BOOTSTRAP, "--http-host", "192.0.2.1"),
        line=("http.host, http.port: cannot serve on 192.0.2.1:9464",),
    ),
    World(
        name="an unknown command", arguments=("detect",), line=("No such command 'detect'", "tokentrail --help")
    ),
    World(name="an unknown option", arguments=("run", "--qqq"), line=("No such option", "tokentrail run --help")),
    World(
        name="a missing path to scan", arguments=("scan", "none"), code=1, line=("none: no such file or folder",)
    ),
    World(
        name="a missing file to explain", arguments=("explain", "none"), line=("none: no such file or directory",)
    ),
]


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows of the table, which is written when all worlds are through."""
    rows: list[str] = []
    yield rows
    TABLE.parent.mkdir(exist_ok=True)
    head = "| world | given | exit code | the line |\n| --- | --- | --- | --- |\n"
    TABLE.write_text(head + "".join(rows), encoding="utf-8")


def judge(table: list[str], world: World, code: int | None, stderr: str) -> None:
    told = [text.replace("\n", "⏎").replace("|", "\\|") for text in (world.given(), stderr.strip())]
    table.append(f"| {world.name} | `{told[0]}` | {code} | `{told[1]}` |\n")
    assert code == world.code, stderr
    assert len(stderr.splitlines()) == 1, stderr
    for part in world.line:
        assert part in stderr
    assert stderr.rstrip("\n").isprintable()
    assert SECRET not in stderr
    assert "Traceback" not in stderr


def run(world: World, folder: Path) -> tuple[int, str]:
    for name, content in world.files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    done = tokentrail(*world.arguments, extra=quiet(world.environment), cwd=folder)
    assert done.stdout == ""
    return done.returncode, done.stderr


def quiet(environment: Mapping[str, str]) -> dict[str, str]:
    """Warnings and errors only, so that the one line is the one that matters."""
    return {"TOKENTRAIL_LOG__LEVEL": "warning", **environment}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_wrong_setting_is_one_line(tmp_path: Path, table: list[str], world: World) -> None:
    judge(table, world, *run(world, tmp_path))


def test_there_are_worlds_enough_and_each_is_named_once() -> None:
    assert len({world.name for world in WORLDS}) == len(WORLDS) >= 20


def test_a_taken_port_is_one_line(tmp_path: Path, table: list[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        world = World(
            name="a port that is taken",
            arguments=("run", *BOOTSTRAP, "--http-host", "127.0.0.1", "--http-port", str(port)),
            line=(f"http.host, http.port: cannot serve on 127.0.0.1:{port}: Address already in use",),
        )
        judge(table, world, *run(world, tmp_path))


# --- brokers that do not answer: tried until they do, told once ------------------------------------------------


def warned_then_stopped(world: World, folder: Path, port: int | None = None) -> tuple[int, str]:
    """What it says until SIGTERM, sent once it has said a line and, if given, has tried `port` again."""
    with start(*world.arguments, extra=quiet(world.environment), cwd=folder) as process:
        assert process.stderr
        line = process.stderr.readline()
        if port is not None:
            with closing(socket.create_server(("127.0.0.1", port))) as late:
                late.settimeout(60)
                late.accept()[0].close()
        process.send_signal(signal.SIGTERM)
        stdout, rest = process.communicate(timeout=60)
    assert stdout == ""
    return process.returncode, line + rest


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
def test_nobody_listening_is_one_warning_and_it_keeps_trying(tmp_path: Path, table: list[str], mode: str) -> None:
    (port,) = free_ports(1)
    world = World(
        name=f"nobody listens ({mode}), then SIGTERM",
        arguments=("run", "--bootstrap-servers", f"127.0.0.1:{port}", "--http-port", "0", "--delivery-mode", mode),
        code=0,
        line=("waiting for the brokers", f"127.0.0.1:{port}", "Connection refused"),
    )
    judge(table, world, *warned_then_stopped(world, tmp_path, port))


def test_a_wrong_host_name_is_one_warning(tmp_path: Path, table: list[str]) -> None:
    world = World(
        name="a host name that does not resolve, then SIGTERM",
        arguments=("run", "--bootstrap-servers", "kafka.invalid:9092", "--http-port", "0"),
        code=0,
        line=("waiting for the brokers", "kafka.invalid:9092", "resolve"),
    )
    judge(table, world, *warned_then_stopped(world, tmp_path))


# --- a real broker that cannot give what is wanted ---------------------------------------------------------------


def on(broker: Kafka, events: str, findings: str, dead_letters: str) -> tuple[str, ...]:
    topics = ("--topics-events", events, "--topics-findings", findings, "--topics-dead-letters", dead_letters)
    return (
        "run",
        "--bootstrap-servers",
        broker.bootstrap,
        "--http-port",
        "0",
        "--group-id",
        f"group-{events}",
        *topics,
    )


@pytest.mark.parametrize("mode", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("absent", ["events", "findings", "dead_letters"])
def test_a_missing_topic_is_one_line(
    tmp_path: Path, table: list[str], broker: Kafka, absent: str, mode: str
) -> None:
    topics = {name: broker.new_topic() for name in ("events", "findings", "dead_letters") if name != absent}
    world = World(
        name=f"no topic for {absent} ({mode})",
        arguments=(*on(broker, **topics, **{absent: f"missing-{absent}"}), "--delivery-mode", mode),
        code=3,
        line=("refused", f"missing-{absent}", "Unknown topic"),
    )
    judge(table, world, *run(world, tmp_path))


def test_a_login_that_the_listener_does_not_take_is_one_line(
    tmp_path: Path, table: list[str], broker: Kafka
) -> None:
    world = World(
        name="SASL against a plaintext listener",
        arguments=("run", "--bootstrap-servers", broker.bootstrap, "--http-port", "0"),
        environment={
            "TOKENTRAIL_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "TOKENTRAIL_KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "TOKENTRAIL_KAFKA__SASL_USERNAME": "tokentrail",
            "TOKENTRAIL_KAFKA__SASL_PASSWORD": SECRET,
        },
        code=3,
        line=("refused", broker.bootstrap, "SASL SCRAM-SHA-512"),
    )
    judge(table, world, *run(world, tmp_path))


def test_offsets_that_retention_took_are_one_line(tmp_path: Path, table: list[str], broker: Kafka) -> None:
    topics = [broker.new_topic() for _ in range(3)]
    arguments = on(broker, *topics)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for _ in range(10):
        producer.produce(topics[0], b"{}")
    assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"group-{topics[0]}"})
    consumer.commit(offsets=[TopicPartition(topics[0], 0, 2)], asynchronous=False)
    consumer.close()
    place = TopicPartition(topics[0], 0, 5)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_records([place])[place].result(timeout=30)
    world = World(
        name="a group that retention has overtaken",
        arguments=arguments,
        code=3,
        line=("refused", "retention has overtaken", f"{topics[0]}[0]", "offset 2"),
    )
    judge(table, world, *run(world, tmp_path))
    assert committed(broker, topics[0]) == 2  # nothing was skipped


def committed(broker: Kafka, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"group-{topic}"})
    try:
        (position,) = consumer.committed([TopicPartition(topic, 0)], timeout=30)
    finally:
        consumer.close()
    return position.offset
