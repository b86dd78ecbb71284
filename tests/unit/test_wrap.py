"""Each shape is as the products document it, written out by hand here; what reads them is not asked."""

import json
import zlib
from typing import Any

import pytest

from service.feed.to_ecs import ecs, java_text
from service.feed.to_ocsf import ocsf
from service.feed.wrap import SEVERAL, WRAPS
from tests.unit.strategies import console_exchange, issuance

POLICY = '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
PARAMETERS: dict[str, Any] = {
    "durationSeconds": 3600,
    "policyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}],
    "name": "bob",
    "policy": POLICY,
}
RECORD = issuance(
    requestParameters=PARAMETERS,
    eventCategory="Management",
    managementEvent=True,
    vpcEndpointId="vpce-1",
    tlsDetails={"tlsVersion": "TLSv1.3", "cipherSuite": "AES"},
)
EXCHANGE = console_exchange(awsRegion="us-east-1", sourceIPAddress="signin.amazonaws.com")
DENIED = issuance(
    errorCode="AccessDenied", errorMessage="not authorized", requestParameters=None, responseElements=None
)


def made(shape: str, *records: dict[str, Any]) -> Any:
    data = WRAPS[shape](records)
    return json.loads(zlib.decompress(data, wbits=31) if shape == "cloudwatch" else data)


# --- shapes that hold CloudTrail's JSON ----------------------------------------------------------


def test_a_record_is_its_json() -> None:
    """Nothing is added, nothing is lost."""
    assert made("record", RECORD) == RECORD


def test_a_records_file_holds_all_in_order() -> None:
    """The one key is `Records`, as in the files of CloudTrail."""
    assert made("records", RECORD, EXCHANGE) == {"Records": [RECORD, EXCHANGE]}


def test_eventbridge_names_source_and_kind_of_event() -> None:
    """A rule's pattern matches on these."""
    event = made("eventbridge", RECORD)
    assert event["detail"] == RECORD
    assert (event["source"], event["detail-type"]) == ("aws.sts", "AWS API Call via CloudTrail")
    assert (event["account"], event["region"], event["time"]) == (
        "111122223333",
        "us-east-1",
        "2024-11-30T08:43:17Z",
    )
    exchange = made("eventbridge", EXCHANGE)
    assert (exchange["source"], exchange["detail-type"]) == ("aws.signin", "AWS Console Sign In via CloudTrail")


def test_sns_holds_the_event_of_the_bus_as_text() -> None:
    """A notification's message is a string, whatever it says."""
    notification = made("sns", RECORD)
    assert notification["Type"] == "Notification"
    assert json.loads(notification["Message"]) == made("eventbridge", RECORD)


def test_cloudwatch_is_gzip_of_log_events_whose_messages_are_text() -> None:
    """As a subscription filter sends it."""
    data = made("cloudwatch", RECORD, EXCHANGE)
    assert (data["messageType"], data["owner"]) == ("DATA_MESSAGE", "111122223333")
    assert [json.loads(event["message"]) for event in data["logEvents"]] == [RECORD, EXCHANGE]
    assert [event["timestamp"] for event in data["logEvents"]] == [1732956197000, 1732956302000]
    assert len({event["id"] for event in data["logEvents"]}) == 2


@pytest.mark.parametrize("shape", sorted(set(WRAPS) - SEVERAL))
def test_a_shape_of_one_record_takes_no_two(shape: str) -> None:
    """Rather an error than a record lost in silence."""
    with pytest.raises(ValueError, match="too many values"):
        WRAPS[shape]([RECORD, RECORD])


# --- ECS -----------------------------------------------------------------------------------------


