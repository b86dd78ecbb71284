"""A scan's findings as one HTML page that loads nothing and runs nothing.

Event text is hostile. All that the template prints goes through `_shown`, which shows as escapes what could
reorder or hide text, then through Jinja's escaping; the page's own policy forbids scripts, and styles but its own.
"""

import base64
import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
from markupsafe import Markup

from service.escape import printable
from service.finding import SEVERITIES, Finding, Severity
from service.report import model, timeline
from service.report.follow_ups import Followed, Sought
from service.report.model import worst_first
from service.rules import EVERY_RULE
from service.scan import FileResult
from service.shortlist import Shortlist
from service.timestamps import rfc3339

SUFFIX: Final = ".html"
MAX_FINDINGS: Final = 500
MAX_SESSIONS: Final = 200
MAX_PROBLEMS: Final = 200
_MAX_TEXT: Final = 4_096
_MAX_RECORD: Final = 12_000
_HERE: Final = Path(__file__).parent


def _id(finding: Finding) -> str:
    """The same where an event comes twice, from another trail or in a copy of a file: it is told once."""
    return finding.finding_id


@dataclass(slots=True, kw_only=True)
class Scanned:
    """What a scan read and found. `options` are those that decided what was looked for, as they were given."""

    options: Sequence[tuple[str, str]] = ()
    findings: Shortlist[Finding] = field(default_factory=lambda: Shortlist(MAX_FINDINGS, worst_first, _id))
    severities: Counter[Severity] = field(default_factory=Counter)  # of all findings, kept or not
    repeats: int = 0
    followed: Followed = field(default_factory=Followed)
    sought: Sought | None = None
    unread_again: bool = False  # standard input cannot be read twice, so nothing follows from it
    files: int = 0
    problems: list[str] = field(default_factory=list)
    totals: FileResult = field(default_factory=lambda: FileResult("all files"))

    def add(self, findings: Sequence[Finding]) -> None:
        new = self.findings.add(findings)
        self.repeats += len(findings) - len(new)
        self.severities.update(finding.severity for finding in new)


def render(scanned: Scanned, now: datetime) -> str:
    found = model.occurrences(scanned.findings.kept)
    sessions = model.sessions(found, scanned.followed)
    style = (_HERE / "page.css").read_text()
    template = _environment().get_template("page.html")
    return template.render(
        scanned=scanned,
        now=now,
        version=version("tokentrail"),
        style=Markup(style),  # noqa: S704  a file of ours
        style_hash=_digest(style),
        found=found,
        living=sum(session.issuance is not None and session.may_live(now) for session in sessions),
        severities={name: scanned.severities[name] for name in reversed(SEVERITIES) if scanned.severities[name]},
        sessions=sessions[:MAX_SESSIONS],
        all_sessions=sessions,
        principals=model.principals(found, sessions),
        timeline=timeline.timeline(found, sessions, now),
        drawing=timeline,
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
    environment.filters |= {
        "when": _when,
        "rfc3339": rfc3339,
        "record": _record,
        "number": "{:,}".format,
        "bytes": _bytes,
    }
    return environment


def _shown(value: object) -> object:
    if value is None:
        return "–"  # noqa: RUF001  typography
    return printable(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _when(text: str | None) -> str:
    """RFC 3339 for people; all times of a page are UTC."""
    return "unknown time" if text is None else text.replace("T", " ").removesuffix("Z")


def _record(event: dict[str, Any]) -> list[str]:
    """The record as lines of JSON, cut."""
    text = msgspec.json.format(msgspec.json.encode(event), indent=2).decode()
    kept = text if len(text) <= _MAX_RECORD else f"{text[:_MAX_RECORD]}… [cut, {len(text)} characters]"
    return kept.split("\n")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1_000
    return f"{count:.1f} TB"


def _digest(style: str) -> str:
    """How a policy names an element by its text (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"


def _verdicts(totals: FileResult) -> list[tuple[str, list[int]]]:
    """Each rule with how many matches, matches that were suppressed, unreadable events and errors it had."""
    rules = [rule.id for rule in EVERY_RULE if any(known == rule.id for known, _ in totals.verdicts)]
    kinds = ("match", "suppressed", "not_evaluable", "error")
    return [(rule, [totals.verdicts[rule, kind] for kind in kinds]) for rule in rules]


# --- the file ----------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """Raises OSError when no page can be written there; ValueError when something else would be lost by it."""
    if path.suffix != SUFFIX:  # `--report *.json` must not cost anybody the first of these files
        raise ValueError(f"the name has to end in {SUFFIX}")
    if path.exists() and not path.is_file():
        raise ValueError("is no regular file")
    with _new_file_beside(path.resolve()):
        pass


def write(path: Path, page: str) -> None:
    """Put the page at `path`, in place of what is there, as a whole or not at all. Raises OSError."""
    target = path.resolve()  # a link goes on pointing where it did
    with _new_file_beside(target) as new:
        new.write_text(page, encoding="utf-8")
        new.replace(target)


@contextmanager
def _new_file_beside(path: Path) -> Iterator[Path]:
    new = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(4)}.part")
    new.touch(exist_ok=False)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)
