"""Avro schemas: parsed, bounded, and under the names that CloudTrail gives fields. Knows no bytes of messages.

https://avro.apache.org/docs/1.12.0/specification/
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fastavro.schema import SchemaParseException, UnknownType, parse_schema, to_parsing_canonical_form
from fastavro.schema import fingerprint as fastavro_fingerprint

MAX_SCHEMA_BYTES: Final = 1_000_000  # a hundred times that of a CloudTrail record; with its references

# Fields that hold an object: where a schema has a text there instead, the text is JSON.
OBJECTS: Final = frozenset(
    """addendum additionalEventData attributes credentials eventContext federatedUser policyArns requestParameters
    resources responseElements serviceEventDetails sessionContext sessionIssuer tags tlsDetails userIdentity
    webIdFederationData""".split()
)
# A field of another name is read as the first of these among its aliases.
FIELDS: Final = OBJECTS | frozenset(
    """accessKeyId accountId arn awsRegion durationSeconds errorCode errorMessage eventCategory eventID eventName
    eventSource eventTime eventType eventVersion expiration federatedUserId invokedBy managementEvent name
    packedPolicySize policy principalId readOnly recipientAccountId requestID sessionToken sharedEventID
    sourceIPAddress type userAgent userName vpcEndpointId vpcEndpointAccountId""".split()
)

_ATTRIBUTES: Final = frozenset(
    "type name namespace aliases fields items values symbols size logicalType precision scale".split()
)
# What a schema of an odd shape makes fastavro and us raise.
ODD: Final = (
    SchemaParseException,
    UnknownType,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
)
_PRIMITIVES: Final = frozenset(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
_TYPES: Final = _PRIMITIVES | {"array", "enum", "error", "fixed", "map", "record"}


class UnusableSchema(Exception):
    """A schema that cannot be read with; the text says why, without the schema's own words."""


@dataclass(frozen=True, slots=True)
class Schema:
    """`root` and the named types are as `fastavro.parse_schema` writes them: names in full, each defined once."""

    root: Any
    named: Mapping[str, Any] = field(default_factory=dict)

    def type_of(self, schema: Any) -> tuple[str, Any]:
        """The type's word (`union` for a list) and its definition; a name is followed. Raises UnusableSchema."""
        if isinstance(schema, str) and schema not in _PRIMITIVES:
            schema = self.named.get(schema)
        if isinstance(schema, str):
            return schema, {}
        if isinstance(schema, list):
            return "union", schema
        if isinstance(schema, dict) and schema.get("type") in _TYPES:
            return schema["type"], schema
        raise UnusableSchema("a type that nothing defines")


def parse(text: str, references: Sequence[str] = ()) -> Schema:
    """`references` are schemas that `text` uses by name, each after those it uses. Raises UnusableSchema."""
    if sum(map(len, [text, *references])) > MAX_SCHEMA_BYTES:
        raise UnusableSchema(f"a schema of more than {MAX_SCHEMA_BYTES:,} characters")
    named: dict[str, Any] = {}
    try:
        for reference in references:
            parse_schema(_loaded(reference), named)
        return Schema(parse_schema(_loaded(text), named), named)
    except RecursionError:
        raise UnusableSchema("a schema that is nested too deeply") from None
    except ODD as error:
        raise UnusableSchema(f"no valid Avro schema ({type(error).__name__})") from None


def _loaded(text: str) -> Any:
    """Without what is for readers, people or fastavro itself: defaults, documentation, marks of having parsed."""
    return json.loads(
        text, object_hook=lambda found: {key: value for key, value in found.items() if key in _ATTRIBUTES}
    )


def fingerprint(schema: Schema) -> bytes:
    """CRC-64-AVRO of the canonical form, as single-object encoding carries it."""
    return bytes.fromhex(fastavro_fingerprint(to_parsing_canonical_form(schema.root), "CRC-64-AVRO"))


def size_of(fixed: Mapping[str, Any]) -> int:
    size = fixed["size"]
    if not isinstance(size, int) or size < 0:
        raise UnusableSchema("a fixed type of no possible size")
    return size


def fields_of(record: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """A record's fields in the order written, each under CloudTrail's name where one of its aliases is that."""
    own = {each["name"] for each in record["fields"]}
    for each in record["fields"]:
        aliases = [] if each["name"] in FIELDS else each.get("aliases", [])
        yield next((alias for alias in aliases if alias in FIELDS - own), each["name"]), each["type"]
