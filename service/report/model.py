"""What a report tells: findings by event, sessions, principals. Pure, and without a word of HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from service.event import LONGEST_SECONDS
from service.finding import Finding, Severity
from service.report.follow_ups import Calls, Followed, FollowUp

_GRADES: Final = {
    "full_admin": "an inline policy of every action on every resource",
    "broad": "an inline policy of nearly every action on every resource",
    "iam_admin": "an inline policy that can make or widen identities",
    "scoped": "an inline policy of stated actions or resources",
    "no_power": "an inline policy that allows nothing",
    "unknown": "an inline policy that could not be read",
}


@dataclass(slots=True, kw_only=True)
class Occurrence:
    """An event with the findings about it, the worst of them first."""

    anchor: str
    findings: list[Finding]

    @property
    def worst(self) -> Finding:
        return self.findings[0]

    @property
    def alerts(self) -> bool:
        """Whether any of the findings is neither suppressed nor on trial."""
        return any(finding.suppressed_by is None and finding.stage is None for finding in self.findings)


@dataclass(slots=True, kw_only=True)
class Session:
    """A federated session. `events` are those that there is room for, `calls` counts all of them."""

    anchor: str
    key: str
    occurrences: list[Occurrence] = field(default_factory=list)
    events: list[FollowUp] = field(default_factory=list)
    calls: list[tuple[Calls, int]] = field(default_factory=list)

    @property
    def severity(self) -> Severity | None:
        return self.occurrences[0].worst.severity if self.occurrences else None

    @property
    def issuance(self) -> Finding | None:
        found = (occurrence.worst for occurrence in self.occurrences)
        return next((finding for finding in found if finding.event_name == "GetFederationToken"), None)

    @property
    def _teller(self) -> Finding | None:
        return self.issuance or (self.occurrences[0].worst if self.occurrences else None)

    @property
    def arn(self) -> str | None:
        return self._teller.federated_user_arn if self._teller else self.events[0].arn if self.events else None

    @property
    def name(self) -> str | None:
        known = self._teller.federated_user_name if self._teller else None
        return known or (self.arn or "").rpartition("/")[2] or None

    @property
    def access_key_id(self) -> str | None:
        known = self._teller.issued_access_key_id if self._teller else None
        return known or next((event.access_key_id for event in self.events), None)

    @property
    def issuer(self) -> str | None:
        return self._teller.containment_arn if self._teller else None

    @property
    def opened(self) -> str | None:
        return self.issuance.event_time if self.issuance else None

    @property
    def expires(self) -> str | None:
        return self.issuance.expires_at if self.issuance else None

    @property
    def count(self) -> int:
        return sum(count for _, count in self.calls)

    @property
    def times(self) -> list[datetime]:
        texts = [occurrence.worst.event_time for occurrence in self.occurrences]
        return sorted(filter(None, map(moment, [*texts, *(event.time for event in self.events)])))

    @property
    def addresses(self) -> list[str]:
        found = [occurrence.worst.source_ip for occurrence in self.occurrences]
        return _distinct([*found, *(event.source_ip for event in self.events)])

    def may_live(self, now: datetime) -> bool:
        """Where no expiry is known the longest that AWS grants counts, from the earliest that is known of it."""
        expires = moment(self.expires)
        if expires is not None:
            return expires > now
        return bool(self.times) and now - self.times[0] < timedelta(seconds=LONGEST_SECONDS)

    @property
    def power(self) -> list[str] | None:
        """What was asked for; None where its request is not known or could not be read."""
        request = self.issuance
        if request is None or request.inline_policy_grade is None:
            return None
        inline = _GRADES.get(request.inline_policy_grade)
        return [*request.policy_arns, *([inline] if inline else [])]


@dataclass(slots=True, kw_only=True)
class Principal:
    """An identity to act on, with the events that it or its sessions are behind."""

    arn: str | None
    occurrences: list[Occurrence] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    @property
    def worst(self) -> Finding:
        return self.occurrences[0].worst

    @property
    def addresses(self) -> list[str]:
        found = [occurrence.worst.source_ip for occurrence in self.occurrences]
        return _distinct([*found, *(address for session in self.sessions for address in session.addresses)])

    @property
    def seen(self) -> list[str]:
        """The earliest and the latest time of a finding."""
        times = sorted(filter(None, (occurrence.worst.event_time for occurrence in self.occurrences)))
        return _distinct([times[0], times[-1]]) if times else []

    @property
    def requests(self) -> int:
        return sum(found.worst.event_name == "GetFederationToken" for found in self.occurrences)

    @property
    def count(self) -> int:
        return sum(session.count for session in self.sessions)


def worst_first(finding: Finding) -> tuple[bool, int, str]:
    """Suppressed ones and those on trial come last."""
    quiet = finding.suppressed_by is not None or finding.stage is not None
    return quiet, -finding.severity_id, finding.event_time or ""


def occurrences(findings: Iterable[Finding]) -> list[Occurrence]:
    """Worst first."""
    by_event: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=worst_first):
        event = min([finding.finding_id, *finding.related_finding_ids])
        by_event.setdefault(event, []).append(finding)
    return [
        Occurrence(anchor=f"finding-{number}", findings=found)
        for number, found in enumerate(by_event.values(), start=1)
    ]


def sessions(found: Sequence[Occurrence], followed: Followed) -> list[Session]:
    """Worst first; those that only follow-ups tell of come last."""
    by_key: dict[str, Session] = {}

    def session(key: str) -> Session:
        return by_key.setdefault(key, Session(anchor=f"session-{len(by_key) + 1}", key=key))

    for occurrence in found:
        if occurrence.worst.session_key is not None:
            session(occurrence.worst.session_key).occurrences.append(occurrence)
    for event in sorted(followed.events.kept, key=lambda event: event.time or ""):
        session(event.session).events.append(event)
    for calls, count in followed.calls.most_common():
        session(calls.session).calls.append((calls, count))
    return list(by_key.values())


def principals(found: Sequence[Occurrence], of_sessions: Sequence[Session]) -> list[Principal]:
    by_arn: dict[str | None, Principal] = {}
    for occurrence in found:
        arn = occurrence.worst.containment_arn or occurrence.worst.principal_arn
        by_arn.setdefault(arn, Principal(arn=arn)).occurrences.append(occurrence)
    for session in of_sessions:
        if session.issuer in by_arn:
            by_arn[session.issuer].sessions.append(session)
    return list(by_arn.values())


def moment(text: str | None) -> datetime | None:
    """A time as findings write it."""
    return None if text is None else datetime.fromisoformat(text)


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
