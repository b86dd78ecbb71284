"""Programs that tests start: ours, in a process and an environment of its own or in this process, and others."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner

from service.cli import tokentrail as group
from tests.broker import ROOT

PROGRAM = (sys.executable, "-m", "service")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTRAIL_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(extra or {})}


def heed_ctrl_c() -> None:
    """A shell's background jobs, and what they start, ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(
    *arguments: str, extra: Mapping[str, str] | None = None, cwd: Path = ROOT, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """A process with pipes for its output, in a session of its own: what it is sent reaches nobody else."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment(extra),
        cwd=cwd,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509  it takes no lock
    )


def tokentrail(
    *arguments: str | Path,
    stdin: bytes = b"",
    extra: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; what it printed has to be UTF-8."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        env=environment(extra),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def in_process(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """A command in this process: quicker, for what is no matter of processes, terminals or errors."""
    words = list(map(str, arguments))
    done = CliRunner().invoke(group, words, input=stdin, standalone_mode=False, catch_exceptions=False)
    return subprocess.CompletedProcess(words, done.return_value or 0, done.stdout, done.stderr)


def printed(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints, which has to end with 0. It sees neither this checkout nor its settings."""
    ours = ("PYTHON", "PYTEST_", "TOKENTRAIL_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
