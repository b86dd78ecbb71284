"""The command line: help, exit codes, settings as flags, `explain`, `rules`, `schema`."""

import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import click
import fastavro
import pytest
from jsonschema import Draft202012Validator

from service.cli import tokentrail as group
from service.cli.settings_flags import flags_of
from service.rules import RULES
from service.settings import flag, load
from service.settings_table import describe
from tests.broker import ROOT
from tests.program import PROGRAM, environment, in_process, tokentrail

SAMPLES = ROOT / "tests" / "rules" / "samples"
FIRES = SAMPLES / "sts-federation-token-suspicious" / "fires-inline-full-admin-star.json"
FAILED = SAMPLES / "sts-federation-token-issued" / "fires-access-denied-null-parameters.json"
OTHER = SAMPLES / "sts-federation-token-issued" / "quiet-assume-role.json"
TOKEN = "FwoGZXIvYXdzEXAMPLETOKEN"
COMMANDS = group.list_commands(click.Context(group))


def command(name: str) -> click.Command:
    found: click.Command = importlib.import_module(f"service.cli.{name}").command
    return found


# --- the program as a whole ------------------------------------------------------------------------------------


def test_without_arguments_it_shows_what_there_is() -> None:
    done = tokentrail()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: tokentrail [OPTIONS] [COMMAND]")
    assert done.stdout == tokentrail("--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


def test_it_tells_its_version() -> None:
    done = tokentrail("--version")
    assert (done.returncode, done.stdout) == (0, "tokentrail 0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["detect"], "tokentrail: No such command 'detect'. (see tokentrail --help)\n"),
        (["run", "--qqq"], "tokentrail: No such option '--qqq'. (see tokentrail run --help)\n"),
        (["scan"], "tokentrail: Missing argument 'PATH...'. (see tokentrail scan --help)\n"),
        (["rules", "\x1b[2J\n"], "(\\x1b[2J ) (see tokentrail rules --help)\n"),
        (["scan", "x", "--processes", "0"], "0 is not in the range x>=1. (see tokentrail scan --help)\n"),
        (["scan", "x", "--since", "soon"], "'soon' is neither an age such as 7d or 12h nor an RFC 3339 time"),
        (["explain", str(FIRES), "--index", "1"], "--index 1: the file holds 1 records"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], line: str) -> None:
    done = tokentrail(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_what_the_outputs_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    record = json.loads(FIRES.read_text())
    record["userIdentity"]["userName"] = "naïve"
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record))
    done = tokentrail("explain", path, extra={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "na\\xefve" in done.stdout


def test_a_full_disk_is_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with full.open("wb") as stdout:
        done = subprocess.run(
            [*PROGRAM, "schema"], env=environment(), stdout=stdout, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"tokentrail: [Errno 28] No space left on device\n")


# --- help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_explains_the_command_and_every_option(name: str) -> None:
    found = command(name)
    assert len(found.help or "") > 20
    for option in found.params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize("name", ["run", "check", "scan", "explain", "feed", "tail", "canary", "redrive"])
def test_the_help_of_what_scripts_call_tells_the_exit_codes(name: str) -> None:
    told = " ".join((command(name).help or "").split())
    assert "Exits 0" in told
    assert "2 for" in told


# --- settings as flags -----------------------------------------------------------------------------------------

SECRETS = {"sasl-username", "sasl-password", "registry-username", "registry-password", "canary-key"}
MAY_HOLD_SECRETS = {"properties", "consumer-properties", "producer-properties"}


def options(name: str) -> dict[str, click.Option]:
    return {option.opts[0]: option for option in command(name).params if isinstance(option, click.Option)}


WITHOUT_FLAG = {f"--{name}" for name in SECRETS | MAY_HOLD_SECRETS | {f"{secret}-file" for secret in SECRETS}}


def test_every_setting_but_secrets_is_a_flag() -> None:
    named = {flag(row.name) for row in describe()}
    assert named > WITHOUT_FLAG
    assert options("run").keys() == named - WITHOUT_FLAG


@pytest.mark.parametrize("name", ["check", "feed", "tail", "canary", "redrive"])
def test_all_commands_that_talk_to_kafka_share_these_flags(name: str) -> None:
    assert options(name).keys() > options("run").keys()
    assert WITHOUT_FLAG.isdisjoint(options(name))


TO_BROKERS = {
    "--bootstrap-servers",
    "--security-protocol",
    "--msk-iam-region",
    "--sasl-mechanism",
    "--log-level",
    "--log-format",
    "--config",
}
TO_REGISTRY = {
    "--registry-url",
    "--registry-ca-location",
    "--registry-certificate-location",
    "--registry-key-location",
    "--registry-timeout-seconds",
}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("feed", {"--topics-events", "--registry-auto-register"} | TO_REGISTRY),
        ("tail", {"--topics-findings"} | TO_REGISTRY),
        ("canary", {"--topics-events", "--topics-findings"}),
        ("redrive", {"--group-id", "--topics-events", "--topics-dead-letters"}),
    ],
)
def test_help_shows_the_settings_that_a_command_heeds_and_no_others(name: str, own: set[str]) -> None:
    shown = {flag for flag, option in options(name).items() if not option.hidden and flag in options("run")}
    assert shown == own | TO_BROKERS


