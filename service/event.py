"""A CloudTrail record with typed accessors. Secrets are removed before anything else may look at it.

A value is read as one of three: what it says, None (the record does not have it), or `Unread` (it is there,
or should be, and cannot be read). Unknown is never absent: a rule must be able to say "I could not tell".

Record contents: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

from service import policy
from service.redaction import HIDDEN, Secrets, redacted, without_secrets
from service.timestamps import time_of

Outcome = Literal["success", "failure"]
T = TypeVar("T")

DEFAULT_SECONDS: Final = 43_200
SHORTEST_SECONDS: Final = 900
LONGEST_SECONDS: Final = 129_600
ROOT_SECONDS: Final = 3_600  # what a root session gets, whatever was asked
MAX_TEXT: Final = 2_048  # as long as the API lets an inline policy be
MAX_TAGS: Final = 50
MAX_TAG: Final = 256
_CUT: Final = "…[cut]"
_MAX_NUMBER: Final = 2**53 - 1  # beyond it JSON readers disagree

_DECIMAL: Final = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,6})?", re.ASCII)
_SEVERAL: Final = re.compile(r"[\s\[\]{}\"]|.[,;|']+arn:")  # as shippers write several in one text
_FEDERATED: Final = re.compile(r"arn:[^:]*:sts::[^:]*:federated-user/(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unread:
    """A value that could not be read; `reason` is a short stable code, never event text."""

    reason: str


@dataclass(frozen=True, slots=True)
class PolicyArns:
    """`unread` is set when an element, or all of them, could not be read."""

    arns: tuple[str, ...]
    unread: Unread | None = None


class Event:
    """One record. What is read from it is bounded text without secrets, a number, or a value of the vocabulary
    here, save `policy_arns` and `inline_policy_raw`: rules judge these as they stand, and show them by `shown`.
    """

    def __init__(self, record: Mapping[str, object]) -> None:
        self._raw = record  # what the rules judge: redaction must not change what a policy says
        self._made: dict[Callable[[Event], Any], Any] = {}

    @cached_property
    def _secrets(self) -> Secrets:
        return Secrets(self._raw)

    @cached_property
    def record(self) -> dict[str, object]:
        """The record as it may leave the process."""
        return redacted(self._raw, self._secrets)

    def once(self, make: Callable[["Event"], T]) -> T:
        """What `make` makes of this event, made once for all who ask; nobody may change it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    def shown(self, text: str, limit: int = MAX_TEXT) -> str:
        """Text of the record that a rule judged, made fit to leave the process."""
        return bounded(without_secrets(text, self._secrets), limit)

    def text(self, *path: str) -> str | None:
        """The text at a path, cut at MAX_TEXT; None when absent, empty, hidden or no text."""
        value = self._at(*path)
        if not isinstance(value, str) or not value or value == HIDDEN:
            return None
        return bounded(value)

    def _at(self, *path: str) -> object:
        value: object = self.record
        for key in path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    # --- what happened

    @cached_property
    def outcome(self) -> Outcome:
        """Sign-in events may tell a failure only in the response: `{"ConsoleLogin": "Failure"}`."""
        if self._at("errorCode") or self._at("errorMessage"):
            return "failure"
        name = self.text("eventName")
        return "failure" if name and self._at("responseElements", name) == "Failure" else "success"

    @cached_property
    def time(self) -> datetime | None:
        return time_of(self._at("eventTime"))

    @property
    def account_id(self) -> str | None:
        return self.text("recipientAccountId") or self.text("userIdentity", "accountId")

    # --- who did it

    @property
    def principal_type(self) -> str | None:
        return self.text("userIdentity", "type")

    @property
    def _judged_type(self) -> object:
        """Of most events that a rule watches this is all that is read: no secret is in it, none is looked for."""
        identity = self._raw.get("userIdentity")
        return identity.get("type") if isinstance(identity, dict) else None

    @property
    def is_root(self) -> bool:
        return self._judged_type == "Root"

    @property
    def is_federated(self) -> bool:
        return self._judged_type == "FederatedUser"

    @property
    def principal_arn(self) -> str | None:
        return self.text("userIdentity", "arn")

    @property
    def session_issuer_arn(self) -> str | None:
        return self.text("userIdentity", "sessionContext", "sessionIssuer", "arn")

    @property
    def principal_name(self) -> str | None:
        """The user's name; a federated user has none, so the name its session was given."""
        name = self.text("userIdentity", "userName")
        return name or (_federated_name(self.principal_arn) if self.is_federated else None)

    # --- what was asked of GetFederationToken

    @cached_property
    def _parameters(self) -> dict[str, object] | Unread:
        value = self._raw.get("requestParameters")
        if value is None:
            return Unread("request_parameters_null")
        unread = _withheld(value)
        if unread is not None:
            return unread
        return value if isinstance(value, dict) else Unread("request_parameters_not_an_object")

    def _parameter(self, name: str) -> object | Unread:
        """A request parameter, None when it was not given."""
        if isinstance(self._parameters, Unread):
            return self._parameters
        value = self._parameters.get(name)
        return _withheld(value) or value

    @cached_property
    def seconds_requested(self) -> float | Unread | None:
        """As asked for, so beyond the API's limits too; None when not given (AWS then takes 43,200)."""
        value = self._parameter("durationSeconds")
        if value is None or isinstance(value, Unread):
            return value
        number = _number(value)
        return Unread("duration_not_a_number") if number is None else number

    @cached_property
    def seconds_effective(self) -> int | None:
        """How long such a session lives; None when that cannot be known."""
        requested = self.seconds_requested
        if isinstance(requested, Unread):
            return None
        if self.is_root:
            requested = min(ROOT_SECONDS, requested or ROOT_SECONDS)
        elif requested is None:
            requested = DEFAULT_SECONDS
        return int(max(SHORTEST_SECONDS, min(LONGEST_SECONDS, requested)))

    @cached_property
    def policy_arns(self) -> PolicyArns:
        value = self._parameter("policyArns")
        if isinstance(value, Unread):
            return PolicyArns((), value)
        elements = [] if value is None else value if isinstance(value, list) else [value]
        arns = [element.get("arn") if isinstance(element, dict) else element for element in elements]
        texts = tuple(arn for arn in arns if isinstance(arn, str) and arn not in ("", HIDDEN))
        # A shipper's text of several ARNs is kept: a name may be seen in it, though not told for sure.
        whole = len(texts) == len(arns) and not any(map(_SEVERAL.search, texts))
        return PolicyArns(texts, None if whole else Unread("policy_arns_unreadable"))

    @cached_property
    def inline_policy(self) -> policy.Assessment:
        value = self._parameter("policy")
        if isinstance(value, Unread):
            return policy.Assessment("unknown", "The inline policy could not be read.", unread=value.reason)
        return policy.assess(value)

    @property
    def inline_policy_raw(self) -> object:
        return None if isinstance(self._parameters, Unread) else self._parameters.get("policy")

    @property
    def grants_nothing_by_itself(self) -> bool:
        """Neither inline policy nor policy ARNs, and we know it."""
        return self.inline_policy.grade == "absent" and self.policy_arns == PolicyArns(())

    @property
    def session_tags(self) -> list[tuple[str | None, str | None]] | None:
        """Pairs of key and value."""
        tags = self._at("requestParameters", "tags")
        if not isinstance(tags, list) or not tags:
            return None
        pairs = [tag for tag in tags if isinstance(tag, dict)][:MAX_TAGS]
        return [(_tag_text(tag.get("key")), _tag_text(tag.get("value"))) for tag in pairs]

    # --- the federated session, when it is issued and when it acts

    @property
    def asks_for_session(self) -> bool:
        return self.record.get("eventName") == "GetFederationToken"

    @cached_property
    def federated_user_name(self) -> str | None:
        if not self.asks_for_session:
            return _federated_name(self.principal_arn)
        return self.text("requestParameters", "name") or _federated_name(self.federated_user_arn)

    @property
    def federated_user_arn(self) -> str | None:
        if self.asks_for_session:
            return self.text("responseElements", "federatedUser", "arn")
        return self.principal_arn if self.is_federated else None

    @property
    def name_mismatch(self) -> bool | None:
        """Tools cut the caller's name to the 32 characters that the API takes: that is no mismatch."""
        caller = self.text("userIdentity", "userName")
        federated = self.federated_user_name
        return None if caller is None or federated is None else federated != caller[:32]

    @property
    def issued_access_key_id(self) -> str | None:
        """The session's own key: in the response when it is issued, in the identity when it acts."""
        issued = self.text("responseElements", "credentials", "accessKeyId")
        if self.asks_for_session or not self.is_federated:
            return issued
        return self.text("userIdentity", "accessKeyId") or issued

    @cached_property
    def expires_at(self) -> datetime | None:
        """None for a failed call, which made no session, and for events that are no issuance."""
        if self.outcome == "failure" or not self.asks_for_session:
            return None
        stated = time_of(self._at("responseElements", "credentials", "expiration"))
        if stated is not None:
            return stated
        if self.time is None or self.seconds_effective is None:
            return None
        try:
            return self.time + timedelta(seconds=self.seconds_effective)
        except OverflowError:  # a made-up time at the end of the year 9999
            return None


def bounded(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - len(_CUT)] + _CUT


def _tag_text(value: object) -> str | None:
    return bounded(value, MAX_TAG) if isinstance(value, str) else None


def _federated_name(arn: str | None) -> str | None:
    found = _FEDERATED.fullmatch(arn) if arn else None
    return found["name"] if found else None


def _withheld(value: object) -> Unread | None:
    """Whether CloudTrail says that it left the value out."""
    if value == HIDDEN:
        return Unread("hidden_due_to_security_reasons")
    if isinstance(value, dict) and value.get("omitted") in (True, "true", "True"):
        return Unread("omitted_too_large")
    return None


def _number(value: object) -> float | None:
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124  NaN
        return None
    if abs(value) > _MAX_NUMBER:
        return _MAX_NUMBER if value > 0 else -_MAX_NUMBER
    return int(value) if value == int(value) else value
