"""Findings -> Avro, in Confluent's wire format, under a schema that the registry holds."""

import io
import json
import struct
from typing import TYPE_CHECKING

import msgspec
from fastavro import parse_schema, schemaless_writer

from service.finding import Finding, Format, avro_schema, without_event

if TYPE_CHECKING:
    from service.avro.registry import Registry


def avro_findings(registry: "Registry", topic: str) -> Format:
    """The schema stands under `<topic>-value`, where consumers look by default. Raises Unreachable, Refused."""
    schema = avro_schema()
    head = struct.pack(">bI", 0, registry.subject_id(f"{topic}-value", json.dumps(schema)))
    parsed = parse_schema(schema)

    def written(finding: Finding) -> bytes:
        fields = msgspec.to_builtins(finding)
        event = msgspec.json.encode(finding.event).decode()
        buffer = io.BytesIO(head)
        buffer.seek(0, io.SEEK_END)
        schemaless_writer(buffer, parsed, {**fields, "event": event})
        return buffer.getvalue()

    def encode(finding: Finding, max_bytes: int) -> bytes:
        encoded = written(finding)
        return encoded if len(encoded) <= max_bytes else written(without_event(finding))

    return Format("application/avro", encode)
