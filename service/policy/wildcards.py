"""Patterns as IAM has them: `*` is any run of characters, `?` any one. Knows nothing of policies."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property


class Patterns:
    """Patterns of which one has to fit. Most are a name, or a beginning and one `*`: these need no regular
    expression, and to make one costs more than all else about a policy.
    """

    def __init__(self, patterns: Iterable[str], *, any_one: str = ".") -> None:
        self._names: set[str] = set()
        self._others: list[str] = []
        self._any_one = any_one
        beginnings, of_others = [], []
        for pattern in patterns:
            beginning, star, rest = pattern.partition("*")
            if "?" in beginning or rest.strip("*"):
                self._others.append(pattern)
                of_others.append(beginning.partition("?")[0])
            elif star:
                beginnings.append(beginning)
            else:
                self._names.add(pattern)
        self._beginnings, self._beginnings_of_others = tuple(beginnings), tuple(of_others)

    def fit(self, text: str) -> bool:
        if text in self._names or text.startswith(self._beginnings):
            return True
        return text.startswith(self._beginnings_of_others) and self._regex.fullmatch(text) is not None

    def among(self, texts: set[str], known: Sequence[str]) -> set[str]:
        """Those of the texts that fit; `known` holds them all, sorted, and maybe more."""
        found = self._names.union(*(_beginning_with(one, known) for one in self._beginnings)) & texts
        if self._others:
            possible = set[str]().union(*(_beginning_with(one, known) for one in set(self._beginnings_of_others)))
            found.update(filter(self._regex.fullmatch, (possible & texts) - found))
        return found

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile("|".join(_regex(pattern, self._any_one) for pattern in self._others), re.DOTALL)


def _beginning_with(beginning: str, known: Sequence[str]) -> Sequence[str]:
    first = bisect_left(known, beginning)
    return known[first : bisect_left(known, f"{beginning}\U0010ffff", first)]


def fits_all(pattern: str, texts: Sequence[str]) -> bool:
    """A text that lacks what stands between the wildcards tells without a regular expression."""
    literals = re.split(r"[*?]+", pattern)
    if any(literal not in text for text in texts for literal in literals):
        return False
    return all(map(Patterns([pattern]).fit, texts))


def _regex(pattern: str, any_one: str) -> str:
    """Atomic groups keep matching linear: the first place where a piece fits is as good as any later one."""
    first, *rest = (re.escape(piece).replace(r"\?", any_one) for piece in re.split(r"\*+", pattern))
    if not rest:
        return first
    return first + "".join(f"(?>.*?{piece})" for piece in rest[:-1]) + ".*" + rest[-1]


def may_begin(pattern: str, beginning: str) -> bool:
    """Whether some text that fits the pattern has this beginning."""
    for one, wanted in zip(pattern, beginning, strict=False):
        if one == "*":
            return True
        if one not in ("?", wanted):
            return False
    return len(pattern) >= len(beginning)


def overlap(one: str, other: str) -> bool:
    """Whether some text fits both patterns.

    A text is spelled out along `one`; `places` are those in `other` where it may have come to meanwhile, as the
    bits of a number: a pattern as long as a policy has thousands of them.
    """
    if _clash(one, other) or _clash(one[::-1], other[::-1]):
        return False
    other = re.sub(r"\*+", "*", other)
    bits = dict.fromkeys(f"{other}*?", 0)
    for place, char in enumerate(other):
        bits[char] |= 1 << place
    stars, end = bits["*"], 1 << len(other)
    places = 1 | (stars & 1) << 1  # a `*` may stand for nothing
    for char in one:
        if char == "*":
            places = -(places & -places)  # the first of them, and all that follow
        else:
            fitting = -1 if char == "?" else bits.get(char, 0) | bits["?"]
            places = (places & fitting) << 1 | (places & stars)
            places |= (places & stars) << 1
    return places & end != 0


def _clash(one: str, other: str) -> bool:
    """Whether the patterns differ before either has a wildcard."""
    for pair in zip(one, other, strict=False):
        if "*" in pair or "?" in pair:
            return False
        if pair[0] != pair[1]:
            return True
    return False
