"""The watchdog counts only time in which the brokers answer."""

from dataclasses import dataclass

from service.watchdog import LIMIT_SECONDS, SUSPICIOUS_SECONDS, Watchdog


@dataclass
class World:
    moved_at: float = 0.0
    answers: bool = True
    asked: int = 0

    def brokers_answer(self) -> bool:
        self.asked += 1
        return self.answers

    def watchdog(self) -> Watchdog:
        return Watchdog(lambda: self.moved_at, self.brokers_answer)


def seconds_until_it_fires(watchdog: Watchdog, *, step: float = 5, most: float = 1_000) -> float | None:
    now = 0.0
    while now < most:
        now += step
        if watchdog.observe(now):
            return now
    return None


def test_it_fires_when_the_loop_hangs_and_brokers_answer() -> None:
    world = World()
    fired = seconds_until_it_fires(world.watchdog())
    assert fired is not None
    assert LIMIT_SECONDS <= fired <= LIMIT_SECONDS + SUSPICIOUS_SECONDS + 5


def test_it_never_fires_while_no_broker_answers() -> None:
    world = World(answers=False)
    watchdog = world.watchdog()
    assert seconds_until_it_fires(watchdog, most=10_000) is None
    assert watchdog.stalled_seconds == 0


def test_time_of_an_outage_does_not_count_but_time_before_and_after_does() -> None:
    world = World()
    watchdog = world.watchdog()
    for now in range(5, 65, 5):
        assert not watchdog.observe(now)
    before = watchdog.stalled_seconds
    world.answers = False
    for now in range(65, 3_600, 5):
        assert not watchdog.observe(now)
    assert watchdog.stalled_seconds == before > 0
    world.answers = True
    assert not watchdog.observe(3_600)
    assert any(watchdog.observe(now) for now in range(3_605, 3_605 + int(LIMIT_SECONDS), 5))


def test_a_loop_that_moves_again_starts_from_nothing_and_nobody_is_asked() -> None:
    world = World()
    watchdog = world.watchdog()
    for now in range(5, 105, 5):
        assert not watchdog.observe(now)
    world.moved_at, world.asked = 105, 0
    assert not watchdog.observe(106)
    assert (watchdog.stalled_seconds, world.asked) == (0, 0)


def test_the_clock_may_stand_anywhere_when_it_starts() -> None:
    world = World(moved_at=1_000_000)
    watchdog = world.watchdog()
    assert not watchdog.observe(1_000_000 + SUSPICIOUS_SECONDS + 1)
    assert watchdog.stalled_seconds == 0


def test_a_process_that_was_stopped_for_long_is_not_taken_for_hanging() -> None:
    world = World()
    watchdog = world.watchdog()
    assert not watchdog.observe(5)
    assert not watchdog.observe(100_000)
    world.moved_at = 100_001
    assert not watchdog.observe(100_005)
    assert watchdog.stalled_seconds == 0
