"""A CloudTrail record with typed accessors. Secrets are removed before anything else may look at it.

A value is read as one of three: what it says, None (the record does not have it), or `Unread` (it is there,
or should be, and cannot be read). Unknown is never absent: a rule must be able to say "I could not tell".

Record contents: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, TypeVar

from service import policy

Outcome = Literal["success", "failure"]
T = TypeVar("T")

DEFAULT_SECONDS: Final = 43_200
SHORTEST_SECONDS: Final = 900
LONGEST_SECONDS: Final = 129_600
ROOT_SECONDS: Final = 3_600  # what a root session gets, whatever was asked
MAX_TEXT: Final = 2_048  # as long as the API lets an inline policy be
MAX_TAGS: Final = 50
MAX_TAG: Final = 256
REDACTED: Final = "[redacted]"
_CUT: Final = "…[cut]"
_MAX_DEPTH: Final = 40
_NESTED: Final = (dict, list)
_MAX_SECRETS: Final = 100  # looked for elsewhere in the record, which holds one or two
_SHORTEST_SECRET: Final = 16  # that is looked for elsewhere: what is shorter may be an everyday word
_MAX_NUMBER: Final = 2**53 - 1  # beyond it JSON readers disagree

_HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"
_SECRET_KEYS: Final = frozenset({"sessiontoken", "secretaccesskey", "securitytoken", "signintoken", "password"})
_NO_SEPARATORS: Final = str.maketrans("", "", "_- ")
_LONGEST_KNOWN_KEY: Final = 64  # so that a record cannot make memory grow; names of fields are shorter
# A token inside a longer text: `sessionToken=…`, `"sessionToken": "…"`, or told by how STS tokens begin.
_SECRET_TEXT: Final = re.compile(
    r"""(?ix) (?P<key> (?: session | security | signin )[_-]?token | secret[_-]?access[_-]?key )
        (?P<between> [\\"']* \s* [=:] \s* [\\"']* ) (?P<value> [^\s,;&"'\\{}\[\]]+ )
      | (?P<token> (?: IQoJb3JpZ2lu | FwoGZXIvYXdz | FQoGZXIvYXdz | FQoDYXdz ) [A-Za-z0-9+/=%_-]{16,} )""",
)
_SHORTEST_HINTED: Final = len("signintoken=x")  # the shortest text that it finds something in
_EXPIRATION: Final = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}), (?P<year>\d{4}),? "
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)\s?(?P<half>[AP]M)",
    re.ASCII,
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FINER: Final = re.compile(r"(\.\d{6})\d+")  # than microseconds
_DECIMAL: Final = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,6})?", re.ASCII)
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
    """One record. Everything read from it is bounded text, a number, or a value of the vocabulary here."""

    def __init__(self, record: Mapping[str, object]) -> None:
        self._raw = record  # what the rules judge: redaction must not change what a policy says
        self._made: dict[Callable[[Event], Any], Any] = {}

    @cached_property
    def _secrets(self) -> "_Secrets":
        return _Secrets(self._raw)

    @cached_property
    def record(self) -> dict[str, object]:
        """The record as it may leave the process."""
        return _redacted(self._raw, self._secrets)

    def once(self, make: Callable[["Event"], T]) -> T:
        """What `make` makes of this event, made once for all who ask; nobody may change it."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    def shown(self, text: str, limit: int = MAX_TEXT) -> str:
        """Text of the record that a rule judged, made fit to leave the process."""
        return bounded(_without_secrets(text, self._secrets), limit)

    def text(self, *path: str) -> str | None:
        """The text at a path, cut at MAX_TEXT; None when absent, empty, hidden or no text."""
        value = self._at(*path)
        if not isinstance(value, str) or not value or value == _HIDDEN:
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
        return _time(self._at("eventTime"))

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
        texts = tuple(arn for arn in arns if isinstance(arn, str) and arn not in ("", _HIDDEN))
        return PolicyArns(texts, None if len(texts) == len(arns) else Unread("policy_arns_unreadable"))

    @cached_property
    def inline_policy(self) -> policy.Assessment:
        value = self._parameter("policy")
        if isinstance(value, Unread):
            return policy.Assessment("unknown", "The inline policy could not be read.", unread=value.reason)
        return policy.assess(value)

    @property
    def inline_policy_text(self) -> object:
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
        stated = _time(self._at("responseElements", "credentials", "expiration"))
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
    if value == _HIDDEN:
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


