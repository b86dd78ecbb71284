"""What hypothesis builds the core's inputs from: JSON values, CloudTrail records, policies, envelopes."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

Json = Any

# What the wild does to a value that ought to be something else.
ODDITIES: Final[tuple[Json, ...]] = (
    None,
    "",
    " ",
    "null",
    True,
    False,
    0,
    -1,
    900.5,
    "900",
    10**30,
    -(10**400),
    float("nan"),
    float("inf"),
    [],
    {},
    [None],
    [[]],
    {"": None},
    "HIDDEN_DUE_TO_SECURITY_REASONS",
    {"omitted": True},
    "\u202f\U0001f600\x00\x1b[31m",
    "\ud800",
    "redacted",
)

# Printable or not, but encodable: what a JSON reader can return.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
oddities = st.sampled_from(ODDITIES) | json_values


def issuance(**changes: Json) -> dict[str, Json]:
    """A successful GetFederationToken as CloudTrail records it, with other top-level values."""
    return {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLEEXAMPLE01",
            "arn": "arn:aws:iam::111122223333:user/alice",
            "accountId": "111122223333",
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "userName": "alice",
        },
        "eventTime": "2024-11-30T08:43:17Z",
        "eventSource": "sts.amazonaws.com",
        "eventName": "GetFederationToken",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.22.7",
        "requestParameters": {"name": "alice"},
        "responseElements": {
            "credentials": {
                "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
                "sessionToken": "EXAMPLE-SESSION-TOKEN",
                "expiration": "Nov 30, 2024, 8:43:17 PM",
            },
            "federatedUser": {
                "federatedUserId": "111122223333:alice",
                "arn": "arn:aws:sts::111122223333:federated-user/alice",
            },
            "packedPolicySize": 4,
        },
        "requestID": "00000000-0000-4000-9000-000000000001",
        "eventID": "00000000-0000-4000-8000-000000000001",
        "readOnly": False,
        "eventType": "AwsApiCall",
        "recipientAccountId": "111122223333",
    } | changes


def asking(**parameters: Json) -> dict[str, Json]:
    """A successful GetFederationToken with these request parameters beside the name."""
    return issuance(requestParameters={"name": "alice", **parameters})


def console_exchange(**changes: Json) -> dict[str, Json]:
    """A successful GetSigninToken of the session that `issuance` made."""
    return {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "FederatedUser",
            "principalId": "111122223333:alice",
            "arn": "arn:aws:sts::111122223333:federated-user/alice",
            "accountId": "111122223333",
            "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "sessionContext": {
                "sessionIssuer": {
                    "type": "IAMUser",
                    "principalId": "AIDAEXAMPLEEXAMPLE01",
                    "arn": "arn:aws:iam::111122223333:user/alice",
                    "accountId": "111122223333",
                    "userName": "alice",
                },
            },
        },
        "eventTime": "2024-11-30T08:45:02Z",
        "eventSource": "signin.amazonaws.com",
        "eventName": "GetSigninToken",
        "requestParameters": None,
        "responseElements": {"credentials": {"accessKeyId": "ASIA9"}, "GetSigninToken": "Success"},
        "eventID": "00000000-0000-4000-8000-000000000002",
        "eventType": "AwsConsoleSignIn",
        "recipientAccountId": "111122223333",
    } | changes


def paths(value: Json, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in items for path in [(*prefix, key), *paths(inner, (*prefix, key))]]


def put(value: Json, path: tuple[Any, ...], new: Json) -> Json:
    """A copy with the value at `path` replaced."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@st.composite
def watched_records(draw: st.DrawFn) -> dict[str, Json]:
    """A record that a rule watches, with a few values, anywhere but in its two names, made odd or taken away."""
    loud = asking(
        durationSeconds=129_600,
        policy='{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}',
        policyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
        tags=[{"key": "team", "value": "red"}],
    )
    record: dict[str, Json] = draw(st.sampled_from([issuance(), loud, console_exchange()]))
    for _ in range(draw(st.integers(0, 5))):
        places = [path for path in paths(record) if path[0] not in ("eventName", "eventSource")]
        path = draw(st.sampled_from(places))
        record = put(record, path, draw(oddities))
    return record


# --- policies ------------------------------------------------------------------------------------

ACTIONS: Final = (
    "*",
    "*:*",
    "**",
    "?*",
    "iam:*",
    "i?m:*",
    "iam:Create*",
    "iam:CreateUser",
    "iam:PassRole",
    "s3:*",
    "s3:GetObject",
    "s*:*",
    "a*",
    "ec2:Describe*",
    "",
    *(f"{letter}*:*" for letter in "abcdefghijklmnopqrstuvwxyz"),
)
RESOURCES: Final = (
    "*",
    "arn:*",
    "arn:aws:*",
    "arn:*:*:*:*:*",
    "arn:aws:s3:::bucket",
    "arn:aws:s3:::*",
    "arn:aws:iam::*:role/*",
    "arn:aws:iam::111122223333:user/alice",
    "",
)


def _one_or_more(values: tuple[str, ...]) -> st.SearchStrategy[Json]:
    chosen = st.sampled_from(values)
    return chosen | st.lists(chosen, max_size=4)


