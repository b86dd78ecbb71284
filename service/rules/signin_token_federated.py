"""A federated session exchanged for the web console: the step that makes IAM reachable."""

from collections.abc import Sequence

from service.event import Event
from service.finding import Technique
from service.rules import response
from service.rules.rule import Case, Clause, Held, Option, Rule


def _by_federated_user(event: Event) -> Held | None:
    """An assumed role that does this is everyday single sign-on."""
    if not event.is_federated:
        return None
    did = "tried to exchange" if event.outcome == "failure" else "exchanged"
    return Held(
        "userIdentity.type",
        event.principal_type,
        f"The holder of a session made by GetFederationToken {did} it for a console session.",
    )


def _by_any_session(event: Event) -> Held | None:
    """By an assumed role too, where an operator asks for it."""
    if event.principal_type != "AssumedRole":
        return _by_federated_user(event)
    did = "tried to exchange" if event.outcome == "failure" else "exchanged"
    return Held(
        "userIdentity.type",
        event.principal_type,
        f"The holder of a role's session {did} it for a console session.",
    )


def _title(event: Event, _clauses: Sequence[str]) -> str:
    issuer = event.session_issuer_arn
    of = f" of {response.plain(issuer)}" if issuer else ""
    start = "Failed console exchange by" if event.outcome == "failure" else "Console session opened from"
    return f"{start} federated session {response.who(event)}{of}"


def _describe(_event: Event, _clauses: Sequence[str]) -> str:
    return (
        "A sign-in token was requested with the credentials of a federated user, which turns them into a web "
        "console session. By API such a session cannot call IAM; through the console it can, so the holder "
        "may make users, keys and roles that outlive it. The session's issuer is the identity to act on."
    )


RULE = Rule(
    id="signin-token-from-federated-session",
    version="1.1.0",
    name="Console session from a federated user",
    summary="GetSigninToken called by a session that GetFederationToken made.",
    catches="One more call makes a federated session a web console session. By API such a session cannot call "
    "IAM; through the console it can, and make users and keys that outlive it.",
    watches=(("signin.amazonaws.com", "GetSigninToken"),),
    clauses=(
        Clause(
            name="console-exchange",
            holds_when="userIdentity.type of a GetSigninToken is FederatedUser",
            check=_by_federated_user,
            # Asked for only when the operator chose it, so it is true.
            option=Option("include_assumed_roles", lambda _included: _by_any_session),
        ),
    ),
    cases=(Case("always", "high"),),
    confidence="medium",
    techniques=(
        Technique(
            "TA0008",
            "Lateral Movement",
            "T1550.001",
            "Use Alternate Authentication Material: Application Access Token",
        ),
        Technique("TA0007", "Discovery", "T1538", "Cloud Service Dashboard"),
    ),
    title=_title,
    describe=_describe,
    runbook=response.console_steps,
    false_positives=("Custom identity brokers that sign their users in to the console this way.",),
    tuning_advice=(
        (
            "A broker that signs people in this way: suppress the ARN of its IAM user, the session's issuer; the "
            "session's own ARN and name are the caller's choice."
        ),
    ),
    blind_spots=(
        "Assumed roles do this every day (single sign-on): they are left out.",
        "EventBridge leaves out most Get* calls unless all management events are asked for.",
        "Sign-in events may be recorded in another region than the one watched.",
    ),
    evasions=(
        "Use the session by API only, without the console.",
        "Exchange an assumed role's session instead: everyday single sign-on looks the same.",
        "Ask a regional sign-in endpoint whose events the trail leaves out.",
    ),
    references=(response.CONSOLE_REFERENCE, "https://attack.mitre.org/techniques/T1550/001/"),
)
