"""What the two published rules would have found of an event, beside ours, and the reason for each difference.

Pure. A suppressed match of ours counts as none; the detector has to publish it all the same.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from service.backtest import published
from service.backtest.compare import Side
from service.detect import Detector
from service.event import Event
from service.finding import Finding, Origin, Severity
from service.rules import federation_token_issued, federation_token_suspicious
from service.rules.rule import Verdict
from service.timestamps import rfc3339
from service.tuning import DAY_SECONDS

ISSUED: Final = federation_token_issued.RULE.id
SUSPICIOUS: Final = federation_token_suspicious.RULE.id
# Why ours gives no finding, by its verdict; a rule that is off says no_match.
_SILENT: Final[Mapping[Verdict, str]] = {
    "suppressed": "suppressed",
    "error": "rule-failed",
    "no_match": "tuned-off",
    "not_evaluable": "not-evaluable",
}
_UNTUNED: Final = Detector((federation_token_suspicious.RULE,))

# Rule A is Datadog's, rule B Elastic's hunt; see `service.backtest.published`.
REASONS: Final[Mapping[str, str]] = {
    "whole-minutes": "rule B compares whole minutes, so 86,401 to 86,459 s count as 24 hours",
    "no-comma": "rule B needs a comma after the duration, so it misses one that stands last",
    "not-32-bits": "rule B converts the duration to 32 bits and is left with nothing",
    "other-text": "rule B took another field's text for the field it looks for",
    "arns-no-list": "rule B looks for a list of policy ARNs, this is a single one",
    "letter-case": "rule B compares AdministratorAccess by letter case",
    "own-limit": "the tuning has a lower limit of the duration",
    "inline-policy": "rule B does not look at inline policies",
    "powerful-policy": "rule B knows no managed policy but AdministratorAccess",
    "lookalike": "rule B takes it for AdministratorAccess; ours calls it a lookalike, of less severity",
    "imitated-field": "rule B is fooled by text that imitates a field",
    "failed-call": "a failed call without parameters: ours says what it cannot tell, rule B is silent",
    "not-evaluable": "parameters that cannot be read: ours says so, rule B takes them for absent or for text",
    "not-covered": "an event that neither published rule looks at",
    "suppressed": "the tuning suppresses ours",
    "tuned-off": "the tuning turns our rule or its clause off",
    "rule-failed": "our rule failed",
    "too-deep": "nested too deeply to tell what rule B would find",
}


class Ours(msgspec.Struct, frozen=True):
    """What one of our rules says; severity and stage are null and the clauses empty where it does not match."""

    rule_id: str
    verdict: Verdict
    severity: Severity | None
    clauses: list[str]
    stage: str | None


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """An event that one of the rules at least looks at; `reasons`, of REASONS, is empty where all agree."""

    rule_a: bool
    rule_b: bool | None  # None: cannot be told
    ours: list[Ours]
    reasons: list[str]
    event_id: str | None
    event_name: str | None
    event_time: str | None
    principal_arn: str | None
    account_id: str | None
    outcome: Literal["success", "failure"]
    origin: Origin


def beside_published(record: Mapping[str, object], side: Side, origin: Origin) -> Beside | None:
    """None where no rule, published or ours, fires or has a question left open."""
    rule_a, rule_b = published.rule_a(record), _rule_b(record)
    ours = [
        _ours(rule_id, verdict, side.match(rule_id))
        for rule_id, verdict in side.detection.verdicts.items()
        if verdict != "no_match" or (rule_a and rule_id in (ISSUED, SUSPICIOUS))
    ]
    if not rule_a and not ours:
        return None
    event = Event(record)
    return Beside(
        rule_a=rule_a,
        rule_b=rule_b,
        ours=ours,
        reasons=list(dict.fromkeys(_reasons(record, event, side, rule_b=rule_b))),
        event_id=event.text("eventID"),
        event_name=event.text("eventName"),
        event_time=rfc3339(event.time),
        principal_arn=event.principal_arn,
        account_id=event.account_id,
        outcome=event.outcome,
        origin=origin,
    )


def _ours(rule_id: str, verdict: Verdict, finding: Finding | None) -> Ours:
    if finding is None:
        return Ours(rule_id, verdict, None, [], None)
    return Ours(rule_id, verdict, finding.severity, finding.clauses, finding.stage)


def _rule_b(record: Mapping[str, object]) -> bool | None:
    try:
        return published.rule_b(record)
    except RecursionError:
        return None


def _reasons(record: Mapping[str, object], event: Event, side: Side, *, rule_b: bool | None) -> Iterator[str]:
    verdicts = side.detection.verdicts
    if not published.rule_a(record):
        if "match" in verdicts.values():
            yield "not-covered"
        return
    if (verdict := verdicts.get(ISSUED, "no_match")) != "match":
        yield _SILENT[verdict]
    if rule_b is None:
        yield "too-deep"
    elif rule_b:
        yield from _where_b_fires(record, side)
    else:
        yield from _where_b_is_silent(record, event, side)


def _where_b_fires(record: Mapping[str, object], side: Side) -> Iterator[str]:
    verdict = side.detection.verdicts.get(SUSPICIOUS, "no_match")
    finding = side.match(SUSPICIOUS)
    if finding is not None and verdict == "match":
        if finding.clauses == ["administrator-access-lookalike"]:
            yield "lookalike"
    elif verdict == "no_match" and _UNTUNED.detect_record(record).verdicts[SUSPICIOUS] == "no_match":
        yield "imitated-field"
    else:
        yield _SILENT[verdict]


def _where_b_is_silent(record: Mapping[str, object], event: Event, side: Side) -> Iterator[str]:
    verdict = side.detection.verdicts.get(SUSPICIOUS)
    finding = side.match(SUSPICIOUS)
    if finding is not None and verdict == "match":
        for clause in finding.clauses:
            yield _why_missed(record, event, clause)
    if verdict == "not_evaluable":
        without_parameters = event.outcome == "failure" and record.get("requestParameters") is None
        yield "failed-call" if without_parameters else "not-evaluable"


def _why_missed(record: Mapping[str, object], event: Event, clause: str) -> str:
    match clause:
        case "duration-over-24h":
            return _why_duration_missed(record, event)
        case "administrator-access-policy" | "administrator-access-lookalike":
            return _why_policies_missed(record, event)
        case "powerful-managed-policy":
            return "powerful-policy"
        case _:
            return "inline-policy"


def _why_duration_missed(record: Mapping[str, object], event: Event) -> str:
    asked = event.seconds_requested
    if isinstance(asked, int | float) and asked <= DAY_SECONDS:
        return "own-limit"
    text, own = published.duration_text(record), _parameter(record, "durationSeconds")
    if text is None:
        return "no-comma"
    if text != published.java_text(own):
        return "other-text"
    return "not-32-bits" if published.to_integer(text) is None else "whole-minutes"


def _why_policies_missed(record: Mapping[str, object], event: Event) -> str:
    if not any(published.ADMINISTRATOR_ACCESS in arn for arn in event.policy_arns.arns):
        return "letter-case"
    return "other-text" if isinstance(_parameter(record, "policyArns"), list) else "arns-no-list"


def _parameter(record: Mapping[str, object], name: str) -> object:
    parameters = record.get("requestParameters")
    return parameters.get(name) if isinstance(parameters, Mapping) else None
