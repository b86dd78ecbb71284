"""Flags, environment and configuration file -> one frozen object; no other module reads the environment."""

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import SettingsError
from service.log import printable

PREFIX: Final = "TOKENTRAIL_"
DEFAULT_FILES: Final = {"config": Path("config/tokentrail.toml"), "tuning": Path("config/tuning.toml")}
NOT_BUILT_YET: Final = frozenset({"avro", "ocsf"})  # values of findings.format

_COMMITS = "refused: Tokentrail commits offsets itself, together with the findings"
_IDEMPOTENCE = "refused: without idempotent produce a retry can write a finding twice"
_ACKS = "refused: a finding counts as written once all in-sync replicas have it"
# librdkafka's properties that would break the delivery guarantee, or that have a setting of their own.
REFUSED_PROPERTIES: Final[Mapping[str, str]] = {
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "auto.offset.reset": "refused: it would skip lost events in silence; set kafka.start for a new group",
    "isolation.level": "refused: events of aborted transactions must not be read",
    "enable.partition.eof": "refused: an end-of-partition mark is not a message",
    "partition.assignment.strategy": "refused: the consumer relies on cooperative rebalancing",
    "enable.idempotence": _IDEMPOTENCE,
    "max.in.flight": _IDEMPOTENCE,
    "max.in.flight.requests.per.connection": _IDEMPOTENCE,
    "acks": _ACKS,
    "request.required.acks": _ACKS,
    "delivery.report.only.error": _ACKS,
    "transactional.id": "refused: two workers with one id would fence each other; each makes its own",
    "bootstrap.servers": "set kafka.bootstrap_servers instead",
    "metadata.broker.list": "set kafka.bootstrap_servers instead",
    "group.id": "set kafka.group_id instead",
    "group.protocol": "set kafka.group_protocol instead",
    "security.protocol": "set kafka.security_protocol instead",
    "sasl.mechanism": "set kafka.sasl_mechanism instead",
    "sasl.mechanisms": "set kafka.sasl_mechanism instead",
    "sasl.username": "set kafka.sasl_username instead",
    "sasl.password": "set kafka.sasl_password instead",
}

# --- what a value may be: each validator's message completes "NAME: …" and never quotes the value ------------

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")
_NOT_FOR_C = re.compile("[\0\ud800-\udfff]")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    if not value.isprintable():
        raise ValueError("must be printable text")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _no_boolean(value: object) -> object:
    if value is True or value is False:
        raise ValueError("must be a whole number")
    return value


def _brokers(value: str) -> str:
    brokers = [broker.strip() for broker in value.split(",")]
    for number, broker in enumerate(brokers, start=1):
        match = _BROKER.fullmatch(broker)
        if not match or not 1 <= int(match["port"] or 9092) <= 65535:
            raise ValueError(f"must be host:port, comma-separated; entry {number} is not")
    return ",".join(brokers)


def _topic(value: str) -> str:
    if value in {".", ".."} or not _TOPIC.fullmatch(value):
        raise ValueError("must be a topic name: 1 to 249 of A-Z a-z 0-9 . _ -, not . or ..")
    return value


def _url(value: str) -> str:
    wrong = ValueError("must be an http:// or https:// address")
    try:
        parts = urlsplit(_text(value))
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        raise wrong from None
    if not usable:
        raise wrong
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a login: set registry.username and registry.password instead")
    return value


def _start(value: object) -> str | datetime:
    """A word or a time; TOML hands over date-times (and dates, and times of day) as such."""
    if value in ("earliest", "latest"):
        return str(value)
    moment = value
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        with suppress(ValueError):  # the 31st of February
            moment = datetime.fromisoformat(value.upper())
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise ValueError("needs a time zone: end it with Z, or with an offset such as +02:00")
        if moment < datetime(1970, 1, 2, tzinfo=UTC):
            raise ValueError("must be later than 1970")  # Kafka reads negative times as marks of its own
        return moment
    raise ValueError(
        "must be earliest, latest or an RFC 3339 time: date, time and zone, such as 2024-12-12T16:04:32Z"
    )


def _built(value: str) -> str:
    if value in NOT_BUILT_YET:
        raise ValueError("not available in this version: json is the only format yet")
    return value


def _property_name(name: str) -> str:
    if name in REFUSED_PROPERTIES:
        raise ValueError(REFUSED_PROPERTIES[name])
    return _text(name)


