"""What a rule is: metadata, the events it watches, and its clauses, each a small typed predicate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.event import Event, Unread
from service.finding import SEVERITIES, NotEvaluable, Severity, Technique

Verdict = Literal["match", "no_match", "not_evaluable", "suppressed", "error"]

# How often a match is an attack, in OCSF's words: "low" where most are benign.
Confidence = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Held:
    """A clause holds: the value that made it hold, and the place in the record where it stands."""

    path: str
    value: object
    explanation: str


# A clause holds, does not, or cannot be told.
Answer = Held | Unread | None


@dataclass(frozen=True, slots=True)
class Option:
    """What an operator may set for a clause: a field of `RuleTuning`, and the check that its value makes."""

    name: str
    check_with: Callable[[Any], Callable[[Event], Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    name: str
    holds_when: str
    check: Callable[[Event], Answer]
    option: Option | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """How bad a match is when it fits; `fits` is given the event and the names of the clauses that hold."""

    when: str
    severity: Severity
    fits: Callable[[Event, Sequence[str]], bool] = lambda _event, _clauses: True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`id` is stable for ever; `version` changes whenever the same event may give another finding.

    `title` and `describe` take the event and the names of the clauses that hold. A rule on trial has a `stage`,
    which its findings carry.
    """

    id: str
    version: str
    name: str
    summary: str
    catches: str  # what an attacker does, and why it matters
    watches: tuple[tuple[str, str], ...]  # (eventSource, eventName), compared exactly
    # Texts, one of which stands in each record that the rule may match; by default the names it watches.
    needles: tuple[str, ...] = ()
    clauses: tuple[Clause, ...]
    cases: tuple[Case, ...]  # the first that fits gives the severity; the last always fits
    confidence: Confidence
    techniques: tuple[Technique, ...]
    title: Callable[[Event, Sequence[str]], str]
    describe: Callable[[Event, Sequence[str]], str]
    runbook: Callable[[Event], list[str]]
    false_positives: tuple[str, ...]
    tuning_advice: tuple[str, ...]
    blind_spots: tuple[str, ...]
    evasions: tuple[str, ...]  # how an attacker would avoid it
    references: tuple[str, ...]
    differs: tuple[str, ...] = ()  # from the published rule it grew from, on purpose
    stage: str | None = None
    severity: Severity | None = None  # an operator's, in place of all cases
    staged_clauses: frozenset[str] = frozenset()  # a match on nothing else is staged


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A rule's answer to one event: the clauses that hold, and those that could not be told."""

    rule: Rule
    held: Sequence[tuple[Clause, Held]]
    not_evaluable: Sequence[NotEvaluable]

    @property
    def verdict(self) -> Verdict:
        """Match if any clause holds; else not evaluable if any could not be read."""
        if self.held:
            return "match"
        return "not_evaluable" if self.not_evaluable else "no_match"


def ask(rule: Rule, event: Event) -> list[tuple[Clause, Answer]]:
    """Every clause's answer. Raises whatever a clause raises; the detector isolates it."""
    return [(clause, clause.check(event)) for clause in rule.clauses]


def evaluate(rule: Rule, event: Event) -> Evaluation:
    """Raises whatever a clause raises."""
    held, not_evaluable = [], []
    for clause, answer in ask(rule, event):
        if isinstance(answer, Held):
            held.append((clause, answer))
        elif answer is not None:
            not_evaluable.append(NotEvaluable(rule.id, clause.name, answer.reason))
    return Evaluation(rule, held, not_evaluable)


def severity_by_cases(rule: Rule, event: Event, clauses: Sequence[str]) -> Severity:
    """By the rule's cases; then one step down for a failed call, and one up for root as the caller."""
    base = next(case for case in rule.cases if case.fits(event, clauses)).severity
    step = SEVERITIES.index(base) - (event.outcome == "failure") + event.is_root
    return SEVERITIES[max(0, min(step, len(SEVERITIES) - 1))]
