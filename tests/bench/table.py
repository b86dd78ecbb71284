"""What a bench measured: rows, one value a round, and their table. It knows nothing of what is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

_HEAD: Final = "| | median | min to max | ratio | goal | |\n| --- | ---: | ---: | ---: | ---: | --- |"


@dataclass(frozen=True)
class Scale:
    """How much to measure. `quick` is for seeing that everything works, not for figures; `only` is a regular
    expression that the names of a part's contestants are searched for: the others are left out.
    """

    rounds: int = 3
    quick: bool = False
    seed: int = 0
    only: str = ""


@dataclass(frozen=True)
class Row:
    """`values` has one a round, of `unit`; none where it could not be measured, for which `note` has the reason.

    `of` names the row of the same part that a ratio is taken to, round by round. `goal` is a text to compare with.
    """

    part: str
    name: str
    unit: str
    values: tuple[float, ...]
    of: str | None = None
    goal: str = ""
    note: str = ""


def markdown(rows: Sequence[Row]) -> str:
    """A table for each part, in the order of the rows."""
    parts = dict.fromkeys(row.part for row in rows)
    return "\n\n".join(_table(part, [row for row in rows if row.part == part]) for part in parts)


def ratios(row: Row, rows: Sequence[Row]) -> tuple[float, ...]:
    """The row's values over those of the row it names, of the same round; empty where one has no values."""
    base = next((each for each in rows if each.part == row.part and each.name == row.of), None)
    if base is None or len(base.values) != len(row.values):
        return ()
    return tuple(value / other for value, other in zip(row.values, base.values, strict=True))


def _table(part: str, rows: Sequence[Row]) -> str:
    return "\n".join([f"### {part}", "", _HEAD, *(_line(row, rows) for row in rows)])


def _line(row: Row, rows: Sequence[Row]) -> str:
    against = ratios(row, rows)
    cells = (
        row.name,
        f"{_number(median(row.values))} {row.unit}" if row.values else "not measured",
        f"{_number(min(row.values))} to {_number(max(row.values))}" if len(row.values) > 1 else "",
        f"{median(against):.2f} of {row.of}" if against else "",
        row.goal,
        row.note,
    )
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
