"""What issued sessions did, found in the same files: a second reading, of the records that name a session.

Knows files and events; neither rules nor how anything is shown.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec

from service.envelopes import Record, load
from service.errors import DecodeError
from service.event import Event, Outcome, bounded
from service.files import STANDARD_INPUT, FileRead, each, told_to_end
from service.finding import Finding, bounded_record, session_key
from service.scan import parts
from service.shortlist import Shortlist
from service.timestamps import rfc3339

MAX_SOUGHT: Final = 1_000
MAX_SHOWN: Final = 1_000
MAX_CALLS: Final = 2_000  # kinds of them
OTHERS: Final = "other calls"
_MAX_PARAMETERS: Final = 400
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
_KEY: Final = re.compile(rb"ASIA[A-Z0-9]{12,124}")
# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html; some writers escape the slash
_USER: Final = re.compile(rb"federated-user\\*/([\w+=,.@-]{2,32})", re.ASCII)
_FEDERATED_ARN: Final = re.compile(r"arn:[^:]*:sts::[^:]*:federated-user/[\w+=,.@-]{2,32}", re.ASCII)


class Sought(msgspec.Struct, frozen=True):
    """Access keys that were issued, and ARNs of federated users with their names.

    `left_out` is how many are not looked for: too many, or not what AWS would issue (made unreadable, say, by
    whoever shared the files), so that one could stand for many.
    """

    keys: frozenset[str]
    arns: frozenset[str]
    names: frozenset[str]
    left_out: int = 0


class FollowUp(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a session, which is told by its session_key, or by its ARN where the record has no key."""

    session: str
    access_key_id: str | None
    arn: str | None
    time: str | None
    call: str
    outcome: Outcome
    error_code: str | None
    read_only: bool  # False where the record does not say
    source_ip: str | None
    user_agent: str | None
    region: str | None
    event_id: str | None
    parameters: str | None  # of the request, as JSON, cut


class Calls(msgspec.Struct, frozen=True):
    """A kind of call that a session made."""

    session: str
    call: str
    error_code: str | None


def _changes_first(follow_up: FollowUp) -> tuple[bool, str]:
    """What a session changed must not be pushed out by what it read: an attacker could read a lot."""
    return follow_up.read_only, follow_up.time or ""


def _event(follow_up: FollowUp) -> str | FollowUp:
    return follow_up.event_id or follow_up


@dataclass(slots=True)
class Followed:
    """`calls` counts every event, also those that `events` has no room for; a repeat in the files counts again."""

    events: Shortlist[FollowUp] = field(default_factory=lambda: Shortlist(MAX_SHOWN, _changes_first, _event))
    calls: Counter[Calls] = field(default_factory=Counter)

    def add(self, follow_up: FollowUp) -> None:
        self.events.add((follow_up,))
        self._count(Calls(follow_up.session, follow_up.call, follow_up.error_code), 1)

    def merge(self, other: "Followed") -> None:
        self.events.merge(other.events)
        for calls, count in other.calls.items():
            self._count(calls, count)

    def _count(self, calls: Calls, count: int) -> None:
        if calls not in self.calls and len(self.calls) >= MAX_CALLS:
            calls = Calls(calls.session, OTHERS, None)
        self.calls[calls] += count


def sought_of(findings: Iterable[Finding]) -> Sought:
    """The sessions that findings tell of, the foremost where there are too many."""
    told = [(finding.issued_access_key_id, finding.federated_user_arn) for finding in findings]
    all_keys = {key: None for key, _ in told if key}
    all_names = {arn: arn.rpartition("/")[2] for _, arn in told if arn}
    keys = [key for key in all_keys if _KEY.fullmatch(key.encode())][:MAX_SOUGHT]
    arns = [arn for arn in all_names if _FEDERATED_ARN.fullmatch(arn)][:MAX_SOUGHT]
    return Sought(
        keys=frozenset(keys),
        arns=frozenset(arns),
        names=frozenset(all_names[arn] for arn in arns),
        left_out=len(all_keys) - len(keys) + len(all_names) - len(arns),
    )


def follow_ups(files: Sequence[str], sought: Sought, processes: int | None = None) -> Iterator[Followed]:
    """What each file tells of the sessions; standard input, which was read already, tells nothing."""
    again = [file for file in files if file != STANDARD_INPUT]
    if again and (sought.keys or sought.arns):
        yield from each(again, partial(_of_file, sought=sought), processes)


def _of_file(file: str, sought: Sought) -> Followed:
    followed = Followed()
    with suppress(RecursionError):  # the first reading told of it
        for part in parts(file, FileRead(file)):
            if told_to_end.is_set():
                break
            if isinstance(part, Record) and _may_tell(part.data, sought):
                with suppress(DecodeError):
                    follow_up = _follow_up(load(part), sought)
                    if follow_up is not None:
                        followed.add(follow_up)
    return followed


def _may_tell(data: bytes, sought: Sought) -> bool:
    """Whether the record holds a key or a name; cheap, since nearly every record holds none."""
    return (b"ASIA" in data and any(key.decode() in sought.keys for key in _KEY.findall(data))) or (
        b"federated-user" in data and any(name.decode() in sought.names for name in _USER.findall(data))
    )


def _follow_up(record: dict[str, object], sought: Sought) -> FollowUp | None:
    event = Event(record)
    key, arn = event.text("userIdentity", "accessKeyId"), event.principal_arn
    if key not in sought.keys and arn not in sought.arns:
        return None
    return FollowUp(
        session=session_key(key) or str(arn),
        access_key_id=key,
        arn=arn,
        time=rfc3339(event.time),
        call=_call(event),
        outcome=event.outcome,
        error_code=event.text("errorCode"),
        read_only=event.record.get("readOnly") in (True, "true"),
        source_ip=event.text("sourceIPAddress"),
        user_agent=event.text("userAgent"),
        region=event.text("awsRegion"),
        event_id=event.text("eventID"),
        parameters=_parameters(event),
    )


def _call(event: Event) -> str:
    """`iam:CreateUser`, as policies write it."""
    source = (event.text("eventSource") or "unknown service").removesuffix(".amazonaws.com")
    return bounded(f"{source}:{event.text('eventName') or 'unknown call'}", 200)


def _parameters(event: Event) -> str | None:
    parameters = event.record.get("requestParameters")
    if not isinstance(parameters, dict) or not parameters:
        return None
    return bounded(json.dumps(bounded_record(parameters), ensure_ascii=False, default=str), _MAX_PARAMETERS)
