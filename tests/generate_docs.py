"""The parts of documents that are made from the code; `make docs` writes them, a test compares."""

import re
from collections.abc import Callable
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from service.cli.rules import markdown
from service.metrics import Metrics
from service.rules import EVERY_RULE, RULES
from service.rules.rule import Rule
from service.settings_table import describe

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CATALOGUE = ROOT / "docs" / "rules.md"
SAMPLES = ROOT / "tests" / "rules" / "samples"


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
    for rule in EVERY_RULE:
        clauses = ", ".join(f"`{clause.name}`" for clause in rule.clauses)
        on_trial = " (on trial)" if rule.stage else ""
        rows.append(f"| `{rule.id}`{on_trial} | {_cell(rule.summary)} | {clauses} |")
    return "\n".join(rows)


def catalogue() -> str:
    return "\n".join(f"{markdown(rule)}\n{_examples(rule)}" for rule in EVERY_RULE).rstrip()


def _examples(rule: Rule) -> str:
    """The rule's samples, by what their names say of them."""
    lines = ["### Examples", ""]
    for kind, heading in (("fires", "Fires on"), ("quiet", "Stays quiet on")):
        names = sorted(path.stem for path in (SAMPLES / rule.id).glob(f"{kind}-*.json"))
        lines += [f"<details><summary>{heading} {len(names)} samples</summary>", ""]
        lines += [f"- [{_why(name)}](../tests/rules/samples/{rule.id}/{name}.json)" for name in names]
        lines += ["", "</details>", ""]
    return "\n".join(lines)


def _why(name: str) -> str:
    return name.partition("-")[2].replace("-", " ")


TABLES = {"settings": settings_table, "metrics": metrics_table, "rules": rules_table}
DOCUMENTS = {README: TABLES, CATALOGUE: {"catalogue": catalogue}}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def between(text: str, name: str) -> str:
    """What stands between the marks of a part."""
    return text[slice(*_span(text, name))]


def written(text: str, parts: dict[str, Callable[[], str]]) -> str:
    for name, part in parts.items():
        start, end = _span(text, name)
        text = text[:start] + part() + text[end:]
    return text


def _span(text: str, name: str) -> tuple[int, int]:
    found = re.search(rf"<!-- {name}: .*? -->\n\n(.*?)\n\n<!-- end -->", text, re.DOTALL)
    assert found is not None, f"no marks for the part that is called {name}"
    return found.span(1)


if __name__ == "__main__":
    for document, parts in DOCUMENTS.items():
        document.write_text(written(document.read_text(), parts))
