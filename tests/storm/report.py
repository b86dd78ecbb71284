"""What a run gave: its verdict as a table for people and a JSON line for comparing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.storm.stage import Plan
from tests.storm.verifier import Verdict


@dataclass
class Result:
    plan: Plan
    fed: int
    findings_expected: int
    dead_letters_expected: int
    verdict: Verdict
    out_of_order: int
    aborted: int  # messages of aborted transactions, in the topics written
    drain_seconds: float | None  # None: events were left unread
    longest_gap_seconds: float  # without any output
    sigterm_seconds: float  # the longest from SIGTERM to the end
    batches_given_up: int
    recoveries: int
    rebalances: dict[str, int]
    worker_problems: list[str]  # ended by themselves, or not as they should after SIGTERM
    faults: dict[str, int] = field(default_factory=dict)
    broker_recovery_seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def doubled(self) -> int:
        return len(self.verdict.doubled) + len(self.verdict.dead_letters_doubled)

    def failures(self) -> list[str]:
        """Why the run does not prove what it should; empty when it does."""
        verdict = self.verdict
        found = [*self.problems, *self.worker_problems]
        if self.drain_seconds is None:
            found.append("events were left unread long after the last fault")
        wrong: dict[str, Sequence[object]] = {
            "findings lost": verdict.lost,
            "findings that nothing gave": verdict.unexpected,
            "dead letters lost": verdict.dead_letters_lost,
        }
        found += [f"{len(which)} {what}: {which[:3]}" for what, which in wrong.items() if which]
        if self.plan.mode == "exactly-once":
            found += self._exactly_once()
        return found + ([self.proves_nothing] if self.proves_nothing else [])

    @property
    def proves_nothing(self) -> str | None:
        """Why the faults missed what they should hit; None when they did not."""
        if self.faults and self.plan.mode == "exactly-once" and not self.aborted:
            return "the faults hit no transaction: the run proves nothing"
        if self.faults and self.plan.mode == "at-least-once" and not self.doubled:
            return "at-least-once doubled nothing: the storm proves nothing"
        return None

    def _exactly_once(self) -> list[str]:
        found = []
        if self.doubled:
            examples = [*self.verdict.doubled[:3], *self.verdict.dead_letters_doubled[:3]]
            found.append(f"{self.doubled} doubled: {examples}")
        if self.out_of_order:
            found.append(f"{self.out_of_order} findings out of order")
        return found

    def row(self) -> dict[str, object]:
        """Flat but for the faults; lists of what went wrong are cut."""
        verdict = self.verdict
        return {
            **asdict(self.plan),
            "faults": self.faults,
            "fed": self.fed,
            "findings_expected": self.findings_expected,
            "findings_lost": len(verdict.lost),
            "findings_doubled": len(verdict.doubled),
            "findings_unexpected": len(verdict.unexpected),
            "out_of_order": self.out_of_order,
            "dead_letters_expected": self.dead_letters_expected,
            "dead_letters_lost": len(verdict.dead_letters_lost),
            "dead_letters_doubled": len(verdict.dead_letters_doubled),
            "aborted_seen": self.aborted,
            "batches_given_up": self.batches_given_up,
            "recoveries": self.recoveries,
            "rebalances": self.rebalances,
            "longest_gap_seconds": round(self.longest_gap_seconds, 1),
            "broker_recovery_seconds": self.broker_recovery_seconds,
            "drain_seconds": None if self.drain_seconds is None else round(self.drain_seconds, 1),
            "sigterm_max_seconds": round(self.sigterm_seconds, 1),
            "workers_ended_badly": len(self.worker_problems),
            "failures": self.failures(),
        }


def table(results: Sequence[Result]) -> str:
    """A column for each run."""
    rows = [result.row() for result in results]
    kinds = sorted({kind for result in results for kind in result.faults})
    lines = []
    for name in rows[0]:
        if name == "faults":
            lines += [_line(f"  {kind}", [result.faults.get(kind, 0) for result in results]) for kind in kinds]
        elif name != "failures":
            lines.append(_line(name, [_short(row[name]) for row in rows]))
    return "\n".join(lines)


def _line(name: str, values: Sequence[object]) -> str:
    return f"{name:26}" + "".join(f"{value!s:>24}" for value in values)


def _short(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(str(item) for item in value.values())
    if isinstance(value, list):
        return f"{len(value)}, at most {max(value)}" if value else "none"
    return value


def save(result: Result, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(result.row()) + "\n")
