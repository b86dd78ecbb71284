"""A short storm on real workers and brokers, and its control; `make storm` runs a long one."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from tests.storm.feeder import Fed
from tests.storm.report import Result
from tests.storm.run import storm
from tests.storm.stage import Plan
from tests.storm.verifier import Seen, judge

SECONDS = 45


def storm_that_hits(plan: Plan, folder: Path) -> Result:
    """The first storm, of three at most, whose faults hit where it hurts: one that did not proves nothing."""
    result = storm(plan, folder / "first")
    for seed in (plan.seed + 1, plan.seed + 2):
        if result.proves_nothing:
            result = storm(dataclasses.replace(plan, seed=seed), folder / str(seed))
    return result


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kafka_tools")
@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_exactly_once_loses_and_doubles_nothing(protocol: Literal["consumer", "classic"], tmp_path: Path) -> None:
    assert storm_that_hits(Plan(protocol=protocol, seconds=SECONDS), tmp_path).failures() == []


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("kafka_tools")
def test_the_same_storm_shows_doubles_in_at_least_once(tmp_path: Path) -> None:
    result = storm_that_hits(Plan(mode="at-least-once", seconds=SECONDS), tmp_path)
    assert result.failures() == []
    assert result.doubled > 0


def test_the_verdict_names_what_is_missing_and_what_is_there_twice() -> None:
    fed = Fed(findings={"kept": (0, 1), "lost": (0, 2), "doubled": (1, 3)}, dead_letters={(2, 4), (2, 5)})
    seen = Seen()
    seen.findings.update(["kept", "doubled", "doubled", "invented"])
    seen.dead_letters.update([(2, 4), (2, 4)])
    verdict = judge(fed, seen)
    assert verdict.lost == ["lost of (0, 2)"]
    assert verdict.doubled == ["doubled of (1, 3)"]
    assert verdict.unexpected == ["invented"]
    assert verdict.dead_letters_lost == [(2, 5)]
    assert verdict.dead_letters_doubled == [(2, 4)]
