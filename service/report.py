"""A scan's findings as one HTML page that loads nothing and runs nothing.

Event text is hostile. All that the template prints goes through `_shown`, which shows as escapes what could reorder
or hide text, and then through Jinja's escaping; the page's own policy forbids scripts, and styles but its own.
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup

from service import report_model, report_timeline
from service.finding import Finding, rfc3339
from service.follow_ups import Followed, Sought
from service.log import printable
from service.report_model import Occurrence, worst_first
from service.rules import RULES, STAGED
from service.scan import FileReport
from service.shortlist import Shortlist

SUFFIX: Final = ".html"
MAX_FINDINGS: Final = 500
MAX_SESSIONS: Final = 200
MAX_PROBLEMS: Final = 200
_MAX_TEXT: Final = 4_096
_MAX_RECORD: Final = 12_000
_HERE: Final = Path(__file__).parent


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What a scan read and found. `options` are those that decided what was looked for, as they were given."""

    options: Sequence[tuple[str, str]] = ()
    findings: Shortlist[Finding] = field(default_factory=lambda: Shortlist(MAX_FINDINGS, worst_first))
    followed: Followed = field(default_factory=Followed)
    sought: Sought | None = None
    unread_again: bool = False  # standard input cannot be read twice, so nothing follows from it
    files: int = 0
    problems: list[str] = field(default_factory=list)
    totals: FileReport = field(default_factory=lambda: FileReport("all files"))


def render(scanned: Scanned, now: datetime) -> str:
    found = report_model.occurrences(scanned.findings.kept)
    sessions = report_model.sessions(found, scanned.followed)
    style = (_HERE / "report.css").read_text()
    return _environment().get_template("report.html").render(
        scanned=scanned,
        now=now,
        version=version("tokentrail"),
        style=Markup(style),  # noqa: S704  a file of ours
        style_hash=_digest(style),
        found=found,
        severities=report_model.by_severity(scanned.findings.kept),
        sessions=sessions[:MAX_SESSIONS],
        all_sessions=sessions,
        principals=report_model.principals(found, sessions),
        timeline=report_timeline.timeline(found, sessions, now),
        drawing=report_timeline,
        verdicts=_verdicts(scanned.totals),
        anchors={event: found.anchor for found in found if (event := found.worst.event_id)},
        max_problems=MAX_PROBLEMS,
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"when": _when, "record": _record, "number": "{:,}".format, "bytes": _bytes}
    return environment


def _shown(value: object) -> object:
    if value is None:
        return "–"  # noqa: RUF001  typography
    return printable(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value
