"""How much power an IAM policy document asks for, read as AWS reads it.

The grade answers one question about a session policy: what could its holder do, if the caller behind it
may do everything? It is decided on *witnesses*, sample actions of every AWS service, so that wildcards,
`NotAction` and `Deny` need no case of their own. Only a `Deny` that is unconditional, readable and on every
resource takes power away; whatever cannot be read never does.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from service.policy.document import Statement, parse, statements_of
from service.policy.witnesses import PARTITIONS, WITNESSES, every_role

Grade = Literal["full_admin", "broad", "iam_admin", "scoped", "no_power", "absent", "unknown"]

# "Every action save a stated few": the share of all witnesses that must remain allowed.
BROAD_SHARE: Final = 0.75

_MOST_PAIRS: Final = 50_000  # of patterns, some 6 µs each; the API's 2,048 characters hold about as many
_LONGEST_REMEMBERED: Final = 2_048  # so that what others write cannot make memory grow: 4 MiB at most

# Actions that make or widen an identity, or let one be borrowed; an explanation names the first that is allowed.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
IAM_ADMIN_ACTIONS: Final = tuple(
    f"iam:{name}"
    for name in (
        "CreateUser CreateAccessKey CreateLoginProfile AttachUserPolicy PutUserPolicy CreateRole "
        "AttachRolePolicy PutRolePolicy UpdateAssumeRolePolicy AddClientIDToOpenIDConnectProvider "
        "AddRoleToInstanceProfile AddUserToGroup AttachGroupPolicy CreateInstanceProfile "
        "CreateOpenIDConnectProvider CreatePolicyVersion CreateSAMLProvider "
        "CreateServiceSpecificCredential CreateVirtualMFADevice DeactivateMFADevice "
        "DeleteRolePermissionsBoundary DeleteUserPermissionsBoundary EnableMFADevice PutGroupPolicy "
        "PutRolePermissionsBoundary PutUserPermissionsBoundary ResetServiceSpecificCredential "
        "ResyncMFADevice SetDefaultPolicyVersion UpdateAccessKey UpdateLoginProfile "
        "UpdateOpenIDConnectProviderThumbprint UpdateSAMLProvider UpdateServiceSpecificCredential "
        "UpdateSSHPublicKey UploadSigningCertificate UploadSSHPublicKey"
    ).split()
)
ROLE_PASSING: Final = "iam:PassRole"


@dataclass(frozen=True, slots=True)
class Assessment:
    """`unread` says why a part that could have allowed more was not read; None when all was."""

    grade: Grade
    explanation: str
    unread: str | None = None


ABSENT: Final = Assessment("absent", "No inline policy was given.")
_NO_POWER: Final = Assessment("no_power", "The inline policy allows nothing.")


def assess(policy: object) -> Assessment:
    """Grade a session policy: JSON text, URL-encoded or not, or the object itself. Never raises."""
    if policy is None:
        return ABSENT
    try:
        text = policy if isinstance(policy, str) else json.dumps(policy, default=str, skipkeys=True)
    except RecursionError:
        return _unreadable("policy_too_deep")
    except ValueError:
        return _unreadable("policy_not_json")
    return _assess_remembered(text) if len(text) <= _LONGEST_REMEMBERED else _assess(text)


def _unreadable(reason: str) -> Assessment:
    return Assessment("unknown", "The inline policy could not be read.", unread=reason)


def _assess(text: str) -> Assessment:
    document = parse(text)
    if isinstance(document, str):
        return _unreadable(document)
    allows, denies, unread = statements_of(document)
    denies = [deny for deny in denies if deny.denies_everywhere]
    if any(deny.names_every_action for deny in denies):
        return _NO_POWER
    assessment = _grade(allows, denies)
    if unread is None:
        return assessment
    if assessment.grade in ("scoped", "no_power"):
        return Assessment("unknown", "A part of the inline policy could not be read.", unread=unread)
    return Assessment(assessment.grade, assessment.explanation, unread)


# A program passes the same few policies all day.
_assess_remembered: Final = lru_cache(maxsize=512)(_assess)


def _grade(allows: Sequence[Statement], denies: Sequence[Statement]) -> Assessment:
    alive = [allow for allow in allows if not allow.dead]
    if _patterns(alive) * _patterns(denies) <= _MOST_PAIRS:
        alive = [allow for allow in alive if not _denied(allow, denies)]
    if not alive:
        return _NO_POWER
    effective = [deny for deny in denies if not deny.names_no_action]
    full = [] if effective else [allow for allow in alive if _is_full(allow)]
    if full:
        return _found("full_admin", full, "allows every action on every resource")
    wide = [allow for allow in alive if allow.every_resource]
    if _is_broad(wide, effective):
        return _found("broad", wide, "allows every action save a stated few on effectively every resource")
    powers = {allow: power for allow in alive if (power := _iam_power(allow, effective))}
    if powers:
        what = f"allows {next(iter(powers.values()))}, which makes or widens identities"
        return _found("iam_admin", list(powers), what)
    return _found("scoped", alive, "allows a limited set of actions or resources")


def _patterns(statements: Iterable[Statement]) -> int:
    return sum(len(statement.actions) for statement in statements)


def _found(grade: Grade, statements: Sequence[Statement], what: str) -> Assessment:
    numbers = ", ".join(str(statement.number) for statement in statements[:5])
    conditional = all(statement.conditional for statement in statements)
    suffix = ", under a condition that was not evaluated" if conditional else ""
    noun = "Statement" if len(statements) == 1 else "Statements"
    verb = what if len(statements) == 1 else what.replace("allows", "allow")
    return Assessment(grade, f"{noun} {numbers} of the inline policy {verb}{suffix}.")


def _is_full(allow: Statement) -> bool:
    """One wildcard that is every action; patterns that merely add up are `broad`."""
    if not allow.every_resource or (allow.resources_inverted and allow.resources):
        return False
    return allow.names_every_action


def _is_broad(allows: Iterable[Statement], denies: Iterable[Statement]) -> bool:
    left = set(WITNESSES)
    for allow in allows:
        left -= allow.covered(left)
    allowed = set(WITNESSES) - left
    for deny in denies:
        allowed -= deny.covered(allowed, surely=True)
    return len(allowed) >= BROAD_SHARE * len(WITNESSES)


def _iam_power(allow: Statement, denies: Sequence[Statement]) -> str | None:
    """An action that makes or widens identities, if one is left."""
    actions: list[str] = []
    if any(allow.reaches(f"arn:{partition}:iam::") for partition in PARTITIONS):
        actions.extend(IAM_ADMIN_ACTIONS)
    if allow.every_resource or any(map(every_role, allow.resources)):
        actions.append(ROLE_PASSING)
    for action in actions:
        asked = action.lower()
        if allow.covers(asked) and not any(deny.covers(asked) for deny in denies):
            return action
    return None


def _denied(allow: Statement, denies: Sequence[Statement]) -> bool:
    """Whether nothing that the statement allows survives: sound, not complete (denials may add up)."""
    return not allow.inverted and all(any(deny.swallows(action) for deny in denies) for action in allow.actions)
