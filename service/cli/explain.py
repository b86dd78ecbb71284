"""`tokentrail explain`: each rule and clause on one event, held or not, and why."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from service.cli.table import STYLES, cell, console, table
from service.detect import Detector
from service.envelopes import Ignored, Part, Record, load, unwrap
from service.errors import DecodeError
from service.escape import printable
from service.finding import SEVERITIES
from service.rules import EVERY_RULE, RULES

_MOST: Final = 20


@click.command("explain")
@click.argument("file", metavar="FILE|-")
@click.option(
    "--index",
    type=click.IntRange(min=0),
    help=f"Which record of the file, from 0; all of them, {_MOST} at most, by default.",
)
@click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one document a record, each on a line.",
)
@click.option("--staged", is_flag=True, help="Ask the rules on trial too.")
def command(file: str, *, index: int | None, output: str, staged: bool) -> int:
    """Explain an event, in any envelope: what each clause saw, at which path, or why it could not tell.

    FILE holds a CloudTrail record, or a few; - is standard input. Exits 0, 1 when a record could not be read, 2
    for wrong usage.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise click.UsageError(f"{printable(file)}: {(error.strerror or 'unreadable').lower()}") from None
    parts = list(unwrap(data))
    if index is not None:
        if index >= len(parts):
            raise click.UsageError(f"--index {index}: the file holds {len(parts)} records")
        parts = [parts[index]]
    if len(parts) > _MOST:
        raise click.UsageError(f"the file holds {len(parts):,} records: choose one with --index")
    detector = Detector(EVERY_RULE if staged else RULES)
    explanations = [_explain(part, detector) for part in parts]
    for explanation in explanations:
        if output == "json":
            click.echo(json.dumps(explanation))
        else:
            _show(explanation, console())
    return 1 if not parts or any("unreadable" in explanation for explanation in explanations) else 0


def _explain(part: Part, detector: Detector) -> dict[str, Any]:
    """What one part of a file is, and what every rule says to it."""
    if isinstance(part, Ignored):
        return {"ignored": part.kind}
    if not isinstance(part, Record):
        return {"unreadable": f"{part.reason}: {part.detail}"}
    try:
        return detector.explain(load(part), part.envelope)
    except DecodeError as error:
        return {"unreadable": f"{error.reason}: {error}"}


def _show(explanation: dict[str, Any], out: Console) -> None:
    if "rules" not in explanation:
        kind, why = next(iter(explanation.items()))
        out.print(f"{kind}: {why}")
        return
    out.print(cell(f"{explanation['event_name']} of {explanation['event_source']}"), style="bold", end=" ")
    out.print(cell(f"({explanation['event_id'] or 'no eventID'}, {explanation['outcome']})"))
    for rule in explanation["rules"]:
        out.print()
        out.print(cell(rule["rule_id"]), style="bold", end=": ")
        notes = [rule["verdict"], rule["severity"], "on trial" if rule["stage"] else None]
        out.print(cell(", ".join(filter(None, notes))), style=STYLES.get(rule["severity"] or "", ""))
        if rule["title"]:
            out.print(cell(rule["title"]))
        rows = [
            (cell(c["name"]), cell(c["answer"]), cell(c["path"]), cell(c["value"]), cell(c["explanation"]))
            for c in rule["clauses"]
        ]
        table(("clause", "answer", "path", "value", "why"), rows, out)
    matches = [rule for rule in explanation["rules"] if rule["severity"]]
    if matches:
        _show_response(max(matches, key=lambda rule: SEVERITIES.index(rule["severity"])), out)


def _show_response(rule: dict[str, Any], out: Console) -> None:
    """What to do about the worst match; those of one event ask for the same. Commands and queries stay on one
    line, however long, so that they can be copied.
    """
    out.print("\nRunbook", style="bold")
    for number, step in enumerate(rule["runbook"], start=1):
        out.print(cell(f"{number}. {step}"), soft_wrap=True)
    for heading, rows in (("Actions", _action_lines(rule["actions"])), ("Pivots", _pivot_lines(rule["pivots"]))):
        out.print(f"\n{heading}", style="bold")
        for row in rows or ["none: the record does not name what they need"]:
            out.print(cell(row), soft_wrap=True)


def _action_lines(actions: list[dict[str, Any]]) -> list[str]:
    return [
        f"{action['service']}:{action['operation']} {json.dumps(action['parameters'], ensure_ascii=False)}"
        f" (undo: {action['undo'] or 'not possible'})"
        for action in actions
    ]


def _pivot_lines(pivots: list[dict[str, str]]) -> list[str]:
    return [f"{pivot['system']}: {pivot['query']}" for pivot in pivots]
