"""What the client's own statistics tell of one topic, and of the way to the brokers.

https://github.com/confluentinc/librdkafka/blob/master/STATISTICS.md
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from service.batch import Place

FRESH_SECONDS: Final = 2.0  # they are made every second


class Statistics:
    """Noted by the thread that polls; read by any."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._partitions: dict[Place, dict[str, Any]] = {}
        self._was_up = True
        self.connected = True  # to any broker
        self.steady = False  # a member of the group, even with no partition

    def note(self, text: str, assigned: Collection[Place], now: float) -> None:
        """`now` is in seconds since 1970."""
        found = json.loads(text)
        group = found.get("cgrp", {})
        self.steady = group.get("state") == "up" and group.get("join_state") == "steady"
        partitions = found.get("topics", {}).get(self._topic, {}).get("partitions", {})
        self._partitions = {
            place: numbers
            for number, numbers in partitions.items()
            if (place := (self._topic, int(number))) in assigned
        }
        # What came while a call blocked tells of the past; a login on its way looks, once, like no connection.
        if now - found["time"] <= FRESH_SECONDS:
            up = any(broker["state"] == "UP" for broker in found["brokers"].values())
            self.connected, self._was_up = up or self._was_up, up

    def forget(self, place: Place) -> None:
        self._partitions.pop(place, None)

    def lags(self, committed: Mapping[Place, int], *, handed_out: bool) -> dict[Place, int]:
        """Messages below the last stable offset that are not committed yet.

        A transactional upstream leaves markers, which take offsets too: a partition read to its end lags by
        nothing, whatever the numbers say, unless messages were `handed_out` that are not committed.
        """
        lags: dict[Place, int] = {}
        for place, numbers in list(self._partitions.items()):
            stable = numbers["ls_offset"]
            done = committed.get(place, numbers["committed_offset"])
            if done < 0 or stable < 0:
                continue
            at_end = numbers["fetchq_cnt"] == 0 and numbers["next_offset"] >= stable
            lags[place] = 0 if at_end and not handed_out else max(0, stable - done)
        return lags
