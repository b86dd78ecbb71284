"""A federated session that changes IAM, which only a console session can: the attacker digs in. On trial."""

from collections.abc import Sequence
from typing import Final

from service.event import Event
from service.finding import Technique
from service.policy import IAM_ADMIN_ACTIONS
from service.rules import response
from service.rules.rule import Case, Clause, Held, Rule

# Every operation of IAM but those that only read: Get*, List*, Simulate* and the reports of Generate*.
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html
WRITING_OPERATIONS: Final = tuple(
    """
    AcceptDelegationRequest AcquireRole AddClientIDToOpenIDConnectProvider AddRoleToInstanceProfile AddUserToGroup
    AssociateDelegationRequest AttachGroupPolicy AttachRolePolicy AttachUserPolicy ChangePassword CreateAccessKey
    CreateAccountAlias CreateDelegationRequest CreateGroup CreateInstanceProfile CreateLoginProfile
    CreateOpenIDConnectProvider CreatePolicy CreatePolicyVersion CreateRole CreateSAMLProvider
    CreateServiceLinkedRole CreateServiceSpecificCredential CreateUser CreateVirtualMFADevice DeactivateMFADevice
    DeleteAccessKey DeleteAccountAlias DeleteAccountPasswordPolicy DeleteGroup DeleteGroupPolicy
    DeleteInstanceProfile DeleteLoginProfile DeleteOpenIDConnectProvider DeletePolicy DeletePolicyVersion
    DeleteRole DeleteRolePermissionsBoundary DeleteRolePolicy DeleteSAMLProvider DeleteSSHPublicKey
    DeleteServerCertificate DeleteServiceLinkedRole DeleteServiceSpecificCredential DeleteSigningCertificate
    DeleteUser DeleteUserPermissionsBoundary DeleteUserPolicy DeleteVirtualMFADevice DetachGroupPolicy
    DetachRolePolicy DetachUserPolicy DisableOrganizationsRootCredentialsManagement
    DisableOrganizationsRootSessions DisableOutboundWebIdentityFederation EnableMFADevice
    EnableOrganizationsRootCredentialsManagement EnableOrganizationsRootSessions
    EnableOutboundWebIdentityFederation PutAccountProperties PutGroupPolicy PutRolePermissionsBoundary
    PutRolePolicy PutUserPermissionsBoundary PutUserPolicy RejectDelegationRequest
    RemoveClientIDFromOpenIDConnectProvider RemoveRoleFromInstanceProfile RemoveUserFromGroup
    ResetServiceSpecificCredential ResyncMFADevice SendDelegationToken SetDefaultPolicyVersion
    SetSecurityTokenServicePreferences TagInstanceProfile TagMFADevice TagOpenIDConnectProvider TagPolicy TagRole
    TagSAMLProvider TagServerCertificate TagUser UntagInstanceProfile UntagMFADevice UntagOpenIDConnectProvider
    UntagPolicy UntagRole UntagSAMLProvider UntagServerCertificate UntagUser UpdateAccessKey
    UpdateAccountPasswordPolicy UpdateAssumeRolePolicy UpdateDelegationRequest UpdateGroup UpdateLoginProfile
    UpdateOpenIDConnectProviderThumbprint UpdateRole UpdateRoleDescription UpdateSAMLProvider UpdateSSHPublicKey
    UpdateServerCertificate UpdateServiceSpecificCredential UpdateSigningCertificate UpdateUser UploadSSHPublicKey
    UploadServerCertificate UploadSigningCertificate
    """.split()
)


def _changes(event: Event) -> Held | None:
    if not event.is_federated:
        return None
    did = "tried to call" if event.outcome == "failure" else "called"
    name = event.text("eventName")
    return Held("eventName", name, f"A session made by GetFederationToken {did} {name} of IAM.")


def _widens(event: Event) -> Held | None:
    name = event.text("eventName")
    if not event.is_federated or f"iam:{name}" not in IAM_ADMIN_ACTIONS:
        return None
    return Held("eventName", name, f"{name} makes an identity or widens one, which outlives the session.")


def _title(event: Event, clauses: Sequence[str]) -> str:
    what = " to make or widen an identity" if "identity-made-or-widened" in clauses else ""
    did = "tried" if event.outcome == "failure" else "called"
    return (
        f"Federated session {response.who(event)} {did} {response.plain(event.text('eventName') or 'IAM')}{what}"
    )


def _describe(_event: Event, _clauses: Sequence[str]) -> str:
    return (
        "A session made by GetFederationToken called a writing operation of IAM. By API it could not: its holder "
        "has a console session, and changes who may enter this account. What was made outlives the session, and "
        "denying the issuer everything does not take it away. The session's issuer is the identity to act on."
    )


RULE = Rule(
    id="federated-user-changes-iam",
    version="0.2.0",
    stage="staged",
    name="IAM changed by a federated user",
    summary="A writing operation of IAM called by a session that GetFederationToken made, successful or not.",
    catches="The last step of the attack: from the console, the session makes a user, a key or a role, so that "
    "neither its end nor the containment of its issuer ends the attacker's access.",
    watches=tuple(("iam.amazonaws.com", name) for name in WRITING_OPERATIONS),
    needles=("FederatedUser",),
    clauses=(
        Clause(
            name="iam-changed",
            holds_when="userIdentity.type of a writing operation of iam.amazonaws.com is FederatedUser",
            check=_changes,
        ),
        Clause(
            name="identity-made-or-widened",
            holds_when="the operation is one of those that inline-policy-iam-admin looks for",
            check=_widens,
        ),
    ),
    cases=(
        Case(
            "the operation makes or widens an identity",
            "critical",
            lambda _event, clauses: "identity-made-or-widened" in clauses,
        ),
        Case("anything else", "high"),
    ),
    confidence="medium",
    techniques=(
        Technique("TA0003", "Persistence", "T1098.001", "Account Manipulation: Additional Cloud Credentials"),
        Technique("TA0003", "Persistence", "T1098.003", "Account Manipulation: Additional Cloud Roles"),
        Technique("TA0003", "Persistence", "T1136.003", "Create Account: Cloud Account"),
    ),
    title=_title,
    describe=_describe,
    runbook=response.iam_change_steps,
    false_positives=(
        "People whom a custom identity broker signs in to the console to administer IAM.",
        "Console pages that make a service-linked role by themselves (CreateServiceLinkedRole).",
    ),
    tuning_advice=(
        (
            "Administrators who come in by a broker: suppress the ARN of its IAM user, and plan to move them to "
            "IAM Identity Center."
        ),
    ),
    blind_spots=(
        "IAM's events are recorded in us-east-1 only: a trail of one other region does not have them.",
        "An operation that AWS added after this list was made is not watched.",
        "Identities outside of IAM are not: IAM Identity Center, Cognito, Roles Anywhere, keys of one service.",
    ),
    evasions=(
        "Widen access without IAM: a resource policy, a function or an instance that has a strong role.",
        "Assume a role from the console session (switch role): its changes carry the role's identity.",
        "Make an identity in IAM Identity Center or another service instead.",
    ),
    references=(
        response.API_REFERENCE,
        "https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html",
        "https://attack.mitre.org/techniques/T1098/001/",
        "https://attack.mitre.org/techniques/T1136/003/",
    ),
)
