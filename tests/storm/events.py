"""CloudTrail messages of which it is known, without the detector, what they must give."""

import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from service.finding import finding_id
from service.sample_day import sample_day

ACCOUNT: Final = "111122223333"
USERS: Final = tuple(f"build-{number:02d}" for number in range(40))

ISSUED: Final = "sts-federation-token-issued"
SUSPICIOUS: Final = "sts-federation-token-suspicious"
SIGNIN: Final = "signin-token-from-federated-session"

RUBBISH: Final = (
    b"plain text, no event",
    b'{"eventSource": "sts.amazonaws.com", "eventName": "GetFederationTok',
    b'{"weather": "rain"}',
    b"\x1f\x8b\x08 no gzip after all",
    b"",
)


@dataclass(frozen=True)
class Sent:
    """A message to send, and what it must give: the ids of findings, or one dead letter."""

    key: bytes
    value: bytes
    findings: tuple[str, ...] = ()
    is_rubbish: bool = False


def _allow(action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# What is asked of GetFederationToken, and the rules that must fire on it; None is a call that was refused.
REQUESTS: Final[tuple[tuple[Mapping[str, Any] | None, tuple[str, ...]], ...]] = (
    ({"durationSeconds": 3600}, (ISSUED,)),
    ({"policy": _allow("s3:GetObject", "arn:aws:s3:::reports/*")}, (ISSUED,)),
    (None, (ISSUED,)),
    ({"durationSeconds": 129_600}, (ISSUED, SUSPICIOUS)),
    ({"policyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}]}, (ISSUED, SUSPICIOUS)),
    ({"policy": _allow("*", "*"), "durationSeconds": 900}, (ISSUED, SUSPICIOUS)),
)


class Events:
    """An endless stream, the same for the same seed: a quarter asks for federation tokens, 1 % is rubbish.

    Of one user, all messages have one key, and so have all findings.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        watched = {"GetFederationToken", "GetSigninToken"}
        day = sample_day(datetime(2025, 3, 3, tzinfo=UTC).date(), seed)
        self._quiet = [record for record in day if record["eventName"] not in watched]

    def __next__(self) -> Sent:
        rng, user = self._rng, self._rng.choice(USERS)
        drawn = rng.random()
        if drawn < 0.01:
            return Sent(user.encode(), rng.choice(RUBBISH), is_rubbish=True)
        if drawn < 0.03:
            return self._sent(user, _signin_token(user), (SIGNIN,))
        if drawn < 0.27:
            asked, rules = rng.choice(REQUESTS)
            return self._sent(user, _federation_token(user, asked), rules)
        return self._sent(user, rng.choice(self._quiet), ())

    def _sent(self, user: str, record: Mapping[str, object], rules: tuple[str, ...]) -> Sent:
        event_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        whole = {**record, "eventID": event_id, "eventTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        ids = tuple(finding_id(rule, whole) for rule in rules)
        return Sent(user.encode(), json.dumps(whole).encode(), ids)


def _user(name: str) -> dict[str, object]:
    return {
        "type": "IAMUser",
        "principalId": "AIDAEXAMPLE",
        "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}",
        "accountId": ACCOUNT,
        "userName": name,
    }


def _record(source: str, name: str, identity: Mapping[str, object]) -> dict[str, object]:
    return {
        "eventVersion": "1.09",
        "userIdentity": identity,
        "eventSource": source,
        "eventName": name,
        "awsRegion": "us-east-1",
        "sourceIPAddress": "203.0.113.66",
        "userAgent": "aws-cli/2.17.0",
        "requestParameters": None,
        "responseElements": None,
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }


def _federation_token(user: str, asked: Mapping[str, Any] | None) -> dict[str, object]:
    record = _record("sts.amazonaws.com", "GetFederationToken", _user(user))
    if asked is None:
        return record | {"errorCode": "AccessDenied", "errorMessage": "not authorized"}
    credentials = {
        "accessKeyId": "ASIAEXAMPLE",
        "sessionToken": "EXAMPLE",
        "expiration": "Mar 3, 2025, 8:43:17 PM",
    }
    return record | {
        "requestParameters": {"name": user, **asked},
        "responseElements": {
            "credentials": credentials,
            "federatedUser": {
                "federatedUserId": f"{ACCOUNT}:{user}",
                "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{user}",
            },
        },
    }


def _signin_token(user: str) -> dict[str, object]:
    identity = {
        "type": "FederatedUser",
        "principalId": f"{ACCOUNT}:{user}",
        "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/{user}",
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAEXAMPLE",
        "sessionContext": {"sessionIssuer": _user(user)},
    }
    record = _record("signin.amazonaws.com", "GetSigninToken", identity)
    return record | {"responseElements": {"GetSigninToken": "Success"}, "eventType": "AwsConsoleSignIn"}
