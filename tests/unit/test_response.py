"""What a finding tells the responder to do: runbook, actions and pivots, with an attacker choosing every name."""

import json
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from service.cli import explain
from service.detect import Detector
from service.event import Event
from service.finding import Action, Finding, to_json
from service.redaction import REDACTED
from service.rules import EVERY_RULE
from service.rules.containment import DENY_ALL, DENY_ALL_NAME, command
from service.rules.pivots import pivots
from tests.rules.iam_api import OPERATIONS, on_the_command_line, parameters
from tests.unit.strategies import asking, console_exchange, issuance, put, watched_records

DETECTOR = Detector(EVERY_RULE)
SAMPLES = Path(__file__).resolve().parents[1] / "rules" / "samples"
KEY, ISSUED_KEY = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'

# Names that would do harm unquoted, or that imitate what stands around them.
HOSTILE = (
    "$(touch x);'\"",
    "`touch x`",
    "; touch x #",
    "x' OR 1=1 --",
    "x'; DROP TABLE cloudtrail_logs; --",
    '" | delete',
    'x" OR true //',
    '"""',
    "/* x",
    "*",
    "%_",
    "\\",
    "a\\",
    '\\"',
    "\\' OR '1'='1",
    "''",
    "--policy-name=other",
    "-x",
    "!!",
    "~",
    "&&touch x",
    "$token$",
    "[search index=_audit]",
    "{0}{name}",
    "名前 \U0001f600",
)
# What a person must not be given to paste: these are left out, and shown escaped.
UNSHOWABLE = ("a\nb", "a\rb", "a\x00b", "a\x1b[2Jb", "a\u202eb", "a\u200fb", "a\u2028b", "a\x7fb")

names = st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=30)
# What a redacted name says is no name; a test of its own covers it.
printable_names = names.filter(lambda name: name.isprintable() and REDACTED not in name)


def findings(record: dict[str, Any]) -> list[Finding]:
    return list(DETECTOR.detect_record(record).findings)


def finding(record: dict[str, Any]) -> Finding:
    """The first; those of one event have the same response."""
    return findings(record)[0]


def failed(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "errorCode": "AccessDenied", "responseElements": None}


def called_by(arn: object, kind: str = "IAMUser", record: dict[str, Any] | None = None) -> dict[str, Any]:
    caller = {"type": kind, "arn": arn, "accessKeyId": KEY}
    return {**(record or issuance()), "userIdentity": caller}


