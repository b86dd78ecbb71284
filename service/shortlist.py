"""The foremost of many, in bounded memory. Pure."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Shortlist(Generic[T]):
    """Of all that was added the first `most` by `order`; the others are only counted.

    What has the same `identity` as one that is kept is left aside, uncounted. Both functions are those of a module
    where lists travel between processes.
    """

    most: int
    order: Callable[[T], Any]
    identity: Callable[[T], Hashable]
    added: int = 0
    _kept: dict[Hashable, T] = field(default_factory=dict)

    def add(self, items: Iterable[T]) -> list[T]:
        """Returns those that were not left aside."""
        new = []
        for item in items:
            identity = self.identity(item)
            if identity not in self._kept:
                self._kept[identity] = item
                new.append(item)
                if len(self._kept) >= 2 * self.most:
                    self._cut()
        self.added += len(new)
        return new

    def merge(self, other: "Shortlist[T]") -> None:
        left_out = other.left_out
        self.add(other.kept)
        self.added += left_out

    @property
    def kept(self) -> list[T]:
        self._cut()
        return list(self._kept.values())

    @property
    def left_out(self) -> int:
        return self.added - len(self.kept)

    def _cut(self) -> None:
        foremost = sorted(self._kept.values(), key=self.order)[: self.most]
        self._kept = {self.identity(item): item for item in foremost}
