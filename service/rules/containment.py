"""What ends the power of a federated session, as data: IAM operations with their parameters.

Knows AWS's API, and nothing of prose. The identity acted on is `containment_arn`.

Facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_disable-perms.html
and https://docs.aws.amazon.com/IAM/latest/APIReference/API_Operations.html
"""

import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from service.event import Event
from service.finding import Action
from service.redaction import REDACTED

DENY_ALL_NAME: Final = "TokentrailDenyAll"
DENY_ALL: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}'

# A path of 512 characters and a name of 64 make an ARN of about 620; a longer one was cut or made up.
_MAX_ARN: Final = 1_024
_MAX_NAME: Final = 64

_ARNS: Final = {
    "root": re.compile(r"arn:[^:]*:iam::[^:]*:(?P<name>root)"),
    "user": re.compile(r"arn:[^:]*:iam::[^:]*:user/(?:.*/)?(?P<name>[^/]+)"),
    "role": re.compile(
        r"arn:[^:]*:(?:iam::[^:]*:role/(?:.*/)?|sts::[^:]*:assumed-role/(?=[^/]+/))(?P<name>[^/]+).*"
    ),
}
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
_LONG_TERM_KEY: Final = re.compile(r"AKIA\w{12,124}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """The identity to contain, by the name that IAM's operations take."""

    kind: Literal["root", "user", "role"]
    name: str


def containment_arn(event: Event) -> str | None:
    """No policy can be attached to a federated user, so its issuer is the identity to act on."""
    return event.session_issuer_arn if event.is_federated else event.principal_arn


def target_of(event: Event) -> Target | None:
    """None when the record names no identity that IAM could act on."""
    if event.is_root:
        return Target("root", "root")
    arn = containment_arn(event) or ""
    if len(arn) > _MAX_ARN or not arn.isprintable() or REDACTED in arn:
        return None
    for kind in ("root", "user", "role"):
        found = _ARNS[kind].fullmatch(arn)
        if found and len(found["name"]) <= _MAX_NAME:
            return Target(kind, found["name"])
    return None


def session_may_live(event: Event) -> bool:
    """A failed request made no session; a session that failed at something else goes on."""
    return event.outcome == "success" or event.is_federated


def long_term_key(event: Event) -> str | None:
    """The caller's own key, where the caller is the identity to contain and not a session of it."""
    key = event.text("userIdentity", "accessKeyId")
    return key if key and not event.is_federated and _LONG_TERM_KEY.fullmatch(key) else None


def actions(event: Event) -> list[Action]:
    """In the order to take them. Empty where nothing that the record names can be acted on."""
    target, key = event.once(target_of), long_term_key(event)
    if target is None:
        return []
    if not session_may_live(event):
        return [_deactivate(target, key)] if key and target.kind != "role" else []
    if target.kind == "root":
        return [Action("iam", "DeleteAccessKey", {"AccessKeyId": key}, None)] if key else []
    return [_deny_all(target), *([_deactivate(target, key)] if key and target.kind == "user" else [])]


def command(action: Action) -> str:
    """The action as a line of the AWS CLI, safe to paste into a POSIX shell.

    A name may begin with a dash, which the CLI would read as another option but for the `=`.
    """
    options = [f"--{_dashed(name)}={value}" for name, value in action.parameters.items()]
    return shlex.join(["aws", action.service, _dashed(action.operation), *options])


def _deny_all(target: Target) -> Action:
    kind = target.kind.capitalize()
    return Action(
        service="iam",
        operation=f"Put{kind}Policy",
        parameters={f"{kind}Name": target.name, "PolicyName": DENY_ALL_NAME, "PolicyDocument": DENY_ALL},
        undo=f"Delete{kind}Policy with the same {kind}Name and PolicyName",
    )


def _deactivate(target: Target, key: str) -> Action:
    """Without a UserName the operation acts on the caller, which for root's key has to be root."""
    owner = {"UserName": target.name} if target.kind == "user" else {}
    return Action(
        service="iam",
        operation="UpdateAccessKey",
        parameters={**owner, "AccessKeyId": key, "Status": "Inactive"},
        undo="UpdateAccessKey with Status Active",
    )


@lru_cache(maxsize=64)
def _dashed(name: str) -> str:
    return re.sub(r"(?<=.)(?=[A-Z])", "-", name).lower()
