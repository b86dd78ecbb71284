"""The rules as an operator wants them: some off, some on trial, some stricter."""

from collections.abc import Sequence
from dataclasses import replace

from service.rules.rule import Clause, Rule
from service.tuning import RuleTuning, Tuning


def tuned(rules: Sequence[Rule], tuning: Tuning) -> tuple[Rule, ...]:
    """Those that are on, with what the operator chose for each."""
    return tuple(_tuned(rule, own) for rule in rules if (own := tuning.of(rule.id)).enabled)


def _tuned(rule: Rule, own: RuleTuning) -> Rule:
    stage = {None: rule.stage, "live": None, "staged": "staged"}[own.stage]
    clauses = tuple(_clause(clause, own) for clause in rule.clauses if clause.name not in own.disabled_clauses)
    return replace(rule, clauses=clauses, severity=own.severity, stage=stage, staged_clauses=own.staged_clauses)


def _clause(clause: Clause, own: RuleTuning) -> Clause:
    if clause.option is None or not own.chooses(clause.option.name):
        return clause
    return replace(clause, check=clause.option.check_with(getattr(own, clause.option.name)))
