"""What `tokentrail tail` shows of a message, in whatever format, and which messages it shows."""

import io
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message as KafkaMessage
from rich.console import Console

from service.avro.findings import avro_findings
from service.avro.messages import connect
from service.batch import Message
from service.cli.tail import text_of
from service.detect import Detector
from service.errors import DecodeError, SchemaUnavailable
from service.finding import JSON, Finding, Format
from service.ocsf_finding import OCSF
from service.rules import RULES
from service.settings import RegistrySettings
from service.tail import Findings, Line, Wanted, line_of
from tests.registry import FakeRegistry
from tests.unit.strategies import asking

ROOM = 900_000
HOSTILE = "\x1b[2J\u202e\x9b31m\r\n[bold]x[/bold] :smile:"
FINDING = Detector(RULES).detect_record(asking(durationSeconds=129_600)).findings[1]


def message(value: bytes | None, content_type: str = "application/json") -> Any:
    return KafkaMessage(value=value, headers=[("content-type", content_type.encode())])


def written(finding: Finding, form: Format) -> Message:
    found: Message = message(form.encode(finding, ROOM), form.content_type)
    return found


def changed(**changes: Any) -> Finding:
    return msgspec.structs.replace(FINDING, **changes)


def shown(line: Line, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    out = Console(file=stream, force_terminal=terminal, width=40, highlight=False, markup=False, emoji=False)
    out.print(text_of(line), soft_wrap=True)
    return stream.getvalue()


# --- what a line says ------------------------------------------------------------------------------


def test_a_line_says_when_how_bad_which_rule_what_who_and_where() -> None:
    line = line_of(Findings(None).decode(written(FINDING, JSON)))
    assert line == Line(
        time=FINDING.event_time,
        severity=FINDING.severity,
        rule=FINDING.rule_id,
        title=FINDING.title,
        principal=FINDING.principal_arn,
        account=FINDING.account_id,
        notes=(),
    )
    assert shown(line).split("  ", maxsplit=1)[0] == FINDING.event_time
    for text in (FINDING.severity, FINDING.rule_id, FINDING.title, FINDING.principal_arn, FINDING.account_id):
        assert text is not None
        assert text in shown(line)


@pytest.mark.parametrize("changes", [{}, {"canary": True, "suppressed_by": "portal", "stage": "trial"}])
def test_ocsf_and_avro_give_the_same_line(changes: Mapping[str, Any]) -> None:
    finding = changed(**changes)
    expected = line_of(Findings(None).decode(written(finding, JSON)))
    assert expected.notes == (("canary", "suppressed", "on trial") if changes else ())
    assert line_of(Findings(None).decode(written(finding, OCSF))) == expected
    with FakeRegistry() as fake:
        registry = connect(RegistrySettings(url=fake.url))
        assert registry is not None
        avro = avro_findings(registry, "findings")
        asked = len(fake.requests)
        findings = Findings(registry)
        assert line_of(findings.decode(written(finding, avro))) == expected
        assert line_of(findings.decode(written(finding, avro))) == expected
        assert len(fake.requests) == asked + 1  # what an id means never changes


def test_without_the_events_time_a_line_has_that_of_the_detection() -> None:
    finding = changed(event_time=None, detected_at="2026-01-02T03:04:05Z")
    lines = [line_of(Findings(None).decode(written(finding, form))) for form in (JSON, OCSF)]
    assert [line.time for line in lines] == ["2026-01-02T03:04:05Z"] * 2


def test_a_line_says_why_nobody_has_to_act() -> None:
    finding = changed(canary=True, suppressed_by="portal")
    assert shown(line_of(Findings(None).decode(written(finding, JSON)))).endswith("  [canary] [suppressed]\n")


def test_a_finding_is_one_line_whatever_its_texts_hold() -> None:
    line = line_of(Findings(None).decode(written(changed(title=HOSTILE, principal_arn=HOSTILE), JSON)))
    for terminal in (False, True):
        text = shown(line, terminal=terminal)
        assert text.count("\n") == 1
        assert not {"\u202e", "\x9b", "\r"} & set(text)
        assert "\x1b[2J" not in text
        assert text.count("[bold]x[/bold] :smile:") == 2


def test_only_a_terminal_gets_colours() -> None:
    line = line_of(Findings(None).decode(written(FINDING, JSON)))
    assert "\x1b[" in shown(line, terminal=True)
    assert "\x1b" not in shown(line)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"severity": 5, "title": ["a"], "event_time": {}, "account_id": 1},
        {"class_uid": 2004},
        {
            "class_uid": 2004,
            "evidences": {},
            "finding_info": [],
            "severity": None,
            "time": "x",
            "unmapped": "canary",
        },
        {"class_uid": 2004, "evidences": [], "time": 10**40},
        {"class_uid": 2004, "evidences": [{"actor": None}], "time": 10**15},
    ],
)
def test_fields_that_are_missing_or_odd_are_dashes(document: dict[str, Any]) -> None:
    line = line_of(document)
    assert {line.time, line.severity, line.rule, line.title, line.principal, line.account} == {None}
    assert shown(line).split() == ["-"] * 6


