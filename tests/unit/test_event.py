"""A record's accessors, every trap met in the wild, and that no secret stays in it."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.detect import Detector
from service.event import MAX_TAG, MAX_TAGS, MAX_TEXT, Event, PolicyArns, Unread, bounded
from service.finding import to_json
from service.redaction import REDACTED
from service.rules import RULES
from tests.unit.strategies import ODDITIES, asking, console_exchange, issuance, paths, put, watched_records

DETECTOR = Detector(RULES)
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
ADMIN_ARN = "arn:aws:iam::aws:policy/AdministratorAccess"
STAR = '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'


def root(**parameters: Any) -> dict[str, Any]:
    return {**asking(**parameters), "userIdentity": {"type": "Root", "arn": "arn:aws:iam::111122223333:root"}}


# --- the duration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_seconds", "requested", "effective"),
    [
        (900, 900, 900),
        (129_600, 129_600, 129_600),
        ("900", 900, 900),
        (" 900 ", 900, 900),
        ("+900", 900, 900),
        ("86401.0", 86_401, 86_401),
        ("8.6401e4", 86_401, 86_401),
        (86_400.5, 86_400.5, 86_400),
        (3_600.0, 3_600, 3_600),
        (None, None, 43_200),
        (0, 0, 900),
        (-1, -1, 900),
        ("-86401", -86_401, 900),
        (129_601, 129_601, 129_600),
        (2**31, 2**31, 129_600),
        (10**400, 2**53 - 1, 129_600),
        (-(10**400), -(2**53 - 1), 900),
        ("1" + "0" * 399, 2**53 - 1, 129_600),
        ("1e999999", 2**53 - 1, 129_600),
        (math.inf, 2**53 - 1, 129_600),
        (-math.inf, -(2**53 - 1), 900),
    ],
)
def test_a_duration_is_read_however_it_is_written(
    given_seconds: object, requested: float | None, effective: int
) -> None:
    event = Event(asking(durationSeconds=given_seconds))
    assert event.seconds_requested == requested
    assert event.seconds_effective == effective


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (True, "duration_not_a_number"),
        (False, "duration_not_a_number"),
        (math.nan, "duration_not_a_number"),
        ("NaN", "duration_not_a_number"),
        ("", "duration_not_a_number"),
        ("1h", "duration_not_a_number"),
        ("86,401", "duration_not_a_number"),
        ("\u0663\u0666\u0660\u0660", "duration_not_a_number"),  # digits, but not ASCII ones
        ("9" * 401, "duration_not_a_number"),
        ([900], "duration_not_a_number"),
        ({}, "duration_not_a_number"),
        (HIDDEN, "hidden_due_to_security_reasons"),
        ({"omitted": True}, "omitted_too_large"),
        ({"omitted": "true"}, "omitted_too_large"),
    ],
)
def test_a_duration_that_cannot_be_read_is_not_the_default(value: object, reason: str) -> None:
    event = Event(asking(durationSeconds=value))
    assert event.seconds_requested == Unread(reason)
    assert event.seconds_effective is None


@pytest.mark.parametrize(
    ("asked", "effective"),
    [
        ({}, 3_600),
        ({"durationSeconds": 129_600}, 3_600),
        ({"durationSeconds": 900}, 900),
        ({"durationSeconds": 0}, 3_600),
    ],
)
def test_root_gets_an_hour_at_most(asked: dict[str, Any], effective: int) -> None:
    assert Event(root(**asked)).seconds_effective == effective
    assert Event(root(**asked)).seconds_requested == asked.get("durationSeconds")


# --- request parameters, whole and in part -------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (None, "request_parameters_null"),
        (HIDDEN, "hidden_due_to_security_reasons"),
        ({"omitted": True}, "omitted_too_large"),
        ("{name=alice, durationSeconds=129600}", "request_parameters_not_an_object"),
        ("", "request_parameters_not_an_object"),
        ([], "request_parameters_not_an_object"),
        (7, "request_parameters_not_an_object"),
    ],
)
def test_parameters_that_cannot_be_read_are_unknown_not_absent(parameters: object, reason: str) -> None:
    event = Event(issuance(requestParameters=parameters))
    assert event.seconds_requested == Unread(reason)
    assert event.policy_arns == PolicyArns((), Unread(reason))
    assert (event.inline_policy.grade, event.inline_policy.unread) == ("unknown", reason)
    assert event.inline_policy_raw is None
    assert event.session_tags is None
    assert not event.grants_nothing_by_itself


def test_absent_parameters_are_unknown() -> None:
    record = issuance()
    del record["requestParameters"]
    assert Event(record).seconds_requested == Unread("request_parameters_null")


def test_empty_parameters_are_readable_and_ask_for_nothing() -> None:
    event = Event(issuance(requestParameters={}))
    assert event.seconds_requested is None
    assert event.grants_nothing_by_itself


@pytest.mark.parametrize(
    ("value", "arns", "unread"),
    [
        (None, (), None),
        ([], (), None),
        ([{"arn": ADMIN_ARN}], (ADMIN_ARN,), None),
        ([ADMIN_ARN], (ADMIN_ARN,), None),
        (ADMIN_ARN, (ADMIN_ARN,), None),
        ({"arn": ADMIN_ARN}, (ADMIN_ARN,), None),
        ([ADMIN_ARN, {"arn": "b"}], (ADMIN_ARN, "b"), None),
        ([{"arn": ADMIN_ARN}, None], (ADMIN_ARN,), "policy_arns_unreadable"),
        ([{"arn": ADMIN_ARN}, {}], (ADMIN_ARN,), "policy_arns_unreadable"),
        ([{"arn": ADMIN_ARN}, HIDDEN], (ADMIN_ARN,), "policy_arns_unreadable"),
        ([{"arn": ["a"]}], (), "policy_arns_unreadable"),
        (f'["{ADMIN_ARN}"]', (f'["{ADMIN_ARN}"]',), "policy_arns_unreadable"),
        (f"{ADMIN_ARN},{ADMIN_ARN}", (f"{ADMIN_ARN},{ADMIN_ARN}",), "policy_arns_unreadable"),
        (f"'{ADMIN_ARN}','{ADMIN_ARN}'", (f"'{ADMIN_ARN}','{ADMIN_ARN}'",), "policy_arns_unreadable"),
        (f"{ADMIN_ARN}|{ADMIN_ARN}", (f"{ADMIN_ARN}|{ADMIN_ARN}",), "policy_arns_unreadable"),
        (f"{ADMIN_ARN} {ADMIN_ARN}", (f"{ADMIN_ARN} {ADMIN_ARN}",), "policy_arns_unreadable"),
        ("arn:aws:iam::111122223333:policy/a,b", ("arn:aws:iam::111122223333:policy/a,b",), None),
        ([""], (), "policy_arns_unreadable"),
        ({}, (), "policy_arns_unreadable"),
        (7, (), "policy_arns_unreadable"),
        (HIDDEN, (), "hidden_due_to_security_reasons"),
        ({"omitted": True}, (), "omitted_too_large"),
    ],
)
def test_policy_arns_in_any_shape(value: object, arns: tuple[str, ...], unread: str | None) -> None:
    assert Event(asking(policyArns=value)).policy_arns == PolicyArns(arns, Unread(unread) if unread else None)


@pytest.mark.parametrize(
    ("value", "grade", "unread"),
    [
        (None, "absent", None),
        (STAR, "full_admin", None),
        (json.loads(STAR), "full_admin", None),
        ({}, "no_power", None),
        ("", "unknown", "policy_not_json"),
        ("{broken", "unknown", "policy_not_json"),
        ("%7B%22Statement%22%3A%5B%5D%7D", "no_power", None),
        ("[" * 9_999, "unknown", "policy_too_deep"),
        (HIDDEN, "unknown", "hidden_due_to_security_reasons"),
        ({"omitted": True}, "unknown", "omitted_too_large"),
    ],
)
def test_an_inline_policy_in_any_shape(value: object, grade: str, unread: str | None) -> None:
    found = Event(asking(policy=value)).inline_policy
    assert (found.grade, found.unread) == (grade, unread)


def test_a_policy_is_judged_as_it_was_sent_not_as_it_is_shown() -> None:
    """A resource that reads like a secret must not be taken out before the policy is graded."""
    text = STAR.replace('"Resource": "*"', '"Resource": ["*", "sessionToken=x"]')
    event = Event(asking(policy=text))
    assert event.inline_policy.grade == "full_admin"
    assert event.inline_policy_raw == text


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, True),
        ({"policy": None, "policyArns": []}, True),
        ({"policy": "{}"}, False),
        ({"policyArns": [ADMIN_ARN]}, False),
        ({"policyArns": [None]}, False),
        ({"policy": HIDDEN}, False),
    ],
)
def test_a_session_without_policies_is_known_to_be_one(parameters: dict[str, Any], expected: bool) -> None:  # noqa: FBT001  a column of the table
    assert Event(asking(**parameters)).grants_nothing_by_itself is expected


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        (None, None),
        ([], None),
        ({}, None),
        ("team=red", None),
        ([{"key": "team", "value": "red"}], [("team", "red")]),
        ([{"key": "team"}, "rubbish", {}], [("team", None), (None, None)]),
        ([{"key": 7, "value": ["red"]}], [(None, None)]),
    ],
)
def test_session_tags_in_any_shape(value: object, tags: object) -> None:
    assert Event(asking(tags=value)).session_tags == tags


def test_session_tags_are_bounded() -> None:
    tags = Event(asking(tags=[{"key": "k" * 999, "value": "v" * 999}] * 99)).session_tags
    assert tags is not None
    assert len(tags) == MAX_TAGS
    assert {len(text) for pair in tags for text in pair if text} == {MAX_TAG}


# --- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-12-12T16:04:32Z", (2024, 12, 12, 16, 4, 32)),
        ("2024-12-12 16:04:32.000000000", (2024, 12, 12, 16, 4, 32)),
        ("2024-12-12T16:04:32", (2024, 12, 12, 16, 4, 32)),
        ("2024-12-12T18:04:32+02:00", (2024, 12, 12, 16, 4, 32)),
        (" 2024-12-12T16:04:32Z ", (2024, 12, 12, 16, 4, 32)),
        ("2024-12-12T16:04:32.123456789Z", (2024, 12, 12, 16, 4, 32, 123_456)),
        ("2024-12-12", (2024, 12, 12)),
    ],
)
def test_event_times(text: str, moment: tuple[int, ...]) -> None:
    assert Event(issuance(eventTime=text)).time == datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]  # up to seven numbers


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "redacted",
        1_733_000_000,
        [],
        {},
        True,
        HIDDEN,
        "2024-13-45T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9" * 65,
        "9" * 64,
        "Foo 30, 2024, 8:43:17 PM",
        "Feb 31, 2024, 8:43:17 PM",
    ],
)
def test_a_time_that_is_none_is_none(value: object) -> None:
    assert Event(issuance(eventTime=value)).time is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Nov 30, 2024, 8:43:17 PM", (2024, 11, 30, 20, 43, 17)),
        ("Nov 30, 2024, 8:43:17\u202fPM", (2024, 11, 30, 20, 43, 17)),  # as newer Java writes it
        ("Nov 30, 2024 8:43:17 PM", (2024, 11, 30, 20, 43, 17)),
        ("Nov 30, 2024, 8:43:17 AM", (2024, 11, 30, 8, 43, 17)),
        ("Nov 30, 2024, 12:00:00 AM", (2024, 11, 30, 0, 0, 0)),
        ("Nov 30, 2024, 12:00:00\u202fPM", (2024, 11, 30, 12, 0, 0)),
        ("Feb 29, 2024, 12:59:59 AM", (2024, 2, 29, 0, 59, 59)),
        ("2024-11-30T20:43:17Z", (2024, 11, 30, 20, 43, 17)),
    ],
)
def test_the_expiration_that_the_response_states(text: str, moment: tuple[int, ...]) -> None:
    record = put(issuance(), ("responseElements", "credentials", "expiration"), text)
    assert Event(record).expires_at == datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type,misc]  # up to seven numbers


@pytest.mark.parametrize(
    "response", [None, {}, {"credentials": None}, {"credentials": {"expiration": "soon"}}, "{…}"]
)
def test_without_one_it_follows_from_the_effective_seconds(response: object) -> None:
    event_time = "2024-11-30T08:00:00Z"
    event = Event({**asking(durationSeconds=7_200), "eventTime": event_time, "responseElements": response})
    assert event.expires_at == datetime(2024, 11, 30, 10, tzinfo=UTC)
    of_root = Event({**root(durationSeconds=129_600), "eventTime": event_time, "responseElements": response})
    assert of_root.expires_at == datetime(2024, 11, 30, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes",
    [
        {"errorCode": "AccessDenied"},
        {"eventTime": "redacted", "responseElements": None},
        {"eventTime": "9999-12-31T23:00:00Z", "responseElements": None},
        {"requestParameters": None, "responseElements": None},
        {"eventName": "GetSigninToken"},
    ],
    ids=["failure", "no time", "end of time", "no parameters", "no issuance"],
)
def test_no_expiry_is_invented(changes: dict[str, Any]) -> None:
    assert Event(issuance(**changes)).expires_at is None


# --- outcome and identities ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "success"),
        ({"errorCode": None, "errorMessage": None}, "success"),
        ({"errorCode": "", "errorMessage": ""}, "success"),
        ({"errorCode": "AccessDenied"}, "failure"),
        ({"errorMessage": "not today"}, "failure"),
        ({"errorCode": ["AccessDenied"]}, "failure"),
        ({"responseElements": {"GetFederationToken": "Failure"}}, "failure"),
        ({"responseElements": {"ConsoleLogin": "Failure"}, "eventName": "ConsoleLogin"}, "failure"),
        ({"responseElements": {"ConsoleLogin": "Success"}, "eventName": "ConsoleLogin"}, "success"),
        ({"responseElements": {"ConsoleLogin": "Failure"}, "eventName": "GetSigninToken"}, "success"),
        ({"responseElements": {"GetSigninToken": "Failure"}, "eventName": "GetSigninToken"}, "failure"),
        ({"responseElements": "Failure"}, "success"),
    ],
)
def test_the_outcome_may_stand_in_the_response_only(changes: dict[str, Any], outcome: str) -> None:
    assert Event(issuance(**changes)).outcome == outcome


@pytest.mark.parametrize(
    ("user", "federated", "mismatch"),
    [
        ("alice", "alice", False),
        ("alice", "mallory", True),
        ("alice", "Alice", True),
        ("a" * 40, "a" * 32, False),
        ("a" * 40, "a" * 31, True),
        (None, "alice", None),
        ("", "alice", None),
        ("alice", None, False),  # the response names it
    ],
)
def test_a_name_mismatch_minds_that_names_are_cut(
    user: str | None,
    federated: str | None,
    mismatch: bool | None,  # noqa: FBT001  a column of the table
) -> None:
    record = put(asking(name=federated), ("userIdentity", "userName"), user)
    assert Event(record).name_mismatch is mismatch


def test_a_name_mismatch_is_unknown_without_names() -> None:
    assert Event(issuance(requestParameters=None, responseElements=None)).name_mismatch is None
    assert Event(console_exchange()).name_mismatch is None


def test_issuance_and_action_of_a_session_show_the_same_key_and_arn() -> None:
    issued, acting = Event(issuance()), Event(console_exchange())
    assert issued.issued_access_key_id == acting.issued_access_key_id == "ASIAIOSFODNN7EXAMPLE"
    assert issued.federated_user_arn == acting.federated_user_arn == acting.principal_arn
    assert issued.federated_user_name == acting.federated_user_name == acting.principal_name == "alice"
    assert acting.session_issuer_arn == issued.principal_arn


@pytest.mark.parametrize(
    ("changes", "account"),
    [
        ({}, "111122223333"),
        ({"recipientAccountId": "444455556666"}, "444455556666"),
        ({"recipientAccountId": None}, "111122223333"),
        ({"recipientAccountId": None, "userIdentity": None}, None),
    ],
)
def test_the_account_is_the_recipients_else_the_callers(changes: dict[str, Any], account: str | None) -> None:
    assert Event(issuance(**changes)).account_id == account


@pytest.mark.parametrize("value", [None, "", [], {}, 7, True, HIDDEN])
def test_what_is_no_text_is_absent(value: object) -> None:
    assert Event(issuance(userAgent=value)).text("userAgent") is None
    assert Event(issuance(userIdentity=value)).text("userIdentity", "arn") is None


@pytest.mark.parametrize("name", ["a\u202fb", "\U0001f600", "a\x00b", "\x1b[31mred", "x" * 5_000, "\ud800"])
def test_odd_names_are_kept_bounded_and_encodable(name: str) -> None:
    shown = Event(asking(name=name)).federated_user_name
    assert shown is not None
    assert len(shown) <= MAX_TEXT
    shown.encode()
    assert shown == name or len(name) > MAX_TEXT or shown == "?"


def test_a_cut_text_says_that_it_was_cut() -> None:
    assert bounded("x" * 100, 20) == "x" * 14 + "…[cut]"
    assert bounded("x" * 20, 20) == "x" * 20


@pytest.mark.parametrize(
    "path", [*paths(issuance()), ("requestParameters", "policy")], ids=lambda p: ".".join(map(str, p))
)
def test_an_oddity_anywhere_silences_no_rule(path: tuple[str, ...]) -> None:
    """Every value of the record in turn null, empty, of another type, hidden, omitted, absurd."""
    names = ("eventName", "eventSource")
    for oddity in ODDITIES:
        detection = DETECTOR.detect_record(put(asking(policy=STAR), path, oddity))
        assert not detection.errors
        assert (detection.verdicts["sts-federation-token-issued"] == "match") is (path[0] not in names)
        for finding in detection.findings:
            json.loads(to_json(finding))


@given(watched_records())
def test_several_oddities_at_once_silence_no_rule(record: dict[str, Any]) -> None:
    detection = DETECTOR.detect_record(record)
    assert not detection.errors
    assert record["eventName"] != "GetFederationToken" or detection.findings


# --- secrets ---------------------------------------------------------------------------------------

TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE/with+all=kinds//of0characters" * 3
PLAIN = "a-token-of-another-make-0123456789"


@pytest.mark.parametrize(
    "key",
    [
        "sessionToken",
        "SessionToken",
        "session_token",
        "Session-Token",
        "SESSIONTOKEN",
        "session token",
        "secretAccessKey",
        "secret_access_key",
        "securityToken",
        "SigninToken",
        "password",
        "newPassword",
        "servicePassword",
        "serviceCredentialSecret",
        "privateKey",
        "base32StringSeed",
        "QRCodePNG",
        "sessionKey",
        "responseElements.credentials.sessionToken",
        "aws.cloudtrail.session_token",
    ],
)
@pytest.mark.parametrize("value", [PLAIN, 7, [PLAIN], {"value": PLAIN}, True])
def test_a_secret_under_its_key_is_redacted(key: str, value: object) -> None:
    record = Event(issuance(responseElements={"credentials": {key: value, "expiration": "x"}})).record
    assert record["responseElements"] == {"credentials": {key: REDACTED, "expiration": "x"}}


def test_a_key_that_only_resembles_one_is_left_alone() -> None:
    kept = {"GetSigninToken": "Success", "tokenCode": "123456", "sessionTokenCount": 1, "sessionToken": None}
    assert Event(issuance(responseElements=kept)).record["responseElements"] == kept


@pytest.mark.parametrize("token", [TOKEN, PLAIN])
@pytest.mark.parametrize(
    "text",
    [
        "{credentials={sessionToken=%s, expiration=Nov 30, 2024}, packedPolicySize=4}",
        "{credentials={accessKeyId=ASIAX, sessionToken=%s}}",
        '{"credentials": {"sessionToken": "%s"}}',
        '{\\"credentials\\": {\\"sessionToken\\": \\"%s\\"}}',
        '{\\\\\\"sessionToken\\\\\\" : \\\\\\"%s\\\\\\"}',
        "{'sessionToken': '%s'}",
        "sessionToken=[%s]",
        'sessionToken=" %s"',
        "https://signin.aws/?X-Amz-Security-Token=%s&next=1",
        "session_token: %s",
        "SESSION-TOKEN=%s",
        "secret_access_key = %s",
        "Secret-Access-Key: %s",
        "Secret Access Key: %s",
        "<SecretAccessKey>%s</SecretAccessKey>",
        "?Session=%%22sessionToken%%22%%3A%%22%s%%22",
        "SigninToken%%3D%s",
        "security token is SecurityToken=%s",
        "signin_token=%s",
        "\u017fe\u017f\u017fionTo\u212aen=%s",  # folds to ASCII where letter case does not count
    ],
)
def test_a_secret_inside_a_text_is_redacted(text: str, token: str) -> None:
    event = Event(issuance(responseElements=text % token, errorMessage=text % token, userAgent=text % token))
    assert token not in json.dumps(event.record)
    assert token[:20] not in json.dumps(event.record)
    assert "ASIAX" not in text or "ASIAX" in str(event.text("responseElements"))


@pytest.mark.parametrize("beginning", ["IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz", "FQoDYXdz", "AQoDYXdz"])
def test_a_token_is_told_by_its_beginning_where_nothing_names_it(beginning: str) -> None:
    token = beginning + "X2VjEEXAMPLEexample/+=" * 4
    assert Event(issuance(errorMessage=f"bad thing {token}!")).text("errorMessage") == f"bad thing {REDACTED}!"


@pytest.mark.parametrize("key", ["note", "n" * 64, "n" * 65, PLAIN, f"a key of {PLAIN}", "sessionToken=x" * 5])
def test_no_key_gives_a_secret_away(key: str) -> None:
    """Whether it is one that records have all the time, or one that holds this record's token."""
    clean, leaking = issuance(extra={key: 1}), issuance(extra={key: 1})
    leaking["responseElements"]["credentials"]["sessionToken"] = PLAIN
    for record in (clean, leaking, clean):
        shown = str(Event(record).record["extra"])
        assert (PLAIN in shown) is (PLAIN in key and record is clean)
        assert "sessionToken=x" not in shown


