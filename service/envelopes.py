"""Bytes from a message or a file -> CloudTrail records, whatever they were wrapped in.

An envelope is told by its content, never by configuration, so one topic may mix them. What is no record is
either ignored for a reason that is counted, or rejected: one bad part costs that part only.

Decoding is in two steps. A glance at the few keys that tell envelopes apart checks the whole JSON syntax and
gives a record's two names; `load` decodes a record in full, which only a record that some rule watches needs.
"""

import base64
import binascii
import codecs
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.errors import DecodeError

Envelope = Literal["record", "records", "documents", "eventbridge", "cloudwatch", "sns"]

# Why a part is ignored; the values are metric labels.
IgnoredKind = Literal[
    "cloudwatch_control",  # a subscription's reachability test
    "digest",  # a digest file of CloudTrail's own integrity check
    "insight",  # an Insights event: about rates of calls, not about a call
    "not_cloudtrail",  # another event of EventBridge
    "s3_pointer",  # only says where in S3 a log file lies
    "sns_control",  # subscription confirmations
    "tombstone",  # a message without value
]

# Why a part is rejected; the values are metric labels.
REASONS: Final = (
    "base64",  # looks like base64 of gzip, and is not
    "empty",  # no bytes, or white space only
    "gzip",  # a damaged or truncated gzip stream
    "json",  # broken or truncated JSON
    "not_a_record",  # JSON, but neither a record nor a known envelope
    "not_json",  # binary or plain text
    "too_deep",  # nested beyond what is worth following
    "too_large",  # decompresses to more than the limit
)

