"""Files through the detector as an operator tunes it, with what a company knows, and in comparisons."""

import json
from pathlib import Path
from typing import Any

import pytest

from service import files
from tests.program import in_process, tokentrail
from tests.unit.test_scan import QUIET, SAMPLES, SUSPICIOUS, as_lines, event, ids

ISSUED, SUSPICIOUS_ID = "sts-federation-token-issued", "sts-federation-token-suspicious"
CALLER = SUSPICIOUS["userIdentity"]["arn"]
SUPPRESSING = f"""
[[suppressions]]
name = "portal"
rules = ["{ISSUED}"]
principal_arn = "{CALLER}"
owner = "identity team"
reason = "mints sessions"
expires = 2999-12-31
"""
LOUDER = f'[rules.{SUSPICIOUS_ID}]\nseverity = "critical"\n'
STAGED = json.loads((SAMPLES / "federated-user-changes-iam" / "fires-create-user.json").read_text())


def file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_tuning_is_applied_and_what_it_suppresses_is_counted(tmp_path: Path) -> None:
    tuning = file(tmp_path, "tuning.toml", LOUDER + SUPPRESSING)
    done = in_process("scan", "-", "--tuning", tuning, "--output", "ndjson", stdin=as_lines(event("a")))
    assert [(row["rule_id"], row["severity"]) for row in rows(done.stdout)] == [(SUSPICIOUS_ID, "critical")]
    assert done.stderr == "1 records in 1 files, 1 findings (1 critical), 1 suppressed\n"


def test_without_the_flag_no_tuning_is_applied(tmp_path: Path) -> None:
    """Not the one that the service takes by default, either: a hunt is to see what is suppressed."""
    (tmp_path / "config").mkdir()
    file(tmp_path, "config/tuning.toml", SUPPRESSING)
    done = tokentrail("scan", "-", cwd=tmp_path, stdin=as_lines(event("a")))
    assert done.stderr == "1 records in 1 files, 2 findings (1 high, 1 medium)\n"


def test_a_suppressed_match_that_is_published_is_marked_and_fails_nothing(tmp_path: Path) -> None:
    text = "publish_suppressed = true\n" + SUPPRESSING.replace(f'"{ISSUED}"', '"*"')
    tuning = file(tmp_path, "tuning.toml", text)
    done = in_process("scan", "-", "--tuning", tuning, "--fail-on", "low", stdin=as_lines(event("a")))
    assert (done.returncode, done.stderr) == (0, "1 records in 1 files, 0 findings, 2 suppressed\n")
    assert done.stdout.count("suppressed by portal") == 2


def test_a_suppression_that_has_expired_is_told_of(tmp_path: Path) -> None:
    tuning = file(tmp_path, "tuning.toml", SUPPRESSING.replace("2999", "2020"))
    done = in_process("scan", "-", "--tuning", tuning, stdin=as_lines(event("a")))
    assert "suppression 'portal' has expired and suppresses nothing" in done.stderr
    assert "2 findings" in done.stderr


def test_rules_on_trial_are_applied_when_asked_for_and_fail_nothing() -> None:
    assert "0 findings" in in_process("scan", "-", stdin=as_lines(STAGED)).stderr
    done = in_process("scan", "-", "--staged", "--fail-on", "low", stdin=as_lines(STAGED))
    assert (done.returncode, done.stderr) == (
        0,
        "1 records in 1 files, 1 findings (1 critical), 1 of them staged\n",
    )
    assert done.stdout.splitlines()[1].split()[-1] == "staged"


def test_a_context_fills_its_fields(tmp_path: Path) -> None:
    account = SUSPICIOUS["recipientAccountId"]
    text = (
        f'[accounts."{account}"]\nalias = "prod"\nowner = "payments"\n'
        f'[[brokers]]\nname = "portal"\nprincipal_arn = "{CALLER}"\nowner = "data"\n'
    )
    context = file(tmp_path, "context.toml", text)
    done = in_process("scan", "-", "--context", context, "--output", "ndjson", stdin=as_lines(event("a")))
    fields = ("account_alias", "account_owner", "known_broker")
    assert {tuple(row[name] for name in fields) for row in rows(done.stdout)} == {("prod", "payments", "portal")}


def test_a_comparison_tells_what_a_tuning_adds_removes_and_changes(tmp_path: Path) -> None:
    old = file(tmp_path, "old.toml", SUPPRESSING)
    new = file(tmp_path, "new.toml", LOUDER)
    stdin = as_lines(event("a"), event("b", requestParameters=None, userIdentity={"arn": "arn:x"}))
    done = in_process("scan", "-", "--compare", old, new, "--output", "ndjson", stdin=stdin)
    assert (done.returncode, done.stderr) == (
        0,
        "2 records in 1 files, 1 added, 0 removed, 1 changed, 1 same\n",
    )
    told = [(row["event_id"], row["rule_id"], row["change"], row["why"]) for row in rows(done.stdout)]
    assert told == [
        ("a", ISSUED, "added", ["suppression 'portal' is gone"]),
        ("a", SUSPICIOUS_ID, "changed", ["severity: the rule's own -> critical"]),
    ]


