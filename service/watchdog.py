"""Ends a process that hangs though the brokers are well, and only then.

Client calls can hang for good after a broker's crash. But an outage looks the same from inside, and a restart
cures no outage: so only time in which a second client gets an answer is counted.
"""

from collections.abc import Callable
from typing import Final

LIMIT_SECONDS: Final = 120.0
SUSPICIOUS_SECONDS: Final = 10.0
# More between two calls means that this process itself stood still (SIGSTOP, a paused machine).
MAX_STEP_SECONDS: Final = 15.0


class Watchdog:
    """`observe` is called every few seconds, by one thread; `stalled_seconds` may be read by any."""

    def __init__(self, moved_at: Callable[[], float], brokers_answer: Callable[[], bool]) -> None:
        """`moved_at` says when the watched loop last moved, by the clock that `observe` is given."""
        self._moved_at = moved_at
        self._brokers_answer = brokers_answer
        self._seen: float | None = None
        self.stalled_seconds = 0.0

    def observe(self, now: float) -> bool:
        """Count the time since the last call. Returns whether the limit is reached."""
        elapsed, self._seen = min(now - (self._seen or now), MAX_STEP_SECONDS), now
        if now - self._moved_at() < SUSPICIOUS_SECONDS:
            self.stalled_seconds = 0.0
        elif self._brokers_answer():
            self.stalled_seconds += elapsed
        return self.stalled_seconds >= LIMIT_SECONDS
