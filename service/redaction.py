"""A record without its secrets: what is left may leave the process. Knows nothing of what a record says."""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Final

REDACTED: Final = "[redacted]"
HIDDEN: Final = "HIDDEN_DUE_TO_SECURITY_REASONS"  # CloudTrail's own word for a secret
_MAX_DEPTH: Final = 40
_NESTED: Final = (dict, list)
_MAX_SECRETS: Final = 100  # looked for elsewhere in the record, which holds one or two
_SHORTEST_SECRET: Final = 16  # that is looked for elsewhere: what is shorter may be an everyday word
# Of responses of STS, of sign-in, and of the operations of IAM that a rule watches; CloudTrail hides most of them.
_SECRET_KEYS: Final = frozenset(
    {
        "base32stringseed",
        "newpassword",
        "oldpassword",
        "password",
        "privatekey",
        "qrcodepng",
        "secretaccesskey",
        "securitytoken",
        "servicecredentialsecret",
        "servicepassword",
        "sessionkey",
        "sessiontoken",
        "signintoken",
    }
)
_NO_SEPARATORS: Final = str.maketrans("", "", "_- ")
_LONGEST_KNOWN_KEY: Final = 64  # so that a record cannot make memory grow; names of fields are shorter
# What is added here goes into _hints_at_secret, too; what is shorter, into _SHORTEST_HINTED.
# A token inside a longer text: `sessionToken=…`, `"sessionToken": "…"`, or told by how STS tokens begin.
_SECRET_TEXT: Final = re.compile(
    r"""(?ix) (?P<key> (?: session | security | signin )[_-]?token | secret[\ _-]?access[\ _-]?key )
        (?P<between> (?: [\\"'\s] | %22 )* (?: [=:>] | %3[ad] ) (?: [\\"'\s\[{(] | %22 )* )
        (?P<value> (?: (?! %2[26c] ) [^\s,;&"'\\{}\[\]<] )+ )
      | (?P<token> (?: IQoJb3JpZ2lu | FwoGZXIvYXdz | FQoGZXIvYXdz | [AF]QoDYXdz ) [A-Za-z0-9+/=%_-]{16,} )""",
)
_SHORTEST_HINTED: Final = len("signintoken=x")  # the shortest text that it finds something in


class Secrets:
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
            if len(value) >= _SHORTEST_SECRET and _is_secret(key) and value != HIDDEN:
                found.append(value)
        elif isinstance(value, _NESTED) and depth < _MAX_DEPTH and len(found) < _MAX_SECRETS:
            if isinstance(value, list):
                inner = [(key, one) for one in value]
            elif _is_secret(key):
                inner = [(key, one) for one in value.values()]
            else:
                inner = list(value.items())
            _collect_secrets(inner, depth + 1, found)


def _is_secret(key: str) -> bool:
    """Whether the key's value is one."""
    return _known_key(key)[1] if len(key) <= _LONGEST_KNOWN_KEY else _spells_secret(key)


@lru_cache(maxsize=1_024)
def _known_key(key: str) -> tuple[str, bool]:
    """How a key is shown, and whether its value is a secret. Records have few keys, and always the same."""
    return masked(key), _spells_secret(key)


def _spells_secret(key: str) -> bool:
    """In any spelling: `session_token`, `Session-Token`, `responseElements.credentials.sessionToken`."""
    return key.rpartition(".")[2].lower().translate(_NO_SEPARATORS) in _SECRET_KEYS


def redacted(values: Mapping[str, object], secrets: Secrets, depth: int = 0) -> dict[str, object]:
    """A copy without secrets, whether under their own key or inside a longer text."""
    copy: dict[str, object] = {}
    # A key that is shorter than any secret holds none, so what is remembered of it is all of it.
    longest_known = min(_LONGEST_KNOWN_KEY, secrets.shortest - 1)
    for key, value in values.items():
        if len(key) <= longest_known:
            shown, secret = _known_key(key)
        else:
            shown, secret = without_secrets(key, secrets), _is_secret(key)
        withheld = secret and value is not None
        copy[shown] = REDACTED if withheld else _redacted_value(value, secrets, depth + 1)
    return copy


def _redacted_value(value: object, secrets: Secrets, depth: int) -> object:
    if isinstance(value, str):
        return without_secrets(value, secrets)
    if not isinstance(value, _NESTED):
        return value
    if depth > _MAX_DEPTH:
        return "[too deep]"
    if isinstance(value, dict):
        return redacted(value, secrets, depth)
    return [_redacted_value(inner, secrets, depth + 1) for inner in value]


def without_secrets(text: str, secrets: Secrets) -> str:
    return masked(secrets.taken_from(text) if len(text) >= secrets.shortest else text)


def masked(text: str) -> str:
    """Without what is a secret by the looks of it."""
    if not text.isascii():  # the hints are for ASCII; a lone surrogate becomes "?"
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
        or "qodyxdz" in folded
    )


def _mask(found: re.Match[str]) -> str:
    return REDACTED if found["token"] else f"{found['key']}{found['between']}{REDACTED}"
