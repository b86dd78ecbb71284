"""An ECS document gives the record that was made into it, as far as the document still holds it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.envelopes import Ignored, Record, Rejected, load, unwrap
from tests.unit.shipped import (
    DETECTOR,
    LOUD,
    TOKEN,
    as_ecs,
    check_wrong_types,
    clauses,
    document,
    facts,
    findings,
    flat,
    java,
    loaded,
    not_evaluable,
    only,
    parts,
)
from tests.unit.strategies import asking, base64_gzip, console_exchange, issuance, requests

WHOLE = ["ecs-agent", "ecs-agent-with-original", "ecs-dotted", "ecs-filebeat-text-only"]
ONLY_ORIGINAL = ["ecs-filebeat-before-pipeline", "ecs-logstash"]


def trail(**fields: Any) -> dict[str, Any]:
    """A watched document that says little else."""
    return {
        "event": {"provider": "sts.amazonaws.com", "action": "GetFederationToken"},
        "aws": {"cloudtrail": {"user_identity": {"type": "IAMUser"}, **fields}},
    }


# --- documents as shippers write them ------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE + ONLY_ORIGINAL)
def test_a_shippers_document_gives_what_the_record_does(name: str) -> None:
    shipped = document(name)
    assert only(shipped).envelope == "ecs"
    assert (only(shipped).source, only(shipped).name) == ("sts.amazonaws.com", "GetFederationToken")
    assert facts(loaded(shipped)) == facts(document("record-issuance"))
    assert clauses(shipped) == LOUD


@pytest.mark.parametrize("name", WHOLE)
def test_fields_that_no_rule_reads_come_along(name: str) -> None:
    """A responder reads the record on the finding."""
    record = loaded(document(name))
    kept = document("record-issuance")
    kept["eventTime"] = record["eventTime"]  # to the millisecond here
    kept["requestParameters"] = record["requestParameters"]  # whose numbers may be text here
    kept["responseElements"] = record["responseElements"]
    assert record == kept


def test_a_console_exchange_names_the_issuer() -> None:
    """Elastic's pipeline puts the issuer's name into `user.name`: it must not pass for the caller's."""
    shipped = document("ecs-agent-console-exchange")
    assert facts(loaded(shipped)) == facts(document("record-console-exchange"))
    assert clauses(shipped) == {"console-exchange"}
    issuer = loaded(shipped)["userIdentity"]["sessionContext"]["sessionIssuer"]
    assert issuer == document("record-console-exchange")["userIdentity"]["sessionContext"]["sessionIssuer"]


def test_the_original_is_handed_on_as_it_is() -> None:
    assert loaded(document("ecs-agent-with-original")) == document("record-issuance")


@pytest.mark.parametrize("name", WHOLE + ONLY_ORIGINAL)
def test_documents_come_in_other_envelopes_too(name: str) -> None:
    data = json.dumps(document(name)).encode()
    eventbridge = b'{"detail-type":"AWS API Call via CloudTrail","detail":' + data + b"}"
    sns = json.dumps({"Type": "Notification", "Message": data.decode()}).encode()
    for message, envelope in (
        (b"[" + data + b"," + data + b"]", "documents"),
        (data + b"\n" + data + b"\n", "documents"),
        (eventbridge + eventbridge, "documents"),
        (eventbridge, "eventbridge"),
        (sns, "sns"),
    ):
        found = unwrap(message)
        assert {part.envelope for part in found if isinstance(part, Record)} == {envelope}
        for part in found:
            assert isinstance(part, Record)
            assert facts(load(part)) == facts(document("record-issuance"))


# --- one step after the other --------------------------------------------------------------------


@pytest.mark.parametrize(
    "original",
    [None, "", "not JSON", "{", json.dumps(document("record-issuance"))[:-40], "7", "[]", "{}", 7, [], {}],
    ids=repr,
)
def test_an_original_that_is_no_record_falls_back_to_the_fields(original: Any) -> None:
    shipped = document("ecs-agent")
    shipped["event"]["original"] = original
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