def test_a_token_repeated_anywhere_in_the_record_is_redacted() -> None:
    record = put(issuance(), ("responseElements", "credentials", "sessionToken"), PLAIN)
    record |= {"errorMessage": f"<{PLAIN}>", "additionalEventData": {PLAIN: [PLAIN]}, "eventID": PLAIN}
    assert PLAIN not in json.dumps(Event(record).record)


@pytest.mark.parametrize("value", [[PLAIN], {"value": PLAIN}, [{"values": [PLAIN]}]])
def test_a_secret_anywhere_under_its_key_is_looked_for_elsewhere_too(value: object) -> None:
    record = issuance(responseElements={"credentials": {"secretAccessKey": value}}, errorMessage=f"<{PLAIN}>")
    assert PLAIN not in json.dumps(Event(record).record)


def test_of_an_encoded_address_the_secret_alone_is_redacted() -> None:
    encoded = f"sessionToken%3D{PLAIN}%26name%3Dalice"
    quoted = f"%22sessionToken%22%3A%22{PLAIN}%22%2C%22user%22%3A%22alice%22"
    shown = Event(issuance(errorMessage=f"{encoded} {quoted}")).text("errorMessage")
    assert shown == f"{encoded} {quoted}".replace(PLAIN, REDACTED)


def test_a_short_value_under_a_secret_key_does_not_blank_the_record() -> None:
    """`alice` as a password would take every `alice` out of the finding, the ARN to act on too."""
    record = put(issuance(), ("responseElements", "credentials", "sessionToken"), "alice")
    assert Event(record).principal_arn == "arn:aws:iam::111122223333:user/alice"


