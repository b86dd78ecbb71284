"""An event goes in, verdicts and findings come out. Pure: the time and the place are given to it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from service.event import Event, Unread
from service.finding import (
    RISK_SCORES,
    SEVERITIES,
    Finding,
    NotEvaluable,
    Origin,
    Reason,
    Tag,
    bounded_record,
    finding_id,
    session_key,
)
from service.rules import containment, pivots
from service.rules.rule import Clause, Evaluation, Held, Rule, Verdict, ask, evaluate, severity_by_cases
from service.rules.tuned import tuned
from service.timestamps import rfc3339
from service.tuning import UNTUNED, Tuning

_NOWHERE: Final = Origin()
_MAX_ARNS: Final = 20  # the API takes 10
_MAX_ARN: Final = 512
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Detection:
    """What the rules say of one event; `verdicts` has every rule. `errors` holds (rule id, exception)."""

    verdicts: Mapping[str, Verdict]
    findings: Sequence[Finding] = ()
    errors: Sequence[tuple[str, Exception]] = ()


@dataclass(frozen=True, slots=True)
class _Provenance:
    envelope: str | None
    origin: Origin
    detected_at: datetime | None


class Detector:
    """Applies rules to events. Holds no state but what it was made with, so it is safe to share."""

    def __init__(self, rules: Sequence[Rule], tuning: Tuning = UNTUNED) -> None:
        self.rules = rules = tuned(rules, tuning)
        self._tuning = tuning
        watched = {name for rule in rules for name in rule.watches}
        self._watchers: dict[tuple[str | None, str | None], tuple[Rule, ...]] = {
            name: tuple(rule for rule in rules if name in rule.watches) for name in watched
        }
        self._folded = {(source.lower(), name.lower()) for source, name in watched}
        self._lengths = {len(name) for _, name in watched}
        nothing: dict[str, Verdict] = {rule.id: "no_match" for rule in rules}
        self._quiet = Detection(nothing)

    @property
    def needles(self) -> set[str]:
        """Texts, one of which stands in each record that a rule may match."""
        return {needle for rule in self.rules for needle in rule.needles or (name for _, name in rule.watches)}

    def watches(self, source: str | None, name: str | None) -> bool:
        return (source, name) in self._watchers

    def is_near_miss(self, source: str | None, name: str | None) -> bool:
        """CloudTrail's names are canonical: one that differs in letter case only is counted, not matched."""
        if source is None or name is None or len(name) not in self._lengths or (source, name) in self._watchers:
            return False
        return (source.lower(), name.lower()) in self._folded

    def detect_record(
        self,
        record: Mapping[str, object],
        *,
        envelope: str = "record",
        origin: Origin = _NOWHERE,
        detected_at: datetime | None = None,
    ) -> Detection:
        """Apply every rule that watches the record. Never raises: `errors` has the rules that did."""
        source, name = record.get("eventSource"), record.get("eventName")
        if not isinstance(source, str) or not isinstance(name, str):
            return self._quiet
        watchers = self._watchers.get((source, name))
        if watchers is None:
            return self._quiet
        return self._apply(watchers, Event(record), _Provenance(envelope, origin, detected_at))

    def explain(self, record: Mapping[str, object], envelope: str) -> dict[str, Any]:
        """What every rule and clause says of the record, as plain data without secrets."""
        event = Event(record)
        names = (event.text("eventSource"), event.text("eventName"))
        detection = self.detect_record(record)
        found = {finding.rule_id: finding for finding in detection.findings}
        return {
            "event_id": event.text("eventID"),
            "event_source": names[0],
            "event_name": names[1],
            "event_time": rfc3339(event.time),
            "envelope": envelope,
            "outcome": event.outcome,
            "rules": [
                {
                    "rule_id": rule.id,
                    "stage": rule.stage,
                    "verdict": detection.verdicts[rule.id],
                    "severity": found[rule.id].severity if rule.id in found else None,
                    "title": found[rule.id].title if rule.id in found else None,
                    "clauses": _explain_clauses(rule, event, watched=names in rule.watches),
                    **_explain_response(found.get(rule.id)),
                }
                for rule in self.rules
            ],
        }

    def _apply(self, rules: Sequence[Rule], event: Event, provenance: _Provenance) -> Detection:
        verdicts: dict[str, Verdict] = dict(self._quiet.verdicts)
        errors: list[tuple[str, Exception]] = []

        def isolated(rule: Rule, step: Callable[[], T]) -> T | None:
            try:
                return step()
            except Exception as error:  # noqa: BLE001  one broken rule must not silence the others
                errors.append((rule.id, error))
                verdicts[rule.id] = "error"
                return None

        asked = [(rule, isolated(rule, partial(evaluate, rule, event))) for rule in rules]
        evaluations = [evaluation for _, evaluation in asked if evaluation is not None]
        for evaluation in evaluations:
            verdicts[evaluation.rule.id] = evaluation.verdict
        matches = [evaluation for evaluation in evaluations if evaluation.verdict == "match"]
        # Of all rules, on each finding: a rule that could not tell may have none of its own.
        unread = [item for evaluation in evaluations for item in evaluation.not_evaluable]
        built = [isolated(match.rule, partial(_finding, match, event, provenance, unread)) for match in matches]
        found = []
        # Without a time, nothing has expired.
        today = provenance.detected_at.date() if provenance.detected_at else date.min
        for match, finding in zip(matches, built, strict=True):
            if finding is None:
                continue
            suppressed_by = self._suppression(finding, match, event, today) if self._tuning.suppressions else None
            if suppressed_by is None:
                found.append(finding)
                continue
            verdicts[finding.rule_id] = "suppressed"
            if self._tuning.publish_suppressed:
                found.append(msgspec.structs.replace(finding, suppressed_by=suppressed_by))
        return Detection(verdicts, [_related(finding, found) for finding in found], errors=errors)

    def _suppression(self, finding: Finding, match: Evaluation, event: Event, today: date) -> str | None:
        # By all clauses that hold, staged or not, and not by what the operator set.
        untuned = severity_by_cases(match.rule, event, [clause.name for clause, _ in match.held])
        return self._tuning.suppression(finding, today, untuned)


