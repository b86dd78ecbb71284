"""The foremost of many, in bounded memory. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Shortlist(Generic[T]):
    """Of all that was added the first `most` by `order`; the others are only counted.

    `order` is a function of a module where lists travel between processes.
    """

    most: int
    order: Callable[[T], Any]
    added: int = 0
    _kept: list[T] = field(default_factory=list)

    def add(self, items: Iterable[T]) -> None:
        for item in items:
            self.added += 1
            self._kept.append(item)
            if len(self._kept) >= 2 * self.most:
                self._cut()

    def merge(self, other: "Shortlist[T]") -> None:
        left_out = other.added - len(other.kept)
        self.add(other.kept)
        self.added += left_out

    @property
    def kept(self) -> list[T]:
        self._cut()
        return self._kept

    @property
    def left_out(self) -> int:
        return self.added - len(self.kept)

    def _cut(self) -> None:
        self._kept.sort(key=self.order)
        del self._kept[self.most :]
