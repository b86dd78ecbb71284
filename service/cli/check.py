"""`tokentrail check`: a pre-flight for people and for init containers."""

import json
import signal
import threading
import time
from dataclasses import asdict
from typing import Any

import click

from service.check import preflight
from service.cli import complain
from service.cli.settings_flags import settings_of, settings_options
from service.escape import printable
from service.kafka.preflight import Result


@click.command("check")
@click.option("--wait", is_flag=True, help="Keep trying brokers that do not answer.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; without end by default.")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What a line is made of.",
)
@settings_options()
def command(*, wait: bool, timeout: float | None, output: str, **options: Any) -> int:
    """Check what `run` needs: settings, brokers, topics, limits, access. One line each; changes nothing.

    Exits 0 when nothing failed (warnings are no failures), 2 for a wrong setting, 3 when something is refused,
    missing or does not answer.
    """
    settings = settings_of(options)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    told = False
    deadline = None if timeout is None else time.monotonic() + timeout

    def again() -> bool:
        nonlocal told
        if wait and not told:
            complain("no broker answers, waiting")
            told = True
        out_of_time = deadline is not None and time.monotonic() > deadline
        return wait and not out_of_time and not stop.wait(1)

    results = []
    for result in preflight(settings, again):
        results.append(result)
        if output == "text":
            click.echo(_line(result))
    if output == "json":
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    return 3 if any(result.level == "FAIL" for result in results) else 0


def _line(result: Result) -> str:
    return f"{result.level:<4}  {printable(result.thing)}: {printable(result.text)}"
