"""A real Apache Kafka for tests: fetched with Maven, run with plain `java`, killed and started at will."""

import atexit
import fcntl
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

T = TypeVar("T")

KAFKA_VERSION = "4.1.2"
ROOT = Path(__file__).resolve().parents[1]
POM = ROOT / "tests" / "kafka" / "pom.xml"
CACHE = ROOT / ".cache" / "kafka"
JARS = CACHE / KAFKA_VERSION

# Tests want a quick start and little memory, not throughput.
JAVA_OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8")

SERVER_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    # After a kill, the controller refuses the broker until the session of the killed one has run out.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # A killed member is missed within seconds; its open transaction is aborted soon after its timeout.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


class Kafka:
    """A Kafka that answers at `bootstrap`, whoever runs it: its topics, and Kafka's own tools."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._created: list[str] = []

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Returns when every partition has a leader."""
        topic = NewTopic(name, num_partitions=partitions, config=dict(config or {}))
        admin = self._admin()
        admin.create_topics([topic])[name].result(timeout=30)
        self._created.append(name)

        def has_leaders() -> bool:
            listed = admin.list_topics(timeout=10).topics.get(name)
            if listed is None or len(listed.partitions) < partitions:
                return False
            return all(partition.leader >= 0 for partition in listed.partitions.values())

        poll_until(has_leaders, f"leaders for the topic {name}")

    def new_topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """The name of a topic nobody else has."""
        name = f"test-{uuid.uuid4()}"
        self.create_topic(name, partitions, config)
        return name

    def delete_created_topics(self) -> None:
        if not self._created:
            return
        admin = self._admin()
        for deleted in admin.delete_topics(self._created).values():
            deleted.result(timeout=30)
        self._created.clear()

    def console_consume(
        self,
        topic: str,
        max_messages: int,
        *,
        seconds: float = 10,
        isolation: str = "read_committed",
        formatter: Mapping[str, str] | None = None,
    ) -> str:
        """What Kafka's console consumer prints of the topic from its beginning; bytes outside UTF-8 escaped.

        It ends after `max_messages`, or when nothing came for `seconds`. `formatter` holds properties of
        its message formatter, such as `print.key`, `print.headers`, `print.timestamp`: `"true"`.
        """
        properties = [f"--property={name}={value}" for name, value in (formatter or {}).items()]
        return self.tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            *("--bootstrap-server", self.bootstrap, "--topic", topic, "--from-beginning"),
            *("--max-messages", str(max_messages), "--timeout-ms", str(int(seconds * 1000))),
            *("--isolation-level", isolation, *properties),
        )

    def tool(self, main_class: str, *arguments: str, seconds: float = 60) -> str:
        """What the Kafka tool of that Java class prints; RuntimeError with its complaint when it fails."""
        return _run([*_java("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"), main_class, *arguments], seconds)

    def _admin(self) -> AdminClient:
        # log_level 0: while a broker is down, librdkafka would write every failed attempt to the terminal.
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})


class Broker(Kafka):
    """A Kafka of our own: one process that is broker and controller, with its data and log in `folder`.

    `start` after `stop` or `kill` brings it back on the same port with the same data. `properties` are added
    to, or replace, those of the server. `listeners` names further ones, which properties say how to secure.
    """

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, str] | None = None,
        listeners: Sequence[str] = (),
        java_options: Sequence[str] = JAVA_OPTIONS,
    ) -> None:
        port, controller_port, *ports = free_ports(2 + len(listeners))
        super().__init__(f"127.0.0.1:{port}")
        self.addresses = {name: f"127.0.0.1:{its}" for name, its in zip(listeners, ports, strict=True)}
        self.log = folder / "server.log"
        self._data = folder / "data"
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._java_options = java_options
        self.controller = f"127.0.0.1:{controller_port}"
        every = {"PLAINTEXT": self.bootstrap, "CONTROLLER": self.controller, **self.addresses}
        server = SERVER_PROPERTIES | {
            "listeners": ",".join(f"{name}://{address}" for name, address in every.items()),
            "controller.quorum.voters": f"1@{self.controller}",
            "log.dirs": str(self._data),
        }
        self.properties = server | dict(properties or {})  # read by each launch

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when the broker answers; RuntimeError with the end of its log when it dies first."""
        self.launch()
        admin = self._admin()
        poll_until(lambda: self._answers(admin), f"an answer from the broker, whose log is {self.log}", 60)

    def launch(self) -> None:
        """Start without waiting for an answer, which a broker of several gives only when most of them run."""
        if self.running:
            return
        lines = [f"{name}={value}\n" for name, value in self.properties.items()]
        self._config.write_text("".join(lines), encoding="utf-8")
        if not self._data.exists():
            cluster_id = "dG9rZW50cmFpbC10ZXN0cw"
            self.tool(
                "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", f"--config={self._config}"
            )
        java = _java("-Dorg.slf4j.simpleLogger.showDateTime=true", base=self._java_options)
        command = [*java, "kafka.Kafka", str(self._config)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for pytest, which then ends the broker.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        atexit.register(self.kill)

    def stop(self) -> None:
        """The orderly way: SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """The way of a crash: SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, sent: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(sent)
        self._process.wait(timeout=60)
        self._process = None
        atexit.unregister(self.kill)

    def _answers(self, admin: AdminClient) -> bool:
        if not self.running:
            raise RuntimeError(f"the broker ended at its start:\n{_tail(self.log.read_text(errors='replace'))}")
        try:
            return bool(admin.list_topics(timeout=0.2).brokers)
        except KafkaException:
            return False


def missing() -> str | None:
    """What a `Broker` lacks on this machine and how to get it; None when it can run."""
    programs = ["java"] if JARS.is_dir() else ["java", "mvn"]
    absent = [program for program in programs if shutil.which(program) is None]
    if not absent:
        return None
    return (
        f"no {' and no '.join(absent)} to run a real Kafka with: "
        "apt-get install default-jre-headless maven (Debian), or set KAFKA_BOOTSTRAP to a running one"
    )


def fetch_jars() -> Path:
    """The folder that holds Kafka's jars. Fetched once; test runs that meet here wait for each other."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not JARS.is_dir():
            with TemporaryDirectory(prefix="fetching-", dir=CACHE) as folder:
                fetched = Path(folder) / "jars"
                maven = [_program("mvn"), "--batch-mode", "--quiet", "-Dstyle.color=never", f"--file={POM}"]
                what = [
                    f"-Dkafka.version={KAFKA_VERSION}",
                    "-DincludeScope=runtime",
                    f"-DoutputDirectory={fetched}",
                ]
                _run([*maven, "dependency:copy-dependencies", *what], seconds=600)
                fetched.rename(JARS)
    return JARS


def poll_until(check: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """The first truthy result of `check`; TimeoutError naming `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
    return result


def free_ports(count: int) -> list[int]:
    # Below the range of outgoing connections: while a broker is down, nothing else is given its port, and a
    # client that keeps trying cannot connect to itself.
    ports: set[int] = set()
    while len(ports) < count:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.add(port)
    return list(ports)


def _java(*options: str, base: Sequence[str] = JAVA_OPTIONS) -> list[str]:
    return [_program("java"), *base, *options, "-cp", f"{fetch_jars()}/*"]


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(missing())
    return path


def _run(command: list[str], seconds: float) -> str:
    ended = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=seconds,
        check=False,
    )
    if ended.returncode != 0:
        complaint = _tail(ended.stdout + ended.stderr)
        raise RuntimeError(f"{Path(command[0]).name} ended with {ended.returncode}:\n{complaint}")
    return ended.stdout


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-40:])
