"""The canary's mark: what makes one believed, and that none hides anything real."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from service import canary
from service.canary import ACCOUNT, HEADER, IDENTITY, MAX_SEEN, Canary, MarkResult, attack, mark_of, seal
from service.detect import Detector
from service.errors import SettingsError
from service.intake import Intake, Topics
from service.metrics import Metrics
from service.pipeline import Pipeline
from service.rules import RULES
from service.settings import load
from tests.memory import MemorySink, MemorySource, MemoryTopic
from tests.program import in_process
from tests.unit.strategies import asking

KEY = "0123456789abcdef0123456789abcdef"
TOPIC = "events"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VALUE = attack("canary-1", NOW)
RECORD: dict[str, Any] = json.loads(VALUE)
MARK = seal(KEY, TOPIC, VALUE, NOW)


def verify(**changes: Any) -> MarkResult:
    """What is made of a good mark in which, or around which, something is changed."""
    given = {"key": KEY, "topic": TOPIC, "mark": MARK, "value": VALUE, "record": RECORD, "now": NOW, **changes}
    return Canary(given["key"], given["topic"]).verify(
        given["mark"], given["value"], given["record"], given["now"]
    )


# --- the mark ------------------------------------------------------------------------------------


def test_a_good_mark_is_accepted() -> None:
    assert verify() == "accepted"


@pytest.mark.parametrize(
    "changes",
    [
        {"key": KEY[::-1]},
        {"topic": "other-events"},
        {"value": VALUE + b" "},
        {"mark": seal(KEY, TOPIC, VALUE + b" ", NOW)},
        {"mark": MARK.replace(b"v1", b"v2")},
        {"mark": MARK + b"\n"},
        {"mark": MARK.upper()},
        {"mark": MARK[:-1]},
        {"mark": MARK.replace(b"%d" % NOW.timestamp(), b"%d" % (NOW.timestamp() + 1))},
        {"mark": MARK.replace(b"%d" % NOW.timestamp(), b"0%d" % NOW.timestamp())},
        {"mark": MARK.replace(b"%d" % NOW.timestamp(), b"9" * 5_000)},
        {"mark": b""},
        {"mark": b"\xff\x00"},
    ],
)
def test_a_mark_of_another_key_topic_time_or_message_is_wrong(changes: Mapping[str, Any]) -> None:
    assert verify(**changes) == "wrong_mark"


def test_every_bit_of_the_mark_counts() -> None:
    flipped = [bytes([*MARK[:at], MARK[at] ^ 1, *MARK[at + 1 :]]) for at in range(len(MARK))]
    assert {verify(mark=mark) for mark in flipped} == {"wrong_mark"}


@pytest.mark.parametrize(
    ("seconds", "result"),
    [(-61, "expired"), (-60, "accepted"), (300, "accepted"), (301, "expired"), (10**9, "expired")],
)
def test_a_mark_is_good_for_five_minutes_and_a_minute_of_wrong_clocks(seconds: int, result: MarkResult) -> None:
    assert verify(now=NOW + timedelta(seconds=seconds)) == result


def test_without_a_key_no_mark_is_believed() -> None:
    assert verify(key=None) == "no_key"


def sealed(**changes: object) -> MarkResult:
    """Of a record other than the canary's, whose mark is good: whoever has the key made it."""
    record = {**RECORD, **changes}
    value = json.dumps(record).encode()
    return verify(record=record, value=value, mark=seal(KEY, TOPIC, value, NOW))


@pytest.mark.parametrize(
    "changes",
    [
        {"recipientAccountId": "111122223333"},
        {"recipientAccountId": None},
        {"recipientAccountId": int(ACCOUNT)},
        {"userIdentity": {**IDENTITY, "accountId": "111122223333"}},
        {"userIdentity": {**IDENTITY, "arn": "arn:aws:iam::111122223333:user/a"}},
        {"userIdentity": {**IDENTITY, "sessionContext": {"sessionIssuer": {"arn": "arn:aws:iam::1:user/a"}}}},
        {"userIdentity": None},
        {"eventID": "11111111-2222-3333-4444-555555555555"},
        {"eventID": None},
        {"eventID": ["canary-1"]},
    ],
)
def test_even_the_key_hides_no_real_event(changes: dict[str, object]) -> None:
    """Another account, another identity, or an id that a real finding could have: no canary."""
    assert sealed() == "accepted"
    assert sealed(**changes) == "not_canary"


def test_a_mark_is_accepted_once() -> None:
    """As long as it is remembered, which takes bounded memory."""
    judge = Canary(KEY, TOPIC)
    assert judge.verify(MARK, VALUE, RECORD, NOW) == "accepted"
    assert judge.verify(MARK, VALUE, RECORD, NOW) == "accepted"  # its finding may have to be delivered again
    judge.remember([MARK])
    assert judge.verify(MARK, VALUE, RECORD, NOW) == "replayed"
    judge.remember(b"%d" % number for number in range(MAX_SEEN - 1))
    assert judge.verify(MARK, VALUE, RECORD, NOW) == "replayed"
    judge.remember([b"one more"])
    assert judge.verify(MARK, VALUE, RECORD, NOW) == "accepted"


def test_the_mark_is_found_among_other_headers() -> None:
    assert mark_of([("a", b"b"), (HEADER, MARK), (HEADER, b"second")]) == MARK
    assert mark_of(None) is None
    assert mark_of([("a", None)]) is None


