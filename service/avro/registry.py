"""The schema registry: Confluent's client, asked sparingly, its failures in our words.

Imported only where a registry is configured: the client brings 350 modules and 22 MB. It has no limit for an
answer's size, or for one that comes byte by byte; that server is the operator's own.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, SchemaRegistryError

from service.errors import Refused, SchemaUnavailable, SettingsError, Unreachable
from service.escape import printable
from service.settings import RegistrySettings

MAX_REFERENCES: Final = 50  # schemas that one schema names, and these name in turn
_LONGEST_PAUSE: Final = 10.0  # seconds
_REFUSALS: Final = {401: "the login is refused", 403: "access is denied"}
# What the client raises for an answer that is no registry's: HTML with status 200, JSON of another shape.
_NO_REGISTRY: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

T = TypeVar("T")

logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema as it stands in the registry. `kind` is AVRO, JSON or PROTOBUF; `references` are the texts of those
    it uses by name, each after those it uses itself.
    """

    kind: str
    text: str
    references: tuple[str, ...] = ()


class Registry:
    """Not for several threads. After a call that failed, nothing is asked for a while: 1 s, 2 s, … 10 s.

    Raises SettingsError for a certificate or key that cannot be used.
    """

    def __init__(self, settings: RegistrySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._auto_register = settings.auto_register
        self._clock = clock
        self._asked_again_at = 0.0
        self._trouble = ""
        self.failures = 0  # calls without an answer since the last one that had one
        try:
            self._client = SchemaRegistryClient.new_client(_configuration(settings))
        except (OSError, ValueError) as error:
            name = "registry.ca_location, certificate_location, key_location"
            raise SettingsError([f"{name}: {printable(str(error), 200)}"]) from None

    def close(self) -> None:
        self._client.close()

    def by_id(self, schema_id: int) -> Registered | None:
        """None for an id that the registry does not know. Raises SchemaUnavailable, Refused."""

        def ask() -> Registered:
            schema = self._client.get_schema(schema_id)
            references: dict[tuple[str, int], str] = {}
            self._follow(schema.references or [], references)
            texts = [schema.schema_str, *references.values()]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a schema that is no text")
            return Registered(schema.schema_type or "AVRO", schema.schema_str or "", tuple(references.values()))

        try:
            return self._ask(ask)
        except SchemaRegistryError:
            return None

    def _follow(self, references: list[SchemaReference], found: dict[tuple[str, int], str]) -> None:
        for reference in references:
            place = (str(reference.subject), int(reference.version or 0))
            if place in found or len(found) > MAX_REFERENCES:
                continue
            found[place] = ""  # one that refers to itself ends here
            schema = self._client.get_version(*place).schema
            self._follow(schema.references or [], found)
            del found[place]  # to its place after those it uses
            found[place] = schema.schema_str or ""

    def subject_id(self, subject: str, text: str) -> int:
        """The id of an Avro schema under a subject; registered first, unless registry.auto_register is off.

        Raises Unreachable, or Refused, which an incompatible schema is.
        """
        schema = Schema(text, "AVRO")

        def ask() -> int | None:
            if self._auto_register:
                return self._client.register_schema(subject, schema)
            return self._client.lookup_schema(subject, schema).schema_id

        try:
            found = self._ask(ask)
        except SchemaUnavailable as error:
            raise Unreachable(str(error)) from error
        except SchemaRegistryError as error:
            raise Refused(f"schema registry, subject {subject}: {_why_not(error)}") from None
        if found is None:
            raise Refused(f"schema registry, subject {subject}: the answer has no id")
        return found

    def _ask(self, call: Callable[[], T]) -> T:
        """Raises SchemaUnavailable, Refused, and SchemaRegistryError for what is wrong with this one request."""
        if self._clock() < self._asked_again_at:
            raise SchemaUnavailable(self._trouble)
        try:
            answer = call()
        except SchemaRegistryError as error:
            if error.http_status_code in _REFUSALS:
                raise Refused(f"schema registry: {_REFUSALS[error.http_status_code]}") from None
            if error.http_status_code in (409, 422) or _is_not_found(error):
                self.failures = 0
                raise
            trouble = f"it answers with status {error.http_status_code}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            trouble = f"{type(error).__name__}: {printable(str(error), 200)}"
        except _NO_REGISTRY as error:
            trouble = f"its answer is not a schema registry's ({type(error).__name__})"
        else:
            self.failures = 0
            return answer
        self._trouble = f"the schema registry does not answer: {trouble}"
        self._asked_again_at = self._clock() + min(2.0 ** min(self.failures, 10), _LONGEST_PAUSE)
        self.failures += 1
        raise SchemaUnavailable(self._trouble)


def _configuration(settings: RegistrySettings) -> dict[str, object]:
    configuration = {
        "url": settings.url,
        "timeout": settings.timeout_seconds,
        "max.retries": 0,  # we ask again ourselves, between polls
        "ssl.ca.location": settings.ca_location,
        "ssl.certificate.location": settings.certificate_location,
        "ssl.key.location": settings.key_location,
    }
    if settings.username is not None:
        password = settings.password.get_secret_value() if settings.password else ""
        configuration["basic.auth.user.info"] = f"{settings.username.get_secret_value()}:{password}"
    return {name: value for name, value in configuration.items() if value is not None}


def _is_not_found(error: SchemaRegistryError) -> bool:
    """As a registry says it, by a code of its own such as 40403; a wrong address has a bare 404 for an answer."""
    code: object = error.error_code  # what the answer's JSON holds
    return error.http_status_code == 404 and isinstance(code, int) and 40_400 <= code < 40_500


def _why_not(error: SchemaRegistryError) -> str:
    match error.http_status_code:
        case 404:
            return "it does not hold our schema, and registry.auto_register is off"
        case 409:
            return "our schema is not compatible with what is registered"
        case _:
            return f"our schema is not accepted (status {error.http_status_code})"
