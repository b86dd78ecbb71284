"""A match under one tuning beside the same under another: what a change would have done. Pure.

A suppressed match counts as no finding here, whether or not a tuning publishes it: it is no alert. The detectors
that made the detections have to publish suppressed matches all the same, or the reasons are lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from service.detect import Detection
from service.finding import Finding, Origin, Severity
from service.rules import EVERY_RULE
from service.tuning import RuleTuning, Tuning

Kind = Literal["added", "removed", "changed", "same"]

# The clause that each option changes.
_OPTIONS: Final = {
    clause.option.name: clause.name for rule in EVERY_RULE for clause in rule.clauses if clause.option
}


class Told(msgspec.Struct, frozen=True):
    """What a tuning changes of a finding."""

    severity: Severity
    clauses: list[str]
    stage: str | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A match under an old and a new tuning. `before` and `after` are null where there is no finding.

    `why` has every difference of the tunings that may bear on it, none when nothing changed.
    """

    change: Kind
    rule_id: str
    why: list[str]
    before: Told | None
    after: Told | None
    finding_id: str
    event_id: str | None
    event_time: str | None
    principal_arn: str | None
    containment_arn: str | None
    account_id: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Side:
    """What a detector with that tuning said of an event; it published suppressed matches."""

    tuning: Tuning
    detection: Detection

    def match(self, rule_id: str) -> Finding | None:
        return next((found for found in self.detection.findings if found.rule_id == rule_id), None)


def changes(old: Side, new: Side) -> Iterator[Change]:
    """One for each rule that gives a finding on either side."""
    found = (*old.detection.findings, *new.detection.findings)
    for rule_id in dict.fromkeys(finding.rule_id for finding in found):
        before, after = _told(old.match(rule_id)), _told(new.match(rule_id))
        if before is None and after is None:
            continue
        either = next(finding for finding in found if finding.rule_id == rule_id)
        kind: Kind = (
            "added" if before is None else "removed" if after is None else "same" if before == after else "changed"
        )
        yield Change(
            change=kind,
            rule_id=rule_id,
            why=[] if kind == "same" else list(_why(rule_id, old, new)),
            before=before,
            after=after,
            finding_id=either.finding_id,
            event_id=either.event_id,
            event_time=either.event_time,
            principal_arn=either.principal_arn,
            containment_arn=either.containment_arn,
            account_id=either.account_id,
            origin=either.origin,
        )


def _told(finding: Finding | None) -> Told | None:
    if finding is None or finding.suppressed_by is not None:
        return None
    return Told(finding.severity, finding.clauses, finding.stage)


def _why(rule_id: str, old: Side, new: Side) -> Iterator[str]:
    was, now = old.tuning.of(rule_id), new.tuning.of(rule_id)
    if was.enabled != now.enabled:
        yield "rule enabled" if now.enabled else "rule disabled"
        return
    if "error" in (old.detection.verdicts[rule_id], new.detection.verdicts[rule_id]):
        yield "the rule failed"
    before, after = old.match(rule_id), new.match(rule_id)
    yield from _of_clauses(was, now, _clauses(before), _clauses(after))
    if before and after:
        yield from _of_suppressions(before, after, new.tuning)
        yield from _of_severity_and_stage(was, now, before, after)


def _clauses(finding: Finding | None) -> frozenset[str]:
    return frozenset(finding.clauses if finding else ())


def _of_clauses(was: RuleTuning, now: RuleTuning, before: frozenset[str], after: frozenset[str]) -> Iterator[str]:
    turned = before ^ after
    for clause in sorted(turned & (was.disabled_clauses ^ now.disabled_clauses)):
        yield f"clause {clause} {'disabled' if clause in now.disabled_clauses else 'enabled'}"
    for option, clause in _OPTIONS.items():
        if clause in turned and getattr(was, option) != getattr(now, option):
            yield f"{option}: {_shown(getattr(was, option))} -> {_shown(getattr(now, option))}"


def _of_suppressions(before: Finding, after: Finding, new: Tuning) -> Iterator[str]:
    if after.suppressed_by is not None and before.suppressed_by is None:
        yield f"suppressed by {after.suppressed_by!r}"
    if before.suppressed_by is not None and after.suppressed_by is None:
        there = any(suppression.name == before.suppressed_by for suppression in new.suppressions)
        yield f"suppression {before.suppressed_by!r} {'no longer covers it' if there else 'is gone'}"


def _of_severity_and_stage(was: RuleTuning, now: RuleTuning, before: Finding, after: Finding) -> Iterator[str]:
    differing = [name for name in ("severity", "stage") if getattr(before, name) != getattr(after, name)]
    for name in differing:
        if getattr(was, name) != getattr(now, name):
            yield f"{name}: {_shown(getattr(was, name))} -> {_shown(getattr(now, name))}"
    staged = was.staged_clauses ^ now.staged_clauses if differing else frozenset()
    for clause in sorted(staged & (_clauses(before) | _clauses(after))):
        yield f"clause {clause} {'staged' if clause in now.staged_clauses else 'no longer staged'}"


def _shown(value: Any) -> str:
    """A setting that is not given leaves the rule as it is."""
    return "the rule's own" if value is None else str(value).lower()