@st.composite
def statements(draw: st.DrawFn, effects: tuple[str, ...] = ("Allow", "Allow", "Deny")) -> dict[str, Json]:
    """A readable statement."""
    statement: dict[str, Json] = {"Effect": draw(st.sampled_from(effects))}
    statement[draw(st.sampled_from(["Action", "Action", "NotAction"]))] = draw(_one_or_more(ACTIONS))
    statement[draw(st.sampled_from(["Resource", "Resource", "NotResource"]))] = draw(_one_or_more(RESOURCES))
    if draw(st.booleans()):
        statement["Condition"] = draw(st.sampled_from([{}, {"Bool": {"aws:SecureTransport": "true"}}]))
    return statement


odd_statements = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {},
        optional={
            key: oddities | st.sampled_from(["Allow", "Deny", "*"])
            for key in ("Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
        },
    ),
)


def policies(of: st.SearchStrategy[Json] | None = None) -> st.SearchStrategy[dict[str, Json]]:
    """Policies of readable statements with an odd one among them, now and then, unless told `of` which."""
    statement = statements() | statements() | statements() | odd_statements if of is None else of
    return st.lists(statement, max_size=5).map(lambda chosen: {"Version": "2012-10-17", "Statement": chosen})


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Json]:
    """A GetFederationToken that the API takes, or refused."""
    spoofs = st.sampled_from(["policy=", "a,policy=x", "durationSeconds=900", "x,policyArns=", "=,="])
    name = draw(st.from_regex(re.compile(r"[\w+=,.@-]{2,32}", re.ASCII), fullmatch=True) | spoofs)
    values = st.from_regex(re.compile(r"\w[\w .:/=+@-]{0,20}", re.ASCII), fullmatch=True)
    parameters = {
        "name": name,
        "durationSeconds": draw(st.integers(900, 129_600)),
        "policy": json.dumps(draw(policies()), indent=draw(st.sampled_from([None, 2]))),
        "policyArns": [
            {"arn": f"arn:aws:iam::{draw(st.sampled_from(['aws', '111122223333']))}:policy/{name}"},
            {"arn": "arn:aws:iam::aws:policy/AdministratorAccess"},
        ][: draw(st.integers(1, 2))],
        "tags": [
            {
                "key": "team",
                "value": draw(values | spoofs.filter(lambda text: "," not in text)).strip() or "x",
            }
        ],
    }
    kept = draw(st.permutations(sorted(parameters)))[: draw(st.integers(1, len(parameters)))]
    record = issuance(requestParameters={key: parameters[key] for key in kept})
    record["userIdentity"]["userName"] = name
    if draw(st.booleans()):
        return record
    return record | {"errorCode": "AccessDenied", "responseElements": None}


# --- envelopes -----------------------------------------------------------------------------------

Wrap = Callable[[list[bytes]], list[bytes]]


def _records(documents: list[bytes]) -> list[bytes]:
    return [b'{"Records":[' + b",".join(documents) + b"]}"]


def _array(documents: list[bytes]) -> list[bytes]:
    return [b"[" + b" , ".join(documents) + b"]"]


def _lines(documents: list[bytes]) -> list[bytes]:
    return [b"\n".join(documents) + b"\n"]


def _concatenated(documents: list[bytes]) -> list[bytes]:
    return [b"".join(documents)]


def _cloudwatch(documents: list[bytes]) -> list[bytes]:
    events = [{"id": str(n), "timestamp": n, "message": data.decode()} for n, data in enumerate(documents)]
    return [json.dumps({"messageType": "DATA_MESSAGE", "logEvents": events}).encode()]


def _eventbridge(documents: list[bytes]) -> list[bytes]:
    return [b'{"detail-type":"AWS API Call via CloudTrail","detail":' + data + b"}" for data in documents]


def _sns(documents: list[bytes]) -> list[bytes]:
    return [json.dumps({"Type": "Notification", "Message": data.decode()}).encode() for data in documents]


def _indented(documents: list[bytes]) -> list[bytes]:
    return [json.dumps(json.loads(data), indent=2).encode() for data in documents]


# Each takes JSON documents and gives JSON documents: all of them in one, or each in one of its own.
JSON_WRAPS: Final[dict[str, Wrap]] = {
    "records": _records,
    "array": _array,
    "cloudwatch": _cloudwatch,
    "eventbridge": _eventbridge,
    "sns": _sns,
    "indented": _indented,
}
# What makes one message of documents, JSON or not.
JOINS: Final[dict[str, Wrap]] = {
    "records": _records,
    "array": _array,
    "lines": _lines,
    "concatenated": _concatenated,
}


def base64_gzip(data: bytes) -> bytes:
    return base64.b64encode(gzip.compress(data, mtime=0))


def members(data: bytes) -> bytes:
    """Gzip in two members, cut in the middle."""
    half = len(data) // 2
    return gzip.compress(data[:half], mtime=0) + gzip.compress(data[half:], mtime=0)


COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "members": members,
    "base64": base64_gzip,
}


@st.composite
def wrapped(draw: st.DrawFn, documents: list[bytes], *, most: int = 3) -> bytes:
    """One message that holds the documents, in order, in up to `most` envelopes around each."""
    for _ in range(draw(st.integers(0, most))):
        documents = JSON_WRAPS[draw(st.sampled_from(sorted(JSON_WRAPS)))](documents)
    if len(documents) != 1:
        documents = JOINS[draw(st.sampled_from(sorted(JOINS)))](documents)
    return COMPRESSIONS[draw(st.sampled_from(sorted(COMPRESSIONS)))](documents[0])