def _related(finding: Finding, found: Sequence[Finding]) -> Finding:
    others = [each.finding_id for each in found if each is not finding and each.stage == finding.stage]
    return msgspec.structs.replace(finding, related_finding_ids=others) if others else finding


def _finding(match: Evaluation, event: Event, provenance: _Provenance, unread: Sequence[NotEvaluable]) -> Finding:
    rule = match.rule
    clauses = [clause.name for clause, _ in match.held]
    live = [name for name in clauses if name not in rule.staged_clauses]
    level = rule.severity or severity_by_cases(rule, event, live or clauses)
    return Finding(
        **event.once(_of_event),
        finding_id=finding_id(rule.id, event.record),
        rule_id=rule.id,
        rule_name=rule.name,
        rule_version=rule.version,
        severity=level,
        severity_id=SEVERITIES.index(level) + 1,
        risk_score=RISK_SCORES[level],
        title=rule.title(event, clauses),
        description=rule.describe(event, clauses),
        clauses=clauses,
        reasons=[
            Reason(clause.name, held.path, _shown(event, held.value), held.explanation)
            for clause, held in match.held
        ],
        not_evaluable=list(unread),
        mitre=list(rule.techniques),
        runbook=event.once(rule.runbook),
        false_positives=list(rule.false_positives),
        references=list(rule.references),
        detected_at=rfc3339(provenance.detected_at),
        related_finding_ids=[],
        origin=provenance.origin,
        envelope=provenance.envelope,
        stage=rule.stage if live else "staged",
    )


