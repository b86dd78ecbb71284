"""A finding as OCSF has it: valid by the schema and by its readers, nothing lost, no secret in it, small."""

import functools
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from py_ocsf_models.events.findings.detection_finding import (  # type: ignore[import-untyped]  # it has no py.typed
    DetectionFinding,
)

from service import ocsf
from service.detect import Detector
from service.finding import MAX_FINDING_BYTES, Finding, Origin
from service.ocsf_finding import OCSF, ocsf_schema, to_ocsf
from service.rules import EVERY_RULE
from tests.unit.strategies import asking, console_exchange, issuance, watched_records

SAMPLES = sorted((Path(__file__).parents[1] / "rules" / "samples").glob("*/fires-*.json"))
DETECTOR = Detector(EVERY_RULE)
NOON = datetime(2024, 11, 30, 12, tzinfo=UTC)
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
VALIDATOR = Draft202012Validator(ocsf_schema())

# OCSF 1.5.0, as far as we write it, taken down from schema.ocsf.io by hand: attribute and type, `!` where it is
# required, `?` where one at least of those marked so is. A type that is a name here is an object, [] an array.
SCHEMA = {
    "detection_finding": """
        activity_id! int  activity_name str  category_name str  category_uid! int  class_name str  class_uid! int
        cloud! cloud  confidence str  confidence_id int  evidences evidences[]  finding_info! finding_info
        is_alert bool  message str  metadata! metadata  observables observable[]  remediation remediation
        resources resource_details[]  risk_level str  risk_level_id int  risk_score int  severity str
        severity_id! int  status str  status_id int  time! int  type_name str  type_uid! int  unmapped dict
    """,
    "account": "name? str  uid? str  type str  type_id int",
    "actor": "user? user  session? session",
    "analytic": "name? str  uid? str  type str  type_id! int  version str",
    "api": "operation! str  service service  request request  response response",
    "attack": "tactic? tactic  technique? tactic  sub_technique? tactic  version str",
    "cloud": "account account  cloud_partition str  provider! str  region str",
    "evidences": """
        actor? actor  api? api  http_request http_request  name str  src_endpoint? network_endpoint  uid str
    """,
    "finding_info": """
        analytic analytic  attacks attack[]  created_time int  data_sources str[]  desc str  first_seen_time int
        last_seen_time int  related_events related_event[]  title str  types str[]  uid! str
    """,
    "http_request": "user_agent str",
    "metadata": """
        correlation_uid str  log_name str  log_provider str  original_time str  product! product  profiles str[]
        uid str  version! str
    """,
    "network_endpoint": "ip? str  name? str",
    "observable": "name! str  type str  type_id! int  value str",
    "product": "name? str  uid? str  vendor_name str  version str",
    "related_event": "type str  type_name str  type_uid int  uid! str",
    "remediation": "desc! str  references str[]",
    "request": "uid! str",
    "resource_details": "cloud_partition str  labels str[]  name? str  owner user  type str  uid? str",
    "response": "error str",
    "service": "name? str  uid? str  version str",
    "session": "issuer str",
    "tactic": "name? str  src_url str  uid? str",
    "user": "account? account  credential_uid str  name? str  type str  type_id int  uid? str  uid_alt str",
}
KINDS: dict[str, type] = {"int": int, "str": str, "bool": bool, "dict": dict}
# What stands beside an id is the name of that id; with 99, "other", it may be anything.
NAMES = {
    "severity": {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"},
    "status": {1: "New", 3: "Suppressed"},
    "confidence": {0: "Unknown", 1: "Low", 2: "Medium", 3: "High"},
    "risk_level": {0: "Info", 1: "Low", 2: "Medium", 3: "High", 4: "Critical"},
}
OBSERVABLES = {2: "IP Address", 4: "User Name", 10: "Resource UID"}

# Where each field of a finding stands; the others keep their names under `unmapped`.
HOMES = {
    "finding_id": "finding_info.uid",
    "rule_id": "finding_info.analytic.uid",
    "rule_name": "finding_info.analytic.name",
    "rule_version": "finding_info.analytic.version",
    "severity_id": "severity_id",
    "risk_score": "risk_score",
    "title": "finding_info.title",
    "description": "finding_info.desc",
    "error_code": "evidences[0].api.response.error",
    "mitre_version": "finding_info.attacks[0].version",
    "references": "remediation.references",
    "event_time": "metadata.original_time",
    "principal_arn": "evidences[0].actor.user.uid",
    "principal_name": "evidences[0].actor.user.name",
    "principal_id": "evidences[0].actor.user.uid_alt",
    "principal_access_key_id": "evidences[0].actor.user.credential_uid",
    "session_issuer_arn": "evidences[0].actor.session.issuer",
    "source_ip": "evidences[0].src_endpoint.ip",
    "user_agent": "evidences[0].http_request.user_agent",
    "region": "cloud.region",
    "account_id": "cloud.account.uid",
    "event_id": "evidences[0].uid",
    "request_id": "evidences[0].api.request.uid",
    "event_name": "evidences[0].api.operation",
    "event_source": "evidences[0].api.service.name",
}
# These are written in another form, which tests below look at one by one.
ELSEWHERE = {"severity", "mitre", "runbook", "detected_at", "related_finding_ids"}


def findings(record: dict[str, Any], detected_at: datetime | None = NOON) -> list[Finding]:
    origin = Origin(topic="cloudtrail.events", partition=3, offset=42)
    detection = DETECTOR.detect_record(record, envelope="records", origin=origin, detected_at=detected_at)
    assert not detection.errors
    return list(detection.findings)


def written(finding: Finding) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(to_ocsf(finding))
    return document


def loud() -> Finding:
    record = asking(policy=STAR, durationSeconds=90_000, tags=[{"key": "team", "value": "red"}], policyArns=["x"])
    return findings(record)[1]


def at(document: Any, path: str) -> Any:
    for step in re.findall(r"\w+", path):
        document = document[int(step)] if step.isdigit() else document[step]
    return document


def problems(value: Any, kind: str, path: str = "$") -> list[str]:
    """Where a value breaks SCHEMA."""
    if kind.endswith("[]"):
        items = value if isinstance(value, list) else [value]
        return [p for n, item in enumerate(items) for p in problems(item, kind[:-2], f"{path}[{n}]")]
    if kind in KINDS:
        fits = isinstance(value, KINDS[kind]) and (kind != "int" or not isinstance(value, bool))
        return [] if fits and value != "" else [f"{path}: {value!r} is no {kind}"]
    words = SCHEMA[kind].split()
    attributes = {name.rstrip("!?"): inner for name, inner in zip(words[::2], words[1::2], strict=True)}
    required = {name[:-1] for name in words[::2] if name.endswith("!")}
    some = {name[:-1] for name in words[::2] if name.endswith("?")}
    found = [f"{path}: {name} is missing" for name in sorted(required - set(value))]
    found += [f"{path}: none of {sorted(some)}"] if some and some.isdisjoint(value) else []
    found += [f"{path}: {name} is unknown" for name in sorted(set(value) - set(attributes))]
    for name in set(value) & set(attributes):
        found += problems(value[name], attributes[name], f"{path}.{name}")
    return found


def assert_valid(document: dict[str, Any]) -> None:
    DetectionFinding.model_validate(document)
    VALIDATOR.validate(document)
    assert problems(document, "detection_finding") == []
    assert document["type_uid"] == document["class_uid"] * 100 + document["activity_id"]
    for name, values in NAMES.items():
        assert document[name] == values[document[f"{name}_id"]]
    for observable in document.get("observables", []):
        assert observable["type"] == OBSERVABLES.get(observable["type_id"], observable["type"])
        assert at(document, observable["name"]) == observable["value"]


# --- valid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_finding_of_every_sample_is_valid(path: Path) -> None:
    """By py-ocsf-models, by the schema as taken down here, and by the one that we print."""
    found = findings(json.loads(path.read_text(encoding="utf-8")))
    assert found
    for finding in found:
        assert_valid(written(finding))


@given(watched_records())
def test_every_finding_is_valid(record: dict[str, Any]) -> None:
    for finding in findings(record):
        assert_valid(written(finding))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("time", None, "$.time: None is no int"),
        ("metadata", {"version": "1.5.0"}, "$.metadata: product is missing"),
        ("evidences", [{"name": "x"}], "$.evidences[0]: none of ['actor', 'api', 'src_endpoint']"),
        ("finding_id", "x", "$: finding_id is unknown"),
        ("message", "", "$.message: '' is no str"),
        ("is_alert", 1, "$.is_alert: 1 is no bool"),
    ],
)
def test_the_schema_check_of_this_file_can_fail(path: str, value: Any, problem: str) -> None:
    assert problem in problems(written(loud()) | {path: value}, "detection_finding")