@pytest.mark.parametrize(
    "original",
    [
        json.dumps(issuance(eventName="GetCallerIdentity")),
        json.dumps(issuance(eventSource="connect.amazonaws.com")),
        json.dumps({"Records": [issuance(), issuance()]}),
    ],
)
def test_an_original_of_other_events_falls_back_to_the_fields(original: str) -> None:
    shipped = document("ecs-agent")
    shipped["event"]["original"] = original
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda record: json.dumps({"Records": [record]}),
        lambda record: json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": record}),
        lambda record: json.dumps(record, indent=2),
        lambda record: json.dumps(record).replace('"eventVersion"', '"x": NaN, "eventVersion"'),
    ],
)
def test_the_original_is_unwrapped_like_any_document(wrap: Any) -> None:
    shipped = trail()
    shipped["event"]["original"] = wrap(document("record-issuance"))
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


@pytest.mark.parametrize("place", ["message", "json"])
def test_the_record_may_stand_elsewhere(place: str) -> None:
    record = document("record-issuance")
    shipped = {**trail(), place: json.dumps(record) if place == "message" else record}
    assert loaded(shipped) == record
    assert loaded({key: value for key, value in shipped.items() if key not in ("event", "aws")}) == record


def test_an_original_may_hold_a_document_again() -> None:
    """As where one shipper reads what another one wrote."""
    shipped = document("ecs-agent")
    for _ in range(6):
        shipped = {**trail(), "event": {**trail()["event"], "original": json.dumps(shipped)}}
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


def test_nothing_is_decompressed_once_a_document_was_told() -> None:
    """That budget is the message's, and spent by then."""
    shipped = document("ecs-agent")
    shipped["event"]["original"] = json.dumps([base64_gzip(json.dumps(issuance()).encode()).decode()])
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


def test_text_may_stand_in_the_objects_place() -> None:
    assert loaded(trail(flattened={"request_parameters": "{name=text}"}))["requestParameters"] == {"name": "text"}


def test_a_document_of_arrays_is_read() -> None:
    """As a search of Elasticsearch's returns fields: each an array, dotted."""
    fields = flat(document("ecs-agent"), "flattened")
    del fields["aws.cloudtrail.request_parameters"], fields["aws.cloudtrail.response_elements"]
    shipped = {key: value if isinstance(value, list) else [value] for key, value in fields.items()}
    assert facts(loaded(shipped)) == facts(document("record-issuance"))


def test_keys_of_many_dots_raise_nothing() -> None:
    deep = {"json." + "a." * 5_000: 1, "aws.cloudtrail.flattened.request_parameters." + "a." * 5_000: 1}
    assert isinstance(parts({"@timestamp": "x", "json." + "a." * 5_000: 1})[0], Ignored)
    assert clauses(trail() | deep) == {"federation-token-requested"}


def test_objects_are_preferred_to_text() -> None:
    shipped = trail(request_parameters="{name=text}", flattened={"request_parameters": {"name": "object"}})
    assert loaded(shipped)["requestParameters"] == {"name": "object"}


@pytest.mark.parametrize("flattened", [None, {}, "x", {"request_parameters": None}, {"request_parameters": "x"}])
def test_without_objects_the_text_is_read(flattened: Any) -> None:
    shipped = trail(request_parameters="{name=text}", flattened=flattened)
    assert loaded(shipped)["requestParameters"] == {"name": "text"}


@pytest.mark.parametrize(
    "fields", [{}, {"request_parameters": None}, {"flattened": {}}, {"request_parameters": ""}]
)
def test_parameters_that_are_absent_are_unknown(fields: dict[str, Any]) -> None:
    """The pipeline drops what is null or empty, so nothing can be concluded."""
    assert clauses(trail(**fields)) == {"federation-token-requested"}
    assert {"duration-over-24h", "administrator-access-policy", "inline-policy-full-admin"} <= not_evaluable(
        trail(**fields)
    )


@pytest.mark.parametrize("text", ["rubbish", "{", '{"name"=>"alice"}', "[a]", '{"name": "al'])
def test_parameters_that_cannot_be_read_are_unknown(text: str) -> None:
    assert "duration-over-24h" in not_evaluable(trail(request_parameters=text))