@pytest.mark.parametrize("name", ["run", "check"])
def test_help_of_the_service_shows_every_setting(name: str) -> None:
    assert not [flag for flag, option in options(name).items() if option.hidden]


@pytest.mark.parametrize("row", [row for row in describe() if row.flag], ids=lambda row: row.flag)
def test_a_flag_says_what_its_setting_means_and_sets_it(row: Any) -> None:
    assert (options("run")[row.flag].help or "").startswith(row.meaning)
    context = command("run").make_context("run", [row.flag, "given"])
    value: Any = flags_of(context.params)
    for part in row.name:
        value = value[part]
    assert value == "given"


def test_flags_that_were_not_given_are_left_to_environment_and_file(tmp_path: Path) -> None:
    given = flags_of(command("run").make_context("run", ["--http-port", "1"]).params)
    assert given == {"http": {"port": "1"}}
    settings = load(given, {"TOKENTRAIL_HTTP__PORT": "2", "TOKENTRAIL_HTTP__HOST": "::1"}, tmp_path)
    assert (settings.http.port, settings.http.host) == (1, "::1")


# --- explain ---------------------------------------------------------------------------------------------------


def explained(*arguments: str | Path, stdin: bytes = b"") -> list[dict[str, Any]]:
    done = in_process("explain", *arguments, "--output", "json", stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def answers(explanation: dict[str, Any], rule_id: str) -> dict[str, tuple[str, str | None, str]]:
    (rule,) = (rule for rule in explanation["rules"] if rule["rule_id"] == rule_id)
    return {
        clause["name"]: (clause["answer"], clause["path"], clause["explanation"]) for clause in rule["clauses"]
    }


def test_explain_tells_which_clause_held_where_and_why() -> None:
    (explanation,) = explained(FIRES)
    said = answers(explanation, "sts-federation-token-suspicious")
    answer, path, why = said.pop("inline-policy-full-admin")
    assert (answer, path) == ("held", "requestParameters.policy")
    assert "Statement 1" in why
    assert {answer for answer, *_ in said.values()} == {"not held"}
    assert [rule["verdict"] for rule in explanation["rules"]] == ["match", "match", "no_match"]


def test_explain_tells_what_could_not_be_evaluated_and_why() -> None:
    (explanation,) = explained(FAILED)
    said = answers(explanation, "sts-federation-token-suspicious")
    assert set(said.values()) == {("not evaluable", None, "request_parameters_null")}
    assert [rule["verdict"] for rule in explanation["rules"]] == ["match", "not_evaluable", "no_match"]


def test_explain_asks_rules_on_trial_when_told_to() -> None:
    sample = ROOT / "tests" / "rules" / "samples" / "federated-user-changes-iam" / "fires-create-user.json"
    (explanation,) = explained(sample)
    assert "federated-user-changes-iam" not in {rule["rule_id"] for rule in explanation["rules"]}
    (explanation,) = explained(sample, "--staged")
    (rule,) = (rule for rule in explanation["rules"] if rule["rule_id"] == "federated-user-changes-iam")
    assert (rule["verdict"], rule["stage"]) == ("match", "staged")
    assert "match, critical, on trial" in in_process("explain", sample, "--staged").stdout


def test_explain_answers_for_every_clause_of_a_rule_that_a_caller_does_not_concern() -> None:
    samples = ROOT / "tests" / "rules" / "samples" / "federated-user-changes-iam"
    (explanation,) = explained(samples / "quiet-iam-user.json", "--staged")
    said = answers(explanation, "federated-user-changes-iam")
    assert {name: answer for name, (answer, *_) in said.items()} == {
        "iam-changed": "not held",
        "identity-made-or-widened": "not held",
    }


def test_explain_says_of_another_event_what_the_rules_watch() -> None:
    (explanation,) = explained(OTHER)
    for rule in RULES:
        said = answers(explanation, rule.id).values()
        assert {(answer, why.partition(" Get")[0]) for answer, _, why in said} == {("not asked", "watches")}


def test_explain_takes_several_records_or_one_of_them() -> None:
    records = [json.loads(path.read_text()) for path in (OTHER, FIRES, FAILED)]
    stdin = json.dumps({"Records": records}).encode()
    ids = [record["eventID"] for record in records]
    assert [explanation["event_id"] for explanation in explained("-", stdin=stdin)] == ids
    for number, event_id in enumerate(ids):
        (one,) = explained("-", "--index", str(number), stdin=stdin)
        assert one["event_id"] == event_id


def test_explain_asks_to_choose_among_many_records() -> None:
    done = tokentrail("explain", "-", stdin=FIRES.read_bytes() * 21)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the file holds 21 records: choose one with --index" in done.stderr


@pytest.mark.parametrize(
    ("name", "why"),
    [("none.json", "no such file or directory"), (".", "is a directory"), ("a" * 300, "file name too")],
)
def test_explain_of_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, why: str) -> None:
    done = tokentrail("explain", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tokentrail: {name}: {why}")
    assert done.stderr.count("\n") == 1


def test_explain_exits_1_for_what_is_no_record() -> None:
    done = in_process("explain", "-", "--output", "json", stdin=b'{"eventName": "GetFed')
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"unreadable": "json: broken JSON"}
    assert in_process("explain", "-", stdin=b"").returncode == 1


