"""`tokentrail rules`: the catalogue, made from the rules themselves."""

import json
from typing import Any

import click

from service.cli.table import cell, console, table
from service.rules import RULES
from service.rules.rule import Rule
from service.rules.severity import TABLE


def catalogue(rule: Rule) -> dict[str, Any]:
    """Everything a rule says of itself."""
    return {
        "id": rule.id,
        "version": rule.version,
        "name": rule.name,
        "summary": rule.summary,
        "watches": [{"event_source": source, "event_name": name} for source, name in rule.watches],
        "clauses": [{"name": clause.name, "holds_when": clause.holds_when} for clause in rule.clauses],
        "severity": [{"case": case.case, "severity": case.severity} for case in TABLE if case.rule_id == rule.id],
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
        "blind_spots": list(rule.blind_spots),
        "differs_from_published": list(rule.differs),
        "references": list(rule.references),
    }


def markdown(rule: Rule) -> str:
    entry = catalogue(rule)
    lines = [f"## {rule.id}", "", rule.summary, "", f"Version {rule.version}. Watches:", ""]
    lines += [f"- `{name}` of `{source}`" for source, name in rule.watches]
    lines += ["", "| clause | holds when |", "| --- | --- |"]
    lines += [f"| `{clause.name}` | {clause.holds_when} |" for clause in rule.clauses]
    lines += ["", "| severity | when |", "| --- | --- |"]
    lines += [f"| {case['severity']} | {case['case']} |" for case in entry["severity"]]
    lines += ["", "A failed call is one step down, root as the caller one step up.", ""]
    lines += [f"- {t.technique_id} {t.technique} ({t.tactic_id} {t.tactic})" for t in rule.techniques]
    for heading, items in (
        ("False positives", rule.false_positives),
        ("Blind spots", rule.blind_spots),
        ("Where it differs from the published rule", rule.differs),
        ("References", rule.references),
    ):
        if items:
            lines += ["", f"### {heading}", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


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
        click.echo(json.dumps([catalogue(rule) for rule in RULES], indent=2))
    elif output == "markdown":
        click.echo("\n".join(markdown(rule) for rule in RULES), nl=False)
    else:
        columns = ("rule", "clause", "holds when")
        rows = [
            (cell(rule.id if number == 0 else " "), cell(clause.name), cell(clause.holds_when))
            for rule in RULES
            for number, clause in enumerate(rule.clauses)
        ]
        table(columns, rows, console())
