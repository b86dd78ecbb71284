"""Findings in Avro: what they say, and who can read them."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from service.avro.findings import avro_findings
from service.avro.registry import Registry
from service.detect import Detector
from service.finding import Finding, avro_schema, to_json
from service.rules import RULES
from service.settings import RegistrySettings
from tests.avro import message, payload
from tests.broker import ROOT
from tests.registry import FakeRegistry
from tests.unit.strategies import asking

DETECTOR = Detector(RULES)
Json = dict[str, Any]
POLICY = '{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'


def a_finding(**changes: Any) -> Finding:
    event = asking(durationSeconds=129_600, policy=POLICY) | changes
    return DETECTOR.detect_record(event).findings[0]


def test_a_finding_in_avro_says_what_it_says_in_json(server: FakeRegistry) -> None:
    settings = RegistrySettings(url=server.url)
    registry = Registry(settings)
    form = avro_findings(registry, "cloudtrail.findings")
    registry.close()
    assert form.content_type == "application/avro"
    finding = a_finding()
    data = form.encode(finding, 100_000)
    (schema_id,) = server.subjects["cloudtrail.findings-value"]
    assert data[:5] == message(schema_id, b"")
    schema = fastavro.parse_schema(json.loads(server.schemas[schema_id]["schema"]))
    stream = io.BytesIO(data[5:])
    read: Any = fastavro.schemaless_reader(stream, schema, None)
    assert stream.read() == b""
    expected = json.loads(to_json(finding))
    assert {**read, "event": json.loads(read["event"])} == expected


def test_a_finding_too_large_goes_without_its_event(server: FakeRegistry) -> None:
    registry = Registry(RegistrySettings(url=server.url))
    form = avro_findings(registry, "findings")
    registry.close()
    finding = a_finding(userAgent="x" * 2_000)
    fits = len(form.encode(finding, 10**9))
    assert len(form.encode(finding, fits)) == fits
    assert len(form.encode(finding, fits - 1)) < fits - 1_000
    assert b'{"omitted":true}' in form.encode(finding, fits - 1)


KEPT = sorted((ROOT / "tests" / "unit" / "schemas").glob("finding-*.avsc"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_readers_of_every_released_schema_read_what_we_write_and_we_what_they_wrote(path: Path) -> None:
    """By Avro's resolution, and as a registry's compatibility check sees it."""
    old, new = json.loads(path.read_text()), avro_schema()
    fields = json.loads(to_json(a_finding()))
    value = {**fields, "event": json.dumps(fields["event"])}
    for writer, reads in ((new, old), (old, new)):
        data = payload(writer, value)
        read: Any = fastavro.schemaless_reader(
            io.BytesIO(data), fastavro.parse_schema(writer), fastavro.parse_schema(reads)
        )
        assert read["finding_id"] == fields["finding_id"]
        assert json.loads(read["event"]) == fields["event"]


def test_a_registry_that_checks_compatibility_takes_our_schema_after_every_released_one(
    server: FakeRegistry,
) -> None:
    assert KEPT
    for path in KEPT:
        server.add(path.read_text(), "findings-value")
    registry = Registry(RegistrySettings(url=server.url))
    avro_findings(registry, "findings")
    registry.close()
    new = {**avro_schema(), "fields": [*avro_schema()["fields"], {"name": "new", "type": "string"}]}
    assert server.answer(
        "POST", "/compatibility/subjects/findings-value/versions/latest", {"schema": json.dumps(new)}
    ) == (
        200,
        {"is_compatible": False},
    )
