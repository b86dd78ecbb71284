"""What a responder should do, in words, and the words that the rules share.

Steps act on `containment_arn`; a step that begins with `aws ` is a command, whole and quoted for a shell.

Facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_disable-perms.html
and https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html
"""

from service.escape import escaped
from service.event import Event, bounded
from service.finding import Action
from service.rules.containment import (
    Target,
    actions,
    command,
    containment_arn,
    long_term_key,
    session_may_live,
    target_of,
)
from service.timestamps import rfc3339

API_REFERENCE = "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"
CONSOLE_REFERENCE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html"
)
CONTROL_REFERENCE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_disable-perms.html"
)

SHORT = 96
_LONG = 256

_ISSUE_TIME = (
    "Only after that, if the user must keep working, may a denial by token issue time (aws:TokenIssueTime) take "
    "the place of the deny-all: it ends older sessions, but does not bind the long-term key, which can mint "
    "newer ones."
)
_ROOT = (
    "Root made the session: no policy can be attached to it or to its sessions. As root, delete its access keys "
    "and change its password. Sessions made by root end within the hour."
)
_ROOT_OF_A_MEMBER = (
    "In a member account of an organization, a service control policy that denies everything binds root and its "
    "sessions; in the management account nothing does."
)
_UNKNOWN = (
    "The record names no user that a policy could be attached to: find the one whose access key called "
    "GetFederationToken."
)
_FAILED = (
    "The call failed: no session was made, so there is none to end. Find out why the caller tried, and what else "
    "the same access key did."
)
_CONSOLE_OPEN = (
    "The holder now has a console session: unlike the API, it can call IAM. Look first for users, keys, roles and "
    "policies it made: they outlive it."
)
_INVESTIGATE = (
    "List what the user and its federated sessions did, with the queries in pivots, and undo it. Look for "
    "GetSigninToken and ConsoleLogin: through the console a session can call IAM."
)


def plain(text: str, limit: int = SHORT) -> str:
    """Event text as prose may hold it: cut, and what could break or reorder the line shown as an escape."""
    return escaped(bounded(text, limit))


def who(event: Event) -> str:
    """The caller in a few words, for titles."""
    return event.once(_who)


def _who(event: Event) -> str:
    if event.is_root:
        return "the root user"
    name = event.principal_name or event.principal_arn or event.text("userIdentity", "principalId")
    return plain(name) if name else "an unknown caller"


def lifetime(event: Event) -> str:
    return event.once(_lifetime)


def _lifetime(event: Event) -> str:
    expires = rfc3339(event.expires_at)
    return f"until {expires}" if expires else "until it expires, 36 hours after issuance at the latest"


def issuance_steps(event: Event) -> list[str]:
    """For a request of a federation token."""
    address = plain(event.text("sourceIPAddress") or "an unknown address")
    intent = f"Ask the owner of {who(event)} whether this call, from {address}, was intended."
    if not session_may_live(event):
        unintended = "If it was not intended, deactivate the access key and replace it."
        return [intent, _FAILED, unintended, *_commands(event), *_imitation(event)]
    return [intent, *_containment(event), *_imitation(event), *_aftermath(event)]


def console_steps(event: Event) -> list[str]:
    """For a console sign-in made from a federated session."""
    intent = f"Ask the owner of {_target_name(event)} whether a console session was intended."
    failed = "The sign-in failed, but the federated session itself may live, and try again."
    outcome = failed if event.outcome == "failure" else _CONSOLE_OPEN
    return [intent, outcome, *_containment(event), *_aftermath(event)]


def iam_change_steps(event: Event) -> list[str]:
    """For a change of IAM made by a federated session."""
    name = plain(event.text("eventName") or "the operation")
    if event.outcome == "failure":
        outcome = f"The call of {name} failed, but the session lives, and may have changed something else."
    else:
        outcome = (
            f"Undo what {name} changed; the event's requestParameters name it. A user, key, role or policy made "
            "here outlives the session, and the containment of its issuer."
        )
    return [*_containment(event), outcome, *_aftermath(event)]


def _containment(event: Event) -> list[str]:
    target = event.once(target_of)
    if target is None:
        return _of_unknown(event)
    return {"user": _of_user, "root": _of_root, "role": _of_role}[target.kind](event, target)


def _of_user(event: Event, target: Target) -> list[str]:
    deny, *deactivate = _commands(event)
    keys = deactivate or [command(Action("iam", "ListAccessKeys", {"UserName": target.name}, None))]
    first = (
        f"Deny everything to {_target_name(event)} first, or remove all of its permissions: only this takes the "
        "power from its federated sessions, within minutes."
    )
    then = (
        "Then deactivate its access keys, so that no newer session can be made. Deactivating or deleting a key "
        f"alone does not end the session, which lives {lifetime(event)}."
    )
    return [first, deny, then, *keys, _ISSUE_TIME, _grants(event)]


def _of_root(event: Event, _target: Target) -> list[str]:
    return [_ROOT, *_commands(event), _ROOT_OF_A_MEMBER, _grants(event)]


def _of_role(event: Event, _target: Target) -> list[str]:
    first = (
        f"Deny everything to {_target_name(event)} first, or remove all of its permissions: this binds every "
        "session of the role, other people's too."
    )
    doubt = "AWS lets users and root make federated sessions, not roles: find out how this record came about."
    return [first, *_commands(event), doubt, _grants(event)]


def _of_unknown(event: Event) -> list[str]:
    key = long_term_key(event)
    find = [command(Action("iam", "GetAccessKeyLastUsed", {"AccessKeyId": key}, None))] if key else []
    first = (
        "Deny everything to that user first, or remove all of its permissions. Then deactivate its access keys, "
        f"which alone does not end the session: it lives {lifetime(event)}."
    )
    return [_UNKNOWN, *find, first, _ISSUE_TIME, _grants(event)]


def _grants(event: Event) -> str:
    session = plain(event.federated_user_arn or "the federated user", _LONG)
    return f"Resource policies that name {session} still grant: find and change them."


def _imitation(event: Event) -> list[str]:
    if not event.federated_user_name or not event.name_mismatch:
        return []
    name = plain(event.federated_user_name)
    return [
        f"The session's name, {name}, is not the caller's own, perhaps an escalation: find out whom it imitates."
    ]


def _aftermath(event: Event) -> list[str]:
    verdict = (
        f"Treat {_target_name(event)} as compromised until shown otherwise: start incident response if the use "
        "was not legitimate. Prefer roles and temporary credentials over access keys of IAM users."
    )
    return [_INVESTIGATE, verdict]


def _target_name(event: Event) -> str:
    arn = containment_arn(event)
    return plain(arn, _LONG) if arn else "the identity that made the session"


def _commands(event: Event) -> list[str]:
    return [command(action) for action in event.once(actions)]
