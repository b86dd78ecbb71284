"""A contestant's process: started, watched, ended in time, and what it says of itself checked."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.stage import DataSet, Stage
from tests.broker import ROOT

DEADLINE_SECONDS: Final = 240.0
_LOOK_SECONDS: Final = 0.1


class NotMeasured(Exception):
    """The contestant cannot run here, failed, hung, or found something else than is there: the text says which."""


@dataclass(frozen=True)
class Result:
    """Of one run. `memory` is the largest resident size, in MB."""

    records: int
    seconds: float
    memory: float


@dataclass(frozen=True)
class Contestant:
    """`ready` makes what it needs before the first round; it may raise NotMeasured, as `run` then does."""

    name: str
    data: DataSet
    run: Callable[[Stage, DataSet], Result]
    ready: Callable[[], object] | None = None


@dataclass
class Process:
    """Its output goes to a file, since a pipe that nobody reads would stop it."""

    popen: subprocess.Popen[bytes]
    log: Path
    began: float
    memory: float = 0.0

    def look(self) -> bool:
        """Whether it runs still. Takes note of its memory; raises NotMeasured past the deadline."""
        if self.popen.poll() is not None:
            return False
        self.memory = _peak_memory(self.popen.pid) or self.memory
        if time.monotonic() - self.began > DEADLINE_SECONDS:
            raise NotMeasured(f"did not end within {DEADLINE_SECONDS:.0f} s:\n{self.tail()}")
        return True

    def tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()[-20:])

    def last_line(self, start: str) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
        found = [line for line in lines if line.startswith(start)]
        if not found:
            raise NotMeasured(f"ended without telling its result:\n{self.tail()}")
        return found[-1]


@contextmanager
def process(stage: Stage, command: Sequence[str], more: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Killed at the end, with whatever it started. Its environment has no settings of ours, and has `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTRAIL_")}
    log = stage.folder / "contestant.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            env={**kept, "PYTHONPATH": str(ROOT), **(more or {})},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Process(popen, log, time.monotonic())
    finally:
        if popen.poll() is None:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait(10)


def run_to_end(stage: Stage, command: Sequence[str]) -> Process:
    with process(stage, command) as running:
        while running.look():
            time.sleep(_LOOK_SECONDS)
        if running.popen.returncode:
            raise NotMeasured(f"ended with {running.popen.returncode}:\n{running.tail()}")
        return running


def run_peer(command: Sequence[str], stage: Stage, data: DataSet, *arguments: str, finds: bool = True) -> Result:
    """A program that takes the arguments of `peers.job` and these, and tells what `Job.report` tells."""
    topic = stage.topic(data)
    with stage.output() as findings:
        given = (stage.broker.bootstrap, topic, f"group-{findings}", findings, str(data.messages))
        ended = run_to_end(stage, [*command, *given, *arguments])
        published = stage.count(findings)
    told = json.loads(ended.last_line('{"messages"'))
    result = Result(told["messages"], told["seconds"], ended.memory)
    if result.records != data.messages:
        raise NotMeasured(f"read {result.records} messages of {data.messages}")
    if finds and {told["found"], published} != {data.watched}:
        raise NotMeasured(f"found {told['found']} and published {published} of {data.watched} records")
    return result


def _peak_memory(pid: int) -> float | None:
    """In MB, by the kernel's account; None for a process that is ending."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) / 1_024 for line in status.splitlines() if line.startswith("VmHWM:")), None)
