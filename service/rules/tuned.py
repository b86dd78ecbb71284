"""The rules as an operator wants them: some off, some on trial, some stricter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from service.event import Event
from service.rules import federation_token_suspicious, signin_token_federated
from service.rules.rule import Answer, Clause, Rule
from service.tuning import RuleTuning, Tuning

STAGED: Final = "staged"

# Clauses that an option changes, and the check that it makes of them.
_OPTIONS: Final[Mapping[str, Callable[[RuleTuning], Callable[[Event], Answer] | None]]] = {
    "duration-over-24h": lambda own: (
        None
        if own.duration_over_seconds is None
        else federation_token_suspicious.longer_than(own.duration_over_seconds)
    ),
    "console-exchange": lambda own: signin_token_federated.by_any_session if own.include_assumed_roles else None,
}


def tuned(rules: Sequence[Rule], tuning: Tuning) -> tuple[Rule, ...]:
    """Those that are on, with what the operator chose for each."""
    return tuple(_tuned(rule, own) for rule in rules if (own := tuning.of(rule.id)).enabled)


def _tuned(rule: Rule, own: RuleTuning) -> Rule:
    stages = {None: rule.stage, "live": None, "staged": STAGED}
    clauses = tuple(_clause(clause, own) for clause in rule.clauses if clause.name not in own.disabled_clauses)
    return replace(
        rule, clauses=clauses, severity=own.severity, stage=stages[own.stage], staged_clauses=own.staged_clauses
    )


def _clause(clause: Clause, own: RuleTuning) -> Clause:
    option = _OPTIONS.get(clause.name)
    check = option(own) if option else None
    return replace(clause, check=check) if check else clause