def test_json_text_is_read_as_well() -> None:
    parameters = document("record-issuance")["requestParameters"]
    assert clauses(trail(request_parameters=json.dumps(parameters))) == LOUD


# --- text that is cut or doubtful ----------------------------------------------------------------

ADMIN = "{arn=arn:aws:iam::aws:policy/AdministratorAccess}"
POLICY = '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'


@pytest.mark.parametrize(
    ("text", "fires", "unknown"),
    [
        ("{name=a, durationSeconds=129600", "duration-over-24h", "inline-policy-full-admin"),
        ("{name=a, durationSeconds=1296", None, "duration-over-24h"),
        ("{name=a", None, "administrator-access-policy"),
        (f"{{policyArns=[{ADMIN}], name=a", "administrator-access-policy", "duration-over-24h"),
        (f"{{policyArns=[{ADMIN}", "administrator-access-policy", "administrator-access-lookalike"),
        (f"{{policy={POLICY}", "inline-policy-full-admin", "duration-over-24h"),
        (f"{{policy={POLICY[:-5]}", None, "inline-policy-full-admin"),
        (
            f"{{name=}}, policyArns=[], tags=[{{k={{x=}}], policyArns=[{ADMIN}]}}",
            None,
            "administrator-access-policy",
        ),
        ('{policy={"Statement":[{}', None, "administrator-access-policy"),
        ('{policy={"Statement": oops, durationSeconds=129600}', "duration-over-24h", "inline-policy-full-admin"),
        ("{durationSeconds=900, durationSeconds=129600}", None, "duration-over-24h"),
        ("{tags=[{key=a, value={x=}], durationSeconds=129600, name=y}}]}", None, "duration-over-24h"),
    ],
)
def test_what_may_be_there_is_never_absent(text: str, fires: str | None, unknown: str) -> None:
    shipped = trail(request_parameters=text)
    assert clauses(shipped) == {"federation-token-requested"} | ({fires} if fires else set())
    assert unknown in not_evaluable(shipped)


def test_a_request_that_the_api_takes_cannot_make_itself_doubtful() -> None:
    """Names, tags and a policy's own texts may spell our keys."""
    condition = {"StringNotLike": {"aws:UserAgent": "}, durationSeconds=900, policy=, policyArns=[]}"}}
    policy = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}]}
    parameters = document("record-issuance")["requestParameters"] | {
        "name": "x,policy=,durationSeconds=900",
        "tags": [{"key": "policyArns=", "value": "durationSeconds=900"}, {"key": "policy=", "value": "="}],
        "policy": json.dumps(policy),
    }
    assert clauses(trail(request_parameters=java(parameters))) == LOUD
    assert not_evaluable(trail(request_parameters=java(parameters))) == set()


hostile = st.text('{}[]=,:" ab\\', max_size=12) | st.sampled_from(
    [", durationSeconds=900", "}, policyArns=[]", "]}", "{x=", '{"a":', "=", "}}]", ", policy="]
)


def check_not_silenced(parameters: dict[str, Any], text: str) -> None:
    """What fires on the record fires on the document, or is told not to be readable."""
    record = asking() | {"requestParameters": parameters}
    expected = {clause for one in DETECTOR.detect_record(record).findings for clause in one.clauses}
    shipped = trail(request_parameters=text)
    assert expected <= clauses(shipped) | not_evaluable(shipped)


