"""A federation token that lives unusually long, or asks for the power of an administrator."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from service.event import Event, Unread
from service.finding import Technique
from service.policy import Grade
from service.rules import response
from service.rules.rule import Answer, Case, Clause, Held, Option, Rule
from service.tuning import DAY_SECONDS

_MANAGED: Final = re.compile(r"arn:aws[a-z-]*:iam::aws:policy/(?:[^/]+/)*(?P<name>[^/]+)")
_ADMINISTRATOR: Final = re.compile(r"arn:aws[a-z-]*:iam::aws:policy/AdministratorAccess")

# AWS managed policies that hand over an account: they manage identities, the organisation, or nearly all.
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
POWERFUL_MANAGED_POLICIES: Final = frozenset(
    {
        "AWSControlTowerServiceRolePolicy",
        "AWSOrganizationsFullAccess",
        "AWSSSODirectoryAdministrator",
        "AWSSSOMasterAccountAdministrator",
        "AWSSSOMemberAccountAdministrator",
        "IAMFullAccess",
        "PowerUserAccess",
        "SystemAdministrator",
    }
)

_ADMIN_CLAUSES: Final = frozenset({"administrator-access-policy", "inline-policy-full-admin"})
_WEAKER_CLAUSES: Final = frozenset({"administrator-access-lookalike", "powerful-managed-policy"})
_STRENGTH: Final[tuple[Grade, ...]] = ("full_admin", "broad", "iam_admin")


def longer_than(limit: int) -> Callable[[Event], Answer]:
    def check(event: Event) -> Answer:
        seconds = event.seconds_requested
        if seconds is None or isinstance(seconds, Unread):
            return seconds
        if seconds <= limit:
            return None
        effective = event.seconds_effective
        note = f"; the session gets {effective:,} s" if effective is not None and effective < seconds else ""
        over = "over 24 hours" if limit == DAY_SECONDS else f"over the limit of {limit:,} s that is set here"
        return Held("requestParameters.durationSeconds", seconds, f"{seconds:,} s were asked for, {over}{note}.")

    return check


def _an_arn(fits: Callable[[str], bool], explanation: str) -> Callable[[Event], Answer]:
    def check(event: Event) -> Answer:
        for number, arn in enumerate(event.policy_arns.arns):
            if fits(arn):
                return Held(f"requestParameters.policyArns[{number}]", arn, explanation)
        return event.policy_arns.unread

    return check


def is_administrator(arn: str) -> bool:
    return _ADMINISTRATOR.fullmatch(arn) is not None


def is_lookalike(arn: str) -> bool:
    return not is_administrator(arn) and "administratoraccess" in arn.lower()


def is_powerful(arn: str) -> bool:
    found = _MANAGED.fullmatch(arn)
    return found is not None and found["name"] in POWERFUL_MANAGED_POLICIES


def _inline(grade: Grade, note: str) -> Callable[[Event], Answer]:
    """Only the strongest inline clause is listed; an unread part may hide a stronger one, never a weaker."""

    def check(event: Event) -> Answer:
        found = event.inline_policy
        if found.grade == grade:
            return Held("requestParameters.policy", event.inline_policy_raw, f"{found.explanation}{note}")
        stronger_found = found.grade in _STRENGTH and _STRENGTH.index(found.grade) < _STRENGTH.index(grade)
        return Unread(found.unread) if found.unread and not stronger_found else None

    return check


def _is_admin_for_long(event: Event, clauses: Sequence[str]) -> bool:
    return not _ADMIN_CLAUSES.isdisjoint(clauses) and (event.seconds_effective or 0) > DAY_SECONDS


_NO_IAM_BY_API: Final = (
    " By API a federated session cannot call IAM, nor STS but for GetCallerIdentity; through a console"
    " session (GetSigninToken) it can."
)


def _title(event: Event, clauses: Sequence[str]) -> str:
    asked = []
    if "inline-policy-full-admin" in clauses or "administrator-access-policy" in clauses:
        asked.append("administrator power")
    elif "inline-policy-broad" in clauses:
        asked.append("nearly every action")
    elif "inline-policy-iam-admin" in clauses:
        asked.append("power over identities")
    elif any(clause.startswith(("administrator", "powerful")) for clause in clauses):
        asked.append("a powerful policy")
    if "duration-over-24h" in clauses:
        seconds = event.seconds_requested
        day = isinstance(seconds, int | float) and seconds > DAY_SECONDS
        asked.append("more than 24 hours" if day else "longer than is allowed here")
    failed = "in vain " if event.outcome == "failure" else ""
    name = f", named {response.plain(event.federated_user_name)}," if event.federated_user_name else ""
    return f"Federated session{name} requested {failed}with {' for '.join(asked)} by {response.who(event)}"


def _describe(event: Event, clauses: Sequence[str]) -> str:
    granted = (
        "The call failed: no session was made."
        if event.outcome == "failure"
        else f"The session lives {response.lifetime(event)}, even if the access key behind it is deleted."
    )
    return (
        f"A federation token was requested in a way attackers use to keep access ({', '.join(clauses)}). "
        f"{granted} Requested is not granted: the session may do what both the caller's own policies and the "
        "session policies allow."
    )


RULE = Rule(
    id="sts-federation-token-suspicious",
    version="1.3.0",
    name="STS federation token with long life or administrator power",
    summary="A GetFederationToken call for over 24 hours, or with policies that hand over an account.",
    catches="Both attacks found in public data asked for everything, an inline policy of * on *, and for no more "
    "than twelve hours. Long life keeps access after the key is gone; a broad policy keeps all of the caller's "
    "power in the session.",
    watches=(("sts.amazonaws.com", "GetFederationToken"),),
    clauses=(
        Clause(
            name="duration-over-24h",
            holds_when="requested seconds are more than 86,400",
            check=longer_than(DAY_SECONDS),
            option=Option("duration_over_seconds", longer_than),
        ),
        Clause(
            name="administrator-access-policy",
            holds_when="a policy ARN is the AWS managed AdministratorAccess, in any partition",
            check=_an_arn(
                is_administrator, f"The AWS managed policy AdministratorAccess was asked for.{_NO_IAM_BY_API}"
            ),
        ),
        Clause(
            name="administrator-access-lookalike",
            holds_when="another policy ARN contains AdministratorAccess",
            check=_an_arn(is_lookalike, "The policy's name contains AdministratorAccess; its contents differ."),
        ),
        Clause(
            name="powerful-managed-policy",
            holds_when="a policy ARN is another AWS managed policy that hands over an account: "
            + ", ".join(sorted(POWERFUL_MANAGED_POLICIES)),
            check=_an_arn(is_powerful, f"This AWS managed policy hands over much of an account.{_NO_IAM_BY_API}"),
        ),
        Clause(
            name="inline-policy-full-admin",
            holds_when="the inline policy allows every action on effectively every resource",
            check=_inline("full_admin", _NO_IAM_BY_API),
        ),
        Clause(
            name="inline-policy-broad",
            holds_when="it allows every action save a stated few, on effectively every resource",
            check=_inline("broad", ""),
        ),
        Clause(
            name="inline-policy-iam-admin",
            holds_when="neither of these, but it allows actions that make or widen identities",
            check=_inline("iam_admin", _NO_IAM_BY_API),
        ),
    ),
    cases=(
        Case(
            "only an AdministratorAccess lookalike or another powerful managed policy",
            "medium",
            lambda _event, clauses: _WEAKER_CLAUSES.issuperset(clauses),
        ),
        Case(
            "full admin, by name or inline, and effective seconds over 86,400",
            "critical",
            _is_admin_for_long,
        ),
        Case("anything else", "high"),
    ),
    confidence="medium",
    techniques=(
        Technique(
            "TA0005",
            "Defense Evasion",
            "T1550.001",
            "Use Alternate Authentication Material: Application Access Token",
        ),
        Technique(
            "TA0008",
            "Lateral Movement",
            "T1550.001",
            "Use Alternate Authentication Material: Application Access Token",
        ),
    ),
    title=_title,
    describe=_describe,
    runbook=response.issuance_steps,
    false_positives=(
        "aws-vault opens sessions with an inline policy of * on * by default and cuts names to 32 characters.",
        "Identity brokers that pass a broad policy and rely on the caller's own to narrow it.",
    ),
    tuning_advice=(
        "aws-vault's sessions are told by their user: suppress its IAM user by ARN, with an owner and an expiry.",
        (
            "A broker that must pass a broad policy: give it a policy of its own that names what it needs, rather "
            "than a suppression."
        ),
    ),
    blind_spots=(
        "A failed call, or one whose parameters CloudTrail left out, is not evaluable.",
        "Policy ARNs of the customer's own hide what they allow: signal policy_contents_unknown.",
        "Power that adds up from several services without being nearly everything is graded scoped.",
        "So is power over identities that are not IAM's: IAM Identity Center, Organizations.",
        "Resource policies that name the federated user grant on their own.",
    ),
    evasions=(
        "Ask for no more than 24 hours, by a policy that names many services one by one.",
        "Pass a customer managed policy: its contents are not in the event.",
        (
            "Leave nothing to evaluate: parameters that CloudTrail omits as too large leave the clauses open, "
            "and only sts-federation-token-issued fires, with not_evaluable set."
        ),
    ),
    references=(
        response.API_REFERENCE,
        response.CONTROL_REFERENCE,
        "https://attack.mitre.org/techniques/T1550/001/",
    ),
    differs=(
        "Compares seconds, so 86,401 to 86,459 are found: whole minutes round them down to 24 hours.",
        "Reads the structure, so a duration that stands last is found too.",
        "Grades inline policies, which the published hunt does not look at.",
        "A managed policy of a similar name still fires, as a lookalike and with lower severity.",
    ),
)