def test_the_attack_is_found_and_says_what_it_is() -> None:
    """Critical, with every field read; of a documentation network; its names say canary."""
    findings = {each.rule_id: each for each in Detector(RULES).detect_record(RECORD).findings}
    worst = findings["sts-federation-token-suspicious"]
    assert (worst.severity, worst.not_evaluable, worst.outcome) == ("critical", [], "success")
    assert set(worst.clauses) == {"duration-over-24h", "inline-policy-full-admin"}
    assert (worst.account_id, worst.containment_arn, worst.event_id) == (ACCOUNT, IDENTITY["arn"], "canary-1")
    assert (worst.event_time, worst.expires_at) == ("2026-01-02T03:04:05Z", "2026-01-03T15:04:05Z")
    for name in (worst.principal_name, worst.federated_user_name, worst.user_agent):
        assert name is not None
        assert "canary" in name


# --- in the pipeline -----------------------------------------------------------------------------


class World:
    """A pipeline between topics in memory that has the key; `now` can be set."""

    def __init__(self) -> None:
        self.now = NOW
        self.events = MemoryTopic(TOPIC)
        self.findings, self.dead_letters = MemoryTopic("findings"), MemoryTopic("dead-letters")
        self.metrics = Metrics(RULES)
        self.pipeline = Pipeline(
            source=MemorySource(self.events),
            sink=MemorySink(self.events, [self.findings, self.dead_letters]),
            intake=Intake(
                Detector(RULES),
                Topics("findings", "dead-letters"),
                clock=lambda: self.now,
                canary=Canary(KEY, TOPIC),
            ),
            observer=self.metrics,
            max_outputs=5_000,
            commit_seconds=0,
        )

    def count(self, metric: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"tokentrail_{metric}", labels)

    def believed(self) -> list[tuple[bool, bytes | None]]:
        """Of each finding of the strongest rule: its field `canary`, and its header."""
        found = []
        for message in self.findings.messages:
            headers = dict(message.headers() or [])
            if headers["rule_id"] == b"sts-federation-token-suspicious":
                found.append((json.loads(message.value() or b"")["canary"], headers.get("canary")))
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_the_canarys_findings_say_so_and_are_counted_apart(world: World) -> None:
    world.events.append(VALUE, headers=[(HEADER, MARK)])
    assert world.count("canary_last_success_timestamp_seconds") == 0
    world.pipeline.run_once()
    assert world.believed() == [(True, b"true")]
    assert world.count("canaries_total", result="accepted") == 1
    assert (world.count("canary_last_success_timestamp_seconds") or 0) > 0
    severe = {"rule": "sts-federation-token-suspicious", "severity": "critical", "outcome": "success"}
    assert world.count("findings_total", **severe) == 0
    assert world.count("detection_latency_seconds_count") == 0
    assert world.count("messages_total") == 1


def test_a_real_attack_with_a_canarys_mark_is_a_real_attack(world: World) -> None:
    real = json.dumps(asking(durationSeconds=129_600)).encode()
    world.events.append(real, headers=[(HEADER, MARK)])
    world.events.append(real, headers=[(HEADER, seal(KEY, TOPIC, real, NOW))])
    world.pipeline.run_once()
    assert world.believed() == [(False, None)] * 2
    assert world.count("canaries_total", result="wrong_mark") == 1
    assert world.count("canaries_total", result="not_canary") == 1
    assert world.count("canary_last_success_timestamp_seconds") == 0


def test_an_unmarked_canary_is_an_ordinary_event(world: World) -> None:
    world.events.append(VALUE)
    world.pipeline.run_once()
    assert world.believed() == [(False, None)]
    assert {world.count("canaries_total", result=result) for result in get_args(MarkResult)} == {0}


@pytest.mark.parametrize("batches", [1, 2])
def test_a_copy_is_an_ordinary_event(world: World, batches: int) -> None:
    """In the same batch as in a later one."""
    world.events.append(VALUE, headers=[(HEADER, MARK)])
    if batches == 2:
        world.pipeline.run_once()
    world.events.append(VALUE, headers=[(HEADER, MARK)])
    world.pipeline.run_once()
    assert world.believed() == [(True, b"true"), (False, None)]
    assert world.count("canaries_total", result="replayed") == 1


def test_only_one_record_of_a_marked_message_can_be_a_canary(world: World) -> None:
    value = b'{"Records": [%s, %s]}' % (VALUE, attack("canary-2", NOW))
    world.events.append(value, headers=[(HEADER, seal(KEY, TOPIC, value, NOW))])
    world.pipeline.run_once()
    assert world.believed() == [(True, b"true"), (False, None)]


def test_a_canary_that_has_to_be_delivered_again_is_no_copy(world: World) -> None:
    world.events.append(VALUE, headers=[(HEADER, MARK)])
    world.findings.reachable = False
    world.pipeline.run_once()
    assert world.count("canaries_total", result="accepted") == 0
    assert world.count("canary_last_success_timestamp_seconds") == 0
    world.findings.reachable = True
    world.pipeline.run_once()
    world.pipeline.run_once()
    assert world.believed() == [(True, b"true")]


# --- the setting, the command --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["short", KEY[:-1], ""])
def test_a_key_that_could_be_guessed_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {"TOKENTRAIL_CANARY__KEY": key})
    (problem,) = caught.value.problems
    assert problem.startswith("canary.key: must ")
    assert not key or key not in problem


def test_the_command_needs_a_key() -> None:
    with pytest.raises(SettingsError, match=r"canary\.key is required: set TOKENTRAIL_CANARY__KEY"):
        in_process("canary", "--bootstrap-servers", "127.0.0.1:1")


def test_the_key_is_in_no_text_of_the_settings() -> None:
    settings = load({}, {"TOKENTRAIL_CANARY__KEY": KEY})
    assert settings.canary.key is not None
    assert KEY not in repr(settings) + str(settings.model_dump_json())
    assert canary.MAX_AGE_SECONDS == 300
