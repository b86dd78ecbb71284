"""Records in every envelope, and what came out of them in a few words."""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

from service.envelopes import Envelope, Ignored, Part, Record
from tests.unit.strategies import base64_gzip, console_exchange, issuance, members

STS, CONNECT = "sts.amazonaws.com", "connect.amazonaws.com"
# Pieces that a cut, a splice or a wrong guess would notice: braces, quotes and escapes inside of strings.
TRICKY = {"eventSource": CONNECT, "eventName": "X", "userAgent": '}]{["\\"\\\\ \n Records":[{ \u202f\U0001f600'}
RECORDS = [issuance(), TRICKY, console_exchange()]
DOCUMENTS = [json.dumps(record).encode() for record in RECORDS]


def names(parts: Sequence[Part]) -> list[str | None]:
    """What came out, in a few words: a record's event name, why a part was ignored or rejected."""
    return [
        part.name if isinstance(part, Record) else part.kind if isinstance(part, Ignored) else f"!{part.reason}"
        for part in parts
    ]


def only(parts: Sequence[Part]) -> Record:
    (part,) = parts
    assert isinstance(part, Record), part
    return part


def records(parts: Sequence[Part]) -> list[Record]:
    return [part for part in parts if isinstance(part, Record)]


def cloudwatch(*messages: str, kind: str = "DATA_MESSAGE") -> bytes:
    events = [{"id": str(number), "timestamp": 1, "message": text} for number, text in enumerate(messages)]
    return json.dumps({"messageType": kind, "owner": "1", "logGroup": "g", "logEvents": events}).encode()


def eventbridge(detail: Any, detail_type: str = "AWS API Call via CloudTrail") -> bytes:
    return json.dumps({"version": "0", "detail-type": detail_type, "source": "aws.sts", "detail": detail}).encode()


def sns(message: Any, kind: str = "Notification") -> bytes:
    return json.dumps({"Type": kind, "MessageId": "1", "TopicArn": "arn:x", "Message": message}).encode()


def indented(record: Any) -> bytes:
    return json.dumps(record, indent=4).encode()


TEXTS = [data.decode() for data in DOCUMENTS]


ENVELOPES: dict[str, tuple[bytes, Envelope]] = {
    "records": (json.dumps({"Records": RECORDS}).encode(), "records"),
    "records, indented": (indented({"Records": RECORDS}), "records"),
    "records beside another key": (json.dumps({"Owner": "x", "Records": RECORDS, "More": {}}).encode(), "records"),
    "lines": (b"\n".join(DOCUMENTS), "documents"),
    "lines that end with one": (b"\n".join(DOCUMENTS) + b"\n", "documents"),
    "lines of Windows": (b"\r\n".join(DOCUMENTS) + b"\r\n", "documents"),
    "lines with empty ones": (b"\n\n".join(DOCUMENTS) + b"\n\n\n", "documents"),
    "lines of Windows with empty ones": (b"\r\n\r\n".join(DOCUMENTS) + b"\r\n\r\n", "documents"),
    "concatenated": (b"".join(DOCUMENTS), "documents"),
    "concatenated with spaces": (b" \t ".join(DOCUMENTS), "documents"),
    "indented, concatenated": (b"\n".join(map(indented, RECORDS)), "documents"),
    "indented, with nothing between": (b"".join(map(indented, RECORDS)), "documents"),
    "NUL between": (b"\x00".join(DOCUMENTS), "documents"),
    "array": (json.dumps(RECORDS).encode(), "documents"),
    "array, indented": (indented(RECORDS), "documents"),
    "arrays one after the other": (b"[" + DOCUMENTS[0] + b"][" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "arrays on lines": (b"[" + DOCUMENTS[0] + b"]\n[" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "record, then array": (DOCUMENTS[0] + b"[" + b",".join(DOCUMENTS[1:]) + b"]", "documents"),
    "array, then record": (b"[" + b",".join(DOCUMENTS[:2]) + b"]" + DOCUMENTS[2], "documents"),
    "array of arrays": (b"[[" + DOCUMENTS[0] + b"],[" + b",".join(DOCUMENTS[1:]) + b"]]", "documents"),
    "files one after the other": (
        b"".join(json.dumps({"Records": [record]}).encode() for record in RECORDS),
        "records",
    ),
    "files on lines": (b"\n".join(json.dumps({"Records": [record]}).encode() for record in RECORDS), "records"),
    "files indented": (b"\n".join(indented({"Records": [record]}) for record in RECORDS), "records"),
    "files in members of gzip": (
        b"".join(gzip.compress(json.dumps({"Records": [record]}).encode()) for record in RECORDS),
        "records",
    ),
    "the tail of a file": (b",".join(DOCUMENTS) + b"]}", "documents"),
    "stray ends between": (b"]}".join(DOCUMENTS), "documents"),
    "a file, then a record": (json.dumps({"Records": RECORDS[:2]}).encode() + DOCUMENTS[2], "records"),
    "cloudwatch": (cloudwatch(*TEXTS), "cloudwatch"),
    "cloudwatch, gzip": (gzip.compress(cloudwatch(*TEXTS)), "cloudwatch"),
    "cloudwatch, base64 of gzip": (base64_gzip(cloudwatch(*TEXTS)), "cloudwatch"),
    "cloudwatch, base64 on lines": (base64.encodebytes(gzip.compress(cloudwatch(*TEXTS))), "cloudwatch"),
    "sns around lines": (sns("\n".join(TEXTS)), "sns"),
    "sns around records": (sns(json.dumps({"Records": RECORDS})), "sns"),
    "sns around cloudwatch": (sns(cloudwatch(*TEXTS).decode()), "sns"),
    "sns around base64 of cloudwatch": (sns(base64_gzip(cloudwatch(*TEXTS)).decode()), "sns"),
    "sns with the raw object": (sns({"Records": RECORDS}), "sns"),
    "array of event bridge": (b"[" + b",".join(map(eventbridge, RECORDS)) + b"]", "documents"),
    "gzip": (gzip.compress(b"\n".join(DOCUMENTS)), "documents"),
    "gzip of gzip": (gzip.compress(gzip.compress(json.dumps({"Records": RECORDS}).encode())), "records"),
    "gzip in two members": (members(json.dumps({"Records": RECORDS}).encode()), "records"),
    "gzip with padding": (gzip.compress(json.dumps({"Records": RECORDS}).encode()) + b"\x00" * 99, "records"),
    "gzip behind a line's end": (b"\r\n" + gzip.compress(json.dumps({"Records": RECORDS}).encode()), "records"),
    "gzip with a line's end": (gzip.compress(json.dumps({"Records": RECORDS}).encode()) + b"\r\n", "records"),
}


def raw(middle: bytes) -> bytes:
    return b'{"eventSource":"sts.amazonaws.com","eventName":"GetFederationToken","x":' + middle + b"}"