def test_a_name_that_reads_like_a_secret_blanks_nothing_else() -> None:
    """The caller chooses the name: it must not be able to take the identity out of the finding."""
    event = Event(asking(name="sessionToken=arn:aws:iam::111122223333:user/alice"))
    assert event.principal_arn == "arn:aws:iam::111122223333:user/alice"


def test_the_hidden_mark_is_no_secret() -> None:
    record = put(issuance(userAgent=HIDDEN * 2), ("responseElements", "credentials", "sessionToken"), HIDDEN)
    assert Event(record).text("userAgent") == HIDDEN * 2


def test_thousands_of_secrets_are_redacted_in_good_time() -> None:
    """Each under its key; only the first ones are looked for elsewhere, since that costs a search each."""
    tokens = [{"sessionToken": f"{number:016x}"} for number in range(20_000)]
    record = Event(issuance(additionalEventData=tokens, userAgent="a1" * 50_000)).record
    assert record["additionalEventData"] == [{"sessionToken": REDACTED}] * 20_000


def test_what_a_rule_shows_has_no_secret() -> None:
    """The rules judge the raw policy; what the finding shows of it is redacted."""
    policy = json.loads(STAR) | {"sessionToken": PLAIN, "Id": f"sessionToken={PLAIN}"}
    record = put(asking(policy=policy), ("responseElements", "credentials", "sessionToken"), PLAIN)
    detection = DETECTOR.detect_record(record)
    assert detection.verdicts["sts-federation-token-suspicious"] == "match"
    assert not any(PLAIN.encode() in to_json(finding) for finding in detection.findings)
    assert PLAIN not in json.dumps(DETECTOR.explain(record, "record"))


