"""Where everything stands in the drawing of a report's time line. Pure geometry, in units of the drawing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from service.finding import Severity
from service.report.model import Occurrence, Session, moment

MAX_LANES: Final = 40
WIDTH: Final = 1120
LEFT: Final = 235  # the lanes' names stand left of it
RIGHT: Final = 970  # and what happens later right of it
HEAD: Final = 34
LANE: Final = 46
_FIRST_YEAR: Final = 2006  # AWS is no older: an event of before has a made-up time
_MOST_TICKS: Final = 8
_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR
_STEPS: Final = (
    *(minutes * 60 for minutes in (1, 5, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 30, 90, 365, 3650)),
)


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A finding's event."""

    x: float
    severity: Severity
    anchor: str
    title: str


@dataclass(slots=True, kw_only=True)
class Lane:
    """A session, or what a principal did without one. `bar` is from where to where the session lives."""

    y: float
    name: str | None
    below: str | None  # the name, in smaller type
    anchor: str | None
    bar: tuple[float, float] | None = None
    until: datetime | None = None  # set where the session outlives the drawing
    marks: list[Mark] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    start: datetime
    end: datetime
    ticks: Sequence[Tick]
    lanes: Sequence[Lane]
    left_out: int  # lanes that there is no room for

    @property
    def height(self) -> int:
        return HEAD + LANE * len(self.lanes) + 8


@dataclass(frozen=True, slots=True)
class _Axis:
    start: datetime
    end: datetime

    def x(self, at: datetime) -> float:
        share = (at - self.start) / (self.end - self.start)
        return round(LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, share)), 1)

    def holds(self, at: datetime | None) -> bool:
        return at is not None and self.start <= at <= self.end


def timeline(found: Sequence[Occurrence], sessions: Sequence[Session], now: datetime) -> Timeline | None:
    """None when no event has a time that can be drawn: one that is after AWS began, and not to come."""
    times = [moment(occurrence.worst.event_time) for occurrence in found]
    times += [at for session in sessions for at in session.times]
    usable = [at for at in times if at and at.year >= _FIRST_YEAR and at <= now + timedelta(days=1)]
    if not usable:
        return None
    margin = max((max(usable) - min(usable)) / 50, timedelta(minutes=2))
    axis = _Axis(min(usable) - margin, max(usable) + margin)
    lanes = [_of_session(session, axis) for session in sessions]
    lanes += _without_session(found, axis)
    lanes = [lane for lane in lanes if lane.bar or lane.marks or lane.reads or lane.changes]
    for number, lane in enumerate(lanes):
        lane.y = HEAD + LANE * (number + 0.5)
    return Timeline(
        start=min(usable),
        end=max(usable),
        ticks=list(_ticks(axis)),
        lanes=lanes[:MAX_LANES],
        left_out=max(0, len(lanes) - MAX_LANES),
    )


def _of_session(session: Session, axis: _Axis) -> Lane:
    issuer = (session.issuer or "").rpartition(":")[2].rpartition("/")[2]
    lane = Lane(y=0, name=session.name, below=f"of {issuer}" if issuer else None, anchor=session.anchor)
    lane.marks = list(_marks(session.occurrences, axis))
    for event in session.events:
        at = moment(event.time)
        if at is not None and axis.holds(at):
            places = lane.reads if event.read_only else lane.changes
            if axis.x(at) not in places[-1:]:
                places.append(axis.x(at))
    opened, expires = moment(session.opened), moment(session.expires)
    if opened and expires and opened < expires and opened <= axis.end and expires >= axis.start:
        lane.bar = (axis.x(opened), max(axis.x(expires), axis.x(opened) + 3))
        lane.until = expires if expires > axis.end else None
    return lane


def _without_session(found: Sequence[Occurrence], axis: _Axis) -> Iterable[Lane]:
    by_name: dict[str | None, list[Occurrence]] = {}
    for occurrence in found:
        if occurrence.worst.session_key is None:
            by_name.setdefault(occurrence.worst.principal_name, []).append(occurrence)
    for name, occurrences in by_name.items():
        marks = list(_marks(occurrences, axis))
        yield Lane(y=0, name=name, below="no session", anchor=occurrences[0].anchor, marks=marks)


def _marks(occurrences: Iterable[Occurrence], axis: _Axis) -> Iterable[Mark]:
    """The worst is drawn last, so on top."""
    for occurrence in reversed(list(occurrences)):
        worst = occurrence.worst
        at = moment(worst.event_time)
        if at is not None and axis.holds(at):
            yield Mark(axis.x(at), worst.severity, occurrence.anchor, worst.title)


def _ticks(axis: _Axis) -> Iterable[Tick]:
    span = (axis.end - axis.start).total_seconds()
    step = next((step for step in _STEPS if span / step <= _MOST_TICKS), _STEPS[-1])
    at = (int(axis.start.timestamp()) // step + 1) * step
    dated = None
    while at < axis.end.timestamp():
        when = datetime.fromtimestamp(at, UTC)
        day = f"{when:%b} {when.day}"
        time = f"{when:%H:%M}" if day == dated else f"{day}, {when:%H:%M}"
        yield Tick(axis.x(when), f"{when:%Y-%m-%d}" if step >= _DAY else time)
        dated = day
        at += step
