"""What one watched event costs to judge and its findings to write, by kind of event, as a Markdown table.

    python -m tests.bench.detect

Microseconds of one core's time for an event, the median of several rounds and how far they spread. Every event of
a round is another: its ids, keys, tokens and names are its own, as they are on a topic.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from service.detect import Detector
from service.finding import Finding, Origin, to_json
from service.ocsf_finding import to_ocsf
from service.rules import EVERY_RULE

Json = Any
EVENTS: Final = 200  # in a round
NOW: Final = datetime(2025, 3, 6, 4, 10, 12, 345_000, tzinfo=UTC)
ACCOUNT: Final = "111122223333"
ORIGIN: Final = Origin(topic="cloudtrail.events", partition=3, offset=1_234_567, timestamp="2025-03-06T04:10:11Z")
STAR: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
# Nine names of a service each, as brokers that name what they need pass them: about 2,000 characters.
LARGE_ACTIONS: Final = [
    f"{service}:{verb}{noun}*"
    for service in "s3 ec2 dynamodb sqs sns logs kms".split()
    for verb in ("Get", "List", "Describe")
    for noun in ("Item", "Object", "Thing")
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: how one is made, and how many findings it gives."""

    name: str
    make: Callable[[Random], dict[str, Json]]
    findings: int


def _token(random: Random) -> str:
    """As long as the tokens of STS are."""
    return f"{random.getrandbits(4 * 720):0720x}"


def _name(random: Random) -> str:
    return f"user-{random.getrandbits(32):08x}"


def _key(random: Random, prefix: str) -> str:
    return f"{prefix}{random.getrandbits(64):016X}"


def _id(random: Random) -> str:
    return f"{random.getrandbits(32):08x}-0000-4000-8000-{random.getrandbits(48):012x}"


def _event(random: Random, identity: Json, **values: Json) -> dict[str, Json]:
    return {
        "eventVersion": "1.10",
        "userIdentity": identity,
        "eventTime": "2025-03-06T04:10:10Z",
        "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.111",
        "userAgent": "aws-cli/2.22.7 md/awscrt#0.23.4 os/linux lang/python#3.12.6 cfg/retry-mode#standard",
        "requestID": _id(random),
        "eventID": _id(random),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": "sts.us-east-1.amazonaws.com",
        },
        **values,
    }


def _issuance(random: Random, **parameters: Json) -> dict[str, Json]:
    caller, name = _name(random), _name(random)
    return _event(
        random,
        {
            "type": "IAMUser",
            "principalId": _key(random, "AIDA"),
            "arn": f"arn:aws:iam::{ACCOUNT}:user/{caller}",
            "accountId": ACCOUNT,
            "accessKeyId": _key(random, "AKIA"),
            "userName": caller,
        },
        eventSource="sts.amazonaws.com",
        eventName="GetFederationToken",
        requestParameters={"name": name, **parameters},
        responseElements={
            "credentials": {
                "accessKeyId": _key(random, "ASIA"),
                "sessionToken": _token(random),
                "expiration": "Mar 6, 2025, 4:10:10 PM",
            },
            "federatedUser": {
                "federatedUserId": f"{ACCOUNT}:{name}",
                "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{name}",
            },
            "packedPolicySize": 4,
        },
    )


def _denied(random: Random) -> dict[str, Json]:
    record = _issuance(random)
    arn = record["userIdentity"]["arn"]
    message = f"User: {arn} is not authorized to perform: sts:GetFederationToken on resource: {arn}"
    return record | {
        "errorCode": "AccessDenied",
        "errorMessage": message,
        "requestParameters": None,
        "responseElements": None,
    }


def _in_session(random: Random, source: str, name: str, **values: Json) -> dict[str, Json]:
    issuer, session = _name(random), _name(random)
    identity = {
        "type": "FederatedUser",
        "principalId": f"{ACCOUNT}:{session}",
        "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{session}",
        "accountId": ACCOUNT,
        "accessKeyId": _key(random, "ASIA"),
        "sessionContext": {
            "sessionIssuer": {
                "type": "IAMUser",
                "principalId": _key(random, "AIDA"),
                "arn": f"arn:aws:iam::{ACCOUNT}:user/{issuer}",
                "accountId": ACCOUNT,
                "userName": issuer,
            },
            "attributes": {"creationDate": "2025-03-06T04:00:00Z", "mfaAuthenticated": "false"},
        },
    }
    return _event(random, identity, eventSource=source, eventName=name, **values)


