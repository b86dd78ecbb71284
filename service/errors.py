"""Every exception Tokentrail raises on purpose.

```
TokentrailError
├── DecodeError          the message is bad: it becomes a dead letter, the stream goes on
├── SettingsError        a setting is wrong: one line each, exit code 2
└── WorldError           the world is bad: nothing is committed
    ├── DeliveryError    findings, dead letters or offsets were not acknowledged: rewind, try again
    │   └── TooLarge     because one was larger than its topic takes: try again with less in it
    ├── SchemaUnavailable  the schema registry does not answer: what waits for it is read again later
    ├── Unreachable      no broker answers: keep trying, stay not ready
    │   └── Untrusted    because a certificate is not accepted, theirs or ours
    └── Refused          login refused, access denied, topic missing: one line, exit code 3
```
"""

from collections.abc import Sequence


class TokentrailError(Exception):
    pass


class DecodeError(TokentrailError):
    """A message, or a part of one, that holds no readable CloudTrail record.

    `reason` is one of `service.envelopes.REASONS`: a metric label, so it never holds event text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SettingsError(TokentrailError):
    """One or more wrong settings; `problems` holds a line for each, naming setting and source, no secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class WorldError(TokentrailError):
    pass


class DeliveryError(WorldError):
    pass


class TooLarge(DeliveryError):
    pass


class SchemaUnavailable(WorldError):
    pass


class Unreachable(WorldError):
    pass


class Untrusted(Unreachable):
    pass


class Refused(WorldError):
    pass