# --- what cannot be read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "content_type", "why"),
    [
        (None, "application/json", "not JSON"),
        (b"", "application/json", "not JSON"),
        (b"{broken", "application/json", "not JSON"),
        (b"[" * 100_000, "application/json", "not JSON"),
        (b'"\xff"', "application/json", "not JSON"),
        (b"[1]", "application/json", "no finding"),
        (b"{}", "application/avro", "not in the registry's wire format"),
        (b"\0\0\0\0", "application/avro", "not in the registry's wire format"),
        (b"\0\0\0\0\1x", "application/avro", r"written in Avro, and registry\.url is not set"),
    ],
)
def test_what_is_no_finding_is_told(value: bytes | None, content_type: str, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        Findings(None).decode(message(value, content_type))


def test_avro_that_its_registry_does_not_explain_is_told() -> None:
    with FakeRegistry() as fake:
        registry = connect(RegistrySettings(url=fake.url))
        findings = Findings(registry)
        with pytest.raises(DecodeError, match="the registry has no Avro schema 7"):
            findings.decode(message(b"\0\0\0\0\7x", "application/avro"))
        broken = fake.add("no schema")
        with pytest.raises(DecodeError, match=f"schema {broken} cannot be used"):
            findings.decode(message(b"\0%bx" % broken.to_bytes(4, "big"), "application/avro"))
        text = fake.add({"type": "string"})
        with pytest.raises(DecodeError, match="a length that cannot be"):
            findings.decode(message(b"\0%b\x08a" % text.to_bytes(4, "big"), "application/avro"))
        with pytest.raises(DecodeError, match="no finding"):
            findings.decode(message(b"\0%b\x02a" % text.to_bytes(4, "big"), "application/avro"))
        other = fake.add({"type": "string"}, kind="JSON")
        with pytest.raises(DecodeError, match=f"the registry has no Avro schema {other}"):
            findings.decode(message(b"\0%b\x02a" % other.to_bytes(4, "big"), "application/avro"))
        fake.status = 500
        with pytest.raises(SchemaUnavailable):
            findings.decode(message(b"\0\0\0\1\0x", "application/avro"))


# --- which findings ------------------------------------------------------------------------------------

HEADERS = {"severity": "high", "rule_id": "sts-federation-token-suspicious"}
CANARY = {**HEADERS, "canary": "true"}


@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (Wanted(), True),
        (Wanted(severity="informational"), True),
        (Wanted(severity="high"), True),
        (Wanted(severity="critical"), False),
        (Wanted(rules=["sts-federation-token-suspicious"]), True),
        (Wanted(rules=["sts-federation-token-issued", "sts-federation-token-suspicious"]), True),
        (Wanted(rules=["sts-federation-token-issued"]), False),
        (Wanted(severity="high", rules=["sts-federation-token-issued"]), False),
    ],
)
def test_severity_and_rule_narrow(wanted: Wanted, passes: bool) -> None:  # noqa: FBT001  a row of the table
    assert wanted(HEADERS) is wanted(CANARY) is passes


def test_canaries_are_shown_left_out_or_alone() -> None:
    assert [Wanted(canary=choice)(CANARY) for choice in (None, True, False)] == [True, True, False]
    assert [Wanted(canary=choice)(HEADERS) for choice in (None, True, False)] == [True, False, True]
    assert Wanted(canary=False)({**HEADERS, "canary": "yes"})  # only what the service writes


def test_a_message_of_others_passes_no_filter() -> None:
    assert Wanted()({})
    assert not Wanted(severity="informational")({"severity": "dreadful"})
    assert not Wanted(rules=["sts-federation-token-issued"])({})


def test_formats_are_told_apart_by_their_own_names() -> None:
    """What this reads is what the service writes."""
    assert {JSON.content_type, OCSF.content_type} == {"application/json"}
    assert json.loads(OCSF.encode(FINDING, ROOM))["class_uid"] == 2004