@pytest.mark.parametrize(("old", "new", "kind"), [("none", "t.toml", "removed"), ("t.toml", "none", "added")])
def test_none_stands_for_no_tuning_and_a_table_shows_differences_only(
    tmp_path: Path, old: str, new: str, kind: str
) -> None:
    file(tmp_path, "t.toml", SUPPRESSING)
    done = tokentrail("scan", "-", "--compare", old, new, cwd=tmp_path, stdin=as_lines(event("a")))
    matches, totals = done.stdout.split("\n\n")
    head, line = matches.splitlines()
    assert head.split() == ["change", "time", "rule", "before", "after", "why", "who", "event"]
    assert line.split()[0] == kind
    assert {ISSUED, CALLER, "a"} <= set(line.split())
    assert totals.splitlines()[1].split()[:3] == ["1", kind, ISSUED]
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("text", "level", "code"),
    [
        (LOUDER, "critical", 3),
        (SUPPRESSING, "medium", 3),
        (SUPPRESSING, "high", 0),  # the high finding is there before and after
        (f'[rules.{ISSUED}]\nstage = "staged"\n', "medium", 3),  # nobody is paged any more
        ("", "informational", 0),
    ],
)
def test_a_comparison_fails_only_on_a_difference_of_that_level(
    tmp_path: Path, text: str, level: str, code: int
) -> None:
    new = file(tmp_path, "new.toml", text)
    done = in_process("scan", "-", "--compare", "none", new, "--fail-on", level, stdin=as_lines(event("a")))
    assert done.returncode == code


def test_a_comparison_in_several_processes_is_the_same(tmp_path: Path) -> None:
    """Tunings travel to them, rules do not."""
    new = file(tmp_path, "new.toml", LOUDER + SUPPRESSING)
    logs = tmp_path / "logs"
    logs.mkdir()
    quiet = as_lines(*[QUIET] * 1_600)
    for number in range(3):
        (logs / f"{number}.jsonl").write_bytes(quiet + as_lines(event(f"{number}-a")))
    assert sum(path.stat().st_size for path in logs.iterdir()) > files.SERIAL_BYTES
    outputs = [
        tokentrail("scan", logs, "--compare", "none", new, "--output", "ndjson", "--processes", number).stdout
        for number in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert [row["change"] for row in rows(outputs[0])] == ["removed", "changed"] * 3


def test_the_published_rules_are_compared_event_by_event() -> None:
    long = {"name": "x", "durationSeconds": 129_600, "tags": []}
    stdin = as_lines(
        event("inline"),
        event("long", requestParameters=long),
        event("denied", errorCode="AccessDenied", requestParameters=None, responseElements=None),
        QUIET,
    )
    done = in_process("scan", "-", "--compare-published", "--output", "ndjson", stdin=stdin)
    told = [(row["event_id"], row["rule_a"], row["rule_b"], row["reasons"]) for row in rows(done.stdout)]
    assert told == [
        ("inline", True, False, ["inline-policy"]),
        ("long", True, True, []),
        ("denied", True, False, ["failed-call"]),
    ]
    assert done.stderr == (
        "4 records in 1 files, 3 events compared (3 by rule A, 1 by rule B, 3 by sts-federation-token-issued, "
        "2 by sts-federation-token-suspicious), 2 differ\n"
    )
    shown = in_process("scan", "-", "--compare-published", stdin=stdin).stdout
    events, reasons = shown.split("\n\n")
    assert [line.split()[-1] for line in events.splitlines()] == ["event", "inline", "long", "denied"]
    assert sorted(line.split()[:2] for line in reasons.splitlines()[1:]) == [
        ["1", "failed-call"],
        ["1", "inline-policy"],
    ]


def test_the_published_rules_fire_where_a_tuning_turns_all_of_ours_off(tmp_path: Path) -> None:
    off = "\n".join(f"[rules.{rule}]\nenabled = false" for rule in (ISSUED, SUSPICIOUS_ID))
    tuning = file(tmp_path, "tuning.toml", off)
    done = in_process(
        "scan", "-", "--compare-published", "--tuning", tuning, "--output", "ndjson", stdin=as_lines(event("a"))
    )
    (row,) = rows(done.stdout)
    assert (row["rule_a"], row["ours"], row["reasons"]) == (True, [], ["tuned-off"])


def test_since_bounds_comparisons_too(tmp_path: Path) -> None:
    new = file(tmp_path, "new.toml", LOUDER)
    stdin = as_lines(
        event("old", eventTime="2020-01-01T00:00:00Z"), event("new", eventTime="2024-01-01T00:00:00Z")
    )
    for how in (["--compare", "none", str(new)], ["--compare-published"]):
        done = in_process("scan", "-", *how, "--since", "2023-01-01", "--output", "ndjson", stdin=stdin)
        assert ids(done.stdout) == ["new"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--compare", "none", "none", "--compare-published"], "--compare goes with neither"),
        (["--compare", "none", "none", "--tuning", "x"], "--compare goes with neither"),
        (["--compare-published", "--output", "ocsf"], "a comparison has no findings"),
        (["--compare", "none", "none", "--context", "x"], "a comparison has no findings"),
        (["--compare", "none"], "Option '--compare' requires 2 arguments"),
        (["--tuning", "missing.toml"], "tuning: missing.toml: no such file or directory"),
        (["--compare", "none", "bad.toml"], "bad.toml:1: severity: unknown key"),
        (["--context", "bad.toml"], "bad.toml:1: severity: unknown key"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    file(tmp_path, "bad.toml", "severity = 1")
    done = tokentrail("scan", "-", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert line in done.stderr


def test_hostile_text_is_escaped_in_comparisons(tmp_path: Path) -> None:
    new = file(tmp_path, "new.toml", LOUDER)
    hostile = "\x1b[2J\u202eevil\nline"
    record = event(hostile, userIdentity={"type": "IAMUser", "arn": hostile})
    for how in (["--compare", "none", str(new)], ["--compare-published"]):
        done = in_process("scan", "-", *how, stdin=as_lines(record))
        assert done.stdout.count("\\x1b[2J\\u202eevil\\nline") == 2
        assert all(line.isprintable() for line in done.stdout.splitlines())
