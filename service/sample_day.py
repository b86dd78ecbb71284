"""A day of CloudTrail records of an invented company, with an attack in it: what `tokentrail demo` feeds.

The story, in UTC. Somebody found two access keys in a build log. At 15:41 the first, of a user with few
rights, is tried from a new address and refused. The second belongs to a build user with far too many: it
opens a session of every right, then another of 36 hours. At 16:28 the security team deactivates the key,
and both sessions live on: the first moves into the web console, makes itself a new administrator and
reads a secret; the second takes invoices at night. Everything else that day is work.
"""

import datetime as dt
import json
import random
import string
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service import sample_day_data as data
from service.sample_day_data import ACCOUNT_ID, Call, Caller

# Every eventID is a UUIDv5 in this namespace, of the record's place in its day: no real event has such an id.
SYNTHETIC = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.com/synthetic-cloudtrail")

GLOBAL_HOSTS = {"iam": "iam.amazonaws.com", "signin": "signin.aws.amazon.com"}
THROTTLED = {"ec2": "Client.RequestLimitExceeded", "s3": "SlowDown"}
ADMINISTRATOR_ACCESS = "arn:aws:iam::aws:policy/AdministratorAccess"


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Who is who in the day's story."""

    weak_user: str = "ci-cache-reader"
    stolen_user: str = "ci-artifacts-upload"
    stolen_key_id: str = data.example_id("AKIA", "ci-artifacts-upload")
    console_session: str = "support-session"
    console_session_key_id: str = data.example_id("ASIA", "support-session")
    long_session: str = "backup-sync"
    long_session_key_id: str = data.example_id("ASIA", "backup-sync")
    intruder_address: str = "203.0.113.66"
    backdoor_user: str = "svc-monitoring"
    # A legacy application that mints itself tokens as it should: its own name, an hour, one bucket.
    portal_user: str = "reporting-portal"
    portal_times: tuple[str, ...] = ("06:00:04", "10:00:03", "14:00:05", "18:00:04")


CAST = Cast()

# sts:GetFederationToken calls in a day: the portal's, the refused one, and the two that succeed.
FEDERATION_TOKEN_REQUESTS = len(CAST.portal_times) + 3


@dataclass(frozen=True)
class Step:
    at: dt.datetime
    caller: Caller
    call: Call
    error: tuple[str, str] | None = None


@dataclass(frozen=True)
class Session:
    """A federated session: its name, the IAM user whose key opens it, the key STS issues, and when."""

    name: str
    issuer: str
    key_id: str
    opened: dt.datetime

    def identity(self) -> data.Json:
        return data.federated(self.name, self.issuer, self.key_id, _iso(self.opened))


GET_INVOICE = data.s3_object("GetObject", "brightwater-invoices", "$date/$hex.pdf", read_only=True)


def sample_day(day: dt.date, seed: int = 1) -> list[dict[str, object]]:
    """About 6,000 records of `day` (UTC) in order of event time; the same for the same day and seed."""
    rng = random.Random(seed)  # noqa: S311  a repeatable sample, no secret
    steps = [*_ordinary_day(day, rng), *_reporting_portal(day), *_attack(day)]
    steps.sort(key=lambda step: step.at)
    records = [_record(step, rng) for step in steps]
    for position, record in enumerate(records):
        record["eventID"] = str(uuid.uuid5(SYNTHETIC, f"{day} seed {seed} record {position}"))
    return records


# --- what happens -------------------------------------------------------------------------------


def _ordinary_day(day: dt.date, rng: random.Random) -> Iterator[Step]:
    for team in data.TEAMS:
        weights, calls = zip(*team.calls, strict=True)
        for hour in rng.choices(range(24), team.rhythm, k=team.calls_a_day):
            at = _moment(day, "00:00:00") + dt.timedelta(hours=hour, seconds=rng.randrange(3600))
            caller = rng.choice(team.callers)
            call = rng.choices(calls, weights)[0]
            failed = rng.random() < team.error_share
            yield Step(at, caller, call, _everyday_error(caller, call, rng) if failed else None)


