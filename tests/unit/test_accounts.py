"""Which of the expected accounts a batch has events of."""

import json
from datetime import UTC, datetime
from time import tzset
from typing import Any

import pytest

from service.accounts import MAX_UNCLEAR, Accounts
from service.detect import Detector
from service.envelopes import Record, unwrap
from service.intake import Intake, Topics
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.rules import RULES
from tests.memory import MemorySink, MemorySource, MemoryTopic

ONE, TWO, THREE = "111122223333", "444455556666", "777788889999"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def record(account: object = ONE, time: object = "2026-01-01T12:00:00Z", **changes: Any) -> dict[str, Any]:
    return {
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "eventTime": time,
        "userIdentity": {"type": "IAMUser", "accountId": THREE},
        "recipientAccountId": account,
        **changes,
    }


def looked(*records: dict[str, Any] | bytes, expected: tuple[str, ...] = (ONE, TWO, THREE)) -> Accounts:
    accounts = Accounts(expected)
    for each in records:
        for part in unwrap(each if isinstance(each, bytes) else json.dumps(each).encode()):
            assert isinstance(part, Record)
            accounts.look(part)
    return accounts


def test_each_expected_account_is_found_with_the_time_of_its_event() -> None:
    accounts = looked(record(ONE), record(TWO, "2026-01-01T12:00:01Z"), record("000000000000"))
    assert accounts.newest == {ONE: NOON, TWO: NOON + 1}
    assert accounts.missing == {THREE}


def test_the_account_is_the_trails_own_and_the_callers_only_where_that_is_not_told() -> None:
    without = record()
    del without["recipientAccountId"]
    assert looked(record(ONE)).newest.keys() == {ONE}
    assert looked(without).newest.keys() == {THREE}


def test_white_space_and_order_of_keys_make_no_difference() -> None:
    spaced = json.dumps(record(), indent=2).encode()
    compact = json.dumps(record(), separators=(",", ":")).encode()
    first = json.dumps({"recipientAccountId": ONE, **record()}).encode()
    for form in (spaced, compact, first):
        assert looked(form).newest == {ONE: NOON}


def test_an_account_that_only_the_text_of_an_event_names_is_not_seen() -> None:
    """An attacker chooses the user agent and the parameters, and may not keep a silenced account alive."""
    said = json.dumps(record(ONE))
    for hidden in (
        record(TWO, userAgent=said),
        record(TWO, requestParameters={"recipientAccountId": ONE}),
        {**record(TWO), "zz": {"recipientAccountId": ONE}},
    ):
        assert looked(hidden).newest.keys() == {TWO}


@pytest.mark.parametrize("time", ["redacted", None, 7, "", "99999-01-01T00:00:00Z", ["2026-01-01T12:00:00Z"]])
def test_an_event_without_a_readable_time_proves_nothing_and_the_next_one_counts(time: object) -> None:
    assert looked(record(ONE, time)).missing == {ONE, TWO, THREE}
    assert looked(record(ONE, time), record(ONE)).newest == {ONE: NOON}


@pytest.mark.parametrize(
    "time", ["2026-01-01 12:00:00", "2026-01-01T12:00:00.000000000", "2026-01-01T13:00:00+01:00"]
)
def test_times_of_other_forms_are_read_and_are_utc_where_no_zone_is_told(
    time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    tzset()
    try:
        assert looked(record(ONE, time)).newest == {ONE: NOON}
    finally:
        monkeypatch.undo()
        tzset()


@pytest.mark.parametrize("account", [None, 111122223333, "1111", "", [ONE], {ONE: ONE}])
def test_an_account_of_a_wrong_form_is_no_account(account: object) -> None:
    assert looked(record(account, userIdentity=None)).newest == {}


def test_records_that_do_not_show_their_account_are_opened_in_bounded_number() -> None:
    unclear = {"eventSource": "a", "eventName": "b"}
    last = record()
    del last["recipientAccountId"]
    assert looked(*[unclear] * (MAX_UNCLEAR - 1), last).newest.keys() == {THREE}
    assert looked(*[unclear] * MAX_UNCLEAR, last).newest == {}
    assert looked(*[unclear] * MAX_UNCLEAR, record()).newest.keys() == {ONE}


def test_what_cannot_be_decoded_is_passed_over() -> None:
    (part,) = unwrap(json.dumps(record()).encode())
    assert isinstance(part, Record)
    broken = Record(part.data[:-9], part.source, part.name, part.envelope)
    accounts = Accounts([ONE])
    accounts.look(broken)
    assert accounts.newest in ({}, {ONE: NOON})  # mended where that is possible
    accounts.look(part)
    assert accounts.newest == {ONE: NOON}


def test_a_batch_counts_for_the_metric_once_it_is_committed() -> None:
    events, findings, dead_letters = MemoryTopic("events"), MemoryTopic("findings"), MemoryTopic("dead-letters")
    metrics = Metrics(RULES, [ONE, TWO])
    pipeline = Pipeline(
        source=MemorySource(events),
        sink=MemorySink(events, [findings, dead_letters]),
        intake=Intake(Detector(RULES), Topics("findings", "dead-letters")),
        observer=metrics,
        max_outputs=5_000,
        commit_seconds=0,
        expected_accounts=[ONE, TWO],
    )

    def newest(account: str) -> float | None:
        name = "tokentrail_account_newest_event_timestamp_seconds"
        return metrics.registry.get_sample_value(name, {"account": account})

    events.append(b"rubbish")
    events.append(json.dumps(record(ONE)).encode())
    dead_letters.reachable = False
    assert pipeline.run_once() == 0
    assert newest(ONE) == 0
    dead_letters.reachable = True
    pipeline.run_once()
    assert pipeline.run_once() == 2
    assert (newest(ONE), newest(TWO)) == (NOON, 0)
