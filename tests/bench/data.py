"""CloudTrail records as a busy organisation has them, in quantity. Seeded: the same arguments give the same bytes.

Their keys, in number and order, and their sizes are those of real trails; nothing in them is real.
"""

import io
import json
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any, Final, Literal

from fastavro import parse_schema, schemaless_writer

from service.feed.to_avro import cloudtrail_schema, fitted
from service.feed.wrap import WRAPS
from tests.bench.services import operations

Mix = Literal["even", "real"]
Json = dict[str, Any]

EVEN_BYTES: Final = 1_350
AVRO_SCHEMA: Final = cloudtrail_schema()

_TEMPLATES: Final = 1_000  # records made in full; what is given out differs from them in ids and times
_LARGE_EVERY: Final = 500  # of the templates of the real mix, such as a DescribeInstances with its filters
_LARGE_BYTES: Final = 50_000
_DECOY_EVERY: Final = 20_000  # Amazon Connect has a GetFederationToken of its own
_START: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
_RECORDS_A_SECOND: Final = 500
# What differs between records of one template, in the order in which it stands in them.
_MARKS: Final = ("@time@", "@request@", "@event@")
# Callers repeat themselves: of the real mix, a share of records is like one of the last few, but for ids and time.
# With that share gzip -6 makes files 9 to 10 times as small. Real files it makes 9 to 12 times as small, their
# callers and operations repeat more often, their parameters less.
_LAST: Final = 20
_AGAIN: Final = 0.55

_AGENTS: Final = (
    "aws-sdk-go-v2/1.30.3 os/linux lang/go#1.22.5 md/GOOS#linux md/GOARCH#amd64 api/ec2#1.173.0",
    "Boto3/1.34.144 md/Botocore#1.34.144 ua/2.0 os/linux#5.10.219 md/arch#x86_64 lang/python#3.11.9",
    "aws-cli/2.17.13 md/awscrt#0.20.11 ua/2.0 os/macos#23.5.0 md/arch#arm64 lang/python#3.11.9",
    "APN/1.0 HashiCorp/1.0 Terraform/1.9.2 (+https://www.terraform.io) terraform-provider-aws/5.58.0",
    "aws-sdk-java/2.26.20 Linux/5.10.219 OpenJDK_64-Bit_Server_VM/21.0.3 Java/21.0.3 exec-env/AWS_ECS_FARGATE",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0",
    "AWS Internal",
)
_REGIONS: Final = ("us-east-1", "us-east-1", "us-west-2", "eu-central-1", "eu-west-1", "ap-southeast-2")
_POLICY: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


def records(count: int, seed: int, *, watched_every: int, mix: Mix = "even") -> Iterator[bytes]:
    """Records as compact JSON, of which the first of every `watched_every` is a GetFederationToken call that both
    published rules match; none is where that is 0.

    "even" records have 1,350 bytes; "real" ones a median of 1.5 KB, 2.4 KB at the 99th percentile, and some 50 KB.
    """
    random = Random(f"{seed} {mix}")
    templates = [_split(_everyday(random, _size(random, number, mix))) for number in range(_TEMPLATES)]
    issuance, decoy = _split(_issuance(random)), _split(_decoy(random))
    moment, last = b"", random.sample(templates, _LAST)
    for number in range(count):
        again = mix == "real" and random.random() < _AGAIN
        template = random.choice(last if again else templates)
        last[number % _LAST] = template
        if watched_every and number % watched_every == 0:
            template = issuance
        elif number % _DECOY_EVERY == _DECOY_EVERY // 2:
            template = decoy
        if number % _RECORDS_A_SECOND == 0:
            moment = f"{_START + timedelta(seconds=number // _RECORDS_A_SECOND):%Y-%m-%dT%H:%M:%SZ}".encode()
        yield _filled(template, moment, random.getrandbits(256))


