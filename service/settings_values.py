"""What a setting's value may be. A validator's message completes "NAME: …" and never quotes the value."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, SecretStr

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

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_BROKER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?")
_TOPIC: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,249}")
_ACCOUNT_ID: Final = re.compile(r"\d{12}", re.ASCII)
_MAX_ACCOUNTS: Final = 1_000  # each is a time series
_AWS_REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
_NOT_FOR_C: Final = re.compile("[\0\ud800-\udfff]")  # the environment's undecodable bytes are lone surrogates


def _must(message: str, check: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A validator: the value as it is where `check` holds."""

    def validate(value: Any) -> Any:
        if not check(value):
            raise ValueError(f"must {message}")
        return value

    return validate


def _brokers(value: str) -> str:
    brokers = [broker.strip() for broker in value.split(",")]
    for number, broker in enumerate(brokers, start=1):
        match = _BROKER.fullmatch(broker)
        if not match or not 1 <= int(match["port"] or 9092) <= 65535:
            raise ValueError(f"must be host:port, comma-separated; entry {number} is not")
    return ",".join(brokers)


def _account_ids(value: object) -> tuple[str, ...]:
    """A list, of TOML or as JSON text, or text with commas; a name once, in the order given."""
    if isinstance(value, str):
        value = _json_list(value) if value.lstrip().startswith("[") else value.split(",") if value.strip() else []
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of AWS account ids")  # noqa: TRY004  pydantic reports ValueErrors
    for number, account in enumerate(value, start=1):
        if not isinstance(account, str) or not _ACCOUNT_ID.fullmatch(account.strip()):
            raise ValueError(f"must be AWS account ids of 12 digits, as text; entry {number} is not")
    if len(value) > _MAX_ACCOUNTS:
        raise ValueError(f"must be at most {_MAX_ACCOUNTS:,} accounts")
    return tuple(dict.fromkeys(account.strip() for account in value))


def _json_list(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # of which a message would quote the value
        raise ValueError("must be a JSON list, or comma-separated") from None


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return (
            value.isprintable() and parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        return False


def _has_no_login(value: str) -> bool:
    return not any("@" in urlsplit(url.strip()).netloc for url in value.split(","))


def _fits_c(value: str) -> bool:
    return _NOT_FOR_C.search(value) is None


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


def _property_name(name: str) -> str:
    if name in REFUSED_PROPERTIES:
        raise ValueError(REFUSED_PROPERTIES[name])
    return name


def _property_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        with suppress(ValueError):  # infinities, and numbers of thousands of digits
            return json.dumps(value, allow_nan=False)  # true and false as librdkafka writes them
    raise ValueError("must be text, a number, true or false")


Text = Annotated[
    str,
    AfterValidator(_must("not be empty", len)),
    AfterValidator(_must("be printable text", str.isprintable)),
]
Number = Annotated[int, BeforeValidator(_must("be a whole number", lambda value: not isinstance(value, bool)))]
Secret = Annotated[
    SecretStr,
    AfterValidator(_must("not be empty", len)),
    AfterValidator(_must("be UTF-8 text without NUL", lambda secret: _fits_c(secret.get_secret_value()))),
]
Brokers = Annotated[str, AfterValidator(_brokers)]
Topic = Annotated[
    str, AfterValidator(_must("be a topic name: 1 to 249 of A-Z a-z 0-9 . _ -, not . or ..", _TOPIC.fullmatch))
]
AccountIds = Annotated[tuple[str, ...], BeforeValidator(_account_ids)]
Url = Annotated[
    str,
    AfterValidator(_must("be an http:// or https:// address", _is_web_address)),
    AfterValidator(_must("not hold a login: set registry.username and registry.password instead", _has_no_login)),
]
AwsRegion = Annotated[str, AfterValidator(_must("be an AWS region, such as eu-central-1", _AWS_REGION.fullmatch))]
Start = Annotated[str | datetime, PlainValidator(_start)]
SecurityProtocol = Annotated[
    Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"],
    BeforeValidator(lambda value: str(value).lower()),
]
SaslMechanism = Annotated[
    Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"],
    BeforeValidator(lambda value: str(value).upper()),
]
Properties = Mapping[
    Annotated[Text, AfterValidator(_property_name)],
    Annotated[
        str,
        BeforeValidator(_property_text),
        AfterValidator(_must("be UTF-8 text without NUL", _fits_c)),
    ],
]
