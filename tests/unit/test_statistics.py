"""What the client's statistics are taken to mean."""

import json

import pytest

from service.batch import Place
from service.kafka.statistics import FRESH_SECONDS, Statistics

NOW = 1_700_000_000.0
FIRST: Place = ("events", 0)


def noted(statistics: Statistics, *states: str, at: float = NOW) -> bool:
    brokers = {str(number): {"state": state} for number, state in enumerate(states)}
    statistics.note(json.dumps({"time": at, "brokers": brokers}), [FIRST], NOW)
    return statistics.connected


def with_partition(**numbers: int) -> Statistics:
    """Ten messages, all read, none committed, but for what is given."""
    partition = {"ls_offset": 10, "committed_offset": 0, "fetchq_cnt": 0, "next_offset": 10, **numbers}
    partitions = {"0": partition, "1": partition, "-1": partition}
    topics = {"events": {"partitions": partitions}, "another": {"partitions": partitions}}
    statistics = Statistics("events")
    statistics.note(json.dumps({"time": NOW, "brokers": {}, "topics": topics}), [FIRST], NOW)
    return statistics


def test_no_connection_is_told_when_it_is_seen_twice_and_its_end_at_once() -> None:
    """A login that is renewed looks like no connection for a moment."""
    statistics = Statistics("events")
    assert noted(statistics, "UP", "DOWN")
    assert noted(statistics, "AUTH_REQ", "DOWN")
    assert noted(statistics, "UP", "DOWN")
    assert noted(statistics, "TRY_CONNECT", "DOWN")
    assert not noted(statistics, "TRY_CONNECT", "DOWN")
    assert not noted(statistics, "CONNECT")
    assert noted(statistics, "CONNECT", "UP")


def test_statistics_that_waited_while_a_call_blocked_tell_nothing_of_the_connection() -> None:
    statistics = Statistics("events")
    for age in (30, 20, 10, FRESH_SECONDS + 0.1):
        assert noted(statistics, "DOWN", at=NOW - age)
    assert noted(statistics, "UP")


@pytest.mark.parametrize(
    ("state", "join_state", "steady"),
    [("up", "steady", True), ("up", "init", False), ("wait-coord", "steady", False)],
)
def test_a_member_is_steady_with_no_partition_too(*, state: str, join_state: str, steady: bool) -> None:
    statistics = Statistics("events")
    group = {"state": state, "join_state": join_state}
    statistics.note(json.dumps({"time": NOW, "brokers": {}, "cgrp": group}), [], NOW)
    assert statistics.steady is steady


@pytest.mark.parametrize(
    ("numbers", "committed", "lag"),
    [
        ({"fetchq_cnt": 3}, {}, 10),
        ({"fetchq_cnt": 3}, {FIRST: 4}, 6),
        ({"fetchq_cnt": 3, "committed_offset": 7}, {}, 3),
        ({"next_offset": 9}, {FIRST: 8}, 2),
        ({}, {FIRST: 8}, 0),  # two markers of a transaction
        ({"fetchq_cnt": 3}, {FIRST: 12}, 0),
    ],
)
def test_lag_is_what_is_not_committed_and_nothing_at_the_end(
    numbers: dict[str, int], committed: dict[Place, int], lag: int
) -> None:
    assert with_partition(**numbers).lags(committed, handed_out=False) == {FIRST: lag}


def test_at_the_end_what_was_handed_out_lags_until_it_is_committed() -> None:
    assert with_partition().lags({FIRST: 8}, handed_out=True) == {FIRST: 2}


@pytest.mark.parametrize("numbers", [{"committed_offset": -1001}, {"ls_offset": -1}])
def test_what_is_not_known_yet_is_no_lag(numbers: dict[str, int]) -> None:
    assert with_partition(**numbers).lags({}, handed_out=False) == {}


def test_a_partition_that_went_is_forgotten() -> None:
    statistics = with_partition()
    statistics.forget(FIRST)
    assert statistics.lags({}, handed_out=False) == {}