def test_it_says_which_class_and_version_it_is() -> None:
    document = written(loud())
    classification = {name: document[name] for name in ("class_uid", "category_uid", "activity_id", "type_uid")}
    assert classification == {"class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200401}
    assert document["metadata"]["version"] == ocsf.VERSION == "1.5.0"
    assert document["metadata"]["profiles"] == ["cloud"]  # which is what makes `cloud` required
    assert document["metadata"]["product"]["name"] == "Tokentrail"


# --- nothing lost --------------------------------------------------------------------------------


def test_every_field_of_a_finding_has_a_place() -> None:
    kept = {name for name in Finding.__struct_fields__ if name not in {*HOMES, *ELSEWHERE}}
    everything = {name: getattr(loud(), name) or "set" for name in kept if name not in ("origin", "event")}
    document = written(msgspec.structs.replace(loud(), **everything))
    assert set(document["unmapped"]) == kept


@pytest.mark.parametrize("record", [asking(policy=STAR), console_exchange(), issuance(errorCode="AccessDenied")])
def test_each_place_says_what_the_finding_says(record: dict[str, Any]) -> None:
    record |= {"awsRegion": "us-east-1", "sourceIPAddress": "2001:db8::1", "userAgent": "x", "requestID": "r"}
    found = findings(record)
    assert found
    for finding in found:
        document, said = written(finding), msgspec.to_builtins(finding)
        for name, path in HOMES.items():
            if said[name] is not None:
                assert at(document, path) == said[name], name
        for name, value in document["unmapped"].items():
            assert (json.loads(value) if name == "event" else value) == said[name], name


def test_what_is_not_known_is_left_out() -> None:
    (finding,) = findings({"eventSource": "sts.amazonaws.com", "eventName": "GetFederationToken"})
    document = written(finding)
    assert "null" not in json.dumps({**document, "unmapped": {}})
    assert document["evidences"][0].keys() == {"api", "name"}
    assert {"resources", "correlation_uid"}.isdisjoint({*document, *document["metadata"]})


def test_times_are_milliseconds() -> None:
    document = written(loud())
    assert document["time"] == document["finding_info"]["created_time"] == 1_732_968_000_000
    assert document["finding_info"]["first_seen_time"] == document["finding_info"]["last_seen_time"]
    assert document["finding_info"]["first_seen_time"] == 1_732_956_197_000
    (without, _) = findings(asking(policy=STAR), detected_at=None)
    assert written(without)["time"] == 1_732_956_197_000
    assert written(msgspec.structs.replace(without, event_time=None))["time"] == 0


def test_a_sub_technique_stands_beside_its_technique() -> None:
    (finding,) = findings(console_exchange())
    token, dashboard = written(finding)["finding_info"]["attacks"]
    assert (token["version"], token["tactic"]["uid"]) == ("17.1", "TA0008")
    assert (token["technique"]["uid"], token["sub_technique"]["uid"]) == ("T1550", "T1550.001")
    assert token["technique"]["name"] == "Use Alternate Authentication Material"
    assert token["sub_technique"]["name"] == "Application Access Token"
    assert token["sub_technique"]["src_url"] == "https://attack.mitre.org/techniques/T1550/001/"
    assert "sub_technique" not in dashboard


def test_the_runbook_is_numbered() -> None:
    steps = written(loud())["remediation"]["desc"].split("\n")
    assert [step.partition(". ")[2] for step in steps] == loud().runbook
    assert steps[0].startswith("1. ")


def test_findings_of_one_event_name_each_other_and_the_event() -> None:
    issued, suspicious = findings(asking(policy=STAR))
    event, other = written(issued)["finding_info"]["related_events"]
    assert event == {"uid": suspicious.event_id, "type": "AWS CloudTrail event"}
    assert other["uid"] == suspicious.finding_id == written(suspicious)["metadata"]["uid"]
    assert other["type_uid"] == 200401


def test_the_identity_to_contain_comes_first_and_then_the_session() -> None:
    (finding,) = findings(console_exchange())
    identity, session = written(finding)["resources"]
    assert (identity["uid"], identity["labels"]) == (finding.containment_arn, ["identity to contain"])
    assert (identity["type"], identity["cloud_partition"]) == ("iam:user", "aws")
    assert identity["owner"]["account"]["uid"] == "111122223333"
    assert (session["uid"], session["type"]) == (finding.federated_user_arn, "sts:federated-user")


@pytest.mark.parametrize("source", ["AWS Internal", "signin.amazonaws.com", "010.0.0.1", "\x1b[31m"])
def test_a_source_that_is_no_ip_address_is_a_name(source: str) -> None:
    (finding,) = findings(issuance(sourceIPAddress=source))
    document = written(finding)
    assert document["evidences"][0]["src_endpoint"] == {"name": source}
    assert 2 not in {observable["type_id"] for observable in document["observables"]}


def test_observables_are_what_a_responder_looks_for() -> None:
    """Each once, though an identity may be the caller and the one to contain."""
    found = [(observable["type"], observable["value"]) for observable in written(loud())["observables"]]
    assert len(found) == len(set(found))
    assert set(found) == {
        ("Resource UID", "arn:aws:iam::111122223333:user/alice"),
        ("Resource UID", "arn:aws:sts::111122223333:federated-user/alice"),
        ("User Name", "alice"),
        ("User Credential ID", "AKIAIOSFODNN7EXAMPLE"),
        ("User Credential ID", "ASIAIOSFODNN7EXAMPLE"),
        ("Account UID", "111122223333"),
        ("IP Address", "203.0.113.7"),
        ("HTTP User-Agent", "aws-cli/2.22.7"),
    }


def test_an_account_is_called_what_the_operator_calls_it() -> None:
    named = msgspec.structs.replace(loud(), account_alias="billing")
    assert [written(finding)["cloud"]["account"]["name"] for finding in (named, loud())] == [
        "billing",
        "111122223333",
    ]


def test_issuance_and_console_exchange_share_a_correlation_id() -> None:
    found = [finding for record in (issuance(), console_exchange()) for finding in findings(record)]
    assert len({written(finding)["metadata"]["correlation_uid"] for finding in found}) == 1


@pytest.mark.parametrize(
    ("changes", "status", "alert"),
    [
        ({}, "New", True),
        ({"suppressed_by": "broker"}, "Suppressed", False),
        ({"stage": "trial"}, "New", False),
        ({"canary": True}, "New", False),
    ],
)
def test_what_nobody_should_be_woken_for_is_no_alert(changes: dict[str, Any], status: str, *, alert: bool) -> None:
    document = written(msgspec.structs.replace(loud(), **changes))
    assert (document["status"], document["is_alert"]) == (status, alert)
    assert_valid(document)


def test_the_confidence_is_the_rules_own() -> None:
    for rule in EVERY_RULE:
        document = written(msgspec.structs.replace(loud(), rule_id=rule.id))
        assert document["confidence"].lower() == rule.confidence, rule.id


def test_the_session_token_never_leaves() -> None:
    token = "IQoJb3JpZ2luX2VjEXAMPLETOKEN"
    record = issuance(userAgent=f"sessionToken={token}", extra=token)
    record["responseElements"] = {"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": token}}
    documents = [to_ocsf(finding).decode() for finding in findings(record)]
    assert documents
    assert [document for document in documents if token in document] == []