def _c_text(value: str) -> str:
    """What librdkafka can take: an environment's undecodable bytes arrive as lone surrogates."""
    if _NOT_FOR_C.search(value):
        raise ValueError("must be UTF-8 text without NUL")
    return value


def _secret(value: SecretStr) -> SecretStr:
    if not _c_text(value.get_secret_value()):
        raise ValueError("must not be empty")
    return value


def _property_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"  # as librdkafka writes them
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return _c_text(value)
    raise ValueError("must be text, a number, true or false")


Text = Annotated[str, AfterValidator(_text)]
Number = Annotated[int, BeforeValidator(_no_boolean)]
Topic = Annotated[str, AfterValidator(_topic)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Properties = Mapping[
    Annotated[str, AfterValidator(_property_name)], Annotated[str, BeforeValidator(_property_value)]
]

# --- the settings; the descriptions are the README's table ---------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _properties(description: str) -> Any:
    """Neither a repr nor a dump shows them: ssl.key.password is one."""
    return Field(default_factory=dict, repr=False, exclude=True, description=description)


class KafkaSettings(_Section):
    bootstrap_servers: Annotated[str, AfterValidator(_brokers)] | None = Field(
        default=None, description="Brokers to ask first, host:port, comma-separated. Required by `run`."
    )
    group_id: Text = Field(default="tokentrail", description="Consumer group.")
    group_protocol: Literal["auto", "classic", "consumer"] = Field(
        default="auto",
        description="Rebalance protocol: consumer (KIP-848), classic (cooperative-sticky), or auto: "
        "consumer where the brokers know it, else classic.",
    )
    start: Annotated[str | datetime, PlainValidator(_start)] = Field(
        default="earliest",
        description="Where a group without any offset begins: earliest, latest, or an RFC 3339 time.",
    )
    security_protocol: (
        Annotated[Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"], BeforeValidator(_lower)] | None
    ) = Field(default=None, description="How to speak to the brokers; librdkafka's default is plaintext.")
    sasl_mechanism: (
        Annotated[
            Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"],
            BeforeValidator(_upper),
        ]
        | None
    ) = Field(default=None, description="SASL mechanism, where security_protocol is one of sasl_…")
    sasl_username: Secret | None = Field(default=None, description="SASL user name.")
    sasl_password: Secret | None = Field(default=None, description="SASL password.")
    properties: Properties = _properties(
        "Other librdkafka properties, for consumer and producer; JSON in the environment."
    )
    consumer_properties: Properties = _properties("The same for the consumer only; wins over properties.")
    producer_properties: Properties = _properties("The same for the producer only; wins over properties.")


class TopicSettings(_Section):
    events: Topic = Field(default="cloudtrail.events", description="Topic read: CloudTrail events.")
    findings: Topic = Field(default="cloudtrail.findings", description="Topic written: findings.")
    dead_letters: Topic = Field(
        default="cloudtrail.dead-letters", description="Topic written: messages that could not be read."
    )

    @model_validator(mode="after")
    def _three_topics(self) -> "TopicSettings":
        if len({self.events, self.findings, self.dead_letters}) < 3:
            raise ValueError("events, findings and dead_letters must be three different topics")
        return self


class DeliverySettings(_Section):
    mode: Literal["exactly-once", "at-least-once"] = Field(
        default="exactly-once",
        description="exactly-once (findings and offsets in one transaction) or at-least-once.",
    )


class DetectSettings(_Section):
    screen: bool = Field(
        default=False,
        description="Skip decoding messages that name no watched event: faster, but some metrics are samples.",
    )


class FindingSettings(_Section):
    format: Annotated[Literal["json", "avro", "ocsf"], AfterValidator(_built)] = Field(
        default="json", description="Format of a finding; avro and ocsf are not available in this version."
    )


class RegistrySettings(_Section):
    url: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None, description="Schema registry, for Avro; without a login in it."
    )
    username: Secret | None = Field(default=None, description="Registry user name.")
    password: Secret | None = Field(default=None, description="Registry password.")


class HttpSettings(_Section):
    host: Text = Field(default="0.0.0.0", description="Address of /metrics, /livez and /readyz.")  # noqa: S104 -- a pod is scraped from outside
    port: Number = Field(default=9464, ge=0, le=65535, description="Their port; 0 takes a free one, logged.")


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="json, text, or auto: text on a terminal, json elsewhere."
    )


class LimitSettings(_Section):
    batch_messages: Number = Field(
        default=5000, ge=1, le=1_000_000, description="Most messages in a batch, and so in a transaction."
    )
    decompressed_bytes: Number = Field(
        default=64 * 2**20, ge=1024, description="Most bytes a compressed message may unpack to."
    )