def test_ecs_is_as_the_pipeline_of_elastic_writes_it() -> None:
    """Fields lie where the integration's field list says; objects stand twice, as text and flattened."""
    credentials = "{accessKeyId=ASIAIOSFODNN7EXAMPLE, sessionToken=EXAMPLE-SESSION-TOKEN, expiration="
    assert ecs(RECORD) == {
        "@timestamp": "2024-11-30T08:43:17.000Z",
        "aws": {
            "cloudtrail": {
                "event_category": "Management",
                "event_type": "AwsApiCall",
                "event_version": "1.08",
                "flattened": {
                    "request_parameters": PARAMETERS,
                    "response_elements": RECORD["responseElements"],
                },
                "management_event": True,
                "read_only": False,
                "recipient_account_id": "111122223333",
                "request_id": "00000000-0000-4000-9000-000000000001",
                "request_parameters": "{durationSeconds=3600, "
                f"policyArns=[{{arn=arn:aws:iam::aws:policy/ReadOnlyAccess}}], name=bob, policy={POLICY}}}",
                "response_elements": f"{{credentials={credentials}Nov 30, 2024, 8:43:17 PM}}, "
                "federatedUser={federatedUserId=111122223333:alice, "
                "arn=arn:aws:sts::111122223333:federated-user/alice}, packedPolicySize=4}",
                "user_identity": {
                    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
                    "arn": "arn:aws:iam::111122223333:user/alice",
                    "type": "IAMUser",
                },
                "vpc_endpoint_id": "vpce-1",
            }
        },
        "cloud": {"account": {"id": "111122223333"}, "region": "us-east-1"},
        "data_stream": {"dataset": "aws.cloudtrail", "namespace": "default", "type": "logs"},
        "ecs": {"version": "8.11.0"},
        "event": {
            "action": "GetFederationToken",
            "id": "00000000-0000-4000-8000-000000000001",
            "kind": "event",
            "outcome": "success",
            "provider": "sts.amazonaws.com",
            "type": ["info"],
        },
        "source": {"address": "203.0.113.7", "ip": "203.0.113.7"},
        "tls": {"cipher": "AES"},
        "user": {"id": "AIDAEXAMPLEEXAMPLE01", "name": "alice"},
        "user_agent": {"original": "aws-cli/2.22.7"},
    }


def test_ecs_names_the_issuer_where_the_caller_has_no_name() -> None:
    """The pipeline moves either user name to `user.name`, the caller's first."""
    document = ecs(EXCHANGE)
    assert document["user"] == {"id": "111122223333:alice", "name": "alice"}
    assert document["aws"]["cloudtrail"]["user_identity"] == {
        "access_key_id": "ASIAIOSFODNN7EXAMPLE",
        "arn": "arn:aws:sts::111122223333:federated-user/alice",
        "session_context": {
            "session_issuer": {
                "account_id": "111122223333",
                "arn": "arn:aws:iam::111122223333:user/alice",
                "principal_id": "AIDAEXAMPLEEXAMPLE01",
                "type": "IAMUser",
            }
        },
        "type": "FederatedUser",
    }
    assert document["source"] == {"address": "signin.amazonaws.com"}
    own = put_name(EXCHANGE, "bob")
    assert ecs(own)["user"]["name"] == "bob"


def put_name(record: dict[str, Any], name: str) -> dict[str, Any]:
    return record | {"userIdentity": record["userIdentity"] | {"userName": name}}


def test_ecs_of_a_failure_has_no_objects_and_says_so() -> None:
    """Null parameters leave neither a text nor an object."""
    document = ecs(DENIED)
    assert document["event"]["outcome"] == "failure"
    assert document["aws"]["cloudtrail"]["error_code"] == "AccessDenied"
    assert document["aws"]["cloudtrail"]["error_message"] == "not authorized"
    assert document["aws"]["cloudtrail"]["flattened"] == {}
    assert "request_parameters" not in document["aws"]["cloudtrail"]


def test_ecs_drops_what_is_empty_at_any_depth() -> None:
    """And what that leaves empty."""
    parameters = {"name": "", "policyArns": [{"arn": None}], "tags": [], "kept": [0, False]}
    document = ecs(issuance(requestParameters=parameters, errorCode=""))
    assert document["aws"]["cloudtrail"]["flattened"]["request_parameters"] == {"kept": [0, False]}
    assert document["event"]["outcome"] == "success"


def test_ecs_keeps_only_the_text_of_an_object_longer_than_a_term_of_lucene() -> None:
    """The pipeline's limit is 32,766 characters of text."""
    fits, beyond = ({"policy": "x" * length} for length in (32_765 - len("{policy=}"), 32_766 - len("{policy=}")))
    assert "request_parameters" in ecs(issuance(requestParameters=fits))["aws"]["cloudtrail"]["flattened"]
    cloudtrail = ecs(issuance(requestParameters=beyond))["aws"]["cloudtrail"]
    assert "request_parameters" not in cloudtrail["flattened"]
    assert cloudtrail["request_parameters"] == f"{{policy={beyond['policy']}}}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": {"c": [True, "x, y=z"]}}, "{a=1, b={c=[true, x, y=z]}}"),
        ([], "[]"),
        ("plain", "plain"),
        (1.5, "1.5"),
    ],
)
def test_text_of_an_object_is_as_java_prints_maps_and_lists(value: object, text: str) -> None:
    """Neither quotes nor escapes."""
    assert java_text(value) == text


