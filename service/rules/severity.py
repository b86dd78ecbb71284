"""The severity table: the one place that says how bad a match is, and why.

1. The first case of the rule that fits gives the base.
2. A failed call is one step down.
3. Root as the caller is one step up.

The result stays between informational and critical; `risk_score` follows from it (`service.finding`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.event import Event
from service.finding import SEVERITIES, Severity

OVER_24_HOURS: Final = 86_400
_ADMIN_CLAUSES: Final = frozenset({"administrator-access-policy", "inline-policy-full-admin"})
_WEAKER_CLAUSES: Final = frozenset({"administrator-access-lookalike", "powerful-managed-policy"})


@dataclass(frozen=True, slots=True)
class Case:
    rule_id: str
    case: str
    severity: Severity
    fits: Callable[[Event, Sequence[str]], bool] = lambda _event, _clauses: True


def _admin_for_long(event: Event, clauses: Sequence[str]) -> bool:
    return not _ADMIN_CLAUSES.isdisjoint(clauses) and (event.seconds_effective or 0) > OVER_24_HOURS


TABLE: Final = (
    Case(
        "sts-federation-token-issued",
        "parameters readable, neither policy nor policy ARNs",
        "low",
        lambda event, _clauses: event.grants_nothing_by_itself,
    ),
    Case("sts-federation-token-issued", "anything else", "medium"),
    Case(
        "sts-federation-token-suspicious",
        "only an AdministratorAccess lookalike or another powerful managed policy",
        "medium",
        lambda _event, clauses: _WEAKER_CLAUSES.issuperset(clauses),
    ),
    Case(
        "sts-federation-token-suspicious",
        "full admin, by name or inline, and effective seconds over 86,400",
        "critical",
        _admin_for_long,
    ),
    Case("sts-federation-token-suspicious", "anything else", "high"),
    Case("signin-token-from-federated-session", "always", "high"),
    Case("console-login-of-federated-user", "always", "high"),
    Case(
        "federated-user-changes-iam",
        "the operation makes or widens an identity",
        "critical",
        lambda _event, clauses: "identity-made-or-widened" in clauses,
    ),
    Case("federated-user-changes-iam", "anything else", "high"),
)


def severity(rule_id: str, event: Event, clauses: Sequence[str]) -> Severity:
    base = next(case for case in TABLE if case.rule_id == rule_id and case.fits(event, clauses)).severity
    step = SEVERITIES.index(base) - (event.outcome == "failure") + event.is_root
    return SEVERITIES[max(0, min(step, len(SEVERITIES) - 1))]