class Settings(BaseSettings):
    """Every setting, checked. Made by `load`; a direct call takes its arguments and reads nothing else."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, case_sensitive=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)
    detect: DetectSettings = Field(default_factory=DetectSettings)
    findings: FindingSettings = Field(default_factory=FindingSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    config: Path | None = Field(default=None, description="The configuration file.")
    tuning: Path | None = Field(
        default=None, description="The operator's tuning of the rules: severities, suppressions."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


# --- names: of a setting in the file, the environment and the flags ------------------------------------------

Name = tuple[str, ...]  # ("kafka", "group_id"); that of a librdkafka property has three parts


def _fields() -> Iterator[tuple[Name, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            yield from (((name, key), leaf) for key, leaf in field.annotation.model_fields.items())
        else:
            yield (name,), field


_FIELDS: Final = dict(_fields())
_SECTIONS: Final = frozenset(name[0] for name in _FIELDS if len(name) == 2)
_SECRETS: Final = tuple(name for name, field in _FIELDS.items() if field.annotation == Secret | None)
_PROPERTY_TABLES: Final = frozenset(name for name in _FIELDS if name[-1].endswith("properties"))


def variable(name: Name) -> str:
    """As in TOKENTRAIL_KAFKA__GROUP_ID."""
    return PREFIX + "__".join(name).upper()


def flag(name: Name) -> str:
    """As in --group-id for Kafka's settings, --http-port for the others."""
    return "--" + "-".join(name[1:] if name[0] == "kafka" else name).replace("_", "-")


def _file_variant(secret: Name) -> Name:
    return (*secret[:-1], f"{secret[-1]}_file")


_VARIABLES: Final = {variable(name): name for name in (*_FIELDS, *map(_file_variant, _SECRETS))}


@dataclass(frozen=True, kw_only=True)
class SettingDoc:
    environment: str
    in_file: str  # "[kafka] group_id"; empty for the one setting that a file cannot hold
    default: str
    meaning: str


def describe() -> list[SettingDoc]:
    """A row for each name that can be set, in the order of the model: the README's table."""
    rows = []
    for name, field in _FIELDS.items():
        meaning = field.description or ""
        rows.append(_row(name, _default(name, field), meaning))
        if name in _SECRETS:
            rows.append(_row(_file_variant(name), "none", f"A file that holds it. {meaning}"))
    return rows


def _row(name: Name, default: str, meaning: str) -> SettingDoc:
    in_file = f"[{name[0]}] {name[1]}" if len(name) == 2 else name[0]
    if name in _PROPERTY_TABLES:
        in_file = f"[{'.'.join(name)}]"
    elif name == ("config",):
        in_file = ""
    return SettingDoc(environment=variable(name), in_file=in_file, default=default, meaning=meaning)


def _default(name: Name, field: FieldInfo) -> str:
    if name[0] in DEFAULT_FILES:
        return f"{DEFAULT_FILES[name[0]]} where present"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "none" if value in (None, {}) else json.dumps(value).strip('"')


# --- sources: what each gives, nested as in the file -----------------------------------------------------------


class _Source(InitSettingsSource):
    """The values of one source; `where` says at which place in it a setting stands."""

    def __init__(self, values: Mapping[str, Any], where: Callable[[Name], str]) -> None:
        # Sections are copied, since `_tidy` mends them.
        copied = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
        super().__init__(Settings, copied)
        self.values: dict[str, Any] = self.init_kwargs
        self.where = where