def test_explain_says_what_is_ignored_on_purpose() -> None:
    done = in_process("explain", "-", stdin=b'{"digestStartTime": "", "digestS3Bucket": "b"}')
    assert (done.returncode, done.stdout) == (0, "ignored: digest\n")


@pytest.mark.parametrize("output", ["table", "json"])
def test_explain_never_shows_the_session_token(output: str) -> None:
    record = json.loads(FIRES.read_text())
    record["responseElements"] = {"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": TOKEN}}
    record["requestParameters"]["name"] = TOKEN  # an attacker may repeat it anywhere
    record["userAgent"] = f"agent sessionToken={TOKEN}"
    done = in_process("explain", "-", "--output", output, stdin=json.dumps(record).encode())
    assert done.returncode == 0
    assert "sts-federation-token-issued" in done.stdout
    assert TOKEN not in done.stdout


def test_explain_escapes_event_text() -> None:
    record = json.loads(FIRES.read_text())
    record["requestParameters"]["name"] = record["eventID"] = "\x1b[2J\u202eevil\nline"
    done = in_process("explain", "-", stdin=json.dumps(record).encode())
    assert "\\x1b[2J\\u202eevil\\nline" in done.stdout
    assert all(line.isprintable() for line in done.stdout.splitlines())


# --- rules, schema ---------------------------------------------------------------------------------------------


def test_the_catalogue_is_a_table_json_or_markdown() -> None:
    table = in_process("rules").stdout
    markdown = in_process("rules", "--output", "markdown").stdout
    catalogue = {rule["id"]: rule for rule in json.loads(in_process("rules", "--output", "json").stdout)}
    for rule in RULES:
        assert rule.id in table
        assert f"## {rule.id}\n" in markdown
        assert catalogue[rule.id]["false_positives"] == list(rule.false_positives)
        assert catalogue[rule.id]["severity"]
        for clause in rule.clauses:
            assert clause.name in table
            assert f"| `{clause.name}` | {clause.holds_when} |" in markdown
            assert {"name": clause.name, "holds_when": clause.holds_when} in catalogue[rule.id]["clauses"]


def test_the_avro_schema_is_valid_and_the_one_in_the_repository() -> None:
    schema = json.loads(in_process("schema", "--format", "avro").stdout)
    fastavro.parse_schema(schema)
    assert schema == json.loads((ROOT / "config" / "schemas" / "finding.avsc").read_text())


def test_both_schemas_name_every_field_that_a_finding_has() -> None:
    finding = json.loads(in_process("scan", FIRES, "--output", "ndjson").stdout.splitlines()[0])
    avro = json.loads(in_process("schema", "avro").stdout)
    assert [field["name"] for field in avro["fields"]] == list(finding)
    schema = json.loads(in_process("schema").stdout)
    assert set(finding) == set(schema["$defs"]["Finding"]["properties"])


@pytest.mark.parametrize(("output", "name"), [("ndjson", "json"), ("ocsf", "ocsf")])
def test_what_scan_writes_is_valid_by_the_schema_of_that_name(output: str, name: str) -> None:
    """One finding a line on standard output, and nothing else there; the summary on standard error."""
    done = in_process("scan", SAMPLES, "--output", output)
    lines = done.stdout.splitlines()
    assert f", {len(lines)} findings" in done.stderr
    schema = json.loads(in_process("schema", name).stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for line in lines:
        validator.validate(json.loads(line))


@pytest.mark.parametrize("name", ["json", "avro", "ocsf"])
def test_a_schema_is_named_as_an_argument_or_by_an_option(name: str) -> None:
    assert in_process("schema", name).stdout == in_process("schema", "--format", name).stdout


def test_scan_writes_the_same_findings_as_ocsf() -> None:
    ids = [
        json.loads(line)["finding_id"]
        for line in in_process("scan", FIRES, "--output", "ndjson").stdout.splitlines()
    ]
    as_ocsf = [json.loads(line) for line in in_process("scan", FIRES, "--output", "ocsf").stdout.splitlines()]
    assert [document["finding_info"]["uid"] for document in as_ocsf] == ids
    assert {document["class_uid"] for document in as_ocsf} == {2004}