def watched(count: int, watched_every: int) -> int:
    """How many of that many records both published rules match."""
    return -(-count // watched_every) if watched_every else 0


def wrapped(values: Iterable[bytes], envelope: str, most: int = 1) -> Iterator[bytes]:
    """The records in messages of `most`, in one of the shapes of `service.feed.wrap`."""
    wrap, remaining = WRAPS[envelope], iter(values)
    while several := [json.loads(value) for value in islice(remaining, most)]:
        yield wrap(several)


def in_avro(values: Iterable[bytes], schema_id: int) -> Iterator[bytes]:
    """Each record in Confluent's wire format; the registry has to hold AVRO_SCHEMA under that id."""
    schema, head = parse_schema(AVRO_SCHEMA), struct.pack(">bI", 0, schema_id)
    for value in values:
        buffer = io.BytesIO(head)
        buffer.seek(len(head))
        schemaless_writer(buffer, schema, fitted(json.loads(value)))
        yield buffer.getvalue()


# --- a record of a template --------------------------------------------------------------------------


def _split(record: Json) -> tuple[bytes, ...]:
    """The pieces between what differs."""
    rest, pieces = json.dumps(record, separators=(",", ":")), []
    for mark in _MARKS:
        piece, found, rest = rest.partition(mark)
        if not found:
            raise ValueError(f"a template without {mark}")
        pieces.append(piece.encode())
    return (*pieces, rest.encode())


def _filled(pieces: tuple[bytes, ...], moment: bytes, bits: int) -> bytes:
    """The ids are made of 256 random bits."""
    before_time, before_request, before_event, rest = pieces
    ids = b"%064x" % bits
    request, event = _uuid(ids[:32]), _uuid(ids[32:])
    return b"".join((before_time, moment, before_request, request, before_event, event, rest))


def _uuid(digits: bytes) -> bytes:
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


# --- templates ---------------------------------------------------------------------------------------


def _size(random: Random, number: int, mix: Mix) -> int:
    if mix == "even":
        return EVEN_BYTES
    return _LARGE_BYTES if number % _LARGE_EVERY == 0 else round(random.lognormvariate(7.31, 0.18))


def _everyday(random: Random, size: int) -> Json:
    service, operation = random.choice(operations())
    account = f"{random.randrange(10**11, 10**11 + 40)}"
    record = _record(random, service, operation, account, _assumed_role(random, account))
    bare = len(_filled(_split(record), b"2026-03-02T09:00:00Z", 0))
    record["requestParameters"] = _parameters(random, size - bare + len("null"))
    return record


def _record(random: Random, service: str, operation: str, account: str, identity: Json) -> Json:
    region = random.choice(_REGIONS)
    reads = operation.startswith(("Describe", "Get", "List", "Lookup", "Head", "BatchGet"))
    return {
        "eventVersion": "1.09",
        "userIdentity": identity,
        "eventTime": "@time@",
        "eventSource": f"{service}.amazonaws.com",
        "eventName": operation,
        "awsRegion": region,
        "sourceIPAddress": ".".join(str(random.randrange(1, 255)) for _ in range(4)),
        "userAgent": random.choice(_AGENTS),
        "requestParameters": None,
        "responseElements": None,
        "requestID": "@request@",
        "eventID": "@event@",
        "readOnly": reads,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": f"{service}.{region}.amazonaws.com",
        },
    }


def _assumed_role(random: Random, account: str) -> Json:
    role, principal = (
        f"{random.choice(('app', 'ci', 'ops', 'data'))}-{random.randrange(90)}",
        _letters(random, "AROA"),
    )
    session = f"i-{random.getrandbits(68):017x}"
    return {
        "type": "AssumedRole",
        "principalId": f"{principal}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{session}",
        "accountId": account,
        "accessKeyId": _letters(random, "ASIA")[:20],
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": principal,
                "arn": f"arn:aws:iam::{account}:role/{role}",
                "accountId": account,
                "userName": role,
            },
            "attributes": {"creationDate": "2026-03-02T08:41:17Z", "mfaAuthenticated": "false"},
        },
    }


def _user(random: Random, account: str) -> Json:
    name = f"deploy-{random.randrange(30)}"
    return {
        "type": "IAMUser",
        "principalId": _letters(random, "AIDA"),
        "arn": f"arn:aws:iam::{account}:user/{name}",
        "accountId": account,
        "accessKeyId": _letters(random, "AKIA")[:20],
        "userName": name,
    }


def _letters(random: Random, prefix: str) -> str:
    return prefix + "".join(random.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=17))


def _parameters(random: Random, size: int) -> Json | None:
    """Filters of resources that take `size` bytes as compact JSON; None where so few hold none."""
    items: list[Json] = []
    parameters = {"maxResults": 100, "filterSet": {"items": items}, "reason": ""}
    left = size - _length(parameters)
    if left < 0:
        return None
    while left > 120:
        item = {"resourceId": f"i-{random.getrandbits(68):017x}", "tags": [f"team-{random.randrange(100)}"]}
        left -= _length(item) + len(",") * bool(items)
        items.append(item)
    parameters["reason"] = ("scheduled check of what is running and who owns it, see the handbook; " * 2)[:left]
    return parameters


def _length(value: Json) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def _issuance(random: Random) -> Json:
    """The attack: 36 hours of everything, by name and by an inline policy."""
    account, name = "100000000007", "svc-backup"
    record = _record(random, "sts", "GetFederationToken", account, _user(random, account))
    record["requestParameters"] = {
        "name": name,
        "durationSeconds": 129_600,
        "policyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}],
        "policy": _POLICY,
    }
    record["responseElements"] = {
        "credentials": {
            "accessKeyId": _letters(random, "ASIA")[:20],
            "expiration": "Mar 3, 2026, 9:00:00 PM",
            "sessionToken": "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789+/", k=400)),
        },
        "federatedUser": {
            "federatedUserId": f"{account}:{name}",
            "arn": f"arn:aws:sts::{account}:federated-user/{name}",
        },
        "packedPolicySize": 6,
    }
    return record | {"readOnly": False}


def _decoy(random: Random) -> Json:
    account = "100000000009"
    record = _record(random, "connect", "GetFederationToken", account, _assumed_role(random, account))
    return record | {"requestParameters": {"InstanceId": "3f8393b2-5f0b-41ef-8a25-f661ea17fbce"}}