DEFAULT_LIMIT: Final = 64 * 1024 * 1024
_MAX_NESTING: Final = 8
_MAX_DIGITS: Final = 400
_GZIP: Final = b"\x1f\x8b"
_DEFLATE_RATIO: Final = 1_032  # the most bytes that deflate makes of one
_GZIP_IN_BASE64: Final = b"H4sI"
_CONTROL_MESSAGE: Final = Raw(b'"CONTROL_MESSAGE"')
_NOTIFICATION: Final = Raw(b'"Notification"')
_SNS_CONTROL: Final = (Raw(b'"SubscriptionConfirmation"'), Raw(b'"UnsubscribeConfirmation"'))


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record still as JSON; the names are None where they are absent or no text."""

    data: bytes
    source: str | None
    name: str | None
    envelope: Envelope


class Ignored(msgspec.Struct, frozen=True):
    kind: IgnoredKind


class Rejected(msgspec.Struct, frozen=True):
    """`data` is the part as it was found; `detail` says what is wrong and where, without event text."""

    data: bytes
    reason: str
    detail: str


Part = Record | Ignored | Rejected


class _Glance(msgspec.Struct, gc=False, rename="camel"):
    """The keys that tell envelopes apart. All but the names stay undecoded."""

    event_name: str | UnsetType | None = UNSET
    event_source: str | UnsetType | None = UNSET
    records: Raw | UnsetType = msgspec.field(name="Records", default=UNSET)
    detail: Raw | UnsetType = UNSET
    detail_type: Raw | UnsetType = msgspec.field(name="detail-type", default=UNSET)
    message_type: Raw | UnsetType = UNSET
    log_events: Raw | UnsetType = UNSET
    type: Raw | UnsetType = msgspec.field(name="Type", default=UNSET)
    message: Raw | UnsetType = msgspec.field(name="Message", default=UNSET)


class _Telltales(msgspec.Struct, rename="camel"):
    """The keys that tell what an object without two names is."""

    event_name: Any = UNSET
    event_source: Any = UNSET
    event_type: Any = None
    event_category: Any = None
    event_version: Raw | UnsetType = UNSET
    user_identity: Raw | UnsetType = UNSET
    insight_details: Raw | UnsetType = UNSET
    digest_s3_bucket: Raw | UnsetType = msgspec.field(name="digestS3Bucket", default=UNSET)
    digest_start_time: Raw | UnsetType = UNSET
    s3_bucket: Raw | UnsetType = UNSET
    s3_object_key: Raw | UnsetType = UNSET


class _LogEvent(msgspec.Struct):
    message: str


_glance: Final = msgspec.json.Decoder(_Glance).decode
_telltales: Final = msgspec.json.Decoder(_Telltales).decode
_elements: Final = msgspec.json.Decoder(list[Raw]).decode
_text: Final = msgspec.json.Decoder(str).decode
_log_event: Final = msgspec.json.Decoder(_LogEvent).decode
_anything: Final = msgspec.json.Decoder().decode
_raw: Final = msgspec.json.Decoder(Raw).decode

# What msgspec raises on bytes that are no valid JSON, or JSON of another shape.
_BROKEN: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def unwrap(data: bytes, limit: int = DEFAULT_LIMIT) -> Sequence[Part]:
    """The parts of a message or a file, in order. Never raises.

    `limit` bounds the decompressed bytes of the whole.
    """
    try:
        glance = _glance(data)
    except _BROKEN:
        return tuple(_Unwrapping(limit).text(data, None, 0))
    source, name = glance.event_source, glance.event_name
    if isinstance(source, str) and isinstance(name, str) and glance.records is UNSET:
        return (Record(data, source, name, "record"),)
    return tuple(_Unwrapping(limit).object(data, glance, None, 0))


def load(record: Record) -> dict[str, object]:
    """Decode a record in full. Raises DecodeError."""
    try:
        value = _anything(record.data)
    except _BROKEN:
        value = _mended(record.data)
    if not isinstance(value, dict):
        raise DecodeError("json", "the record cannot be decoded in full")
    return value


@dataclass(slots=True)
class _Unwrapping:
    """One call of `unwrap`. `left` is how many bytes it may still decompress.

    In the methods, `envelope` is the outermost one met so far and `depth` how many lie around the data.
    """

    left: int

    def document(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        if depth > _MAX_NESTING:
            yield Rejected(data, "too_deep", f"envelopes nested more than {_MAX_NESTING} deep")
            return
        try:
            glance = _glance(data)
        except _BROKEN:
            yield from self.text(data, envelope, depth)
        else:
            yield from self.object(data, glance, envelope, depth)

    def object(self, data: bytes, glance: _Glance, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        if glance.records is not UNSET:
            yield from self.elements(bytes(glance.records), envelope or "records", depth)
        elif isinstance(glance.event_source, str) and isinstance(glance.event_name, str):
            if glance.event_source == "aws:s3":
                yield Ignored("s3_pointer")
            else:
                yield Record(data, glance.event_source, glance.event_name, envelope or "record")
        elif glance.detail is not UNSET:
            yield from self.eventbridge(glance.detail, glance.detail_type, envelope or "eventbridge", depth)
        elif glance.message_type is not UNSET:
            yield from self.cloudwatch(data, glance, envelope or "cloudwatch", depth)
        elif glance.type is not UNSET:
            yield from self.sns(data, glance, envelope or "sns", depth)
        elif (nameless := _nameless(data, envelope)) is not None:
            yield nameless
        else:
            yield from self.several(data, data, envelope, depth)

    def elements(self, array: bytes, envelope: Envelope, depth: int) -> Iterator[Part]:
        try:
            elements = _elements(array)
        except _BROKEN:
            yield Rejected(array, "not_a_record", "Records is no array")
            return
        for element in elements:
            yield from self.document(bytes(element), envelope, depth + 1)

    def eventbridge(
        self, detail: Raw, detail_type: Raw | UnsetType, envelope: Envelope, depth: int
    ) -> Iterator[Part]:
        if detail_type is not UNSET and not bytes(detail_type).endswith(b'via CloudTrail"'):
            yield Ignored("not_cloudtrail")
        else:
            yield from self.document(bytes(detail), envelope, depth + 1)

    def cloudwatch(self, data: bytes, glance: _Glance, envelope: Envelope, depth: int) -> Iterator[Part]:
        if glance.message_type == _CONTROL_MESSAGE:
            yield Ignored("cloudwatch_control")
            return
        try:
            events = _elements(b"" if glance.log_events is UNSET else glance.log_events)
        except _BROKEN:
            yield Rejected(data, "not_a_record", "logEvents is no array")
            return
        for event in events:
            message = _message(bytes(event))
            if message is None:
                yield Rejected(bytes(event), "not_a_record", "a log event without message")
            else:
                yield from self.document(message, envelope, depth + 1)

    def sns(self, data: bytes, glance: _Glance, envelope: Envelope, depth: int) -> Iterator[Part]:
        if glance.type in _SNS_CONTROL:
            yield Ignored("sns_control")
        elif glance.type == _NOTIFICATION and glance.message is not UNSET:
            yield from self.document(bytes(glance.message), envelope, depth + 1)
        else:
            yield Rejected(data, "not_a_record", "no envelope that is known")

    def text(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        """What is not one well-formed JSON object with readable names."""
        stripped = data.strip()
        if not stripped:
            yield Rejected(data, "empty", "no content")
        elif stripped.startswith(codecs.BOM_UTF8):
            yield from self.document(stripped.removeprefix(codecs.BOM_UTF8), envelope, depth + 1)
        elif stripped.startswith(_GZIP):
            yield from self.compressed(data, envelope, depth)
        elif stripped.startswith(_GZIP_IN_BASE64):
            yield from self.encoded(data, stripped, envelope, depth)
        elif stripped[:1] == b'"' and (quoted := _quoted(stripped)) is not None:
            yield from self.document(quoted, envelope, depth + 1)
        elif stripped[:1] == b"{" and (nameless := _nameless(stripped, envelope)) is not None:
            yield nameless
        elif stripped[:1] == b"[" and (elements := _array(stripped)) is not None:
            for element in elements:
                yield from self.document(bytes(element), envelope or "documents", depth + 1)
        else:
            yield from self.several(data, stripped, envelope, depth)

    def compressed(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        try:
            inner = _gunzip(data.lstrip(), self.left)
        except zlib.error:
            self.left -= min(self.left, _DEFLATE_RATIO * len(data))  # what it made before is not told
            yield Rejected(data, "gzip", "a damaged or truncated gzip stream")
        except _TooLarge:
            self.left = 0
            yield Rejected(data, "too_large", "decompresses to more than the limit")
        else:
            self.left -= len(inner)
            yield from self.document(inner, envelope, depth + 1)

    def encoded(self, data: bytes, stripped: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        try:
            inner = base64.b64decode(b"".join(stripped.split()), validate=True)
        except binascii.Error:
            yield Rejected(data, "base64", "looks like base64 of gzip, and is not")
        else:
            yield from self.document(inner, envelope, depth + 1)

    def several(self, data: bytes, stripped: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        """Several documents, one a line or one after the other; else a broken one, mended or taken apart."""
        pieces = _lines(stripped)
        if pieces is None:
            mended = _mended_text(data)  # not stripped: in UTF-16 a byte of white space is half a character
            if mended is not None:
                yield from self.document(mended, envelope, depth + 1)
                return
            pieces = _apart(stripped)
        if pieces in ([], [stripped]):
            yield _hopeless(data, stripped)
            return
        inside: Envelope = "records" if _OPENING_RECORDS.match(stripped) else "documents"
        parts = [part for piece in pieces for part in self.document(piece, envelope or inside, depth + 1)]
        rejected = [part for part in parts if isinstance(part, Rejected)]
        if rejected and len(rejected) == len(parts):  # rubbish stays one message, however many pieces it has
            yield Rejected(data, rejected[0].reason, rejected[0].detail)
        else:
            yield from parts


def _hopeless(data: bytes, stripped: bytes) -> Rejected:
    if stripped[:1] in (b"{", b"[", b'"'):
        return Rejected(data, "json", "broken JSON")
    try:
        _anything(stripped)
    except _BROKEN:
        return Rejected(data, "not_json", "neither JSON nor gzip")
    return Rejected(data, "not_a_record", "JSON, but no object")


def _nameless(data: bytes, envelope: Envelope | None) -> Part | None:
    """An object that is no envelope and lacks at least one of a record's names, or has one that is no text (a
    list, say). None when it cannot be decoded as it stands.
    """
    try:
        seen = _telltales(data)
    except _BROKEN:
        return None
    if seen.event_type == "AwsCloudTrailInsight" or seen.event_category == "Insight" or _has(seen.insight_details):
        return Ignored("insight")
    if _has(seen.digest_s3_bucket, seen.digest_start_time):
        return Ignored("digest")
    if _has(seen.s3_bucket, seen.s3_object_key):
        return Ignored("s3_pointer")
    if _has(seen.event_name, seen.event_source, seen.user_identity, seen.event_version):
        source = seen.event_source if isinstance(seen.event_source, str) else None
        name = seen.event_name if isinstance(seen.event_name, str) else None
        return Record(data, source, name, envelope or "record")
    return Rejected(data, "not_a_record", "neither a CloudTrail record nor an envelope that is known")


def _has(*values: object) -> bool:
    return any(value is not UNSET for value in values)


def _quoted(data: bytes) -> bytes | None:
    try:
        return _text(data).encode()
    except _BROKEN:
        return _utf8(_mended_or_none(data))


def _message(log_event: bytes) -> bytes | None:
    try:
        return _log_event(log_event).message.encode()
    except _BROKEN:
        mended = _mended_or_none(log_event)
        return _utf8(mended.get("message")) if isinstance(mended, dict) else None


def _utf8(value: object) -> bytes | None:
    return value.encode("utf-8", "replace") if isinstance(value, str) else None


def _array(data: bytes) -> list[Raw] | None:
    try:
        return _elements(data)
    except _BROKEN:
        return None


def _gunzip(data: bytes, limit: int) -> bytes:
    """All members of a gzip stream. Raises zlib.error, or _TooLarge beyond `limit` bytes."""
    pieces: list[bytes] = []
    made = 0
    while data.startswith(_GZIP):
        member = zlib.decompressobj(wbits=31)
        pieces.append(member.decompress(data, limit - made + 1))
        made += len(pieces[-1])
        if made > limit:
            raise _TooLarge
        if not member.eof:
            raise zlib.error("truncated")
        data = member.unused_data.lstrip(b"\0 \t\r\n")  # some writers pad
    if data:
        raise zlib.error("trailing bytes")
    return b"".join(pieces)


class _TooLarge(Exception):
    pass


# --- several documents, and broken ones ----------------------------------------------------------

_OPENING_RECORDS: Final = re.compile(rb'\{\s*"Records"\s*:\s*\[')
_OPENING: Final = re.compile(rb'(?:\{\s*"Records"\s*:\s*)?\[')
# A string that is not closed ends with its line: taking it as one token keeps the scan linear.
_TOKEN: Final = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|[{}\[\]]')
_SEPARATORS: Final = b" \t\r\n,\0"
_CLOSERS: Final = _SEPARATORS + b"]}"


def _lines(data: bytes) -> list[bytes] | None:
    """The lines, if at least one that is not indented is a whole JSON object."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) < 2 or not any(line[:1] == b"{" and _is_json(line) for line in lines):
        return None
    if _OPENING.match(lines[0]) and not _is_json(lines[0]):
        return None  # one array over several lines, an element on each
    return lines


def _is_json(data: bytes) -> bool:
    try:
        _raw(data)
    except _BROKEN:
        return False
    return True


def _apart(data: bytes) -> list[bytes]:
    """Objects and arrays standing side by side, or the elements of one array that is broken somewhere."""
    pieces = list(_pieces(data, inside=False))
    opening = _OPENING.match(data)
    if len(pieces) > 1 or opening is None:
        return pieces
    return list(_pieces(data[opening.end() :], inside=True))


def _pieces(data: bytes, *, inside: bool) -> Iterator[bytes]:
    """Balanced objects and arrays, and what stands between them; `inside` an array, up to its end."""
    start = end = depth = 0
    for token in _TOKEN.finditer(data):
        symbol = token[0]
        if symbol in (b"{", b"["):
            if depth == 0:
                yield from _rest(data[end : token.start()])
                start = token.start()
            depth += 1
        elif symbol in (b"}", b"]"):
            if depth == 0 and inside:
                data = data[: token.start()]
                break
            if depth == 1:
                end = token.end()
                yield data[start:end]
            depth = max(0, depth - 1)
    # A document that is never closed hides those behind it, save where one starts a line.
    for rest in re.split(rb"\n(?=\{)", data[end:]):
        yield from _rest(rest)


def _rest(data: bytes) -> Iterator[bytes]:
    if data.strip(_CLOSERS):
        yield data.strip(_SEPARATORS)


def _mended(data: bytes) -> object:
    """Decode as leniently as the standard library can: a finding must not hang on a stray byte.

    Takes invalid UTF-8 and lone surrogates (as U+FFFD and `?`), control characters, NaN (as null) and numbers
    beyond a double, or of more digits than Python reads. Raises DecodeError.
    """
    try:
        return json.loads(
            data.decode(json.detect_encoding(data), "replace"),
            strict=False,
            parse_constant=lambda _name: None,
            parse_int=lambda digits: int(digits[:_MAX_DIGITS]),
            parse_float=lambda number: max(-1.7e308, min(float(number), 1.7e308)),
        )
    except (ValueError, RecursionError) as error:
        raise DecodeError("json", "the record cannot be decoded in full") from error


def _mended_or_none(data: bytes) -> object:
    try:
        return _mended(data)
    except DecodeError:
        return None


def _mended_text(data: bytes) -> bytes | None:
    """The document made well-formed; None when that is beyond us, or no object or array comes of it."""
    value = _mended_or_none(data)
    if not isinstance(value, dict | list):
        return None
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except RecursionError:
        return None
