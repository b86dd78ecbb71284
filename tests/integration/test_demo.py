"""The first command that a new user runs."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

from tests.broker import ROOT, poll_until
from tests.program import heed_ctrl_c

DEMO = (sys.executable, "-m", "service", "demo")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TOKENTRAIL_")}


def test_the_demo_finds_the_attack_and_ends_by_itself() -> None:
    done = subprocess.run(DEMO, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "at-least-once" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r"\d\d:\d\d ", line)]
    assert len(rows) == 10
    assert {(row[1], row[2]) for row in rows if row[3] == "ci-artifacts-upload"} == {
        ("medium", "sts-federation-token-issued"),
        ("high", "sts-federation-token-suspicious"),
        ("critical", "sts-federation-token-suspicious"),
        ("high", "signin-token-from-federated-session"),
    }
    read, sent = re.search(r"([\d,]+) messages read of ([\d,]+) sent", done.stdout).groups()  # type: ignore[union-attr]  # None fails here
    assert read == sent
    assert "3 dead letters" in done.stdout


def test_kept_up_it_serves_metrics_until_interrupted() -> None:
    with subprocess.Popen(
        [*DEMO, "--keep"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509  it takes no lock
    ) as demo:
        assert demo.stdout is not None
        found = next(filter(None, (re.search(r"http://\S+/metrics", line) for line in demo.stdout)))
        poll_until(lambda: b"tokentrail_messages_total 6" in _get(found[0]), "more messages")
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
        assert (demo.returncode, errors) == (0, "")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own loopback
        content: bytes = answer.read()
        return content
