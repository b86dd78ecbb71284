"""Every exception Tokentrail raises on purpose, and what follows from each.

```
TokentrailError          exit code 1
├── DecodeError          the message is bad: it becomes a dead letter, the stream goes on
├── SettingsError        a setting is wrong: one line each, exit code 2
└── WorldError           the world is bad: nothing is committed
    ├── DeliveryError    findings, dead letters or offsets were not acknowledged: rewind, try again
    │   └── TooLarge     because one was larger than its topic takes: try again with less in it
    ├── SchemaUnavailable  the schema registry does not answer: what waits for it is read again later
    ├── Unreachable      no broker answers: keep trying, stay not ready; exit code 3 of what does not wait
    │   └── Untrusted    because a certificate is not accepted, theirs or ours
    └── Refused          login refused, access denied, topic missing: one line, exit code 3
```

Signals that never leave those who asked: `inflate.Bomb`, `bulk.Unusual`, `avro.schema.UnusableSchema`.
"""

from collections.abc import Sequence
from typing import ClassVar


class TokentrailError(Exception):
    """`exit_code` is that of a command which it ends."""

    exit_code: ClassVar[int] = 1

    @property
    def problems(self) -> Sequence[str]:
        """A line for people for each thing that is wrong."""
        return (str(self),)


class DecodeError(TokentrailError):
    """A message, or a part of one, that holds no readable CloudTrail record.

    `reason` is one of `service.envelopes.REASONS`: a metric label, so it never holds event text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SettingsError(TokentrailError):
    """One or more wrong settings; each problem names setting and source, and no secret."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self._problems = tuple(problems)

    @property
    def problems(self) -> Sequence[str]:
        return self._problems


class WorldError(TokentrailError):
    """Brokers, the registry or the machine do not do what is asked of them."""


class DeliveryError(WorldError):
    """Nothing of the batch was committed, or nobody knows whether it was."""


class TooLarge(DeliveryError):
    """A topic takes no message, or no batch, of that size."""


class SchemaUnavailable(WorldError):
    """A schema cannot be had at the moment."""


class Unreachable(WorldError):
    """Nobody answers; waiting may help."""

    exit_code = 3


class Untrusted(Unreachable):
    """The other side, or ours, is not who its certificate says; a new one helps."""


class Refused(WorldError):
    """What no waiting changes: a login, an access right, a name."""

    exit_code = 3
