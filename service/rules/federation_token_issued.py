"""Every request of a federation token: rare in most companies, and worth knowing in all of them."""

from collections.abc import Sequence

from service.event import Event
from service.finding import Technique
from service.rules import response
from service.rules.rule import Case, Clause, Held, Rule


def _requested(event: Event) -> Held:
    verb = "failed to obtain" if event.outcome == "failure" else "obtained"
    return Held("eventName", event.text("eventName"), f"The caller {verb} a federation token.")


def _title(event: Event, _clauses: Sequence[str]) -> str:
    name = f" named {response.plain(event.federated_user_name)}" if event.federated_user_name else ""
    if event.outcome == "failure":
        return f"Failed try to get a federated session{name} by {response.who(event)}"
    return f"Federated session{name} issued to {response.who(event)}"


def _describe(event: Event, _clauses: Sequence[str]) -> str:
    if event.outcome == "failure":
        return (
            "A call of sts:GetFederationToken failed. A failed call often carries no parameters, so what was "
            "asked for may be unknown."
        )
    return (
        f"A federated session was made with a long-term credential. It lives {response.lifetime(event)}, even "
        "if that credential is deleted or disabled. Its power is what the caller may do and the session "
        "policies allow, both; with no session policy it is nearly none, save for resource policies that "
        "name the federated user."
    )


RULE = Rule(
    id="sts-federation-token-issued",
    version="1.1.0",
    name="STS federation token requested",
    summary="Every GetFederationToken call of STS, successful or not.",
    catches="Whoever holds an IAM user's access key can turn it into a session that lives up to 36 hours, even "
    "after the key is deleted. Few companies make such sessions at all, so every one is worth a look.",
    watches=(("sts.amazonaws.com", "GetFederationToken"),),
    clauses=(
        Clause(
            name="federation-token-requested",
            holds_when="the event is a GetFederationToken of sts.amazonaws.com, success or failure",
            check=_requested,
        ),
    ),
    cases=(
        Case(
            "parameters readable, neither policy nor policy ARNs",
            "low",
            lambda event, _clauses: event.grants_nothing_by_itself,
        ),
        Case("anything else", "medium"),
    ),
    confidence="low",
    techniques=(Technique("TA0003", "Persistence", "T1098", "Account Manipulation"),),
    title=_title,
    describe=_describe,
    runbook=response.issuance_steps,
    false_positives=(
        "Custom identity brokers and portals that mint sessions for their users.",
        (
            "aws-vault without MFA or roles: it opens sessions by this call, with an inline policy of * on * "
            "and the name cut to 32 characters."
        ),
    ),
    tuning_advice=(
        "Where a broker makes such sessions all day, suppress its IAM user by ARN, narrowed by its network.",
        "Where nobody does, raise the severity: any finding is then news.",
    ),
    blind_spots=(
        "A trail that does not record the region's STS endpoint, or leaves out management events.",
        "An event name that differs in letter case is counted as a near miss, not matched.",
        "GetSessionToken and AssumeRole give sessions too; they are not this rule's subject.",
    ),
    evasions=(
        "Call GetSessionToken instead: it takes no policy, but its sessions outlive the key as well.",
        "Assume a role that trusts the stolen user.",
        "Call in a region whose events the trail leaves out, or stop the trail first.",
    ),
    references=(
        response.API_REFERENCE,
        response.CONTROL_REFERENCE,
        "https://attack.mitre.org/techniques/T1098/",
    ),
    differs=("Fires on failures too, and says which questions a missing parameter leaves open.",),
)