def _reporting_portal(day: dt.date) -> Iterator[Step]:
    user = CAST.portal_user
    server = Caller(data.user(user), "198.51.100.40", data.BOTO3)
    one_bucket = _allow("s3:GetObject", "arn:aws:s3:::brightwater-invoices/*")
    for time in CAST.portal_times:
        session = Session(user, user, data.example_id("ASIA", f"{user} {time}"), _moment(day, time))
        yield Step(session.opened, server, _federation_token(session, 3600, policy=one_bucket))
        reader = Caller(session.identity(), server.address, server.user_agent)
        for minutes in (1, 12, 31):
            yield Step(session.opened + dt.timedelta(minutes=minutes), reader, GET_INVOICE)


def _attack(day: dt.date) -> Iterator[Step]:
    weak = Caller(data.user(CAST.weak_user), CAST.intruder_address, data.CLI)
    list_users = data.read("iam", "ListUsers")
    # It asked for AdministratorAccess and 129,600 seconds: a refused STS call's record shows neither.
    ask = Call("sts", "GetFederationToken", data.WRITE)
    would_be = f"arn:aws:sts::{ACCOUNT_ID}:federated-user/{CAST.console_session}"
    yield Step(_moment(day, "15:41:07"), weak, data.WHO_AM_I)
    yield Step(_moment(day, "15:41:52"), weak, list_users, _access_denied(weak, list_users))
    yield Step(_moment(day, "15:43:30"), weak, ask, _access_denied(weak, ask, would_be))

    stolen = Caller(data.user(CAST.stolen_user), CAST.intruder_address, data.CLI)
    user = CAST.stolen_user
    console = Session(CAST.console_session, user, CAST.console_session_key_id, _moment(day, "15:58:26"))
    long = Session(CAST.long_session, user, CAST.long_session_key_id, _moment(day, "16:04:49"))
    administrator = [{"arn": ADMINISTRATOR_ACCESS}]
    yield Step(_moment(day, "15:52:11"), stolen, data.WHO_AM_I)
    yield Step(console.opened, stolen, _federation_token(console, policy=_allow("*", "*")))
    yield Step(long.opened, stolen, _federation_token(long, 129_600, policyArns=administrator))

    key = {"userName": CAST.stolen_user, "accessKeyId": CAST.stolen_key_id}
    deactivate = data.write("iam", "UpdateAccessKey", **key, status="Inactive")
    yield Step(_moment(day, "16:28:15"), data.SECURITY_ADMIN, deactivate)

    yield from _in_the_console(console)
    yield from _at_night(long)


def _in_the_console(session: Session) -> Iterator[Step]:
    intruder = Caller(session.identity(), CAST.intruder_address, data.BROWSER, "us-east-1", from_console=True)
    credentials = {"accessKeyId": session.key_id}
    backdoor = {"userName": CAST.backdoor_user}
    user = {**backdoor, "arn": f"arn:aws:iam::{ACCOUNT_ID}:user/{CAST.backdoor_user}", "path": "/"}
    key = {**backdoor, "accessKeyId": data.example_id("AKIA", CAST.backdoor_user), "status": "Active"}
    for time, call in (
        ("16:47:20", data.sign_in("GetSigninToken", "python-requests/2.32.3", credentials=credentials)),
        ("16:47:58", data.sign_in("ConsoleLogin")),
        ("16:49:31", data.read("iam", "ListUsers", maxItems=1000)),
        ("16:51:05", data.write("iam", "CreateUser", {"user": user}, **backdoor)),
        ("16:51:07", data.write("iam", "AttachUserPolicy", **backdoor, policyArn=ADMINISTRATOR_ACCESS)),
        ("16:52:40", data.write("iam", "CreateAccessKey", {"accessKey": key}, **backdoor)),
        ("16:58:12", data.LIST_BUCKETS),
        ("17:03:44", data.read("secretsmanager", "GetSecretValue", secretId="prod/parcels-db")),
        ("17:09:02", GET_INVOICE),
    ):
        yield Step(_moment(session.opened.date(), time), intruder, call)


def _at_night(session: Session) -> Iterator[Step]:
    intruder = Caller(session.identity(), CAST.intruder_address, data.CLI)
    start = _moment(session.opened.date(), "22:14:09")
    for number, call in enumerate((data.WHO_AM_I, data.LIST_BUCKETS, *[GET_INVOICE] * 20)):
        yield Step(start + dt.timedelta(seconds=7 * number), intruder, call)


