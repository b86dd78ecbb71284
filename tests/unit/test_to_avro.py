"""A record in Avro: its schema is the shipped file, and another reader understands what is written."""

import io
import json
import struct
from typing import TYPE_CHECKING, Any, cast

import fastavro
import pytest

from service.feed.to_avro import avro, cloudtrail_schema, fitted
from tests.broker import ROOT
from tests.unit.strategies import console_exchange, issuance

if TYPE_CHECKING:
    from service.avro.registry import Registry


class Asked:
    """In place of the registry: what it was asked to hold."""

    def subject_id(self, subject: str, text: str) -> int:
        self.subject, self.schema = subject, json.loads(text)
        return 0x01020304


def without_nulls(value: Any) -> Any:
    return (
        {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
        if isinstance(value, dict)
        else value
    )


def test_the_schema_is_the_shipped_file() -> None:
    """Whoever sets up a registry by hand takes it from there."""
    shipped = (ROOT / "config" / "schemas" / "cloudtrail.avsc").read_text(encoding="utf-8")
    assert cloudtrail_schema() == json.loads(shipped)


@pytest.mark.parametrize("record", [issuance(vpcEndpointId="vpce-1"), console_exchange()])
def test_fastavro_reads_what_is_written(record: dict[str, Any]) -> None:
    """Confluent's header, then the fields; objects that differ from call to call are JSON."""
    registry = Asked()
    data = avro(cast("Registry", registry), "events")([record])
    assert registry.subject == "events-value"
    assert struct.unpack(">bI", data[:5]) == (0, 0x01020304)
    schema = fastavro.parse_schema(registry.schema)
    read = without_nulls(fastavro.schemaless_reader(io.BytesIO(data[5:]), schema, None))
    for key in ("requestParameters", "responseElements"):
        if record[key] is not None:
            assert json.loads(read.pop(key)) == record[key]
    kept = {key: value for key, value in record.items() if value is not None and key not in read}
    assert kept.keys() <= {"requestParameters", "responseElements"}
    assert read == {key: record[key] for key in read}


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        ("eventID", 7, None),
        ("readOnly", "false", None),
        ("userIdentity", "AIDA", None),
        ("requestParameters", "HIDDEN_DUE_TO_SECURITY_REASONS", "HIDDEN_DUE_TO_SECURITY_REASONS"),
        ("requestParameters", [1, None], "[1, null]"),
        ("userAgent", "\ud800", "?"),
        ("anything", "else", None),
    ],
)
def test_a_value_that_fits_no_field_is_left_out(field: str, value: object, written: str | None) -> None:
    """Rather than one record ending the feed."""
    assert fitted({field: value}).get(field) == written
    avro(cast("Registry", Asked()), "events")([{field: value}])