@given(
    names=st.lists(hostile, min_size=4, max_size=4),
    seconds=st.sampled_from([900, 86_401, 129_600]),
    broad=st.booleans(),
    order=st.permutations(["name", "tags", "durationSeconds", "policyArns", "policy"]),
)
def test_no_text_silences_a_clause(names: list[str], seconds: int, broad: bool, order: list[str]) -> None:  # noqa: FBT001  a drawn value
    """Whatever an attacker may write into a request, names that the API refuses too."""
    name, tag, path, policy = names
    parameters = {
        "name": name,
        "tags": [{"key": tag, "value": tag}],
        "durationSeconds": seconds,
        "policyArns": [{"arn": f"arn:{path}"}, {"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
        "policy": POLICY if broad else policy,
    }
    parameters = {key: parameters[key] for key in order}
    check_not_silenced(parameters, java(parameters))


@given(requests(), st.data())
def test_no_cut_silences_a_clause(record: dict[str, Any], data: st.DataObject) -> None:
    text = java(record["requestParameters"])
    check_not_silenced(record["requestParameters"], text[: data.draw(st.integers(0, len(text)))])


# --- telling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shipped",
    [
        {
            "event.provider": "sts.amazonaws.com",
            "event": {"action": "X"},
            "aws.cloudtrail.event_type": "AwsApiCall",
        },
        {"event.provider": "sts.amazonaws.com", "event.action": "X", "aws": {"cloudtrail.event_version": "1.08"}},
        {"event": {"provider": ["sts.amazonaws.com"], "action": ["X"]}, "data_stream.dataset": "aws.cloudtrail"},
        {"event": {"provider": "sts.amazonaws.com", "action": "X", "dataset": "aws.cloudtrail"}},
    ],
)
def test_a_document_is_told_by_nested_and_dotted_keys(shipped: dict[str, Any]) -> None:
    part = only(shipped)
    assert (part.source, part.name, part.envelope) == ("sts.amazonaws.com", "X", "ecs")
    assert load(part)["eventName"] == "X"


def test_one_name_is_better_than_none() -> None:
    shipped = {"event": {"provider": "sts.amazonaws.com", "action": 7}, "aws": {"cloudtrail": {}}}
    assert parts(shipped)[0] == Record(
        json.dumps(shipped).encode(), "sts.amazonaws.com", None, "ecs", only(shipped).decode
    )


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "another data set": (
        {"@timestamp": "x", "event": {"dataset": "nginx.access", "module": "nginx"}, "message": "GET / 200"},
        "not_cloudtrail",
    ),
    "another data set of AWS": (
        {"data_stream": {"dataset": "aws.vpcflow"}, "event": {"action": "accept"}, "aws": {"vpcflow": {}}},
        "not_cloudtrail",
    ),
    "another data set with JSON": (
        {"event": {"dataset": "okta.system", "original": '{"eventType":"user.session.start"'}, "okta": {}},
        "not_cloudtrail",
    ),
    "no data set": ({"@timestamp": "2024-11-30T08:43:17Z", "message": "hello", "agent": {}}, "not_cloudtrail"),
    "digest": ({"aws": {"cloudtrail": {"flattened": {"digest": {"s3_bucket": "b"}}}}}, "digest"),
    "digest as original": (
        {"event": {"dataset": "aws.cloudtrail", "original": '{"digestS3Bucket":"b","digestStartTime":"x"}'}},
        "digest",
    ),
    "insight": ({"aws": {"cloudtrail": {"flattened": {"insight_details": {"state": "Start"}}}}}, "insight"),
}


@pytest.mark.parametrize(("shipped", "kind"), OTHERS.values(), ids=OTHERS)
def test_a_document_of_something_else_is_ignored(shipped: dict[str, Any], kind: Any) -> None:
    assert parts(shipped) == [Ignored(kind)]


@pytest.mark.parametrize(
    ("shipped", "reason"),
    [
        ({"event": {"dataset": "aws.cloudtrail"}}, "not_a_record"),
        ({"event": {"dataset": "aws.cloudtrail", "original": '{"eventName":"GetFede'}}, "json"),
        ({"@timestamp": "x", "message": '{"eventName":"GetFede'}, "json"),
        ({"message": "hello"}, "not_a_record"),
        ({"event": "x"}, "not_a_record"),
    ],
)
def test_a_document_that_should_hold_a_record_and_does_not_is_rejected(shipped: Any, reason: str) -> None:
    (part,) = parts(shipped)
    assert isinstance(part, Rejected)
    assert (part.reason, part.data) == (reason, json.dumps(shipped).encode())


def test_a_record_that_a_shipper_stamped_is_a_record() -> None:
    """Logstash's codec puts its own keys beside the record's."""
    assert only({"@timestamp": "x", "@version": "1", **issuance()}).envelope == "record"
    assert only({"@timestamp": "x", "userIdentity": {}, "eventName": None}).envelope == "record"


