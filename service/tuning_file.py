"""config/tuning.toml -> Tuning, with the file and the line of whatever is wrong in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.rules import EVERY_RULE
from service.rules.rule import Rule
from service.toml_tables import Tables
from service.tuning import ANY_RULE, RuleTuning, Suppression, Tuning

# The rule that each option belongs to.
_OPTIONS: Final = {clause.option.name: rule.id for rule in EVERY_RULE for clause in rule.clauses if clause.option}


def read(path: Path) -> Tuning:
    """Raises SettingsError with a line for each thing that is wrong."""
    tables = Tables(path, "tuning")
    tuning = Tuning(
        rules=dict(_rules(tables)),
        suppressions=tuple(_suppressions(tables)),
        publish_suppressed=tables.flag("publish_suppressed"),
    )
    tables.finish()
    return tuning


def _rules(tables: Tables) -> Iterator[tuple[str, RuleTuning]]:
    known = {rule.id: rule for rule in EVERY_RULE}
    for rule_id, table in tables.named("rules").items():
        place = ("rules", rule_id)
        if rule_id not in known:
            tables.problem(place, f"no such rule; there are {', '.join(known)}")
        elif tuned := tables.struct(place, table, RuleTuning):
            _check(tables, place, known[rule_id], tuned)
            yield rule_id, tuned


def _check(tables: Tables, place: tuple[str, str], rule: Rule, tuned: RuleTuning) -> None:
    clauses = [clause.name for clause in rule.clauses]
    for field in ("disabled_clauses", "staged_clauses"):
        for name in sorted(getattr(tuned, field) - set(clauses)):
            tables.problem((*place, field), f"{name!r} is no clause of it; there are {', '.join(clauses)}")
    for option, owner in _OPTIONS.items():
        if tuned.chooses(option) and rule.id != owner:
            tables.problem((*place, option), f"belongs to {owner}")


def _suppressions(tables: Tables) -> Iterator[Suppression]:
    known = {ANY_RULE} | {rule.id for rule in EVERY_RULE}
    names: set[str] = set()
    for number, table in enumerate(tables.array("suppressions")):
        place = ("suppressions", number)
        suppression = tables.struct(place, table, Suppression)
        if suppression is None:
            continue
        for rule_id in sorted(suppression.rules - known):
            tables.problem((*place, "rules"), f"no such rule: {rule_id}")
        if suppression.name in names:
            tables.problem((*place, "name"), f"{suppression.name!r} is there twice")
        names.add(suppression.name)
        yield suppression
