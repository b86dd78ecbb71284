"""Flags, environment and configuration file -> one frozen object; no other module reads the environment."""

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import SettingsError
from service.escape import printable
from service.settings_sources import (
    Layer,
    Name,
    explain,
    file_variant,
    from_environment,
    from_file,
    named_file,
    read_secrets,
    tidy,
    variable,
)
from service.settings_values import (
    AccountIds,
    AwsRegion,
    Brokers,
    Number,
    Properties,
    SaslMechanism,
    Secret,
    SecurityProtocol,
    Start,
    Text,
    Topic,
    Url,
)

DEFAULT_FILES: Final = {
    "config": Path("config/tokentrail.toml"),
    "tuning": Path("config/tuning.toml"),
    "context": Path("config/context.toml"),
}

# --- the settings; a docstring below one is its row in the README's table, and its flag's help ---------------


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


# Neither a repr nor a dump shows them: ssl.key.password is one.
_PROPERTIES: Final[Any] = Field(default_factory=dict, repr=False, exclude=True)


class KafkaSettings(_Section):
    bootstrap_servers: Brokers | None = None
    """Brokers to ask first, host:port, comma-separated. Required by whatever talks to Kafka."""
    group_id: Text = "tokentrail"
    """Consumer group."""
    group_protocol: Literal["auto", "classic", "consumer"] = "auto"
    """Rebalance protocol: consumer (KIP-848), classic (cooperative-sticky), or auto: consumer where the brokers
    know it, else classic."""
    start: Start = "earliest"
    """Where a group without any offset begins: earliest, latest, or an RFC 3339 time."""
    security_protocol: SecurityProtocol | None = None
    """How to speak to the brokers: plaintext (librdkafka's default), ssl, sasl_plaintext, sasl_ssl."""
    msk_iam_region: AwsRegion | None = None
    """AWS region of the cluster, for AWS_MSK_IAM; where not set, AWS_REGION or AWS_DEFAULT_REGION of the
    environment."""
    sasl_mechanism: SaslMechanism | None = None
    """SASL mechanism, where security_protocol is one of sasl_…: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER,
    GSSAPI, or AWS_MSK_IAM for Amazon MSK (needs the extra msk-iam)."""
    sasl_username: Secret | None = None
    """SASL user name."""
    sasl_password: Secret | None = None
    """SASL password."""
    properties: Properties = _PROPERTIES
    """Other librdkafka properties, for consumer and producer; JSON in the environment."""
    consumer_properties: Properties = _PROPERTIES
    """The same for the consumer only; wins over properties."""
    producer_properties: Properties = _PROPERTIES
    """The same for the producer only; wins over properties."""

    @field_validator("sasl_mechanism")
    @classmethod
    def _msk_iam_is_whole(cls, mechanism: SaslMechanism | None, info: ValidationInfo) -> SaslMechanism | None:
        if mechanism == "AWS_MSK_IAM":
            if info.data.get("security_protocol") != "sasl_ssl":
                raise ValueError("AWS_MSK_IAM needs security_protocol sasl_ssl")
            if info.data.get("msk_iam_region") is None:
                raise ValueError("AWS_MSK_IAM needs msk_iam_region, or AWS_REGION in the environment")
        return mechanism


class TopicSettings(_Section):
    events: Topic = "cloudtrail.events"
    """Topic read: CloudTrail events."""
    findings: Topic = "cloudtrail.findings"
    """Topic written: findings."""
    dead_letters: Topic = "cloudtrail.dead-letters"
    """Topic written: messages that could not be read."""
    staged: Topic | None = None
    """Topic written: findings of rules on trial. Where not set, these are counted and go nowhere."""

    @model_validator(mode="after")
    def _different_topics(self) -> "TopicSettings":
        if len({self.events, *self.written}) <= len(self.written):
            raise ValueError("events, findings, dead_letters and staged must be different topics")
        return self

    @property
    def written(self) -> tuple[str, ...]:
        """The topics that `run` writes to."""
        return (self.findings, self.dead_letters, *([self.staged] if self.staged else []))


class DeliverySettings(_Section):
    mode: Literal["exactly-once", "at-least-once"] = "exactly-once"
    """exactly-once (findings and offsets in one transaction) or at-least-once."""


class DetectSettings(_Section):
    screen: bool = False
    """Where messages queue up, skip those that cannot hold a watched event, unread but for one in a hundred."""


class FindingSettings(_Section):
    format: Literal["json", "avro", "ocsf"] = "json"
    """Format of a finding: json, avro (needs registry.url), or ocsf (OCSF Detection Finding, as JSON)."""


class RegistrySettings(_Section):
    url: Url | None = None
    """Schema registry, for Avro; without a login in it."""
    username: Secret | None = None
    """Registry user name."""
    password: Secret | None = None
    """Registry password."""
    ca_location: Text | None = None
    """File, or folder, of the certificates to trust; the usual public ones where not set."""
    certificate_location: Text | None = None
    """File of our certificate, where the registry asks for one."""
    key_location: Text | None = None
    """File of its key, without a passphrase; where not set, the certificate's file holds it."""
    timeout_seconds: Annotated[Number, Field(ge=1, le=30)] = 5
    """Seconds to wait for the registry to connect or to go on answering: a healthy one needs milliseconds."""
    unavailable: Literal["retry", "dead-letter", "stop"] = "retry"
    """When the registry does not answer: retry (partitions wait, nothing is lost), or after five tries in a row
    dead-letter or stop, which ends `run` with exit code 3."""
    unknown_schema: Literal["dead-letter", "retry", "stop"] = "dead-letter"
    """When the registry does not know a message's schema: dead-letter (one wrong message must not hold up the
    others, and can be sent again), retry, or stop."""
    auto_register: bool = True
    """Register the schema of findings at the start, as producers commonly do; false: it must be there."""
    schemas: Path | None = None
    """Folder of .avsc files: schemas of messages in Avro's single-object encoding, which no registry knows."""


