"""Settings: names, defaults, order of sources, and the line an operator reads for each thing gone wrong."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from service.errors import SettingsError
from service.settings import Settings, flag, load, require_bootstrap
from service.settings_table import describe
from service.settings_values import REFUSED_PROPERTIES

EXAMPLE = Path(__file__).parents[2] / "config" / "tokentrail.toml"
PASSWORD = "hunter2"
ENVIRONMENT = sorted(row.environment for row in describe())


def write(folder: Path, toml: str | bytes, name: str = "config/tokentrail.toml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(toml.encode() if isinstance(toml, str) else toml)
    return path


def problems(
    folder: Path,
    environ: Mapping[str, str] | None = None,
    toml: str | bytes | None = None,
    flags: Mapping[str, object] | None = None,
) -> list[str]:
    if toml is not None:
        write(folder, toml)
    with pytest.raises(SettingsError) as caught:
        load(flags or {}, environ or {}, folder)
    return list(caught.value.problems)


# --- defaults and order ----------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path)
    assert settings.kafka.bootstrap_servers is None
    assert (settings.kafka.group_id, settings.kafka.group_protocol) == ("tokentrail", "auto")
    assert settings.kafka.start == "earliest"
    assert settings.kafka.properties == {}
    assert settings.topics.model_dump() == {
        "events": "cloudtrail.events",
        "findings": "cloudtrail.findings",
        "dead_letters": "cloudtrail.dead-letters",
        "staged": None,
    }
    assert settings.delivery.mode == "exactly-once"
    assert settings.detect.screen is False
    assert settings.findings.format == "json"
    assert settings.accounts.expected == ()
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 9464)  # noqa: S104 -- compared, not bound
    assert (settings.log.level, settings.log.format) == ("info", "auto")
    assert (settings.limits.batch_messages, settings.limits.decompressed_bytes) == (5000, 64 * 2**20)
    assert (settings.config, settings.tuning) == (None, None)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    write(tmp_path, '[topics]\nevents = "file"\nfindings = "file-f"\n[kafka]\ngroup_id = "file-g"')
    environ = {"TOKENTRAIL_TOPICS__EVENTS": "environment", "TOKENTRAIL_TOPICS__FINDINGS": "environment-f"}
    settings = load({"topics": {"events": "flag"}}, environ, tmp_path)
    assert settings.topics.events == "flag"
    assert settings.topics.findings == "environment-f"
    assert settings.kafka.group_id == "file-g"
    assert settings.topics.dead_letters == "cloudtrail.dead-letters"


def test_a_wrong_value_that_is_overridden_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "[http]\nport = 99999")
    assert load({"http": {"port": 0}}, {}, tmp_path).http.port == 0


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTRAIL_KAFKA__GROUP_ID", "from-process")
    monkeypatch.chdir(tmp_path)
    assert load({}).kafka.group_id == "from-process"


def test_a_direct_call_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOG", "kafka", "TUNING", "TOKENTRAIL_KAFKA__GROUP_ID"):
        monkeypatch.setenv(name, "surprise")
    assert Settings() == Settings.model_validate({})
    assert Settings().kafka.group_id == "tokentrail"


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load({}, {}, tmp_path)
    with pytest.raises(ValidationError):
        settings.tuning = tmp_path
    with pytest.raises(ValidationError):
        settings.kafka.group_id = "other"


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    environ = {"PATH": "/bin", "LOG": "x", "KAFKA__GROUP_ID": "x", "TOKENTRAILER": "x"}
    assert load({}, environ, tmp_path) == load({}, {}, tmp_path)


# --- files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_a_named_file_is_read_and_remembered(tmp_path: Path, how: str) -> None:
    path = write(tmp_path, '[kafka]\ngroup_id = "named"', "other.toml")
    write(tmp_path, '[kafka]\ngroup_id = "default"')
    flags = {"config": Path("other.toml")} if how == "flag" else {}
    environ = {"TOKENTRAIL_CONFIG": "other.toml"} if how == "environment" else {}
    settings = load(flags, environ, tmp_path)
    assert settings.kafka.group_id == "named"
    assert settings.config == path


def test_the_tuning_file_is_taken_where_present_or_named(tmp_path: Path) -> None:
    default, named = write(tmp_path, "", "config/tuning.toml"), write(tmp_path, "", "mine.toml")
    assert load({}, {}, tmp_path).tuning == default
    assert load({}, {"TOKENTRAIL_TUNING": "mine.toml"}, tmp_path).tuning == named
    write(tmp_path, 'tuning = "mine.toml"')
    assert load({}, {}, tmp_path).tuning == named


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(tmp_path: Path) -> None:
    write(tmp_path, b'\xef\xbb\xbf[kafka]\r\ngroup_id = "windows"\r\n')
    assert load({}, {}, tmp_path).kafka.group_id == "windows"


# --- secrets ---------------------------------------------------------------------------------------------------

SECRETS = ["KAFKA__SASL_USERNAME", "KAFKA__SASL_PASSWORD", "REGISTRY__USERNAME", "REGISTRY__PASSWORD"]


def secret(settings: Settings, name: str) -> str:
    section, _, key = name.lower().partition("__")
    value = getattr(getattr(settings, section), key)
    assert isinstance(value, SecretStr)
    return value.get_secret_value()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(("content", "expected"), [("s\n", "s"), ("s\n\n", "s\n"), ("s", "s"), (" s ", " s ")])
def test_a_secret_comes_from_a_file_less_one_newline(
    tmp_path: Path, name: str, content: str, expected: str
) -> None:
    write(tmp_path, content, "secret")
    settings = load({}, {f"TOKENTRAIL_{name}_FILE": "secret"}, tmp_path)
    assert secret(settings, name) == expected


def test_a_secrets_file_can_be_named_in_the_configuration_file(tmp_path: Path) -> None:
    write(tmp_path, PASSWORD, "secret")
    write(tmp_path, '[kafka]\nsasl_password_file = "secret"')
    assert secret(load({}, {}, tmp_path), "KAFKA__SASL_PASSWORD") == PASSWORD


def test_a_secrets_file_in_the_environment_wins_over_a_secret_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, PASSWORD, "secret")
    write(tmp_path, '[kafka]\nsasl_password = "old"')
    settings = load({}, {"TOKENTRAIL_KAFKA__SASL_PASSWORD_FILE": "secret"}, tmp_path)
    assert secret(settings, "KAFKA__SASL_PASSWORD") == PASSWORD


def test_nothing_printed_of_settings_holds_a_secret(tmp_path: Path) -> None:
    properties = json.dumps({"ssl.key.password": PASSWORD})
    environ = {f"TOKENTRAIL_{name}": PASSWORD for name in SECRETS}
    for table in ("PROPERTIES", "CONSUMER_PROPERTIES", "PRODUCER_PROPERTIES"):
        environ[f"TOKENTRAIL_KAFKA__{table}"] = properties
    settings = load({}, environ, tmp_path)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert PASSWORD not in shown
    assert settings.kafka.properties == {"ssl.key.password": PASSWORD}


# --- wrong settings: the line an operator reads ----------------------------------------------------------------

FILE = "(from file config/tokentrail.toml, line 2)"


def by_environment(key: str, value: str, message: str) -> Any:
    name = key.lower().replace("__", ".")
    line = f"{name}: {message} (from environment TOKENTRAIL_{key})"
    return pytest.param({"environ": {f"TOKENTRAIL_{key}": value}}, line, id=f"{key}={value[:20]!a}")


def by_file(toml: str | bytes, line: str) -> Any:
    return pytest.param({"toml": toml}, line, id=f"{toml[:40]!a}")


PROTOCOLS = "plaintext, ssl, sasl_plaintext, sasl_ssl"
BROKERS = "must be host:port, comma-separated; entry {} is not"
TOPIC = "must be a topic name: 1 to 249 of A-Z a-z 0-9 . _ -, not . or .."
START = "must be earliest, latest or an RFC 3339 time: date, time and zone, such as 2024-12-12T16:04:32Z"
ZONE = "needs a time zone: end it with Z, or with an offset such as +02:00"
URL = "must be an http:// or https:// address"
ACCOUNTS = "must be AWS account ids of 12 digits, as text; entry {} is not"
OBJECT = 'expected a JSON object such as {"linger.ms": 5}'
PROPERTY = "must be text, a number, true or false"

WRONG = [
    by_environment("KAFKA__GROUP_PROTOCOL", "clasic", "must be one of auto, classic, consumer"),
    by_environment("KAFKA__GROUP_ID", "", "must not be empty"),
    by_environment("KAFKA__GROUP_ID", "a\x1b[2J", "must be printable text"),
    by_environment("KAFKA__GROUP_ID", "\udcff", "must be printable text"),
    by_environment("KAFKA__SECURITY_PROTOCOL", "tls", f"must be one of {PROTOCOLS}"),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "", BROKERS.format(1)),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "a:9092,b:kafka", BROKERS.format(2)),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "a:9092,", BROKERS.format(2)),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "a:0", BROKERS.format(1)),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "a:65536", BROKERS.format(1)),
    by_environment("KAFKA__BOOTSTRAP_SERVERS", "http://a:9092", BROKERS.format(1)),
    by_environment("KAFKA__START", "newest", START),
    by_environment("KAFKA__START", "2024-12-12", START),
    by_environment("KAFKA__START", "2024-02-31T00:00:00Z", START),
    by_environment("KAFKA__START", "20241212T160432Z", START),
    by_environment("KAFKA__START", "2024-12-12T16:04:32", ZONE),
    by_environment("KAFKA__START", "1969-12-31T23:59:59Z", "must be later than 1970"),
    by_environment("KAFKA__SASL_PASSWORD", "", "must not be empty"),
    by_environment("KAFKA__SASL_PASSWORD", "\udcff", "must be UTF-8 text without NUL"),
    by_environment("KAFKA__SASL_PASSWORD_FILE", "none", "the file cannot be read: No such file or directory"),
    by_environment("KAFKA__SASL_USERNAME_FILE", ".", "the file cannot be read: Is a directory"),
    by_environment("REGISTRY__PASSWORD_FILE", "a\0b", "the file cannot be read: not a path"),
    by_environment(
        "KAFKA__PROPERTIES", "linger.ms=5", f"is not JSON: Expecting value at line 1 column 1; {OBJECT}"
    ),
    by_environment(
        "KAFKA__PROPERTIES",
        '{"linger.ms": 5, ',
        f"is not JSON: Expecting property name enclosed in double quotes at line 1 column 18; {OBJECT}",
    ),
    by_environment("KAFKA__CONSUMER_PROPERTIES", "[1]", OBJECT),
    by_environment("KAFKA__PRODUCER_PROPERTIES", "[" * 99_999, f"is not JSON that can be read; {OBJECT}"),
    by_environment("TOPICS__EVENTS", "", TOPIC),
    by_environment("TOPICS__EVENTS", "..", TOPIC),
    by_environment("TOPICS__FINDINGS", "cloud trail", TOPIC),
    by_environment("TOPICS__DEAD_LETTERS", "x" * 250, TOPIC),
    by_environment("DELIVERY__MODE", "at-most-once", "must be one of exactly-once, at-least-once"),
    by_environment("DETECT__SCREEN", "maybe", "must be true or false"),
    by_environment("FINDINGS__FORMAT", "xml", "must be one of json, avro, ocsf"),
    by_environment("REGISTRY__URL", "registry:8081", URL),
    by_environment("REGISTRY__URL", "http://[::1", URL),
    by_environment("REGISTRY__URL", "http://h:99999", URL),
    by_environment(
        "REGISTRY__URL",
        f"https://me:{PASSWORD}@host",
        "must not hold a login: set registry.username and registry.password instead",
    ),
    by_environment("ACCOUNTS__EXPECTED", "111122223333,1234", ACCOUNTS.format(2)),
    by_environment("ACCOUNTS__EXPECTED", "111122223333,", ACCOUNTS.format(2)),
    by_environment("ACCOUNTS__EXPECTED", "\u0661" * 12, ACCOUNTS.format(1)),
    by_environment("ACCOUNTS__EXPECTED", "[111122223333]", ACCOUNTS.format(1)),
    by_environment("ACCOUNTS__EXPECTED", '["111122223333"', "must be a JSON list, or comma-separated"),
    by_environment(
        "ACCOUNTS__EXPECTED", ",".join(f"{n:012}" for n in range(1_001)), "must be at most 1,000 accounts"
    ),
    by_file("[accounts]\nexpected = 111122223333", f"accounts.expected: must be a list of AWS account ids {FILE}"),
    by_file("[accounts]\nexpected = [111122223333]", f"accounts.expected: {ACCOUNTS.format(1)} {FILE}"),
    by_environment("HTTP__PORT", "http", "must be a whole number"),
    by_environment("HTTP__PORT", "-1", "must be at least 0"),
    by_environment("HTTP__PORT", "65536", "must be at most 65535"),
    by_environment("HTTP__PORT", "9" * 5_000, "must be a whole number"),
    by_environment("LOG__LEVEL", "INFO", "must be one of debug, info, warning, error"),
    by_environment("LOG__FORMAT", "logfmt", "must be one of auto, json, text"),
    by_environment("LIMITS__BATCH_MESSAGES", "0", "must be at least 1"),
    by_environment("CONFIG", "none.toml", "none.toml cannot be read: No such file or directory"),
    by_environment("CONFIG", "\x1b[2J", "\\x1b[2J cannot be read: No such file or directory"),
    by_environment("CONFIG", "", " cannot be read: Is a directory"),
    by_environment("TUNING", "none.toml", "none.toml cannot be read: No such file or directory"),
    by_file("[http]\nport = true", f"http.port: must be a whole number {FILE}"),
    by_file("[http]\nport = 1.5", f"http.port: must be a whole number {FILE}"),
    by_file("[log]\nlevel = 3", f"log.level: must be one of debug, info, warning, error {FILE}"),
    by_file("[kafka]\ngroup_id = 3", f"kafka.group_id: must be text, in quotes {FILE}"),
    by_file("[kafka]\nproperties = 3", f"kafka.properties: must be a table {FILE}"),
    by_file("[kafka]\nstart = 2024-12-12T16:04:32", f"kafka.start: {ZONE} {FILE}"),
    by_file("[kafka]\nstart = 2024-12-12", f"kafka.start: {START} {FILE}"),
    by_file("[kafka]\nstart = 16:04:32", f"kafka.start: {START} {FILE}"),
    by_file("[kafka]\nsasl_password_file = 3", f"kafka.sasl_password_file: must be a path, in quotes {FILE}"),
    by_file("[kafka]\ngrupid = 3", f"kafka.grupid: no such setting; did you mean kafka.group_id? {FILE}"),
    by_file("\n[kaffka]", f"kaffka: no such setting; did you mean kafka? {FILE}"),
    by_file("\n[[kafka]]", f"kafka: must be a table {FILE}"),
    by_file("# a comment\ntunning = 'x'", f"tunning: no such setting; did you mean tuning? {FILE}"),
    by_file("\ntuning = 3", f"tuning: must be a path, in quotes {FILE}"),
    by_file("\ntuning = 'none'", f"tuning: none cannot be read: No such file or directory {FILE}"),
    by_file("\nconfig = 'x'", f"config: a file cannot name itself: remove it {FILE}"),
    by_file("\nkafka = 'x'", f"kafka: must be a table {FILE}"),
    by_file("[kafka.properties]\n'x.y' = [1]", f"kafka.properties.x.y: {PROPERTY} {FILE}"),
    by_file("[kafka.properties]\nx.y = 1979-05-27", f"kafka.properties.x.y: {PROPERTY} {FILE}"),
    by_file('[kafka.properties]\nx = "\\u0000"', f"kafka.properties.x: must be UTF-8 text without NUL {FILE}"),
    by_file("[kafka.properties]\nx.y = nan", f"kafka.properties.x.y: {PROPERTY} {FILE}"),
    by_file(
        "[kafka]\ngroup_id = x",
        "config: file config/tokentrail.toml is not TOML: Invalid value (at line 2, column 12)",
    ),
    by_file(b"[kafka]\ngroup_id = '\xff'", "config: file config/tokentrail.toml, line 2: is not UTF-8 text"),
    by_file("x=" + "[" * 99_999, "config: file config/tokentrail.toml is nested too deeply"),
    pytest.param(
        {"flags": {"kafka": {"bootstrap_servers": "a:b"}}},
        f"kafka.bootstrap_servers: {BROKERS.format(1)} (from flag --bootstrap-servers)",
        id="a flag of Kafka's",
    ),
    pytest.param(
        {"flags": {"http": {"port": 70_000}}},
        "http.port: must be at most 65535 (from flag --http-port)",
        id="another flag",
    ),
    pytest.param(
        {"flags": {"config": "none.toml"}, "environ": {"TOKENTRAIL_CONFIG": "also-none.toml"}},
        "config: none.toml cannot be read: No such file or directory (from flag --config)",
        id="a missing file named by a flag",
    ),
    pytest.param(
        {"environ": {"TOKENTRAIL_TOPICS__EVENTS": "x"}, "toml": '[topics]\nfindings = "x"'},
        "topics: events, findings, dead_letters and staged must be different topics "
        "(from file config/tokentrail.toml, line 2, environment TOKENTRAIL_TOPICS__EVENTS)",
        id="two equal topics",
    ),
    pytest.param(
        {
            "environ": {
                "TOKENTRAIL_REGISTRY__PASSWORD": PASSWORD,
                "TOKENTRAIL_REGISTRY__PASSWORD_FILE": PASSWORD,
            }
        },
        "registry.password_file: registry.password is given too: keep one of the two "
        "(from environment TOKENTRAIL_REGISTRY__PASSWORD_FILE)",
        id="a secret given twice",
    ),
]


@pytest.mark.parametrize(("given_", "line"), WRONG)
def test_a_wrong_setting_gives_one_line_with_name_and_source(
    tmp_path: Path, given_: dict[str, Any], line: str
) -> None:
    assert problems(tmp_path, **given_) == [line]


@pytest.mark.parametrize("name", sorted(REFUSED_PROPERTIES))
def test_a_property_that_would_break_the_guarantee_is_refused(tmp_path: Path, name: str) -> None:
    for table in ("properties", "consumer_properties", "producer_properties"):
        key = f"TOKENTRAIL_KAFKA__{table.upper()}"
        expected = f"kafka.{table}.{name}: {REFUSED_PROPERTIES[name]} (from environment {key})"
        assert problems(tmp_path, {key: json.dumps({name: PASSWORD})}) == [expected]


@pytest.mark.parametrize(
    "name",
    ["enable.auto.commit", "auto.offset.reset", "isolation.level", "enable.idempotence", "acks", "group.id"],
)
def test_the_table_of_refused_properties_knows_the_worst(name: str) -> None:
    assert name in REFUSED_PROPERTIES


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    toml = '[http]\nport = 70000\n[kafka.properties]\nacks = 0\n"enable.auto.commit" = true'
    environ = {"TOKENTRAIL_LOG__LEVEL": "loud", "TOKENTRAIL_LOG_LEVEL": "x", "TOKENTRAIL_TUNING": "none"}
    names = sorted(line.partition(":")[0] for line in problems(tmp_path, environ, toml))
    assert names == [
        "TOKENTRAIL_LOG_LEVEL",
        "http.port",
        "kafka.properties.acks",
        "kafka.properties.enable.auto.commit",
        "log.level",
        "tuning",
    ]


def test_an_unreadable_configuration_file_ends_the_search(tmp_path: Path) -> None:
    environ = {"TOKENTRAIL_KAFFKA": "x", "TOKENTRAIL_LOG__LEVEL": "loud"}
    names = [line.partition(":")[0] for line in problems(tmp_path, environ, "not toml")]
    assert names == ["TOKENTRAIL_KAFFKA", "config"]


# --- variables that nobody reads -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("TOKENTRAIL_KAFKA_GROUP_ID", "; did you mean TOKENTRAIL_KAFKA__GROUP_ID?"),
        ("TOKENTRAIL_KAFFKA__GROUP_ID", "; did you mean TOKENTRAIL_KAFKA__GROUP_ID?"),
        ("TOKENTRAIL_HTTP_PORT", "; did you mean TOKENTRAIL_HTTP__PORT?"),
        ("tokentrail_http__port", "; did you mean TOKENTRAIL_HTTP__PORT?"),
        ("TOKENTRAIL_HTTP__PORT__X", "; did you mean TOKENTRAIL_HTTP__PORT?"),
        ("TOKENTRAIL_SASL_PASSWORD_FILE", "; did you mean TOKENTRAIL_KAFKA__SASL_PASSWORD_FILE?"),
        ("TOKENTRAIL_\x1b", ""),
        ("TOKENTRAIL_" + "X" * 9_999, ""),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(tmp_path: Path, key: str, hint: str) -> None:
    (line,) = problems(tmp_path, {key: PASSWORD})
    assert line.isprintable()
    assert line.endswith(f": no such setting{hint} (from the environment)")
    assert len(line) < 250


def test_a_whole_section_as_one_variable_is_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, {"TOKENTRAIL_KAFKA": '{"group_id": "x"}'})
    assert line.startswith("TOKENTRAIL_KAFKA: no such setting")


def test_kubernetes_service_links_are_named_as_the_cause(tmp_path: Path) -> None:
    links = {
        "TOKENTRAIL_METRICS_PORT": "tcp://10.0.0.2:9464",
        "TOKENTRAIL_METRICS_SERVICE_HOST": "10.0.0.2",
        "TOKENTRAIL_PORT": "tcp://10.0.0.1:9464",
        "TOKENTRAIL_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "TOKENTRAIL_PORT_9464_TCP_ADDR": "10.0.0.1",
        "TOKENTRAIL_SERVICE_HOST": "10.0.0.1",
        "TOKENTRAIL_SERVICE_PORT": "9464",
        "TOKENTRAIL_SERVICE_PORT_METRICS": "9464",
    }
    (line,) = problems(tmp_path, links)
    assert line.startswith(", ".join(links) + ": no settings; Kubernetes adds such variables")
    assert "enableServiceLinks: false" in line
    for key, value in links.items():
        assert "enableServiceLinks: false" in problems(tmp_path, {key: value})[0]


# --- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2024-12-12T16:04:32Z",
        "2024-12-12t16:04:32.000z",
        "2024-12-12 18:04:32+02:00",
        "2024-12-12T16:04:32.000000000Z",
    ],
)
def test_start_is_a_time_in_the_environment_and_in_the_file(tmp_path: Path, text: str) -> None:
    expected = datetime(2024, 12, 12, 16, 4, 32, tzinfo=UTC)
    assert load({}, {"TOKENTRAIL_KAFKA__START": text}, tmp_path).kafka.start == expected
    write(tmp_path, f"[kafka]\nstart = {text}")
    assert load({}, {}, tmp_path).kafka.start == expected
    write(tmp_path, f"[kafka]\nstart = '{text}'")
    assert load({}, {}, tmp_path).kafka.start == expected


@pytest.mark.parametrize(
    "brokers", ["a", "a:9092", "a:1,b-2.example.com:65535", "10.0.0.1:9092", "[::1]:9092", "my_broker:9092"]
)
def test_brokers_are_host_and_port(tmp_path: Path, brokers: str) -> None:
    settings = load({"kafka": {"bootstrap_servers": brokers}}, {}, tmp_path)
    assert require_bootstrap(settings) == brokers


def test_spaces_between_brokers_go(tmp_path: Path) -> None:
    settings = load({}, {"TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS": " a:1 , b:2"}, tmp_path)
    assert settings.kafka.bootstrap_servers == "a:1,b:2"


def test_missing_brokers_are_told_with_all_three_ways_to_set_them(tmp_path: Path) -> None:
    line = (
        "kafka.bootstrap_servers is required: set TOKENTRAIL_KAFKA__BOOTSTRAP_SERVERS, "
        "[kafka] bootstrap_servers in {}, or --bootstrap-servers"
    )
    with pytest.raises(SettingsError) as caught:
        require_bootstrap(load({}, {}, tmp_path))
    assert caught.value.problems == (line.format("config/tokentrail.toml"),)
    path = write(tmp_path, "", "mine.toml")
    with pytest.raises(SettingsError) as caught:
        require_bootstrap(load({"config": "mine.toml"}, {}, tmp_path))
    assert caught.value.problems == (line.format(path),)


def test_protocol_and_mechanism_are_read_in_any_letter_case(tmp_path: Path) -> None:
    environ = {
        "TOKENTRAIL_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "TOKENTRAIL_KAFKA__SASL_MECHANISM": "scram-sha-512",
    }
    kafka = load({}, environ, tmp_path).kafka
    assert (kafka.security_protocol, kafka.sasl_mechanism) == ("sasl_ssl", "SCRAM-SHA-512")


@pytest.mark.parametrize("key", ['"linger.ms"', "linger.ms"])
def test_property_names_may_lack_their_quotes_in_the_file(tmp_path: Path, key: str) -> None:
    write(tmp_path, f"[kafka.properties]\n{key} = 5\n{key.replace('ms', 'x')} = 'y'")
    assert load({}, {}, tmp_path).kafka.properties == {"linger.ms": "5", "linger.x": "y"}


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (5, "5"), (0.5, "0.5"), ("x y", "x y"), ("", "")]
)
def test_property_values_become_text_as_librdkafka_reads_it(tmp_path: Path, value: object, text: str) -> None:
    environ = {"TOKENTRAIL_KAFKA__CONSUMER_PROPERTIES": json.dumps({"a.b": value})}
    assert load({}, environ, tmp_path).kafka.consumer_properties == {"a.b": text}


def test_properties_of_file_and_environment_are_joined_name_by_name(tmp_path: Path) -> None:
    write(tmp_path, '[kafka.properties]\nlinger.ms = 5\n"client.rack" = "a"')
    environ = {"TOKENTRAIL_KAFKA__PROPERTIES": '{"linger.ms": 9}'}
    assert load({}, environ, tmp_path).kafka.properties == {"linger.ms": "9", "client.rack": "a"}


# --- the example file and the documentation --------------------------------------------------------------------


def leaves(model: BaseModel) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        inner = leaves(value) if isinstance(value, BaseModel) else {"": value}
        found |= {f"{name}.{key}".rstrip("."): item for key, item in inner.items()}
    return found


def test_the_example_file_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE.read_bytes())
    assert load({}, {}, tmp_path) == Settings(config=path)


def test_the_example_file_shows_every_setting_at_its_default(tmp_path: Path) -> None:
    shown = re.sub(r'^#(?=["\w])', "", EXAMPLE.read_text(), flags=re.MULTILINE)
    path, tuning = write(tmp_path, shown), write(tmp_path, "", "config/tuning.toml")
    context = write(tmp_path, "", "config/context.toml")
    settings = load({}, {}, tmp_path)
    defaults = leaves(Settings(config=path, tuning=tuning, context=context))
    for name, value in leaves(settings).items():
        assert value == defaults[name] or defaults[name] in (None, {}, ()), name

    parsed = tomllib.loads(shown)
    for name in defaults.keys() - {"config"}:
        section, _, key = name.rpartition(".")
        assert key in (parsed[section] if section else parsed), name


def test_the_documentation_has_a_row_for_every_name_that_can_be_set() -> None:
    rows = {row.environment: row for row in describe()}
    for name in leaves(Settings()):
        row = rows.pop("TOKENTRAIL_" + name.upper().replace(".", "__"))
        assert row.meaning.endswith((".", "…"))
    assert sorted(rows) == sorted(f"TOKENTRAIL_{name}_FILE" for name in [*SECRETS, "CANARY__KEY"])


@pytest.mark.parametrize(
    ("environment", "in_file", "default"),
    [
        ("TOKENTRAIL_KAFKA__GROUP_ID", "[kafka] group_id", "tokentrail"),
        ("TOKENTRAIL_KAFKA__PROPERTIES", "[kafka.properties]", "none"),
        ("TOKENTRAIL_DETECT__SCREEN", "[detect] screen", "false"),
        ("TOKENTRAIL_ACCOUNTS__EXPECTED", "[accounts] expected", "none"),
        ("TOKENTRAIL_HTTP__PORT", "[http] port", "9464"),
        ("TOKENTRAIL_REGISTRY__PASSWORD_FILE", "[registry] password_file", "none"),
        ("TOKENTRAIL_TUNING", "tuning", "config/tuning.toml where present"),
        ("TOKENTRAIL_CONFIG", "", "config/tokentrail.toml where present"),
    ],
)
def test_a_row_says_where_to_set_it_and_what_it_is_by_default(
    environment: str, in_file: str, default: str
) -> None:
    (row,) = (row for row in describe() if row.environment == environment)
    assert (row.in_file, row.default) == (in_file, default)


@pytest.mark.parametrize(
    "text", ["111122223333, 000000000001", '["111122223333", "000000000001", "111122223333"]']
)
def test_accounts_are_a_list_with_commas_or_as_json_each_once(tmp_path: Path, text: str) -> None:
    expected = ("111122223333", "000000000001")
    assert load({}, {"TOKENTRAIL_ACCOUNTS__EXPECTED": text}, tmp_path).accounts.expected == expected
    write(tmp_path, '[accounts]\nexpected = ["111122223333", "000000000001"]')
    assert load({}, {}, tmp_path).accounts.expected == expected
    assert load({}, {"TOKENTRAIL_ACCOUNTS__EXPECTED": ""}, tmp_path).accounts.expected == ()


def test_flags_are_named_after_settings() -> None:
    names = [("kafka", "group_id"), ("topics", "dead_letters"), ("config",)]
    assert [flag(name) for name in names] == ["--group-id", "--topics-dead-letters", "--config"]


# --- whatever the input ----------------------------------------------------------------------------------------


def lines_of(read: Callable[[], Settings]) -> Sequence[str]:
    try:
        read()
    except SettingsError as error:
        return error.problems
    return ()


variables = st.sampled_from(ENVIRONMENT) | st.text(max_size=20).map("TOKENTRAIL_".__add__)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


@given(st.dictionaries(variables, st.text() | nested.map(json.dumps), max_size=6))
def test_no_environment_raises_anything_but_settings_error(environ: dict[str, str]) -> None:
    folder = Path(__file__).parent
    for line in lines_of(lambda: load({}, environ, folder)):
        assert line.isprintable()
        assert len(line) < 2_000


@given(st.binary() | st.text().map(str.encode) | nested.map(lambda value: f"kafka = {json.dumps(value)}".encode()))
def test_no_file_raises_anything_but_settings_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    write(folder, content)
    for line in lines_of(lambda: load({}, {}, folder)):
        assert line.isprintable()


@given(st.dictionaries(st.sampled_from(["kafka", "http", "topics", "tuning", "config", "x"]), nested))
def test_no_flags_raise_anything_but_settings_error(flags: dict[str, object]) -> None:
    lines_of(lambda: load(flags, {}, Path(__file__).parent))


@pytest.mark.parametrize(
    "key",
    [name for name in ENVIRONMENT if name not in {"TOKENTRAIL_CONFIG", "TOKENTRAIL_TUNING", "TOKENTRAIL_CONTEXT"}],
)
@pytest.mark.parametrize("form", ["{}", '{{"x": ["{}"]}}', "{{{}", '["{}"]', "http://u:{}@h:x", "\x1b{}"])
def test_no_problem_ever_quotes_a_value(tmp_path: Path, key: str, form: str) -> None:
    # Whatever a password was pasted into by mistake: it is in no line printed.
    environ = {key: form.format(PASSWORD), "TOKENTRAIL_HTTP__PORT": "wrong", "TOKENTRAIL_NONE": PASSWORD}
    lines = problems(tmp_path, environ)
    assert len(lines) >= 2
    assert PASSWORD not in "\n".join(lines)


@pytest.mark.parametrize(
    "toml",
    [
        f'[kafka]\nsasl_password = {PASSWORD}"',
        f'[kafka]\nsasl_password = "{PASSWORD}',
        f'[kafka]\nsasl_password = ["{PASSWORD}"]',
        f'[kafka]\nsasl_pasword = "{PASSWORD}"',
        f'[kafka]\nsasl_password = "\\{PASSWORD}"',
        f'sasl_password = "{PASSWORD}"',
        f'[kafka.properties]\nsasl.password = "{PASSWORD}"',
        f'[registry]\nurl = "{PASSWORD}"',
    ],
)
def test_no_problem_in_the_file_quotes_a_value(tmp_path: Path, toml: str) -> None:
    assert PASSWORD not in "\n".join(problems(tmp_path, toml=toml))