def load(
    flags: Mapping[str, object], environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Settings:
    """The settings: flags before environment before file before defaults.

    `flags` is nested like the file, holds only what was given, and may name the file as `config`. `environ` is
    the process's own by default; relative paths start at `cwd`. Raises SettingsError with every problem found;
    only a configuration file that cannot be read or parsed ends the search early.
    """
    cwd = cwd or Path.cwd()
    problems: list[str] = []
    sources = [
        _Source(flags, lambda name: f"flag {flag(name)}"),
        _from_environment(os.environ if environ is None else environ, problems),
    ]
    files: dict[str, Path] = {}
    try:
        if config := _named_file("config", sources, cwd):
            files["config"] = cwd / config[0]
            sources.append(_from_file(*config))
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    for source in sources:
        _tidy(source, problems)
        _read_secrets(source, cwd, problems)
    try:
        if tuning := _named_file("tuning", sources, cwd):
            files["tuning"] = cwd / tuning[0]
    except SettingsError as error:
        problems.extend(error.problems)
    return _validated([_Source(files, lambda name: f"file {files[name[0]]}"), *sources], problems)


def require_bootstrap(settings: Settings) -> str:
    """The brokers to ask first. Raises SettingsError where none are set."""
    if settings.kafka.bootstrap_servers is None:
        name = ("kafka", "bootstrap_servers")
        file = printable(str(settings.config or DEFAULT_FILES["config"]))
        ways = f"set {variable(name)}, [kafka] bootstrap_servers in {file}, or {flag(name)}"
        raise SettingsError([f"kafka.bootstrap_servers is required: {ways}"])
    return settings.kafka.bootstrap_servers


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> _Source:
    def where(name: Name) -> str:
        return f"environment {variable(name[:2])}"

    ours = {key: text for key, text in sorted(environ.items()) if key.upper().startswith(PREFIX)}
    problems.extend(_unread({key: text for key, text in ours.items() if key not in _VARIABLES}))
    values: dict[str, Any] = {}
    for name, text in ((_VARIABLES[key], text) for key, text in ours.items() if key in _VARIABLES):
        try:
            value = _json_object(text) if name in _PROPERTY_TABLES else text
        except ValueError as error:
            problems.append(_line(name, str(error), where(name)))
        else:
            table = values.setdefault(name[0], {}) if len(name) > 1 else values
            table[name[-1]] = value
    return _Source(values, where)


_SERVICE_LINK = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)|PORT")


def _unread(unknown: Mapping[str, str]) -> Iterator[str]:
    """A line for each variable that nobody reads; one for all that Kubernetes adds."""

    def is_service_link(key: str) -> bool:
        in_url_form = key.endswith("_PORT") and "://" in unknown[key]
        return in_url_form or _SERVICE_LINK.fullmatch(key.removeprefix(PREFIX)) is not None

    links = [key for key in unknown if is_service_link(key)]
    if links:
        yield (
            f"{printable(', '.join(links))}: no settings; Kubernetes adds such variables for a Service named "
            "tokentrail: set enableServiceLinks: false in the pod (from the environment)"
        )
    for key in (key for key in unknown if key not in links):
        yield f"{printable(key, 80)}: no such setting{_hint(key.upper(), _VARIABLES)} (from the environment)"


def _hint(wrong: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(wrong[:80], known, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _json_object(text: str) -> dict[str, Any]:
    expected = 'expected a JSON object such as {"linger.ms": 5}'
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"is not JSON: {error.msg} at {at}; {expected}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
        raise ValueError(f"is not JSON that can be read; {expected}") from None
    if isinstance(value, dict):
        return value
    raise ValueError(expected)


def _named_file(key: str, sources: Sequence[_Source], cwd: Path) -> tuple[Path, bytes] | None:
    """Path, as given, and content of the file that `key` names, else of the default one where present."""
    source = next((source for source in sources if key in source.values), None)
    given = source.values[key] if source else DEFAULT_FILES[key]
    if not isinstance(given, str | Path):
        return None  # the model says what it must be
    try:
        return Path(given), (cwd / given).read_bytes()
    except (OSError, ValueError) as error:
        if source is None and isinstance(error, FileNotFoundError):
            return None
        where = source.where((key,)) if source else "the default"
        problem = f"{printable(str(given))} cannot be read: {_why(error)}"
        raise SettingsError([_line((key,), problem, where)]) from None


def _why(error: OSError | ValueError) -> str:
    """Without the path: that of a secret's file may be the secret itself, given by mistake."""
    return (error.strerror if isinstance(error, OSError) else None) or "not a path"


def _from_file(path: Path, content: bytes) -> _Source:
    """Raises SettingsError for a file that is not TOML."""
    shown = f"file {printable(str(path))}"
    try:
        text = content.decode("utf-8-sig")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"config: {shown}, line {line}: is not UTF-8 text"]) from None
    except RecursionError:
        raise SettingsError([f"config: {shown} is nested too deeply"]) from None
    except ValueError as error:
        raise SettingsError([f"config: {shown} is not TOML: {printable(str(error))}"]) from None
    lines = _lines(text)

    def where(name: Name) -> str:
        line = next((lines[key] for key in _outwards(name) if key in lines), None)
        return shown if line is None else f"{shown}, line {line}"

    if "config" in values:
        raise SettingsError([_line(("config",), "a file cannot name itself: remove it", where(("config",)))])
    return _Source(values, where)