def test_depth_does_not_hide_a_secret() -> None:
    deep: Any = {"sessionToken": TOKEN, "note": f"sessionToken={PLAIN}"}
    for _ in range(200):
        deep = {"inner": [deep]}
    text = json.dumps(Event(issuance(additionalEventData=deep)).record)
    assert TOKEN not in text
    assert PLAIN not in text
    assert "[too deep]" in text


_CHARACTERS = st.text("ABCDEFabcdef0123456789/+=-_", min_size=16, max_size=60)
TOKENS = _CHARACTERS.map("ZqX7".__add__) | _CHARACTERS.map("IQoJb3JpZ2lu".__add__)
KEYS = st.sampled_from(["sessionToken", "SessionToken", "session_token", "SESSION-TOKEN", "a.b.sessionToken"])
TEXTS = st.sampled_from(
    [
        "{a=1, sessionToken=%s, b=2}",
        '{"sessionToken":"%s"}',
        '{\\"sessionToken\\": \\"%s\\"}',
        "token %s is bad",
        "%s",
    ]
)


JUDGED_RAW = {"inline_policy_raw", "policy_arns"}  # for the rules; shown by way of `Event.shown` only


@given(watched_records(), TOKENS, KEYS, TEXTS, st.data())
def test_a_planted_token_never_gets_out(
    record: dict[str, Any], token: str, key: str, text: str, data: st.DataObject
) -> None:
    """Under its key at one place, and in a text at another; not in a finding, an explanation, or a repr."""
    objects = [path for path in [(), *paths(record)] if isinstance(_at(record, path), dict)]
    where = data.draw(st.sampled_from(objects))
    record = put(record, where, {**_at(record, where), key: token})
    strings = [path for path in paths(record) if path[0] not in ("eventName", "eventSource") and path[-1] != key]
    record = put(record, data.draw(st.sampled_from(strings)), text % token)
    assume(_holds(record, key, token))  # the text may have been put over it
    detection = DETECTOR.detect_record(record)
    event = Event(record)
    accessors = [name for name in dir(Event) if not name.startswith("_") and name not in JUDGED_RAW]
    public = [repr(event), repr(detection), json.dumps(DETECTOR.explain(record, "record"))]
    public += [repr(getattr(event, name)) for name in accessors]
    public += [to_json(finding).decode() for finding in detection.findings]
    assert not [shown for shown in public if token in shown]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _holds(record: dict[str, Any], key: str, token: str) -> bool:
    return any(path[-1] == key and _at(record, path) == token for path in paths(record))