def issued_by(arn: object) -> dict[str, Any]:
    record = console_exchange()
    record["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] = arn
    return record


def by_user_named(name: str) -> dict[str, Any]:
    return called_by(f"arn:aws:iam::111122223333:user/{name}")


def session_named(name: str) -> dict[str, Any]:
    record = console_exchange()
    record["userIdentity"]["arn"] = f"arn:aws:sts::111122223333:federated-user/{name}"
    return record


# --- actions -------------------------------------------------------------------------------------


def deny(kind: str, name: str) -> Action:
    return Action(
        "iam",
        f"Put{kind}Policy",
        {f"{kind}Name": name, "PolicyName": "TokentrailDenyAll", "PolicyDocument": DENY_ALL},
        f"Delete{kind}Policy with the same {kind}Name and PolicyName",
    )


def deactivate(**owner: str) -> Action:
    parameters = {**owner, "AccessKeyId": KEY, "Status": "Inactive"}
    return Action("iam", "UpdateAccessKey", parameters, "UpdateAccessKey with Status Active")


DELETE_KEY = Action("iam", "DeleteAccessKey", {"AccessKeyId": KEY}, None)
ROOT = "arn:aws:iam::111122223333:root"
ROLE = "arn:aws:iam::111122223333:role/service-role/deploy"

CASES: dict[str, tuple[dict[str, Any], list[Action]]] = {
    "a user": (issuance(), [deny("User", "alice"), deactivate(UserName="alice")]),
    "a user with a path": (
        called_by("arn:aws-cn:iam::111122223333:user/a:b/c'd/alice"),
        [deny("User", "alice"), deactivate(UserName="alice")],
    ),
    "a user whose name is root": (by_user_named("root"), [deny("User", "root"), deactivate(UserName="root")]),
    "a user's failed try": (failed(issuance()), [deactivate(UserName="alice")]),
    "a user by temporary credentials": (
        put(issuance(), ("userIdentity", "accessKeyId"), ISSUED_KEY),
        [deny("User", "alice")],
    ),
    "root": (called_by(ROOT, "Root"), [DELETE_KEY]),
    "root told by its ARN only": (called_by(ROOT, "Unknown"), [DELETE_KEY]),
    "root's failed try": (failed(called_by(ROOT, "Root")), [deactivate()]),
    "root by password": (put(called_by(ROOT, "Root"), ("userIdentity", "accessKeyId"), ""), []),
    "a console exchange": (console_exchange(), [deny("User", "alice")]),
    "a session whose key is no session's": (
        put(console_exchange(), ("userIdentity", "accessKeyId"), KEY),
        [deny("User", "alice")],
    ),
    "a failed console exchange": (failed(console_exchange()), [deny("User", "alice")]),
    "a console exchange of a session of root": (issued_by(ROOT), []),
    "a console exchange of an unknown issuer": (issued_by(None), []),
    "a federated session that asks for another": (
        failed({**issuance(), "userIdentity": console_exchange()["userIdentity"]}),
        [deny("User", "alice")],
    ),
    "a session issued by a role": (issued_by(ROLE), [deny("Role", "deploy")]),
    "an assumed role": (
        called_by("arn:aws:sts::111122223333:assumed-role/deploy/session", "AssumedRole"),
        [deny("Role", "deploy")],
    ),
    "an assumed role's failed try": (
        failed(called_by("arn:aws:sts::111122223333:assumed-role/deploy/session", "AssumedRole")),
        [],
    ),
    "no ARN": (called_by(None), []),
    "an ARN of something else": (called_by("arn:aws:s3:::bucket"), []),
    "a name longer than IAM's": (by_user_named("x" * 65), []),
    "an ARN that was cut": (by_user_named("x" * 3_000 + "/alice"), []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_actions_of_each_case(case: str) -> None:
    """They act on the identity that holds the power, and only where the record names it."""
    record, expected = CASES[case]
    assert finding(record).actions == expected


def test_the_policy_denies_everything() -> None:
    assert json.loads(DENY_ALL)["Statement"] == [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
    assert re.fullmatch(r"[\w+=,.@-]{1,128}", DENY_ALL_NAME)


def check_actions(actions: list[Action]) -> None:
    """IAM knows every operation and parameter, and what takes it back."""
    for action in actions:
        known, required = parameters(action.operation)
        assert action.service == "iam"
        assert required <= set(action.parameters) <= known
        assert all(value and value.isprintable() for value in action.parameters.values())
        assert action.undo is None or action.undo.partition(" ")[0] in OPERATIONS


@pytest.mark.parametrize("case", CASES)
def test_iam_takes_the_actions(case: str) -> None:
    check_actions(CASES[case][1])


@given(watched_records())
def test_iam_takes_the_actions_of_any_event(record: dict[str, Any]) -> None:
    for found in findings(record):
        check_actions(found.actions)


@pytest.mark.parametrize("name", UNSHOWABLE)
def test_an_identity_that_cannot_exist_is_not_acted_on(name: str) -> None:
    assert finding(by_user_named(name)).actions == []


# --- runbook -------------------------------------------------------------------------------------


def commands(found: Finding) -> list[str]:
    return [step for step in found.runbook if step.startswith("aws ")]


# What the two published rules tell a responder, and what is known of these sessions; in the words of the runbook.
FACTS = {
    "did the principal intend it": r"Ask the owner of .* was intended",
    "deny everything, or remove all permissions": r"Deny everything to .*:user/alice first, or remove all of its",
    "that revokes the federated sessions": r"takes the power from its federated sessions",
    "deactivate the keys": r"deactivate its access keys",
    "disabling or deleting the key does not end the session": r"Deactivating or deleting a key alone does not end",
    "how long it lives": r"lives until 2024-11-30T20:43:17Z",
    "a denial by issue time leaves the long-term key": r"aws:TokenIssueTime.* does not bind the long-term key",
    "which can mint newer sessions": r"can mint newer ones",
    "resource policies still grant": r"Resource policies that name .*federated-user/mallory still grant",
    "a name that is not the caller's own": r"name, mallory, is not the caller's own, perhaps an escalation",
    "what the user and the federated users did": r"List what the user and its federated sessions did",
    "the exchange for the console": r"Look for GetSigninToken",
    "the issuer may be compromised": r"Treat .*:user/alice as compromised",
    "incident response": r"start incident response",
    "prefer temporary credentials": r"Prefer roles and temporary credentials over access keys of IAM users",
}


@pytest.mark.parametrize("fact", FACTS)
def test_the_runbook_leaves_no_known_step_out(fact: str) -> None:
    record = asking(name="mallory")
    record["responseElements"]["federatedUser"]["arn"] = "arn:aws:sts::111122223333:federated-user/mallory"
    assert [step for step in finding(record).runbook if re.search(FACTS[fact], step)]


def place(runbook: list[str], words: str) -> int:
    (found,) = [number for number, step in enumerate(runbook) if words in step]
    return found


def test_the_steps_come_in_the_order_that_works() -> None:
    """Power first, keys next, and only then what a key that still works could get around."""
    runbook = finding(issuance()).runbook
    words = (
        "Ask the owner",
        "Deny everything",
        "aws iam put-user-policy",
        "Then deactivate",
        "aws iam update-access-key",
        "aws:TokenIssueTime",
        "Resource policies",
        "List what",
    )
    places = [place(runbook, word) for word in words]
    assert places == sorted(places)


def test_root_is_told_what_can_be_done_at_all() -> None:
    runbook = " ".join(finding(called_by(ROOT, "Root")).runbook)
    for words in ("no policy can be attached", "delete its access keys", "change its password", "within the hour"):
        assert words in runbook
    assert "put-user-policy" not in runbook


def test_a_failed_try_asks_to_end_no_session() -> None:
    runbook = " ".join(finding(failed(issuance())).runbook)
    assert "no session was made" in runbook
    assert "aws iam update-access-key" in runbook
    assert "Deny everything" not in runbook


def test_a_failure_of_a_living_session_asks_to_end_it() -> None:
    """The session was made before; what failed is something it tried."""
    for record in (failed(console_exchange()), CASES["a federated session that asks for another"][0]):
        assert "Deny everything" in " ".join(finding(record).runbook)


def test_an_unknown_caller_is_looked_up_by_the_key() -> None:
    assert commands(finding(called_by(None))) == [f"aws iam get-access-key-last-used --access-key-id={KEY}"]
    assert commands(finding(called_by(None) | {"userIdentity": {"accessKeyId": "x; touch x"}})) == []


def test_a_change_of_iam_is_to_be_undone() -> None:
    """Containing the issuer does not take away what was made."""
    record = console_exchange(eventSource="iam.amazonaws.com", eventName="CreateUser")
    runbook = finding(record).runbook
    assert place(runbook, "Deny everything") < place(runbook, "Undo what CreateUser changed")


@pytest.mark.parametrize("name", [*HOSTILE, *UNSHOWABLE, "a\ud800b"])
def test_no_event_text_makes_a_step_or_breaks_one(name: str) -> None:
    """A name shows escaped: it can neither begin a line of its own nor hide or reorder one."""
    for record in (by_user_named(name), session_named(name), asking(name=name), issuance(sourceIPAddress=name)):
        assert findings(record)
        for found in findings(record):
            assert found.runbook
            for text in (*found.runbook, found.title, found.description):
                assert text.isprintable()
            assert all(step.partition(" ")[0] == "aws" or step[0].isupper() for step in found.runbook)


# --- commands ------------------------------------------------------------------------------------


def expected_arguments(action: Action) -> list[str]:
    options = [f"--{on_the_command_line(name)}={value}" for name, value in action.parameters.items()]
    return [action.service, on_the_command_line(action.operation), *options]


def bash(script: str, folder: Path, *options: str) -> str:
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", *options, "-c", script],  # noqa: S607  any bash
        cwd=folder,
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert ran.stderr == b""
    assert list(folder.iterdir()) == []
    return ran.stdout.decode()


def arguments_in_bash(lines: list[str], folder: Path) -> list[str]:
    """What `aws` gets when bash runs the lines in an empty folder, where nothing else may run or be made."""
    script = "\n".join(["aws() { printf '%s\\0' \"$@\"; }", *lines])
    bash(script, folder, "-n")
    return bash(script, folder).split("\0")[:-1]


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.mark.parametrize("name", [name for name in HOSTILE if "/" not in name])
def test_a_command_runs_nothing_but_itself(name: str, empty_folder: Path) -> None:
    found = finding(by_user_named(name))
    lines = [command(action) for action in found.actions]
    assert commands(found) == lines
    expected = [expected_arguments(action) for action in found.actions]
    assert expected
    assert [shlex.split(line) for line in lines] == [["aws", *arguments] for arguments in expected]
    assert arguments_in_bash(lines, empty_folder) == [argument for one in expected for argument in one]


@settings(max_examples=25)
@given(printable_names)
def test_a_command_is_as_safe_for_any_name(empty_folder: Path, name: str) -> None:
    found = finding(by_user_named(name))
    arguments = [argument for action in found.actions for argument in expected_arguments(action)]
    assert arguments_in_bash(commands(found) if arguments else [], empty_folder) == arguments


def test_a_command_of_a_session_whose_issuers_key_is_unknown_lists_the_keys() -> None:
    assert commands(finding(console_exchange()))[-1] == "aws iam list-access-keys --user-name=alice"


# --- pivots --------------------------------------------------------------------------------------


def query(record: dict[str, Any], system: str, column: str) -> str | None:
    found = [one.query for one in pivots(Event(record)) if one.system == system and f"{column}" in one.query]
    return found[0] if found else None


def test_each_system_is_asked_for_the_session_and_for_the_caller() -> None:
    """By the issued key, by the federated ARN, and by the key that asked."""
    sought = [ISSUED_KEY, "arn:aws:sts::111122223333:federated-user/alice", KEY]
    found = finding(issuance()).pivots
    assert [pivot.system for pivot in found] == ["athena", "esql", "spl"] * 3
    assert all(
        value in pivot.query for value, pivot in zip((v for v in sought for _ in range(3)), found, strict=True)
    )


def test_a_failed_try_has_no_session_to_look_for() -> None:
    assert [KEY in pivot.query for pivot in finding(failed(issuance())).pivots] == [True] * 3


def test_a_query_reaches_as_far_as_a_session_lives() -> None:
    """36 hours, both ways: the event may be its first or its last."""
    found = pivots(Event(issuance()))
    assert found
    for pivot in found:
        bounds = {"spl": ("earliest=1732826597 ", "latest=1733085797 ")}.get(
            pivot.system, ("2024-11-28T20:43:17Z", "2024-12-01T20:43:17Z")
        )
        assert all(bound in pivot.query for bound in bounds)


@pytest.mark.parametrize(
    "time", [None, "redacted", 7, "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31"]
)
def test_without_a_time_there_is_no_query(time: object) -> None:
    """One without bounds would read everything there is."""
    assert pivots(Event(issuance(eventTime=time))) == []


@pytest.mark.parametrize("value", [*UNSHOWABLE, "x" * 2_000])
def test_a_value_that_cannot_be_expressed_leaves_its_queries_out(value: str) -> None:
    assert query(session_named(value), "athena", "useridentity.arn") is None
    assert [ISSUED_KEY in pivot.query for pivot in pivots(Event(session_named(value)))] == [True] * 3


def test_a_redacted_value_is_not_searched_for() -> None:
    """It would find nothing, and say so with confidence."""
    token = "IQoJb3JpZ2luEXAMPLEEXAMPLEEXAMPLE"
    assert query(session_named(token), "athena", "useridentity.arn") is None
    assert finding(by_user_named(token)).actions == []


def in_sqlite(statement: str, value: str) -> list[str]:
    """Which of three ARNs a database finds by the statement; SQLite reads a literal as the SQL standard has it."""
    with sqlite3.connect(":memory:") as database:
        columns = "eventtime, eventsource, eventname, awsregion, sourceipaddress, useragent, errorcode, eventid"
        database.execute(f"CREATE TABLE cloudtrail_logs ({columns}, useridentity_arn)")
        rows = [("2024-11-30T08:45:02Z", *[None] * 6, arn, arn) for arn in (value, "other", "")]
        database.executemany(f"INSERT INTO cloudtrail_logs VALUES ({', '.join('?' * 9)})", rows)  # noqa: S608  marks only
        found = database.execute(statement.replace("useridentity.", "useridentity_", 1))
        return [row[7] for row in found]


def esql_tokens(text: str) -> list[str]:
    """By Elasticsearch's lexer: of its two forms of string the longer match wins, comments are tokens too.

    https://github.com/elastic/elasticsearch/blob/main/x-pack/plugin/esql/src/main/antlr/lexer/Expression.g4
    """
    strings = (r'"(?:\\[tnr"\\]|[^\r\n"\\])*"', r'"""[^\r\n]*?""""?"?')
    others = r"//[^\r\n]*|/\*.*?\*/|[^\s\"]"
    tokens, place = [], 0
    while place < len(text):
        matches = [re.compile(form, re.DOTALL).match(text, place) for form in (*strings, others)]
        found = max((match[0] for match in matches if match), key=len, default=text[place])
        assert found != '"', f"a string that does not end: {text[place:]}"
        tokens.append(found)
        place += len(found)
    return tokens


def spl_tokens(text: str) -> list[str]:
    """Double quotes enclose strings, in which a backslash escapes the quote and itself; single quotes, fields.

    https://help.splunk.com/splunk-enterprise/search/search-manual/9.4/search-primer/backslashes
    """
    assert "`" not in text
    tokens = re.findall(r'"(?:\\["\\]|[^"\\])*"|\'[^\']*\'|[^"\'\s]|\s', text)
    assert "".join(tokens) == text, f"a string that does not end: {text}"
    return tokens


def decoded(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def check_literal(tokens: Callable[[str], list[str]], hostile: str, plain: str, value: str) -> None:
    """The queries differ in one token, a string that says the value."""
    pairs = [pair for pair in zip(tokens(hostile), tokens(plain), strict=True) if pair[0] != pair[1]]
    ((literal, _),) = pairs
    assert literal.startswith('"')
    assert decoded(literal) == value


PLAIN = "a name that nobody has"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_a_value_in_each_language(name: str) -> None:
    check_queries(name)


@given(printable_names.filter(lambda name: name != PLAIN))
def test_any_name_stays_a_value_in_each_language(name: str) -> None:
    check_queries(name)


def check_queries(name: str) -> None:
    value = f"arn:aws:sts::111122223333:federated-user/{name}"
    assert in_sqlite(query(session_named(name), "athena", "useridentity.arn") or "", value) == [value]
    for system, column, tokens in (
        ("esql", "user_identity.arn", esql_tokens),
        ("spl", "userIdentity.arn", spl_tokens),
    ):
        hostile = query(session_named(name), system, column)
        if system == "spl" and {"`", "$"} & set(name):
            assert hostile is None
            continue
        plain = query(session_named(PLAIN), system, column)
        assert hostile
        assert plain
        check_literal(tokens, hostile, plain, value)


@given(printable_names)
def test_a_made_up_key_stays_a_value_too(key: str) -> None:
    """In SPL it is a search term as well, where only letters and digits are one."""
    record = put(console_exchange(), ("userIdentity", "accessKeyId"), key)
    queries = [pivot.query for pivot in pivots(Event(record)) if pivot.system == "spl"]
    assert queries
    for query_ in queries:
        before, _, after = query_.partition(" | where ")
        assert re.fullmatch(r'[\w\s=:*]+(?: "[A-Za-z0-9]+")?', before)
        assert spl_tokens(after)


# --- the whole finding ---------------------------------------------------------------------------


def test_findings_of_every_sample_stay_small() -> None:
    """Well below what a broker takes, so that a response never costs the event."""
    size, name = max(
        (len(to_json(found)), path.name)
        for path in SAMPLES.glob("*/*.json")
        for found in findings(json.loads(path.read_text(encoding="utf-8")))
    )
    assert size < 50_000, name


@pytest.mark.parametrize("letter", ["x", "'", '"', "\x00", "\U0001f600"])
def test_the_response_is_bounded_whatever_the_event_says(letter: str) -> None:
    long = letter * 3_000
    record = put(issued_by(f"arn:aws:iam::111122223333:user/{long}"), ("userIdentity", "accessKeyId"), long)
    record["userIdentity"]["arn"] = f"arn:aws:sts::111122223333:federated-user/{letter * 900}"
    for one in (record, asking(name=long, policy=STAR), issuance(sourceIPAddress=long, userAgent=long)):
        responses = [(found.runbook, found.actions, found.pivots) for found in findings(one)]
        assert max(len(msgspec.json.encode(response)) for response in responses) < 25_000


# --- explain -------------------------------------------------------------------------------------


def test_explain_shows_the_response_ready_to_copy() -> None:
    """Once for an event, each command and query whole on a line of its own."""
    record = asking(name="mallory", policy=STAR)
    shown = CliRunner().invoke(explain.command, ["-"], input=json.dumps(record)).output.splitlines()
    found = finding(record)
    assert all((found.runbook, found.pivots, found.actions))
    for number, step in enumerate(found.runbook, start=1):
        assert shown.count(f"{number}. {step}") == 1
    for pivot in found.pivots:
        assert shown.count(f"{pivot.system}: {pivot.query}") == 1
    for action in found.actions:
        (line,) = [line for line in shown if line.startswith(f"iam:{action.operation} ")]
        assert json.dumps(action.parameters) in line
        assert str(action.undo) in line


def test_explain_says_when_there_is_nothing_to_act_on() -> None:
    record = issued_by(None) | {"eventTime": None}
    shown = CliRunner().invoke(explain.command, ["-"], input=json.dumps(record)).output
    assert shown.count("none: the record does not name what they need") == 2