def _policy(*, action: Json, resource: Json) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _own_policy(random: Random) -> str:
    """As a broker writes them: the same for everyone but for the names of what is theirs."""
    name = _name(random)
    resources = [f"arn:aws:s3:::home-{name}", f"arn:aws:s3:::home-{name}/*"]
    return _policy(action=["s3:GetObject", "s3:PutObject", "s3:List*"], resource=resources)


def _own_large_policy(random: Random) -> str:
    name = _name(random)
    return _policy(
        action=LARGE_ACTIONS, resource=[f"arn:aws:dynamodb:*:{ACCOUNT}:table/{name}-{n}*" for n in range(12)]
    )


KINDS: Final = (
    Kind("issuance, no policy", _issuance, 1),
    Kind("36 hours", lambda random: _issuance(random, durationSeconds=129_600), 2),
    Kind(
        "AdministratorAccess",
        lambda random: _issuance(random, policyArns=[{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]),
        2,
    ),
    Kind("inline policy, * on *", lambda random: _issuance(random, policy=json.dumps(STAR)), 2),
    Kind(
        "inline policy, one of 200 characters for all",
        lambda random: _issuance(random, policy=_policy(action=["s3:Get*", "s3:List*"], resource="*")),
        1,
    ),
    Kind("inline policy, 200 characters, each its own", lambda r: _issuance(r, policy=_own_policy(r)), 1),
    Kind("inline policy, 2,000 characters, each its own", lambda r: _issuance(r, policy=_own_large_policy(r)), 1),
    Kind("denied", _denied, 1),
    Kind(
        "GetSigninToken",
        lambda random: _in_session(
            random,
            "signin.amazonaws.com",
            "GetSigninToken",
            requestParameters=None,
            responseElements={"credentials": {"accessKeyId": _key(random, "ASIA")}, "GetSigninToken": "Success"},
        ),
        1,
    ),
    Kind(
        "ConsoleLogin, rule on trial",
        lambda random: _in_session(
            random,
            "signin.amazonaws.com",
            "ConsoleLogin",
            requestParameters=None,
            responseElements={"ConsoleLogin": "Success"},
        ),
        1,
    ),
    Kind(
        "CreateAccessKey, rule on trial",
        lambda random: _in_session(
            random,
            "iam.amazonaws.com",
            "CreateAccessKey",
            requestParameters={"userName": _name(random)},
            responseElements={
                "accessKey": {"accessKeyId": _key(random, "AKIA"), "status": "Active", "userName": _name(random)}
            },
        ),
        1,
    ),
    Kind(
        "CreateAccessKey of an IAM user: no match",
        lambda random: _issuance(random) | {"eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey"},
        0,
    ),
)


@dataclass(frozen=True, slots=True)
class Round:
    """Microseconds for an event."""

    detect: float
    json: float
    ocsf: float


def measure(detector: Detector, kind: Kind, random: Random) -> Round:
    """One round. Raises ValueError where the events do not give the findings that they should."""
    records = [kind.make(random) for _ in range(EVENTS)]
    began = time.thread_time_ns()
    found = [_findings(detector, record) for record in records]
    detected = time.thread_time_ns()
    for findings in found:
        for finding in findings:
            to_json(finding)
    in_json = time.thread_time_ns()
    for findings in found:
        for finding in findings:
            to_ocsf(finding)
    in_ocsf = time.thread_time_ns()
    if {len(findings) for findings in found} != {kind.findings}:
        raise ValueError(f"{kind.name} does not give the findings that it should")
    spans = (detected - began, in_json - detected, in_ocsf - in_json)
    return Round(*(span / 1_000 / EVENTS for span in spans))


def _findings(detector: Detector, record: Mapping[str, object]) -> Sequence[Finding]:
    return detector.detect_record(record, origin=ORIGIN, detected_at=NOW).findings


def shown(values: Sequence[float]) -> str:
    """The median, and the half of the rounds that lie nearest to it."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:,.1f} ({low:,.1f}-{high:,.1f})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    random, detector = Random(options.seed), Detector(EVERY_RULE)
    rounds: dict[Kind, list[Round]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            rounds[kind].append(measure(detector, kind, random))
    lines = [
        "| event | findings | detect, µs | as JSON, µs | as OCSF, µs |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind, measured in rounds.items():
        cells = [shown([getattr(one, name) for one in measured]) for name in Round.__slots__]
        lines.append(f"| {kind.name} | {kind.findings} | {' | '.join(cells)} |")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
