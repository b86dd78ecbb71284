"""A SOAR can open every kind of finding by docs/soar.md alone, and the page says what is so."""

import io
import json
import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from service.detect import Detector
from service.finding import JSON, MAX_FINDING_BYTES, SEVERITIES, Finding, avro_schema
from service.ocsf_finding import OCSF
from service.rules import RULES
from tests import soar
from tests.unit.strategies import asking, console_exchange, issuance

PAGE = (Path(__file__).parents[2] / "docs" / "soar.md").read_text(encoding="utf-8")
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
RECORDS = {
    "request": asking(policy=STAR, durationSeconds=90_000),
    "failure": issuance(errorCode="AccessDenied", requestParameters=None, responseElements=None),
    "console": console_exchange(sourceIPAddress="203.0.113.7"),
    "bare": {"eventSource": "sts.amazonaws.com", "eventName": "GetFederationToken"},
}
SCHEMA_ID = 258


def findings(record: dict[str, Any]) -> list[Finding]:
    noon = datetime(2024, 11, 30, 12, tzinfo=UTC)
    return list(Detector(RULES).detect_record(record, detected_at=noon).findings)


def as_avro(finding: Finding) -> bytes:
    fields = {**msgspec.to_builtins(finding), "event": json.dumps(finding.event)}
    value = io.BytesIO()
    fastavro.schemaless_writer(value, fastavro.parse_schema(avro_schema()), fields)
    return struct.pack(">bI", 0, SCHEMA_ID) + value.getvalue()


def opened(kind: str, finding: Finding) -> dict[str, Any]:
    """The finding as the reader sees it, after its way through a message of that kind."""
    formats = {"json": JSON, "ocsf": OCSF}
    value = formats[kind].encode(finding, MAX_FINDING_BYTES) if kind in formats else as_avro(finding)
    content_type = formats[kind].content_type if kind in formats else "application/avro"
    asked: list[int] = []

    def schema_of(schema_id: int) -> dict[str, Any]:
        asked.append(schema_id)
        return avro_schema()

    found = soar.finding(value, {"content-type": content_type.encode(), "ce_id": b"x"}, schema_of)
    assert asked == ([SCHEMA_ID] if kind == "avro" else [])
    return found


def tables() -> list[list[list[str]]]:
    """The rows of each table of the page, without its heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    return [
        [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in block.splitlines()[2:]]
        for block in blocks
    ]


FORMATS, READERS, FIELDS, LEVELS = tables()


@pytest.mark.parametrize("kind", ["json", "avro", "ocsf"])
@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_every_kind_of_finding_gives_the_same_alert(kind: str, record: dict[str, Any]) -> None:
    assert findings(record)
    for finding in findings(record):
        assert soar.alert(opened(kind, finding)) == soar.alert(msgspec.to_builtins(finding))


def test_an_alert_is_one_that_thehive_takes() -> None:
    """Its limits are in docs/soar.md."""
    for record in RECORDS.values():
        assert findings(record)
        for finding in findings(record):
            alert = soar.alert(opened("json", msgspec.structs.replace(finding, title="x" * 9_999)))
            assert len(alert["sourceRef"]) == 36
            assert len(alert["type"]) <= 32
            assert len(alert["title"]) <= 512
            assert alert["severity"] in (1, 2, 3, 4)
            assert all(isinstance(observable["data"], str) for observable in alert["observables"])


def test_an_alert_says_what_a_responder_needs() -> None:
    (finding,) = findings(RECORDS["console"])
    alert = soar.alert(opened("ocsf", finding))
    assert alert["sourceRef"] == finding.finding_id
    assert alert["severity"] == 3
    assert alert["date"] == 1_732_956_302_000
    assert {"dataType": "ip", "data": "203.0.113.7"} in alert["observables"]
    assert {"dataType": "other", "data": finding.containment_arn} in alert["observables"]
    assert {"patternId": "T1550.001", "tactic": "TA0008", "occurDate": alert["date"]} in alert["procedures"]
    assert alert["customFields"]["session_key"] == finding.session_key
    assert finding.runbook[-1] in alert["description"]


@pytest.mark.parametrize("kind", ["json", "avro", "ocsf"])
@pytest.mark.parametrize("changes", [{"canary": True}, {"stage": "trial"}, {"suppressed_by": "broker"}])
def test_nobody_is_woken_for_canaries_trials_and_what_is_suppressed(kind: str, changes: dict[str, Any]) -> None:
    (finding,) = findings(RECORDS["console"])
    assert soar.is_alert(opened(kind, finding))
    assert not soar.is_alert(opened(kind, msgspec.structs.replace(finding, **changes)))


# --- the page --------------------------------------------------------------------------------------


def test_the_page_names_every_format() -> None:
    said = {name: content_type for name, content_type, _ in FORMATS}
    assert said == {"json": JSON.content_type, "avro": "application/avro", "ocsf": OCSF.content_type}


@pytest.mark.parametrize(("name", "in_ocsf", "in_thehive"), FIELDS, ids=lambda cell: cell)
def test_the_page_says_where_a_field_stands(name: str, in_ocsf: str, in_thehive: str) -> None:
    """In OCSF it is what the example reads, and in the alert something changes with it."""
    (finding,) = findings(RECORDS["console"])
    document = json.loads(OCSF.encode(finding, MAX_FINDING_BYTES))
    found = opened("json", finding)
    assert soar.at(document, in_ocsf) is not None
    assert in_ocsf == soar.PLACES.get(name) or soar.at(document, in_ocsf) == found[name]
    other: Any = {
        "severity_id": 1,
        "event_time": "2001-01-01T00:00:00Z",
        "clauses": [],
        "runbook": [],
        "mitre": [],
    }
    changed = soar.alert({**found, name: other.get(name, "something else")})
    assert changed[in_thehive] != soar.alert(found)[in_thehive]


def test_the_page_says_how_severities_map() -> None:
    assert [level[0] for level in LEVELS] == list(SEVERITIES)
    assert {int(level[1]): int(level[2]) for level in LEVELS} == soar.SEVERITIES


def test_the_page_lists_everything_that_the_example_reads() -> None:
    listed = {name for name, *_ in FIELDS}
    assert set(soar.OBSERVABLES) <= listed
    assert listed <= set(Finding.__struct_fields__)


def test_every_link_of_the_page_to_a_file_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGE)
    assert targets
    assert [target for target in targets if not (Path(__file__).parents[2] / "docs" / target).exists()] == []
