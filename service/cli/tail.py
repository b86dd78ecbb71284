"""`tokentrail tail`: findings of a running system, as they come."""

import json
import signal
import sys
import threading
from typing import Any

import click
from rich.text import Text

from service.avro.messages import connect
from service.batch import Message
from service.cli import complain
from service.cli.settings_flags import CONNECTION, REGISTRY, settings_of, settings_options
from service.cli.table import STYLES, cell, console
from service.errors import DecodeError, SchemaUnavailable
from service.finding import SEVERITIES, Severity
from service.rules import EVERY_RULE
from service.tail import Findings, Follower, Line, Start, Wanted, headers_of, line_of

_WIDTHS = (20, 13, 36)  # of time, severity and rule; what comes behind them is as long as it is
_RULE_IDS = [rule.id for rule in EVERY_RULE]


@click.command("tail")
@click.option(
    "--from",
    "start",
    type=click.Choice(["beginning", "end"]),
    default="end",
    show_default=True,
    help="Where in the topic to begin.",
)
@click.option("--severity", type=click.Choice(SEVERITIES), help="Only findings that severe or more.")
@click.option("--rule", "rules", type=click.Choice(_RULE_IDS), multiple=True, help="Only that rule's; repeatable.")
@click.option("--canary/--no-canary", default=None, help="Only canaries, or none of them; both by default.")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: each finding on a line, as it is in the topic; of one in Avro, its fields as JSON.",
)
@settings_options(*CONNECTION, "topics.findings", *REGISTRY)
def command(
    *,
    start: Start,
    severity: Severity | None,
    rules: tuple[str, ...],
    canary: bool | None,
    output: str,
    **options: Any,
) -> int:
    """Follow the findings topic: a line for each finding, until Ctrl-C.

    Reads every partition, without a consumer group, and commits nothing. Findings of transactions that are not
    committed do not show. Exits 0 when told to stop, 2 for a wrong setting, 3 when the brokers refuse us or, at
    the start, do not answer.
    """
    settings = settings_of(options)
    wanted = Wanted(severity=severity, rules=rules, canary=canary)
    show = _Shown(Findings(connect(settings.registry)), as_json=output == "json")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # an exception raised inside a call of the client may get lost
        signal.signal(number, lambda *_: stop.set())
    follower = Follower(settings.kafka, settings.topics.findings, start)
    told = False
    try:
        while not stop.is_set():
            for message in follower.poll():
                if wanted(headers_of(message)):
                    show(message)
            if follower.trouble and not told:
                complain(f"{follower.trouble}; waiting")
            told = follower.trouble is not None
    finally:
        follower.close()
    return 0


class _Shown:
    """Writes one message on standard output, or says on standard error that it is no finding."""

    def __init__(self, findings: Findings, *, as_json: bool) -> None:
        self._findings = findings
        self._as_json = as_json
        self._out = console()

    def __call__(self, message: Message) -> None:
        try:
            document = self._findings.decode(message)
        except (DecodeError, SchemaUnavailable) as problem:
            place = f"{message.topic()}[{message.partition()}] at offset {message.offset()}"
            complain(f"{place} cannot be read: {problem}")
            return
        if self._as_json:
            sys.stdout.buffer.write(_as_found(message, document) + b"\n")
            sys.stdout.buffer.flush()
        else:
            self._out.print(text_of(line_of(document)), soft_wrap=True)


def _as_found(message: Message, document: dict[str, Any]) -> bytes:
    """The message's own JSON, where that is one line and nobody looks at it: to a terminal it goes as ASCII."""
    value = message.value() or b""
    if value[:1] == b"{" and b"\n" not in value and not sys.stdout.isatty():
        return value
    return json.dumps(document).encode()


def text_of(line: Line) -> Text:
    style = STYLES.get(line.severity or "", "")
    cells = [cell(line.time), cell(line.severity, style), cell(line.rule)]
    text = Text(style="dim" if line.notes else "")
    for padded, width in zip(cells, _WIDTHS, strict=True):
        text.append_text(padded)
        text.append(" " * (max(0, width - len(padded)) + 2))
    for field in (line.title, line.principal, line.account):
        text.append_text(cell(field))
        text.append("  ")
    text.append(" ".join(f"[{note}]" for note in line.notes))
    text.rstrip()
    return text
