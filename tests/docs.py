"""The tables of README.md that are made from the code; `make docs` writes them, a test compares."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from service.metrics import Metrics
from service.rules import RULES
from service.settings import describe

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def settings_table() -> str:
    rows = ["| environment | in the file | default | meaning |", "| --- | --- | --- | --- |"]
    for doc in describe():
        in_file = f"`{doc.in_file}`" if doc.in_file else ""
        default = f"`{doc.default}`" if doc.default else ""
        rows.append(f"| `{doc.environment}` | {in_file} | {default} | {_cell(doc.meaning)} |")
    return "\n".join(rows)


def metrics_table() -> str:
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    metrics = [value for value in vars(Metrics(RULES)).values() if isinstance(value, MetricWrapperBase)]
    for metric in metrics:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # no public way to ask
        rows.append(f"| `{name}` | {family.type} | {labels} | {_cell(family.documentation)} |")
    return "\n".join(rows)


def rules_table() -> str:
    rows = ["| rule | fires on | clauses |", "| --- | --- | --- |"]
    for rule in RULES:
        clauses = ", ".join(f"`{clause.name}`" for clause in rule.clauses)
        rows.append(f"| `{rule.id}` | {_cell(rule.summary)} | {clauses} |")
    return "\n".join(rows)


TABLES = {"settings": settings_table, "metrics": metrics_table, "rules": rules_table}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def between(text: str, name: str) -> str:
    """What stands between the marks of a table."""
    found = re.search(rf"<!-- {name}: .*? -->\n\n(.*?)\n\n<!-- end -->", text, re.DOTALL)
    assert found is not None, f"README.md has no marks for the table of {name}"
    return found[1]


def written(text: str) -> str:
    for name, table in TABLES.items():
        text = text.replace(between(text, name), table())
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
