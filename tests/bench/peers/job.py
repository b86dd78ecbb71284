"""The job that every peer does, as far as it is the same for all: what is asked, what is told at the end.

Runs in the peers' environments too, so it imports the standard library only.
"""

import json
import sys
import time
from typing import Any, Final

WATCHED: Final = ("sts.amazonaws.com", "GetFederationToken")


class Job:
    """A topic to be read from its beginning to its last message, by the command line: bootstrap server, topic,
    consumer group, topic for findings, number of messages.
    """

    def __init__(self) -> None:
        self.bootstrap, self.topic, self.group, self.findings, count = sys.argv[1:6]
        self.count = int(count)
        self.seen = 0
        self.found = 0
        self._began = 0.0
        self._ended = 0.0

    def arrived(self, messages: int = 1) -> None:
        """To be called when they are received: the clock starts with the first."""
        if not self.seen:
            self._began = time.perf_counter()
        self.seen += messages

    @property
    def done(self) -> bool:
        """To be asked when all that arrived is dealt with: the clock stops with the last."""
        if self.seen < self.count:
            return False
        self._ended = self._ended or time.perf_counter()
        return True

    def finding(self, record: Any) -> bytes | None:
        """The finding of a decoded record that is watched."""
        if (record.get("eventSource"), record.get("eventName")) != WATCHED:
            return None
        self.found += 1
        names = ("eventID", "eventTime", "eventSource", "eventName", "userIdentity", "requestParameters")
        return json.dumps({name: record.get(name) for name in names}).encode()

    def report(self) -> None:
        result = {"messages": self.seen, "seconds": self._ended - self._began, "found": self.found}
        print(json.dumps(result), flush=True)
