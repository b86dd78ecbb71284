"""The other contestants: their environments, made once from locks and a pom, and how each is started."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tests.bench.contestant import NotMeasured, Result, run_peer, run_to_end
from tests.bench.stage import CACHE, DataSet, Stage
from tests.broker import KAFKA_VERSION, ROOT, fetch_jars

_STREAMS: Final = ROOT / "tests" / "bench" / "peers" / "streams"
_HEAP: Final = "-Xmx1g"


def loop(stage: Stage, data: DataSet) -> Result:
    """Counts messages and looks at none."""
    return run_peer([sys.executable, "-m", "tests.bench.peers.loop"], stage, data, finds=False)


def consumer_performance(stage: Stage, data: DataSet) -> Result:
    """Kafka's own: it parses nothing. Its fetch time begins when it has joined its group."""
    topic = stage.topic(data)
    command = [_program("java"), _HEAP, "-cp", f"{fetch_jars()}/*", "org.apache.kafka.tools.ConsumerPerformance"]
    with stage.output() as unused:
        asked = ("--topic", topic, "--group", f"group-{unused}", "--messages", str(data.messages), "--hide-header")
        ended = run_to_end(stage, [*command, "--bootstrap-server", stage.broker.bootstrap, *asked])
    # start, end, MB, MB/s, messages, messages/s, ms of joining, ms of fetching, …
    columns = [column.strip() for column in ended.last_line("20").split(",")]
    return Result(int(columns[4]), float(columns[7]) / 1_000, ended.memory)


def streams(how: str) -> Callable[[Stage, DataSet], Result]:
    """Kafka Streams; `how` is "parse" or "screen"."""

    def run(stage: Stage, data: DataSet) -> Result:
        jars = streams_jars()
        command = [_program("java"), _HEAP, "-cp", f"{jars}/*:{jars}/classes", "Detect"]
        return run_peer(command, stage, data, how, str(stage.folder / "state"))

    return run


def python(module: str, lock: str) -> Callable[[Stage, DataSet], Result]:
    """A module of `peers`, run by the environment of that lock."""

    def run(stage: Stage, data: DataSet) -> Result:
        return run_peer([str(environment(lock)), "-m", f"tests.bench.peers.{module}"], stage, data)

    return run


@cache
def environment(lock: str) -> Path:
    """The interpreter of an environment with what requirements/`lock`.txt names, made when it changed."""
    requirements, folder = ROOT / "requirements" / f"{lock}.txt", CACHE / lock
    made = folder / "made-of.txt"
    python = folder / "bin" / "python"
    if not made.exists() or made.read_bytes() != requirements.read_bytes():
        _make(sys.executable, "-m", "venv", "--clear", str(folder))
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
        _make(str(python), *install, "-r", str(requirements))
        shutil.copyfile(requirements, made)
    return python


@cache
def streams_jars() -> Path:
    """The folder of the jars that Detect.java needs, fetched once, and of its classes."""
    folder, source = CACHE / "streams", _STREAMS / "Detect.java"
    if not folder.is_dir():
        fetched = CACHE / "fetching-streams"
        shutil.rmtree(fetched, ignore_errors=True)
        maven = (_program("mvn"), "--batch-mode", "--quiet", f"--file={_STREAMS / 'pom.xml'}")
        what = (f"-Dkafka.version={KAFKA_VERSION}", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}")
        _make(*maven, "dependency:copy-dependencies", *what)
        fetched.rename(folder)
    compiled = folder / "classes" / "Detect.class"
    if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
        _make(_program("javac"), "-Xlint:all", "-cp", f"{folder}/*", "-d", str(compiled.parent), str(source))
    return folder


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotMeasured(f"no {name} here: apt-get install default-jdk-headless maven (Debian)")
    return path


def _make(*command: str) -> None:
    made: Sequence[str] = command
    done = subprocess.run(made, capture_output=True, encoding="utf-8", timeout=600, check=False)
    if done.returncode:
        raise NotMeasured(f"{' '.join(command[:4])} … ended with {done.returncode}:\n{done.stderr[-2_000:]}")
