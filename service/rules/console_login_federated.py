"""A federated session seen in the web console: what its exchange was for. On trial."""

from collections.abc import Sequence

from service.event import Event
from service.finding import Technique
from service.rules import response
from service.rules.rule import Case, Clause, Held, Rule


def _by_federated_user(event: Event) -> Held | None:
    """Single sign-on comes in as an assumed role or a SAML user, people as IAM users."""
    if not event.is_federated:
        return None
    did = "tried to sign in" if event.outcome == "failure" else "signed in"
    return Held(
        "userIdentity.type",
        event.principal_type,
        f"The holder of a session made by GetFederationToken {did} to the console.",
    )


def _title(event: Event, _clauses: Sequence[str]) -> str:
    issuer = event.session_issuer_arn
    of = f" of {response.plain(issuer)}" if issuer else ""
    start = "Failed console login of" if event.outcome == "failure" else "Console login of"
    return f"{start} federated session {response.who(event)}{of}"


def _describe(_event: Event, _clauses: Sequence[str]) -> str:
    return (
        "A session made by GetFederationToken arrived at the web console. By API such a session cannot call IAM; "
        "through the console it can, so the holder may make users, keys and roles that outlive it. The session's "
        "issuer is the identity to act on."
    )


RULE = Rule(
    id="console-login-of-federated-user",
    version="0.1.0",
    stage="staged",
    name="Console login of a federated user",
    summary="ConsoleLogin of a session that GetFederationToken made, successful or not.",
    catches="What follows the exchange of a federated session for a sign-in token: its holder opens the console. "
    "Seen without a GetSigninToken before it, it tells that the exchange was missed.",
    watches=(("signin.amazonaws.com", "ConsoleLogin"),),
    clauses=(
        Clause(
            name="console-login",
            holds_when="userIdentity.type of a ConsoleLogin is FederatedUser",
            check=_by_federated_user,
        ),
    ),
    cases=(Case("always", "high"),),
    confidence="medium",
    techniques=(
        Technique("TA0001", "Initial Access", "T1078.004", "Valid Accounts: Cloud Accounts"),
        Technique("TA0005", "Defense Evasion", "T1078.004", "Valid Accounts: Cloud Accounts"),
    ),
    title=_title,
    describe=_describe,
    runbook=response.console_steps,
    false_positives=("Custom identity brokers that sign their users in to the console this way.",),
    tuning_advice=(
        "A broker that signs people in this way: suppress the ARN of its IAM user, the session's issuer.",
        "A sign-in from another address or user agent than its GetSigninToken came from is the worse sign.",
    ),
    blind_spots=(
        "The region of a ConsoleLogin depends on the endpoint: a trail of one region may not have it.",
        "The address is the browser's, which may be far from that of the calls before it, or a proxy.",
        "MFAUsed says nothing here: a federated session never shows MFA.",
    ),
    evasions=(
        "Use the session by API only, without the console.",
        "Sign in by an assumed role's session: everyday single sign-on looks the same.",
        "Keep the sign-in token for later: it can be used up to 15 minutes after the exchange.",
    ),
    references=(
        response.CONSOLE_REFERENCE,
        "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-aws-console-sign-in-events.html",
        "https://attack.mitre.org/techniques/T1078/004/",
    ),
    differs=("Elastic's rule of the same aim asks for a success; here a failed try is told too, one step lower.",),
)
