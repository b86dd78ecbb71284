"""A policy document as AWS reads it: text -> statements, as far as they can be read.

Grammar: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from urllib.parse import unquote_plus

from service.policy.wildcards import Patterns, may_begin, overlap
from service.policy.witnesses import WITNESSES, every_action, every_resource

# The API takes 2,048 characters; URL-encoding makes up to three of one. What is beyond was never granted.
MAX_POLICY_CHARACTERS: Final = 10_240


@dataclass(frozen=True, eq=False)
class Statement:
    number: int
    actions: tuple[str, ...]  # lower case; all actions but these if `inverted`
    inverted: bool
    resources: tuple[str, ...]  # lower case; all resources but these if `resources_inverted`
    resources_inverted: bool
    conditional: bool

    @cached_property
    def _names_every_resource(self) -> bool:
        return any(map(every_resource, self.resources))

    @property
    def every_resource(self) -> bool:
        return self._names_every_resource != self.resources_inverted

    @property
    def names_every_action(self) -> bool:
        """By one pattern; patterns that merely add up do not count."""
        return not self.actions if self.inverted else any(map(every_action, self.actions))

    @property
    def names_no_action(self) -> bool:
        return any(map(every_action, self.actions)) if self.inverted else not self.actions

    @property
    def dead(self) -> bool:
        """Whether it says nothing, whatever else the policy says."""
        nowhere = self._names_every_resource if self.resources_inverted else not self.resources
        return nowhere or self.names_no_action

    @property
    def denies_everywhere(self) -> bool:
        return not self.conditional and not self.resources_inverted and self.every_resource

    @cached_property
    def _fitting(self) -> Patterns:
        return Patterns(self.actions)

    @cached_property
    def _containing(self) -> Patterns:
        """Of patterns: whether they match all that another does. Only `*` can stand for the `*` of another."""
        return Patterns(self.actions, any_one="[^*]")

    def covered(self, witnesses: set[str], *, surely: bool = False) -> set[str]:
        """Those of the witnesses that the statement covers: all that it may, or all that it does `surely`."""
        named = (self._containing if surely != self.inverted else self._fitting).among(witnesses, WITNESSES)
        return witnesses - named if self.inverted else named

    def covers(self, action: str) -> bool:
        return self._fitting.fit(action) != self.inverted

    def swallows(self, pattern: str) -> bool:
        """Whether the statement covers all actions that the pattern fits."""
        if self.inverted:
            return not any(overlap(spared, pattern) for spared in self.actions)
        return self._containing.fit(pattern)

    def reaches(self, beginning: str) -> bool:
        """Whether some ARN of this beginning fits the statement's resources."""
        if self.resources_inverted:
            return not self._names_every_resource
        return any(may_begin(pattern, beginning) for pattern in self.resources)


def parse(text: str) -> dict[str, object] | str:
    """The document with lower-case keys, or the reason it cannot be read."""
    try:
        policy = _loads(text)
        if isinstance(policy, str):  # JSON text is sometimes encoded as JSON once more on its way
            policy = _loads(policy)
        return policy if isinstance(policy, dict) else "policy_not_an_object"
    except RecursionError:
        return "policy_too_deep"
    except _TooLong:
        return "policy_too_long"
    except ValueError:
        return "policy_not_json"


class _TooLong(Exception):
    pass


class _Repeated(list[object]):
    """The values of a key that was given twice: which of them counts is not known."""


def _loads(text: str) -> object:
    if len(text) > MAX_POLICY_CHARACTERS:
        raise _TooLong
    try:
        return _DECODER.decode(text)
    except ValueError:
        return _DECODER.decode(unquote_plus(text))


def _merge(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Lower-case the keys. A key given twice holds all of its values, and takes no power away: no reader may hide
    an `Allow`.
    """
    merged: dict[str, object] = {}
    for key, value in pairs:
        folded = key.lower()
        if folded in merged:
            merged[folded] = _Repeated([*_listed(merged[folded]), *_listed(value)])
        else:
            merged[folded] = value
    return merged


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_merge, strict=False)


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def statements_of(document: dict[str, object]) -> tuple[list[Statement], list[Statement], str | None]:
    allows: list[Statement] = []
    denies: list[Statement] = []
    unread: str | None = None
    for number, raw in enumerate(_listed(document.get("statement")), start=1):
        keys = raw if isinstance(raw, dict) else {}
        effects = {value.lower() if isinstance(value, str) else "?" for value in _listed(keys.get("effect"))}
        statement, whole = _statement(number, keys)
        if "deny" in effects and "allow" not in effects:
            if whole and not isinstance(keys.get("effect"), _Repeated):
                denies.append(statement)
            continue
        if "allow" in effects:
            allows.append(statement if statement.resources_inverted else _completed(statement))
        if not whole or effects != {"allow"}:
            unread = "policy_statement_unreadable"
    if isinstance(document.get("statement"), _Repeated):
        return allows, [], "policy_statement_unreadable"
    return allows, denies, unread


def _completed(allow: Statement) -> Statement:
    """An ARN with fewer than six fields has wildcards for the others, save where a `*` already stands for some.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    short = [one for one in allow.resources if one.startswith("arn:") and one.count(":") < 5]
    completed = (one + ":*" * (5 - one.count(":")) for one in short)
    return replace(allow, resources=(*allow.resources, *completed)) if short else allow


def _statement(number: int, keys: dict[str, object]) -> tuple[Statement, bool]:
    """The statement as far as it can be read, and whether all of it could."""
    actions, inverted, actions_whole = _patterns(keys, "action", "notaction")
    resources, resources_inverted, resources_whole = _patterns(keys, "resource", "notresource")
    conditional = "condition" in keys and keys["condition"] != {}
    statement = Statement(number, actions, inverted, resources, resources_inverted, conditional)
    return statement, actions_whole and resources_whole


def _patterns(keys: dict[str, object], plain: str, negated: str) -> tuple[tuple[str, ...], bool, bool]:
    if (plain in keys) == (negated in keys):
        return (), False, False
    inverted = negated in keys
    values = _listed(keys[negated if inverted else plain])
    texts = tuple(dict.fromkeys(value.lower() for value in values if isinstance(value, str)))
    whole = all(isinstance(value, str) for value in values) and not isinstance(values, _Repeated)
    if inverted and not whole:
        return (), False, False  # what an exception spares is unknown
    return texts, inverted, whole
