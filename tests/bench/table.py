"""What a bench measured: rows, one value a round, and their table. It knows nothing of what is measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


def markdown(*runs: Sequence[Row]) -> str:
    """A table for each part, in the order of the rows: of one run, or of several taken together."""
    lines: dict[str, list[str]] = {}
    for row in merged(runs):
        against = [ratio for run in runs for its in run if _same(its, row) for ratio in ratios(its, run)]
        lines.setdefault(row.part, []).append(_line(row, against))
    return "\n\n".join("\n".join([f"### {part}", "", _HEAD, *its]) for part, its in lines.items())


def merged(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Each row once, with the values of all runs."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in (row for run in runs for row in run):
        rows.setdefault((row.part, row.name), []).append(row)
    return [
        replace(
            its[0],
            values=tuple(value for row in its for value in row.values),
            note="; ".join(dict.fromkeys(row.note for row in its if row.note)),
        )
        for its in rows.values()
    ]


def _same(row: Row, other: Row) -> bool:
    return (row.part, row.name) == (other.part, other.name)


def ratios(row: Row, rows: Sequence[Row]) -> tuple[float, ...]:
    """The row's values over those of the row it names, of the same round; empty where one has no values."""
    base = next((each for each in rows if each.part == row.part and each.name == row.of), None)
    if base is None or len(base.values) != len(row.values):
        return ()
    return tuple(value / other for value, other in zip(row.values, base.values, strict=True))


def _line(row: Row, against: Sequence[float]) -> str:
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
