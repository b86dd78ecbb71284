"""The real program as worker processes, which a storm starts, stops and kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.broker import ROOT, poll_until

TERM_SECONDS: Final = 21.0  # the service's own deadline, and a second to notice
_METRICS: Final = re.compile(r"http://[^/]+:(\d+)/metrics")


class Worker:
    """A process of `python -m service run`; its log is a file of JSON lines."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._started_at = time.monotonic()
        self.told_at: float | None = None  # when it was told, or made, to end
        self.told_by: signal.Signals | None = None
        self.held = False
        self.exit_seconds: float | None = None  # from the signal to the end
        with log.open("ab") as output:
            # Away from the repository: its config/ is not for this run.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "run"],
                env={
                    **environment,
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT),
                    "PYTHONFAULTHANDLER": "1",  # a crash, or SIGABRT, leaves every thread's stack in the log
                },
                cwd=log.parent,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def age(self) -> float:
        return time.monotonic() - self._started_at

    def end(self, by: signal.Signals) -> None:
        """Tell it to end; returns at once."""
        self.told_at, self.told_by = time.monotonic(), by
        self.process.send_signal(by)

    def hold(self) -> None:
        self.held = True
        self.process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        self.held = False
        self.process.send_signal(signal.SIGCONT)  # a process that ended in the meantime does not mind

    def has_ended(self) -> bool:
        if self.process.poll() is None:
            return False
        if self.exit_seconds is None:
            self.exit_seconds = time.monotonic() - (self.told_at or time.monotonic())
        return True

    def problem(self) -> str | None:
        """What is wrong with how it ended: by itself, or, told by SIGTERM, late or not with 0.

        A client call that hangs ends with the service's own deadline: that is no fault, being late is. Nor is
        to be told before Python had even loaded the program.
        """
        code, seconds = self.process.returncode, self.exit_seconds or 0.0
        by_deadline = code == 1 and "did not end in time" in self.last_words()
        unborn = code in (-signal.SIGTERM, 128 + signal.SIGTERM) and not self.last_words()
        if self.told_by is None:
            return f"{self.name} ended by itself with {code}: {self.last_words()}"
        if self.told_by == signal.SIGTERM and (
            (code != 0 and not by_deadline and not unborn) or seconds > TERM_SECONDS
        ):
            return f"{self.name} ended {seconds:.1f} s after SIGTERM with {code}: {self.last_words()}"
        return None

    def last_words(self) -> str:
        return " | ".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path of its probes; 0 and the reason when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port()}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError as problem:
            return 0, str(problem)

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        (kib,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kib) / 1024

    def _port(self) -> int:
        found = poll_until(lambda: _METRICS.search(self.log.read_text(encoding="utf-8")), "the worker's port")
        return int(found[1])


class Workers:
    """Those that run, and what became of those that ended."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.running: list[Worker] = []
        self.ended: list[Worker] = []
        self._environment = environment
        self._folder = folder

    def start(self) -> Worker:
        number = len(self.running) + len(self.ended) + 1
        worker = Worker(f"worker-{number}", self._environment, self._folder / f"worker-{number}.log")
        self.running.append(worker)
        return worker

    def free(self) -> list[Worker]:
        """Those that no fault has hit or holds."""
        return [worker for worker in self.running if worker.told_by is None and not worker.held]

    def sort_out(self) -> list[Worker]:
        """Those that ended since the last call."""
        gone = [worker for worker in self.running if worker.has_ended()]
        self.running = [worker for worker in self.running if worker not in gone]
        self.ended += gone
        return gone

    def dump(self) -> None:
        """End those that run so that their logs say what each thread was doing."""
        for worker in self.running:
            worker.end(signal.SIGABRT)

    def finish(self, seconds: float = 2 * TERM_SECONDS) -> None:
        """Tell all to end and wait for it."""
        for worker in self.running:
            if worker.told_by is None:
                worker.end(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.running and time.monotonic() < deadline:
            self.sort_out()
            time.sleep(0.05)

    def kill(self) -> None:
        """Whatever still runs, by force."""
        for worker in self.running:
            worker.process.kill()
            worker.process.wait()
        self.sort_out()

    def said(self) -> Counter[str]:
        """How often the logs say what: by event, and by event and kind where there is one."""
        counts: Counter[str] = Counter()
        for worker in [*self.ended, *self.running]:
            for line in worker.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("{"):
                    entry = json.loads(line)
                    kind = f" {entry['kind']}" if "kind" in entry else ""
                    counts[f"{entry['event']}{kind}"] += 1
        return counts