def test_the_original_of_what_no_rule_watches_stays_closed() -> None:
    """Told by its fields; a bomb in the original costs nothing."""
    shipped = trail()
    shipped["event"] |= {"action": "GetCallerIdentity", "original": json.dumps(issuance())}
    assert only(shipped).name == "GetCallerIdentity"


def test_the_stray_byte_costs_no_document() -> None:
    data = json.dumps(document("ecs-agent")).encode().replace(b"aws-cli/", b"aws-cli\xff/")
    for stray in (data, data.replace(b'"agent"', b'"a\\ud800gent"')):
        (part,) = unwrap(stray)
        assert isinstance(part, Record)
        assert facts(load(part)) == facts(document("record-issuance"))


# --- outcome -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "fields", "code", "message"),
    [
        ("success", {}, None, None),
        (None, {}, None, None),
        ("unknown", {}, None, None),
        (7, {}, None, None),
        ("success", {"error_code": "AccessDenied"}, "AccessDenied", None),
        ("failure", {"error_code": "AccessDenied", "error_message": "no"}, "AccessDenied", "no"),
        ("failure", {"error_message": "no"}, None, "no"),
        ("failure", {}, None, "event.outcome says failure, without a reason"),
        ("Failure", {}, None, "event.outcome says failure, without a reason"),
    ],
)
def test_a_failure_stays_one(outcome: Any, fields: dict[str, Any], code: str | None, message: str | None) -> None:
    shipped = trail(**fields)
    shipped["event"]["outcome"] = outcome
    record = loaded(shipped)
    assert (record.get("errorCode"), record.get("errorMessage")) == (code, message)
    failed = "failure" if code or message else "success"
    assert {finding["outcome"] for finding in findings(shipped)} == {failed}


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WHOLE + ONLY_ORIGINAL)
def test_the_session_token_never_gets_into_a_finding(name: str) -> None:
    assert TOKEN in json.dumps(document(name))
    assert TOKEN not in json.dumps(findings(document(name)))


@pytest.mark.parametrize("end", range(1, 40))
def test_nor_out_of_a_text_that_is_cut(end: int) -> None:
    shipped = document("ecs-filebeat-text-only")
    whole = shipped["aws"]["cloudtrail"]["response_elements"]
    start = whole.index(TOKEN)
    for text in (
        f"the token is {TOKEN}",
        whole[: start + end],
        whole[end:],
        whole.replace("credentials={", "credentials=", 1)[:-end],
    ):
        shipped["aws"]["cloudtrail"]["response_elements"] = text
        assert TOKEN[:8] not in json.dumps(findings(shipped))


@pytest.mark.parametrize(
    "elements",
    [
        [["sessionToken", TOKEN]],
        {"credentials": f"ASIAIOSFODNN7EXAMPLE {TOKEN}"},
        {"credentials": ["sessionToken", TOKEN]},
        {"credentials": json.dumps({"sessionToken": TOKEN})},
        {"credentials.sessionToken": TOKEN},
        {"credentials.sessionToken": TOKEN, "credentials": 7},
    ],
)
def test_nor_out_of_elements_of_wrong_types(elements: Any) -> None:
    assert TOKEN not in json.dumps(findings(trail(flattened={"response_elements": elements})))
    assert TOKEN not in json.dumps(findings(trail(response_elements=elements)))


# --- properties ----------------------------------------------------------------------------------


@given(requests(), st.sampled_from(["original", "flattened", "dotted", "text"]))
def test_a_random_record_comes_back(record: dict[str, Any], form: str) -> None:
    shipped = as_ecs(record, "flattened" if form == "dotted" else form)
    shipped = flat(shipped, "request_parameters", "response_elements") if form == "dotted" else shipped
    assert facts(loaded(shipped)) == facts(record)


@given(st.sampled_from(WHOLE + ONLY_ORIGINAL), st.data())
def test_wrong_types_anywhere_raise_nothing(name: str, data: st.DataObject) -> None:
    check_wrong_types(document(name), data)


def test_console_exchanges_come_back() -> None:
    for form in ("original", "flattened", "text"):
        assert facts(loaded(as_ecs(console_exchange(), form))) == facts(console_exchange())