def _time(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    text = value.replace("\u202f", " ").strip()  # newer JDKs put a narrow space before PM
    found = _EXPIRATION.fullmatch(text)
    try:
        if found is not None:
            hour = int(found["hour"]) % 12 + (12 if found["half"] == "PM" else 0)
            month = _MONTHS.index(found["month"]) + 1
            clock = (int(found["day"]), hour, int(found["minute"]), int(found["second"]))
            return datetime(int(found["year"]), month, *clock, tzinfo=UTC)
        moment = datetime.fromisoformat(_FINER.sub(r"\1", text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# --- redaction ---------------------------------------------------------------------------------


class _Secrets:
    """The secret values of one record, to be taken out of its other texts: a token in a message is a token."""

    def __init__(self, record: Mapping[str, object]) -> None:
        found: list[str] = []
        _collect_secrets(record.items(), 0, found)
        self._values = sorted(set(found[:_MAX_SECRETS]), key=len, reverse=True)
        self.shortest = len(self._values[-1]) if self._values else sys.maxsize

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Seldom needed, so seldom made: to compile a token costs more than all else about an event."""
        return re.compile("|".join(map(re.escape, self._values)))

    def taken_from(self, text: str) -> str:
        for value in self._values:
            if value in text:
                return self._pattern.sub(REDACTED, text)
        return text


def _collect_secrets(items: Iterable[tuple[str, object]], depth: int, found: list[str]) -> None:
    for key, value in items:
        if isinstance(value, str):
            if len(value) >= _SHORTEST_SECRET and _is_secret(key) and value != _HIDDEN:
                found.append(value)
        elif isinstance(value, _NESTED) and depth < _MAX_DEPTH and len(found) < _MAX_SECRETS:
            inner = value.items() if isinstance(value, dict) else [("", one) for one in value]
            _collect_secrets(inner, depth + 1, found)


def _is_secret(key: str) -> bool:
    """Whether the key's value is one."""
    return _known_key(key)[1] if len(key) <= _LONGEST_KNOWN_KEY else _spells_secret(key)


@lru_cache(maxsize=1_024)
def _known_key(key: str) -> tuple[str, bool]:
    """How a key is shown, and whether its value is a secret. Records have few keys, and always the same."""
    return _masked(key), _spells_secret(key)


def _spells_secret(key: str) -> bool:
    """In any spelling: `session_token`, `Session-Token`, `responseElements.credentials.sessionToken`."""
    return key.rpartition(".")[2].lower().translate(_NO_SEPARATORS) in _SECRET_KEYS


def _redacted(values: Mapping[str, object], secrets: _Secrets, depth: int = 0) -> dict[str, object]:
    """A copy without secrets, whether under their own key or inside a longer text."""
    redacted = {}
    longest_known = min(_LONGEST_KNOWN_KEY, secrets.shortest - 1)
    for key, value in values.items():
        if len(key) <= longest_known:
            shown, secret = _known_key(key)
        else:
            shown, secret = _without_secrets(key, secrets), _is_secret(key)
        withheld = secret and value is not None
        redacted[shown] = REDACTED if withheld else _redacted_value(value, secrets, depth + 1)
    return redacted


def _redacted_value(value: object, secrets: _Secrets, depth: int) -> object:
    if isinstance(value, str):
        return _without_secrets(value, secrets)
    if not isinstance(value, _NESTED):
        return value
    if depth > _MAX_DEPTH:
        return "[too deep]"
    if isinstance(value, dict):
        return _redacted(value, secrets, depth)
    return [_redacted_value(inner, secrets, depth + 1) for inner in value]


def _without_secrets(text: str, secrets: _Secrets) -> str:
    return _masked(secrets.taken_from(text) if len(text) >= secrets.shortest else text)


def _masked(text: str) -> str:
    """Without what is a secret by the looks of it."""
    if not text.isascii():
        return _SECRET_TEXT.sub(_mask, text.encode("utf-8", "replace").decode("utf-8"))
    return _SECRET_TEXT.sub(_mask, text) if len(text) >= _SHORTEST_HINTED and _hints_at_secret(text) else text


def _hints_at_secret(text: str) -> bool:
    """Whether ASCII text holds what all that _SECRET_TEXT finds does, at a tenth of the cost."""
    folded = text.lower()
    return (
        ("token" in folded and ("session" in folded or "security" in folded or "signin" in folded))
        or "secret" in folded
        or "iqojb3jpz2lu" in folded
        or "ogzxivyxdz" in folded
        or "fqodyxdz" in folded
    )


def _mask(found: re.Match[str]) -> str:
    return REDACTED if found["token"] else f"{found['key']}{found['between']}{REDACTED}"