def _of_event(event: Event) -> dict[str, Any]:
    """The fields of a finding that every rule's would have alike."""
    requested = event.seconds_requested
    arns = event.policy_arns.arns
    tags = event.session_tags
    return {
        "outcome": event.outcome,
        "error_code": event.text("errorCode"),
        "actions": event.once(containment.actions),
        "pivots": pivots.pivots(event),
        "event_time": rfc3339(event.time),
        "principal_arn": event.principal_arn,
        "principal_type": event.principal_type,
        "principal_name": event.principal_name,
        "principal_id": event.text("userIdentity", "principalId"),
        "principal_access_key_id": event.text("userIdentity", "accessKeyId"),
        "session_issuer_arn": event.session_issuer_arn,
        "containment_arn": containment.containment_arn(event),
        "root_caller": event.is_root,
        "federated_user_name": event.federated_user_name,
        "federated_user_arn": event.federated_user_arn,
        "name_mismatch": event.name_mismatch,
        "duration_seconds_requested": math.ceil(requested) if isinstance(requested, int | float) else None,
        "duration_seconds_effective": event.seconds_effective if event.asks_for_session else None,
        "expires_at": rfc3339(event.expires_at),
        "policy_arns": [event.shown(arn, _MAX_ARN) for arn in arns[:_MAX_ARNS]],
        "inline_policy_grade": event.inline_policy.grade if event.asks_for_session else None,
        "policy_contents_unknown": any(_is_customers(arn) for arn in arns),
        "session_tags": [Tag(key, value) for key, value in tags] if tags else None,
        "issued_access_key_id": event.issued_access_key_id,
        "session_key": session_key(event.issued_access_key_id),
        "source_ip": event.text("sourceIPAddress"),
        "vpc_endpoint_id": event.text("vpcEndpointId"),
        "user_agent": event.text("userAgent"),
        "region": event.text("awsRegion"),
        "account_id": event.account_id,
        "event_id": event.text("eventID"),
        "request_id": event.text("requestID"),
        "event_name": event.text("eventName"),
        "event_source": event.text("eventSource"),
        "event": bounded_record(event.record),
    }


def _is_customers(arn: str) -> bool:
    """Whether the policy is not one of AWS's own, whose contents are public."""
    return ":iam::aws:policy/" not in arn


def _shown(event: Event, value: object) -> str | None:
    if value is None or value == "":
        return None
    return event.shown(value if isinstance(value, str) else json.dumps(value, default=str))


def _explain_response(finding: Finding | None) -> dict[str, Any]:
    """What to do about a match; nothing to do without one."""
    if finding is None:
        return {"runbook": [], "actions": [], "pivots": []}
    return {name: msgspec.to_builtins(getattr(finding, name)) for name in ("runbook", "actions", "pivots")}


def _explain_clauses(rule: Rule, event: Event, *, watched: bool) -> list[dict[str, str | None]]:
    sources = ", ".join(f"{name} of {source}" for source, name in rule.watches[:3])
    sources += ", …" if len(rule.watches) > 3 else ""
    if not watched:
        return [_answer(clause, "not asked", None, None, f"watches {sources}") for clause in rule.clauses]
    try:
        answers = ask(rule, event)
    except Exception as error:  # noqa: BLE001  the verdict says "error"; here stands which
        return [_answer(clause, "error", None, None, type(error).__name__) for clause in rule.clauses]
    explained = []
    for clause, answer in answers:
        if isinstance(answer, Held):
            explained.append(_answer(clause, "held", answer.path, _shown(event, answer.value), answer.explanation))
        elif isinstance(answer, Unread):
            explained.append(_answer(clause, "not evaluable", None, None, answer.reason))
        else:
            explained.append(_answer(clause, "not held", None, None, f"holds when {clause.holds_when}"))
    return explained


def _answer(clause: Clause, answer: str, path: str | None, value: str | None, why: str) -> dict[str, str | None]:
    return {"name": clause.name, "answer": answer, "path": path, "value": value, "explanation": why}
