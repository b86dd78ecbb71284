"""`tokentrail rules`: the catalogue, made from the rules themselves."""

import json
from typing import Any

import click

from service.cli.table import cell, console, table
from service.rules import EVERY_RULE
from service.rules.rule import Rule


def catalogue(rule: Rule) -> dict[str, Any]:
    """Everything a rule says of itself."""
    return {
        "id": rule.id,
        "version": rule.version,
        "stage": rule.stage,
        "name": rule.name,
        "summary": rule.summary,
        "catches": rule.catches,
        "watches": [{"event_source": source, "event_name": name} for source, name in rule.watches],
        "clauses": [{"name": clause.name, "holds_when": clause.holds_when} for clause in rule.clauses],
        "severity": [{"case": case.when, "severity": case.severity} for case in rule.cases],
        "mitre": [
            {
                "tactic_id": technique.tactic_id,
                "tactic": technique.tactic,
                "technique_id": technique.technique_id,
                "technique": technique.technique,
            }
            for technique in rule.techniques
        ],
        "false_positives": list(rule.false_positives),
        "tuning": list(rule.tuning_advice),
        "blind_spots": list(rule.blind_spots),
        "evasions": list(rule.evasions),
        "differs_from_published": list(rule.differs),
        "references": list(rule.references),
    }


def markdown(rule: Rule) -> str:
    entry = catalogue(rule)
    lines = [f"## {rule.id}", "", rule.summary, "", rule.catches, ""]
    if rule.stage:
        lines += [
            "**On trial: its findings go to `topics.staged`, where that is set; `scan --staged` shows them.**",
            "",
        ]
    lines += [f"Version {rule.version}. Watches {_watched(rule)}.", "", "| clause | holds when |", "| --- | --- |"]
    lines += [f"| `{clause.name}` | {clause.holds_when} |" for clause in rule.clauses]
    lines += ["", "| severity | when |", "| --- | --- |"]
    lines += [f"| {case['severity']} | {case['case']} |" for case in entry["severity"]]
    lines += ["", "A failed call is one step down, root as the caller one step up.", ""]
    lines += [f"- {t.technique_id} {t.technique} ({t.tactic_id} {t.tactic})" for t in rule.techniques]
    for heading, items in (
        ("False positives", rule.false_positives),
        ("Tuning", rule.tuning_advice),
        ("Blind spots", rule.blind_spots),
        ("How an attacker would avoid it", rule.evasions),
        ("Where it differs from the published rule", rule.differs),
        ("References", rule.references),
    ):
        if items:
            lines += ["", f"### {heading}", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


def _watched(rule: Rule) -> str:
    sources = dict.fromkeys(source for source, _ in rule.watches)
    names = {source: [f"`{name}`" for of, name in rule.watches if of == source] for source in sources}
    return "; ".join(f"{', '.join(found)} of `{source}`" for source, found in names.items())


def _label(rule: Rule) -> str:
    return f"{rule.id} ({rule.stage})" if rule.stage else rule.id


@click.command("rules")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="json and markdown also give severities, false positives, blind spots and references.",
)
def command(output: str) -> None:
    """Print the catalogue of rules: what each watches, its clauses, and when they hold."""
    if output == "json":
        click.echo(json.dumps([catalogue(rule) for rule in EVERY_RULE], indent=2))
    elif output == "markdown":
        click.echo("\n".join(markdown(rule) for rule in EVERY_RULE), nl=False)
    else:
        columns = ("rule", "clause", "holds when")
        rows = [
            (cell(_label(rule) if number == 0 else " "), cell(clause.name), cell(clause.holds_when))
            for rule in EVERY_RULE
            for number, clause in enumerate(rule.clauses)
        ]
        table(columns, rows, console())