# --- OCSF ----------------------------------------------------------------------------------------


def test_ocsf_is_as_security_lake_maps_it() -> None:
    """Fields lie where AWS's mapping to 1.1 puts them; the rest is in `unmapped`, dotted, as text."""
    event = ocsf(RECORD)
    assert event["actor"] == {
        "user": {
            "account": {"uid": "111122223333"},
            "credential_uid": "AKIAIOSFODNN7EXAMPLE",
            "name": "alice",
            "type": "IAMUser",
            "uid": "arn:aws:iam::111122223333:user/alice",
            "uid_alt": "AIDAEXAMPLEEXAMPLE01",
        }
    }
    assert json.loads(event["api"]["request"].pop("data")) == PARAMETERS
    assert json.loads(event["api"]["response"].pop("data")) == RECORD["responseElements"]
    assert event["api"] == {
        "operation": "GetFederationToken",
        "request": {"uid": "00000000-0000-4000-9000-000000000001"},
        "response": {},
        "service": {"name": "sts.amazonaws.com"},
    }
    assert (event["class_uid"], event["category_uid"], event["type_uid"]) == (6003, 6, 600399)
    assert (event["time"], event["time_dt"]) == (1732956197000, "2024-11-30T08:43:17.000Z")
    assert (event["status"], event["status_id"]) == ("Success", 1)
    assert event["src_endpoint"] == {"ip": "203.0.113.7", "uid": "vpce-1"}
    assert event["http_request"] == {"user_agent": "aws-cli/2.22.7"}
    assert event["cloud"] == {"provider": "AWS", "region": "us-east-1"}
    assert event["metadata"] == {
        "event_code": "AwsApiCall",
        "product": {
            "feature": {"name": "Management"},
            "name": "CloudTrail",
            "vendor_name": "AWS",
            "version": "1.08",
        },
        "profiles": ["cloud", "datetime"],
        "uid": "00000000-0000-4000-8000-000000000001",
        "version": "1.1.0",
    }
    assert event["unmapped"] == {
        "managementEvent": "true",
        "readOnly": "false",
        "recipientAccountId": "111122223333",
        "tlsDetails.tlsVersion": "TLSv1.3",
        "tlsDetails.cipherSuite": "AES",
    }


def test_ocsf_of_a_federated_session_has_its_issuer_in_two_places() -> None:
    """Only its ARN has a place of its own."""
    event = ocsf(EXCHANGE)
    assert event["actor"]["session"] == {"issuer": "arn:aws:iam::111122223333:user/alice"}
    issuer = "userIdentity.sessionContext.sessionIssuer"
    assert {path: text for path, text in event["unmapped"].items() if path.startswith(issuer)} == {
        f"{issuer}.accountId": "111122223333",
        f"{issuer}.principalId": "AIDAEXAMPLEEXAMPLE01",
        f"{issuer}.type": "IAMUser",
        f"{issuer}.userName": "alice",
    }
    assert event["src_endpoint"] == {"domain": "signin.amazonaws.com"}
    assert "data" not in event["api"].get("request", {})


def test_ocsf_of_a_failure_has_error_and_message() -> None:
    """An error's code is `error`, its text is `message`."""
    event = ocsf(DENIED)
    assert event["api"]["response"] == {"error": "AccessDenied", "message": "not authorized"}
    assert (event["status"], event["status_id"]) == ("Failure", 2)


@pytest.mark.parametrize("time", [None, "redacted", 7, "9999-12-31T23:59:59-23:59"])
def test_a_time_that_cannot_be_read_is_absent(time: object) -> None:
    """A made-up one would be a false fact in a finding."""
    record = issuance(eventTime=time)
    assert "@timestamp" not in ecs(record)
    assert not {"time", "time_dt"} & ocsf(record).keys()
    assert made("cloudwatch", record)["logEvents"][0]["timestamp"] == 0