class AccountSettings(_Section):
    expected: AccountIds = ()
    """AWS accounts, 12 digits each, comma-separated: how old the newest event of each is becomes a metric, so that
    the silence of one is seen."""


class CanarySettings(_Section):
    key: Secret | None = None
    """Key of the canaries' mark, of 32 characters at least; `run` and `canary` need the same. Without one no mark
    is believed."""

    @field_validator("key")
    @classmethod
    def _key_cannot_be_guessed(cls, key: Secret | None) -> Secret | None:
        if key is not None and len(key.get_secret_value()) < 32:  # whoever reads events could try keys on a mark
            raise ValueError("must be 32 characters at least: openssl rand -hex 32 makes one")
        return key


class HttpSettings(_Section):
    host: Text = "0.0.0.0"  # noqa: S104  a pod is scraped from outside
    """Address of /metrics, /livez and /readyz."""
    port: Annotated[Number, Field(ge=0, le=65535)] = 9464
    """Their port; 0 takes a free one, logged."""


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""
    format: Literal["auto", "json", "text"] = "auto"
    """json, text, or auto: text on a terminal, json elsewhere."""


class LimitSettings(_Section):
    batch_messages: Annotated[Number, Field(ge=1, le=1_000_000)] = 5000
    """Most findings and dead letters in a transaction; a chunk of 250 messages may add its own to the last one."""
    decompressed_bytes: Annotated[Number, Field(ge=1024)] = 64 * 2**20
    """Most bytes a compressed message may unpack to."""


class Settings(BaseSettings):
    """Every setting, checked. Made by `load`; a direct call takes its arguments and reads nothing else."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True, case_sensitive=True
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    delivery: DeliverySettings = DeliverySettings()
    detect: DetectSettings = DetectSettings()
    findings: FindingSettings = FindingSettings()
    registry: RegistrySettings = RegistrySettings()
    accounts: AccountSettings = AccountSettings()
    canary: CanarySettings = CanarySettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    config: Path | None = None
    """The configuration file."""
    tuning: Path | None = None
    """The operator's tuning of the rules."""
    context: Path | None = None
    """What is known of accounts and identity brokers, added to findings."""

    @model_validator(mode="after")
    def _avro_has_a_registry(self) -> "Settings":
        if self.findings.format == "avro" and self.registry.url is None:
            raise ValueError("findings.format avro needs registry.url")
        return self

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["init_settings"],)


# --- names, and what the documentation says of each ------------------------------------------------------------


def _fields() -> Iterator[tuple[Name, FieldInfo]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, _Section):
            yield from (((name, key), leaf) for key, leaf in type(field.default).model_fields.items())
        else:
            yield (name,), field


FIELDS: Final = dict(_fields())
SECRETS: Final = tuple(name for name, field in FIELDS.items() if field.annotation == Secret | None)
_NAMES: Final = (*FIELDS, *map(file_variant, SECRETS))


def flag(name: Name) -> str:
    """As in --group-id for Kafka's settings, --http-port for the others."""
    return "--" + "-".join(name[1:] if name[0] == "kafka" else name).replace("_", "-")


# --- loading ---------------------------------------------------------------------------------------------------


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
    environ = os.environ if environ is None else environ
    sources = [
        Layer(copy.deepcopy(dict(flags)), lambda name: f"flag {flag(name)}"),
        from_environment(environ, _NAMES, problems),
    ]
    defaults = Layer(dict(DEFAULT_FILES), lambda _: "the default")
    files: dict[str, Any] = {}
    try:
        if config := named_file("config", [*sources, defaults], cwd):
            files["config"] = cwd / config[0]
            sources.append(from_file(*config))
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    for source in sources:
        tidy(source, _NAMES, problems)
        read_secrets(source, SECRETS, cwd, problems)
    for name in ("tuning", "context"):
        try:
            if named := named_file(name, [*sources, defaults], cwd):
                files[name] = cwd / named[0]
        except SettingsError as error:
            problems.extend(error.problems)
    return _validated([Layer(files, defaults.where), *sources, _of_aws(environ)], problems)


def _of_aws(environ: Mapping[str, str]) -> Layer:
    name = next((name for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if environ.get(name)), None)
    return Layer({"kafka": {"msk_iam_region": environ[name]}} if name else {}, lambda _: f"environment {name}")


def _validated(sources: Sequence[Layer], problems: Sequence[str]) -> Settings:
    layers = tuple(InitSettingsSource(Settings, source.values) for source in sources)
    try:
        settings = Settings(_build_sources=(layers, {}))  # type: ignore[call-arg]  # see BaseSettings.__init__
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        problems = [*problems, *(explain(detail, sources, FIELDS) for detail in found)]
    else:
        if not problems:
            return settings
    raise SettingsError(problems)


def require_bootstrap(settings: Settings) -> str:
    """The brokers to ask first. Raises SettingsError where none are set."""
    if settings.kafka.bootstrap_servers is None:
        name = ("kafka", "bootstrap_servers")
        file = printable(str(settings.config or DEFAULT_FILES["config"]))
        ways = f"set {variable(name)}, [kafka] bootstrap_servers in {file}, or {flag(name)}"
        raise SettingsError([f"kafka.bootstrap_servers is required: {ways}"])
    return settings.kafka.bootstrap_servers