def _lines(text: str) -> dict[str, int]:
    """Dotted name -> number of the line that sets it. `tomllib` gives no places, so it reads line by line."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        is_header = line.lstrip().startswith("[")
        try:
            parsed = tomllib.loads(line if is_header else f"{line.partition('=')[0]} = 0")
        except (ValueError, RecursionError):
            continue  # a comment, or the inside of a value of several lines
        name = ".".join(next((path for path, _ in _leaves(parsed)), ()))
        table = name if is_header else table
        found.setdefault(name if is_header or not table else f"{table}.{name}", number)
    return found


def _outwards(name: Name) -> Iterator[str]:
    """A name and what it stands in, so kafka.group_id, then kafka."""
    return (".".join(name[:length]) for length in range(len(name), 0, -1))


def _leaves(table: dict[str, Any]) -> Iterator[tuple[Name, Any]]:
    """Path and value of all that is not a table, or is an empty one. No recursion: a file nests at will."""
    todo: list[tuple[Name, Any]] = [((key,), value) for key, value in reversed(table.items())]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict) and value:
            todo.extend(((*path, key), inner) for key, inner in reversed(value.items()))
        else:
            yield path, value


def _tidy(source: _Source, problems: list[str]) -> None:
    """Refuse what merging would hide, flatten librdkafka's dotted names where TOML made tables of them."""
    for section in sorted(_SECTIONS & source.values.keys()):
        if not isinstance(source.values[section], dict):
            problems.append(_line((section,), "must be a table", source.where((section,))))
            del source.values[section]
    for section, key in _PROPERTY_TABLES:
        table = source.values.get(section, {})
        if isinstance(table.get(key), dict):
            table[key] = {".".join(path): value for path, value in _leaves(table[key])}


def _read_secrets(source: _Source, cwd: Path, problems: list[str]) -> None:
    for secret in _SECRETS:
        table, file = source.values.get(secret[0], {}), _file_variant(secret)
        if file[-1] not in table:
            continue
        given = table.pop(file[-1])
        if secret[-1] in table:
            problem = f"{'.'.join(secret)} is given too: keep one of the two"
            problems.append(_line(file, problem, source.where(file)))
            continue
        try:
            table[secret[-1]] = _secret_in(given, cwd)
        except ValueError as error:
            problems.append(_line(file, str(error), source.where(file)))


def _secret_in(file: Any, cwd: Path) -> str:
    """Raises ValueError that says what is wrong, not with which path: that may be the secret, by mistake."""
    try:
        text = Path(cwd, file).read_bytes().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    except TypeError:
        raise ValueError("must be a path, in quotes") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the file cannot be read: {_why(error)}") from None
    if not text:
        raise ValueError("the file is empty")
    return text


# --- problems: one line each, the setting, what it must be, where it was given; never a value ------------------

_MUST: Final = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "path_type": "must be a path, in quotes",
    "string_type": "must be text, in quotes",
    "value_error": "{error}",
}


def _validated(sources: Sequence[_Source], problems: Sequence[str]) -> Settings:
    try:
        settings = Settings(_build_sources=(tuple(sources), {}))  # type: ignore[call-arg]  # see BaseSettings.__init__
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        problems = [*problems, *(_problem(detail, sources) for detail in found)]
    else:
        if not problems:
            return settings
    raise SettingsError(problems)


def _problem(detail: ErrorDetails, sources: Sequence[_Source]) -> str:
    name = tuple(str(part) for part in detail["loc"] if part != "[key]")
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        known = [".".join(field) for field in _FIELDS] if len(name) > 1 else [field[0] for field in _FIELDS]
        message = f"no such setting{_hint('.'.join(name), known)}"
    elif detail["type"] == "literal_error":
        message = "must be one of " + context["expected"].replace(" or ", ", ").replace("'", "")
    else:
        message = _MUST.get(detail["type"], "is not valid").format(**context)
    return _line(name, message, ", ".join(_places(name, sources)))


def _places(name: Name, sources: Sequence[_Source]) -> list[str]:
    """Where `name` was given, or for a section (topics that must differ) each value in it; three at most."""
    winners = {path: source for source in reversed(sources) for path, _ in _leaves(source.values)}
    return [source.where(path) for path, source in winners.items() if path[: len(name)] == name][:3]


def _line(name: Name, message: str, where: str) -> str:
    return f"{printable('.'.join(name), 120)}: {message} (from {where})"