# --- size ----------------------------------------------------------------------------------------


def test_a_finding_larger_than_its_topic_takes_goes_without_its_event() -> None:
    finding = loud()
    size = len(OCSF.encode(finding, MAX_FINDING_BYTES))
    whole, cut = (json.loads(OCSF.encode(finding, most)) for most in (size, size - 1))
    assert json.loads(whole["unmapped"]["event"])["eventName"] == "GetFederationToken"
    assert_valid(cut)
    assert json.loads(cut["unmapped"].pop("event")) == {"omitted": True}
    del whole["unmapped"]["event"]
    assert cut == whole


HUGE = ("x" * 3_000, "\x01" * 3_000, "\U0001f600" * 3_000, '"' * 3_000)
TEXTS = (
    "userIdentity.arn userIdentity.principalId userIdentity.userName userIdentity.accessKeyId eventID requestID "
    "sourceIPAddress userAgent awsRegion recipientAccountId errorCode requestParameters.name extra"
).split()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(HUGE)), max_size=20))
def test_many_huge_values_give_a_small_finding(chosen: list[tuple[str, str]]) -> None:
    record = asking(
        policy=STAR, policyArns=[{"arn": HUGE[1]}] * 30, tags=[{"key": HUGE[1], "value": HUGE[1]}] * 50
    )
    for path, value in chosen:
        *parents, last = path.split(".")
        functools.reduce(lambda inner, key: inner[key], parents, record)[last] = value
    assert max(len(to_ocsf(finding)) for finding in findings(record)) <= MAX_FINDING_BYTES
