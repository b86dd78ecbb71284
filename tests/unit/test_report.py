"""The page of `scan --report`: what it tells, that hostile text stays text, how it comes to lie in its place."""

import base64
import copy
import datetime as dt
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.event_times import Times
from service.feed.wrap import WRAPS
from service.finding import Finding
from service.report.follow_ups import MAX_SHOWN, Sought, follow_ups, sought_of
from service.report.page import Scanned, render, write
from service.rules import RULES
from service.sample_day import CAST, sample_day
from service.sample_day_data import SESSION_TOKEN
from service.scan import scan_file
from service.shortlist import Shortlist
from tests.broker import ROOT
from tests.pages import Page
from tests.program import in_process, tokentrail

DAY = sample_day(dt.date(2025, 3, 4))
ATTACK = [record for record in DAY if record["sourceIPAddress"] == CAST.intruder_address]
ISSUED = next(record for record in ATTACK if CAST.console_session_key_id in str(record["responseElements"]))
ACTING = next(record for record in ATTACK if record["eventName"] == "CreateUser")

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;{{ 7 }}\0\x1b[31m\u202e\u2066\u200b\ud800\r\n"
)
ESCAPED = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;{{ 7 }}\\x00\\x1b[31m\\u202e\\u2066\\u200b"


def report(folder: Path, *records: dict[str, Any], options: tuple[str, ...] = ()) -> Page:
    (folder / "events.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    done = in_process("scan", folder / "events.jsonl", "--report", folder / "page.html", *options)
    assert done.returncode == 0
    return Page((folder / "page.html").read_text())


def findings(folder: Path, *records: dict[str, Any]) -> list[Finding]:
    (folder / "events.json").write_text(json.dumps({"Records": records}))
    return scan_file(str(folder / "events.json")).findings


def changed(record: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    new = copy.deepcopy(record)
    place: Any = new
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return new


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Of every value in a record that is no object or list."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))
    else:
        yield path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what it tells ---------------------------------------------------------------------------------------------


def test_the_page_of_a_day_tells_who_did_what_for_how_long(tmp_path: Path) -> None:
    """The demo's attack: both sessions with power, expiry and what was done with them, and the worst one first."""
    page = report(tmp_path, *DAY)
    assert "10 findings about 3 identities" in page.text
    sessions = page.section("sessions")
    assert sessions.index(CAST.long_session) < sessions.index(CAST.console_session) < sessions.index("portal")
    assert "Expires 2025-03-06 04:04:49" in sessions
    assert "arn:aws:iam::aws:policy/AdministratorAccess" in sessions
    assert "an inline policy of every action on every resource" in sessions
    for call in (
        "iam:CreateUser",
        "iam:CreateAccessKey",
        "secretsmanager:GetSecretValue",
        "s3:GetObject \N{MULTIPLICATION SIGN}20",
    ):
        assert call in sessions
    assert f'"userName": "{CAST.backdoor_user}"' in sessions
    coverage = page.section("coverage")
    assert f"Records {len(DAY):,}" in coverage
    assert "Events from 2025-03-04 00:00:08 to 2025-03-04 23:59:45" in coverage


def test_each_finding_has_its_reasons_runbook_actions_queries_and_record(tmp_path: Path) -> None:
    """Whatever a finding says to its reader stands on the page, once for each event."""
    text = report(tmp_path, ISSUED).section("findings")
    found = findings(tmp_path, ISSUED)
    assert len(found) == 2
    for finding in found:
        assert finding.rule_id in text
        assert finding.finding_id in text
        for reason in finding.reasons:
            assert reason.explanation in text
    worst = max(found, key=lambda finding: finding.severity_id)
    for said in (*worst.runbook, *(pivot.query for pivot in worst.pivots), *worst.references, worst.title):
        assert text.count(said) >= 1, said
    assert all(action.operation in text for action in worst.actions)
    assert text.count(worst.runbook[0]) == 1
    assert f'"eventID": "{ISSUED["eventID"]}"' in text


def test_every_link_within_the_page_leads_to_its_own_place(tmp_path: Path) -> None:
    """From the time line and the tables to findings and sessions, also where there is only a failed call."""
    for records in (DAY, [record for record in ATTACK if record.get("errorCode")]):
        page = report(tmp_path, *records)
        ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
        assert len(set(ids)) == len(ids)
        targets = [link.attributes["href"] for link in page.all("a")]
        assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
        assert "#finding-1" in targets


def test_nothing_found_is_said_with_what_was_read(tmp_path: Path) -> None:
    page = report(tmp_path, *[record for record in DAY if record["eventSource"] == "s3.amazonaws.com"])
    assert "Nothing found" in page.text
    assert "Records with a time" in page.section("coverage")
    assert not page.all("section", id="sessions")


def test_what_could_not_be_read_is_on_the_page(tmp_path: Path) -> None:
    """A bad file, ignored and unreadable parts, near misses and clauses that could not be told."""
    failed = next(
        record for record in ATTACK if record["eventName"] == "GetFederationToken" and record.get("errorCode")
    )
    lines = (failed, {**ISSUED, "eventName": "getfederationtoken"}, {"s3Bucket": "b", "s3ObjectKey": ["k"]})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "b.json").write_text("no JSON")
    done = in_process("scan", tmp_path, "--report", tmp_path / "page.html", "--since", "2020-01-01")
    assert done.returncode == 1
    page = Page((tmp_path / "page.html").read_text())
    coverage = page.section("coverage")
    for said in (
        "b.json: parts that could not be read: 1 not_json",
        "s3_pointer 1",
        "not_json 1",
        "letter case 1",
    ):
        assert said in coverage, said
    assert "sts-federation-token-suspicious 0 0 1 0" in coverage
    assert "--since 2020-01-01 00:00:00+00:00" in coverage
    assert "What could not be told" in page.section("findings")


def test_a_suppressed_or_staged_finding_says_so_and_comes_last(tmp_path: Path) -> None:
    tuning = tmp_path / "tuning.toml"
    tuning.write_text(
        """publish_suppressed = true
        [[suppressions]]
        name = "known"
        principal_arn = "arn:aws:iam::111122223333:user/ci-*"
        rules = ["*"]
        owner = "me"
        reason = "a test"
        expires = 2099-01-01
        allow_critical = true
        """
    )
    page = report(tmp_path, *DAY, options=("--tuning", str(tuning), "--staged"))
    text = page.section("findings")
    assert text.index("portal") < text.index("suppressed by known")
    assert "on trial: staged" in text


def test_sessions_that_outlive_the_report_are_called_alive(tmp_path: Path) -> None:
    """Until its expiry, and not a second more; without one, as long as AWS would let it."""
    scanned = Scanned()
    scanned.add(findings(tmp_path, ISSUED))
    expires = dt.datetime(2025, 3, 5, 3, 58, 26, tzinfo=dt.UTC)
    living = [
        Page(render(scanned, now)).section("sessions").count("alive")
        for now in (expires - dt.timedelta(seconds=1), expires)
    ]
    assert living == [1, 0]


# --- what sessions did -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", sorted(WRAPS))
def test_what_a_session_did_is_found_in_every_envelope(tmp_path: Path, envelope: str) -> None:
    """By its key, by its ARN where the key is another, and nothing of others."""
    other_key = changed(ACTING, ("userIdentity", "accessKeyId"), "ASIAOTHEROTHEROTHER1")
    other = changed(other_key, ("userIdentity", "arn"), "arn:aws:sts::111122223333:federated-user/other")
    files = [str(tmp_path / f"{number}.json") for number in range(4)]
    for file, event in zip(files, (ISSUED, ACTING, other_key, other), strict=True):
        Path(file).write_bytes(WRAPS[envelope]([event]))
    found = [
        event for file in follow_ups(files, sought_of(scan_file(files[0]).findings)) for event in file.events.kept
    ]
    assert sorted(event.access_key_id or "" for event in found) == [
        CAST.console_session_key_id,
        "ASIAOTHEROTHEROTHER1",
    ]
    assert {event.call for event in found} == {"iam:CreateUser"}


def test_changes_are_kept_before_reads_and_everything_is_counted(tmp_path: Path) -> None:
    """Who reads a lot cannot push out of the page what was changed after it."""
    read = {**ACTING, "eventName": "GetUser", "readOnly": True, "eventTime": "2025-03-04T16:00:00Z"}
    reads = [{**read, "eventID": f"read-{number}"} for number in range(2 * MAX_SHOWN + 50)]
    page = report(tmp_path, ISSUED, *reads, ACTING)
    assert [row for row in page.all("tr") if "iam:CreateUser" in row.text]
    assert "iam:GetUser \N{MULTIPLICATION SIGN}2,050" in page.section("sessions")
    assert "(1,000 of 2,051)" in page.section("sessions")
    assert "1,051 of them are only counted" in page.section("coverage")


def test_an_event_that_two_trails_delivered_is_listed_once(tmp_path: Path) -> None:
    page = report(tmp_path, ISSUED, ISSUED, ACTING, ACTING)
    assert "Findings that came again 2" in page.section("coverage")
    assert "2 findings" in page.one("h1").text
    assert page.section("findings").count("The record, without its secrets") == 1
    rows = [row for row in page.all("tr") if "iam:CreateUser" in row.text]
    assert len(rows) == 1


def test_what_is_no_key_of_aws_is_not_looked_for(tmp_path: Path) -> None:
    """A key that somebody made unreadable would make one session of many."""
    hidden = changed(ISSUED, ("responseElements", "credentials", "accessKeyId"), "REDACTED")
    hidden = changed(hidden, ("responseElements", "federatedUser", "arn"), "arn:aws:sts::1:federated-user/a b")
    sought = sought_of(findings(tmp_path, hidden))
    assert sought == Sought(frozenset(), frozenset(), frozenset(), left_out=2)


def test_standard_input_is_not_read_twice_and_the_page_says_so(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    lines = "".join(json.dumps(record) + "\n" for record in (ISSUED, ACTING)).encode()
    assert in_process("scan", "-", "--report", page, stdin=lines).returncode == 0
    assert "Standard input cannot be read twice" in Page(page.read_text()).section("coverage")


# --- hostile text ----------------------------------------------------------------------------------------------


def assert_harmless(page: Page) -> None:
    assert page.active_parts() == []
    assert not page.all("style", **{"class": ""})
    links = {link.attributes["href"] for link in page.all("a") if not link.attributes["href"].startswith("#")}
    assert links <= {reference for rule in RULES for reference in rule.references}
    hidden = {char for char in page.html if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert hidden <= {"\n"}
    assert SESSION_TOKEN not in page.html


def test_the_page_is_balanced_and_loads_and_runs_nothing(tmp_path: Path) -> None:
    """And its own policy, which names the one style by its digest, would not let it."""
    page = report(tmp_path, *DAY)
    assert_harmless(page)
    style = page.one("style").text
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import|expression", style)


@pytest.mark.parametrize("path", list(places(ISSUED)), ids=lambda path: ".".join(map(str, path)))
def test_each_field_of_a_request_may_be_hostile(tmp_path: Path, path: tuple[str | int, ...]) -> None:
    """Its text stands as text, what hides or reorders text as escapes."""
    page = report(tmp_path, changed(ISSUED, path, HOSTILE), ACTING)
    assert_harmless(page)
    if path not in {("eventSource",), ("eventName",)}:  # else there is no finding
        secret = path[-1] == "sessionToken"
        shown = ESCAPED[:8] in page.text or json.dumps(ESCAPED)[1:8] in page.text
        assert shown != secret


@pytest.mark.parametrize("path", list(places(ACTING)), ids=lambda path: ".".join(map(str, path)))
def test_each_field_of_what_a_session_did_may_be_hostile(tmp_path: Path, path: tuple[str | int, ...]) -> None:
    assert_harmless(report(tmp_path, ISSUED, changed(ACTING, path, HOSTILE)))


def test_hostile_text_is_shown_whole_and_visibly(tmp_path: Path) -> None:
    page = report(tmp_path, changed(ISSUED, ("sourceIPAddress",), HOSTILE))
    assert any(ESCAPED in fact.text for fact in page.all("dd"))


def test_every_field_at_once_and_the_name_of_the_file_may_be_hostile(tmp_path: Path) -> None:
    records = [ISSUED, ACTING]
    for number, record in enumerate(records):
        for path in places(record):
            if path[0] not in {"eventSource", "eventName", "readOnly"}:
                records[number] = changed(records[number], path, HOSTILE)
    folder = tmp_path / "<script>alert(3)<\u202e\r\nscript>"
    folder.mkdir()
    (folder / "no.json").write_text("no JSON")
    (folder / "events.json").write_text(json.dumps({"Records": records}))
    in_process("scan", folder, "--report", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text())
    assert_harmless(page)
    assert "<script>alert(3)<\\u202e\\r\\nscript>" in page.section("coverage")


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "redacted", None, 7])
def test_an_invented_time_does_not_bend_the_time_line(tmp_path: Path, time: object) -> None:
    """An event whose time cannot be is told, not drawn."""
    for drawn in ((), (ISSUED,)):
        page = report(tmp_path, *drawn, {**ISSUED, "eventTime": time, "eventID": "invented"})
        assert len(page.all("path", **{"class": "mark high"})) == 2 * len(drawn)  # one more in the legend
        assert "invented" in page.section("findings")


def test_a_page_of_very_many_findings_is_bounded(tmp_path: Path) -> None:
    """The less severe are counted, in the page and among the sessions."""
    many = [
        {
            **changed(ISSUED, ("responseElements", "credentials", "accessKeyId"), f"ASIA{number:016}"),
            "eventID": str(number),
        }
        for number in range(400)
    ]
    page = report(tmp_path, *many)
    assert "400 high" in page.text
    assert "300 less severe findings are left out" in page.section("findings")
    assert "more sessions are left out" in page.section("sessions")
    assert "more rows are not drawn" in page.section("time-line")
    assert len(page.html) < 6_000_000


# --- the file --------------------------------------------------------------------------------------------------


def test_a_page_takes_the_place_of_an_older_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "page.html").write_text("older")
    (folder / "link.html").symlink_to("page.html")
    (tmp_path / "day.json").write_text(json.dumps({"Records": [ISSUED]}))
    done = in_process("scan", tmp_path / "day.json", "--report", folder / "link.html")
    assert done.returncode == 0
    assert re.search(r"^report: .*link\.html \(\d+ kB\)$", done.stderr, re.MULTILINE)
    assert (folder / "link.html").is_symlink()
    assert "2 findings" in Page((folder / "page.html").read_text()).one("h1").text
    assert names(folder) == ["link.html", "page.html"]


def test_a_page_that_cannot_be_written_whole_leaves_the_older_one(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("older")
    with pytest.raises(UnicodeEncodeError):
        write(page, "new \ud800")
    assert page.read_text() == "older"
    assert names(tmp_path) == ["page.html"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("events.json", "the name has to end in .html"),
        ("none/page.html", "no such file or directory"),
        ("folder.html", "is no regular file"),
        ("pipe.html", "is no regular file"),
        ("events.json/page.html", "not a directory"),
        (f"{'x' * 300}.html", "file name too long"),
    ],
)
def test_a_place_where_no_page_can_be_is_told_in_a_line_before_anything_is_read(
    tmp_path: Path, name: str, said: str
) -> None:
    """Exit code 2, and what lay there still does: `--report *.json` costs nobody a file."""
    (tmp_path / "events.json").write_text(json.dumps(ISSUED))
    (tmp_path / "folder.html").mkdir()
    os.mkfifo(tmp_path / "pipe.html")
    done = tokentrail("scan", tmp_path / "events.json", "--report", tmp_path / name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert json.loads((tmp_path / "events.json").read_text()) == ISSUED
    assert names(tmp_path) == ["events.json", "folder.html", "pipe.html"]


def test_a_comparison_has_no_page(tmp_path: Path) -> None:
    done = tokentrail("scan", tmp_path, "--compare-published", "--report", tmp_path / "page.html")
    assert done.returncode == 2
    assert "a comparison has no findings" in done.stderr


# --- its parts -------------------------------------------------------------------------------------------------


def test_a_shortlist_keeps_the_first_and_counts_the_rest() -> None:
    """And leaves aside what it has already."""
    one, two = (Shortlist[int](3, lambda number: number, lambda number: number) for _ in range(2))
    assert one.add([9, 1, 8, 2, 7, 3, 1]) == [9, 1, 8, 2, 7, 3]
    two.add([0, 5])
    one.merge(two)
    two.merge(one)
    assert (one.kept, one.added, one.left_out) == ([0, 1, 2], 8, 5)
    assert (two.kept, two.added) == ([0, 1, 2], 9)


def test_times_are_told_from_the_bytes_of_a_record() -> None:
    """Of CloudTrail's own form, of one within a text, and of ECS; a record that shows none is not counted."""
    times = Times()
    for record in (
        b'{"eventTime": "2025-01-02T03:04:05Z"}',
        b'{"event": {"original": "{\\"eventTime\\":\\"2025-01-01T00:00:00.123Z\\"}"}}',
        b'{"@timestamp":"2025-01-03T00:00:00.000Z"}',
        b'{"eventTime": "redacted"}',
        b'{"time": 1700000000000}',
    ):
        times.note(record)
    assert times == Times("2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z", 3)
    times.add(Times())
    times.add(Times("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", 1))
    assert times == Times("2024-01-01T00:00:00Z", "2025-01-03T00:00:00Z", 4)


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("number", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(number: int) -> None:
    """As the AA level of WCAG 2.1 asks: 4.5 to 1, and 3 to 1 for what is drawn."""
    css = (ROOT / "service" / "report" / "page.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", re.findall(r":root \{(.*?)\}", css, re.DOTALL)[number]))
    levels = ("critical", "high", "medium", "low", "informational")
    text = [(name, behind) for name in ("text", "muted", "link", "high") for behind in ("back", "card", "sunken")]
    text += [("on-level", level) for level in levels]
    drawn = [(name, behind) for name in (*levels, "change") for behind in ("card", "bar")]
    drawn.append(("event", "card"))
    for pairs, least in ((text, 4.5), (drawn, 3.0)):
        for front, behind in pairs:
            one, two = sorted((luminance(colours[front]), luminance(colours[behind])))
            assert (two + 0.05) / (one + 0.05) >= least, (front, behind)
