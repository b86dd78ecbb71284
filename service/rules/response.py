"""What a responder should do, and the words the rules share. Steps act on `containment_arn`.

Facts: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_disable-perms.html
and https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html
"""

from service.event import Event, bounded
from service.finding import rfc3339

API_REFERENCE = "https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"
CONSOLE_REFERENCE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html"
)
CONTROL_REFERENCE = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_disable-perms.html"
)

SHORT = 96


def who(event: Event) -> str:
    """The caller in a few words, for titles."""
    if event.is_root:
        return "the root user"
    name = event.principal_name or event.principal_arn or event.text("userIdentity", "principalId")
    return bounded(name, SHORT) if name else "an unknown caller"


def containment_arn(event: Event) -> str | None:
    """No policy can be attached to a federated user, so its issuer is the identity to act on."""
    return event.session_issuer_arn if event.is_federated else event.principal_arn


def lifetime(event: Event) -> str:
    expires = rfc3339(event.expires_at)
    return f"until {expires}" if expires else "until it expires, 36 hours after issuance at the latest"


def issuance_steps(event: Event) -> list[str]:
    """For a request of a federation token."""
    intent = (
        f"Ask the owner of {who(event)} whether this call was intended"
        f" (source {event.text('sourceIPAddress') or 'unknown'})."
    )
    if event.outcome == "failure":
        return [
            intent,
            (
                "The call failed: no session exists. Find out why the caller tried, and look for other failed "
                "calls of the same access key."
            ),
            "If it was not intended, deactivate the access key and replace it.",
        ]
    return [intent, *_containment(event), *_aftermath()]


def console_steps(event: Event) -> list[str]:
    """For a console sign-in made from a federated session."""
    intent = f"Ask the owner of {containment_arn(event) or who(event)} whether a console session was intended."
    if event.outcome == "failure":
        return [
            intent,
            "The exchange failed, but the federated session itself may live.",
            *_containment(event),
        ]
    return [
        intent,
        (
            "The holder now has a console session: unlike the API, it can call IAM. Look first for users, keys, "
            "roles and policies it made."
        ),
        *_containment(event),
        *_aftermath(),
    ]


def _containment(event: Event) -> list[str]:
    arn = containment_arn(event)
    if event.is_root or (arn or "").endswith(":root"):
        return [
            (
                "No policy can be attached to root: delete its access keys and change its password. Sessions "
                "made by root end within the hour."
            ),
        ]
    target = arn or "the session's issuer"
    return [
        (
            f"Attach an explicit deny-all policy to {target}, or remove all of its permissions: this takes effect "
            "on its federated sessions at once."
        ),
        f"Then deactivate its access keys. That alone does not end the session, which lives {lifetime(event)}.",
        (
            "Only then add a denial by token issue time if the user must keep working: it ends older sessions "
            "but does not bind the long-term key, which can make newer ones."
        ),
        "Check resource policies that name the federated user: they grant on their own.",
    ]


def _aftermath() -> list[str]:
    return [
        (
            "List what the user and its federated sessions did since: search by the issued access key id and by "
            "the federated user's ARN, and undo it."
        ),
        (
            "Start incident response if the use was not legitimate. Prefer roles and temporary credentials over "
            "access keys of IAM users."
        ),
    ]