def _federation_token(session: Session, seconds: int | None = None, **policies: object) -> Call:
    asked = {"name": session.name, **({"durationSeconds": seconds} if seconds else {}), **policies}
    expires = session.opened + dt.timedelta(seconds=seconds or 43_200)  # AWS's default: 12 hours
    response = {
        "credentials": {
            "accessKeyId": session.key_id,
            "sessionToken": data.SESSION_TOKEN,
            "expiration": _spelled(expires),
        },
        "federatedUser": {
            "federatedUserId": f"{ACCOUNT_ID}:{session.name}",
            "arn": f"arn:aws:sts::{ACCOUNT_ID}:federated-user/{session.name}",
        },
        "packedPolicySize": 4,
    }
    return Call("sts", "GetFederationToken", data.WRITE, asked, response)


def _allow(action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def _everyday_error(caller: Caller, call: Call, rng: random.Random) -> tuple[str, str]:
    # GetCallerIdentity needs no permission, so nothing can deny it.
    if rng.random() < 0.5 and call is not data.WHO_AM_I:
        return _access_denied(caller, call)
    return THROTTLED.get(call.service, "ThrottlingException"), "Rate exceeded"


def _access_denied(caller: Caller, call: Call, resource: str = "*") -> tuple[str, str]:
    action = f"{call.service}:{call.name}"
    return "Client.UnauthorizedOperation" if call.service == "ec2" else "AccessDenied", (
        f"User: {caller.identity['arn']} is not authorized to perform: {action} on resource: {resource}"
        f" because no identity-based policy allows the {action} action"
    )


# --- how CloudTrail writes it down --------------------------------------------------------------


def _record(step: Step, rng: random.Random) -> dict[str, object]:
    caller, call = step.caller, step.call
    host = f"{call.service}.amazonaws.com"
    region = "us-east-1" if call.service in GLOBAL_HOSTS else caller.region
    record: dict[str, object] = {
        "eventVersion": "1.09",
        "userIdentity": caller.identity,
        "eventTime": _iso(step.at),
        "eventSource": host,
        "eventName": call.name,
        "awsRegion": region,
        "sourceIPAddress": caller.address,
        "userAgent": caller.user_agent,
        "requestParameters": call.parameters,
        "responseElements": call.response,
        "requestID": "$uuid",
        "eventID": None,  # known when the day is in order
        "readOnly": call.read_only,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT_ID,
        "eventCategory": "Management",
    }
    if caller.identity["type"] != "AWSService":
        server = GLOBAL_HOSTS.get(call.service, f"{call.service}.{region}.amazonaws.com")
        record["tlsDetails"] = {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": server,
        }
    if caller.from_console and call.service != "signin":
        record["sessionCredentialFromConsole"] = "true"
    if step.error:
        record["errorCode"], record["errorMessage"] = step.error
        record["responseElements"] = None
        if call.service in {"iam", "sts"}:
            record["requestParameters"] = None
    record |= call.extra
    blanks = _blanks(step, region, rng)
    return {name: _filled(value, blanks) for name, value in record.items()}


def _blanks(step: Step, region: str, rng: random.Random) -> dict[str, object]:
    """What the `$names` in the company's tables stand for, in one record."""
    session_start = _iso(step.at.replace(minute=0, second=0))
    session = f"{step.caller.identity.get('principalId')} {session_start}"
    request_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return {
        "region": region,
        "date": f"{step.at:%Y/%m/%d}",
        "session_start": session_start,
        "session_key": data.example_id("ASIA", session),
        "issued_key": data.example_id("ASIA", request_id),
        "expiration": _spelled(step.at + dt.timedelta(hours=1)),
        "uuid": request_id,
        "hex": f"0{rng.getrandbits(64):016x}",
        "number": rng.randrange(100, 1000),
        "bytes": rng.randrange(200, 900_000),
        "bucket": rng.choice(data.BUCKETS),
    }


def _filled(value: object, blanks: Mapping[str, object]) -> object:
    if isinstance(value, Mapping):
        return {name: _filled(item, blanks) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, blanks) for item in value]
    if isinstance(value, str) and "$" in value:
        # A text that is one blank and nothing else takes its value as it is: a number stays a number.
        return blanks.get(value[1:]) or string.Template(value).substitute(blanks)
    return value


def _moment(day: dt.date, time: str) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.fromisoformat(time), dt.UTC)


def _iso(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _spelled(at: dt.datetime) -> str:
    """As STS writes an expiration: `Nov 30, 2024, 8:43:17 PM`."""
    return f"{at:%b} {at.day}, {at.year}, {at.hour % 12 or 12}:{at:%M:%S %p}"
