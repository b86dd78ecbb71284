"""Bytes from a message or a file -> CloudTrail records, whatever they were wrapped in.

An envelope is told by its content, never by configuration, so one topic may mix them. What is no record is
either ignored for a reason that is counted, or rejected: one bad part costs that part only.

Decoding is in two steps. A glance at the few keys that tell envelopes apart checks the whole JSON syntax and
gives a record's two names; `load` decodes a record in full, which only a record that some rule watches needs.
"""

import base64
import binascii
import codecs
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from service.envelopes import from_ecs, from_ocsf
from service.envelopes.dotted import members
from service.envelopes.glance import Glance, glance_at, nameless
from service.envelopes.inflate import DEFLATE_RATIO, GZIP, Bomb, gunzip
from service.envelopes.mending import (
    BROKEN,
    OPENING_RECORDS,
    apart,
    array_of,
    decode_json,
    is_json,
    lines,
    mended_text,
    message_of,
    quoted_text,
)
from service.envelopes.parts import Envelope, Ignored, Part, Record, Rejected
from service.errors import DecodeError

DEFAULT_LIMIT: Final = 64 * 1024 * 1024
_MAX_NESTING: Final = 8
_GZIP_IN_BASE64: Final = b"H4sI"
_CONTROL_MESSAGE: Final = Raw(b'"CONTROL_MESSAGE"')
_NOTIFICATION: Final = Raw(b'"Notification"')
_SNS_CONTROL: Final = (Raw(b'"SubscriptionConfirmation"'), Raw(b'"UnsubscribeConfirmation"'))


def unwrap(data: bytes, limit: int = DEFAULT_LIMIT, envelope: Envelope | None = None) -> Sequence[Part]:
    """The parts of a message or a file, in order. Never raises.

    `limit` bounds the decompressed bytes of the whole; `envelope` names what the data was taken out of before.
    """
    try:
        seen = glance_at(data)
    except BROKEN:
        return tuple(_Unwrapping(limit).anything_else(data, envelope, 0))
    source, name = seen.event_source, seen.event_name
    if isinstance(source, str) and isinstance(name, str) and seen.records is UNSET:
        return (Record(data, source, name, envelope or "record"),)
    return tuple(_Unwrapping(limit).told(data, seen, envelope, 0))


def load(record: Record) -> dict[str, object]:
    """Decode a record in full. Raises DecodeError."""
    value = record.decode(record.data)
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
            seen = glance_at(data)
        except BROKEN:
            yield from self.anything_else(data, envelope, depth)
        else:
            yield from self.told(data, seen, envelope, depth)

    def told(self, data: bytes, seen: Glance, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        if seen.records is not UNSET:
            yield from self.elements(bytes(seen.records), envelope or "records", depth)
        elif isinstance(seen.event_source, str) and isinstance(seen.event_name, str):
            if seen.event_source == "aws:s3":  # as S3 writes it, inside Records; alone it is a record like others
                yield Ignored("s3_pointer")
            else:
                yield Record(data, seen.event_source, seen.event_name, envelope or "record")
        elif seen.detail is not UNSET:
            yield from self.eventbridge(seen.detail, seen.detail_type, envelope or "eventbridge", depth)
        elif seen.message_type is not UNSET:
            yield from self.cloudwatch(data, seen, envelope or "cloudwatch", depth)
        elif seen.type is not UNSET:
            yield from self.sns(data, seen, envelope or "sns", depth)
        elif (shipped := self.shipped(data, envelope, depth)) is not None:
            yield from shipped
        elif (part := nameless(data, envelope)) is not None:
            yield part
        else:
            yield from self.several(data, envelope, depth)

    def shipped(self, data: bytes, envelope: Envelope | None, depth: int) -> Sequence[Part] | None:
        """What a shipper made of a record. None when it is not told to be that."""
        document = members(data, "api", "aws", "event")
        if document is None:
            return None
        if "api" in document or any(key.startswith("api.") for key in document):
            names = from_ocsf.tell(document)
            if names is not None:
                return (Record(data, *names, envelope or "ocsf", _decode_ocsf),)
        return self.ecs(data, document, envelope or "ecs", depth)

    def ecs(self, data: bytes, document: dict[str, Any], envelope: Envelope, depth: int) -> Sequence[Part] | None:
        """The original is looked into here only where the fields name no event: else `load` opens it, which
        nobody asks for unless a rule watches the names.
        """
        source, name, kind = from_ecs.tell(document)
        record = Record(data, source, name, envelope, _decode_ecs)
        if kind == "cloudtrail" and source is not None and name is not None:
            return (record,)
        broken = False
        for original in from_ecs.originals(document):
            parts = list(self.document(msgspec.json.encode(original), envelope, depth + 1))
            if any(not isinstance(part, Rejected) for part in parts):
                return parts
            broken |= any(isinstance(part, Rejected) and part.reason == "json" for part in parts)
        if kind is None and not broken:
            return None
        if kind is not None and kind != "cloudtrail":
            return (Ignored(kind),)
        if kind == "cloudtrail" and (source is not None or name is not None):
            return (record,)
        return (Rejected(data, "json" if broken else "not_a_record", "a document that holds no readable record"),)

    def elements(self, array: bytes, envelope: Envelope, depth: int) -> Iterator[Part]:
        elements = array_of(array)
        if elements is None:
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

    def cloudwatch(self, data: bytes, seen: Glance, envelope: Envelope, depth: int) -> Iterator[Part]:
        if seen.message_type == _CONTROL_MESSAGE:
            yield Ignored("cloudwatch_control")
            return
        events = None if seen.log_events is UNSET else array_of(bytes(seen.log_events))
        if events is None:
            yield Rejected(data, "not_a_record", "logEvents is no array")
            return
        for event in events:
            message = message_of(bytes(event))
            if message is None:
                yield Rejected(bytes(event), "not_a_record", "a log event without message")
            else:
                yield from self.document(message, envelope, depth + 1)

    def sns(self, data: bytes, seen: Glance, envelope: Envelope, depth: int) -> Iterator[Part]:
        if seen.type in _SNS_CONTROL:
            yield Ignored("sns_control")
        elif seen.type == _NOTIFICATION and seen.message is not UNSET:
            yield from self.document(bytes(seen.message), envelope, depth + 1)
        else:
            yield Rejected(data, "not_a_record", "no envelope that is known")

    def anything_else(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        """What is not one well-formed JSON object with readable names."""
        stripped = data.strip()
        if not stripped:
            yield Rejected(data, "empty", "no content")
        elif stripped.startswith(codecs.BOM_UTF8):
            yield from self.document(stripped.removeprefix(codecs.BOM_UTF8), envelope, depth + 1)
        elif stripped.startswith(GZIP):
            yield from self.compressed(data, envelope, depth)
        elif stripped.startswith(_GZIP_IN_BASE64):
            yield from self.encoded(data, stripped, envelope, depth)
        elif stripped[:1] == b'"' and (quoted := quoted_text(stripped)) is not None:
            yield from self.document(quoted, envelope, depth + 1)
        elif stripped[:1] == b"{" and (part := nameless(stripped, envelope)) is not None:
            yield part
        elif stripped[:1] == b"[" and (elements := array_of(stripped)) is not None:
            for element in elements:
                yield from self.document(bytes(element), envelope or "documents", depth + 1)
        else:
            yield from self.several(data, envelope, depth)

    def compressed(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        try:
            inner = gunzip(data.lstrip(), self.left)
        except zlib.error:
            self.left -= min(self.left, DEFLATE_RATIO * len(data))  # what it made before is not told
            yield Rejected(data, "gzip", "a damaged or truncated gzip stream")
        except Bomb:
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

    def several(self, data: bytes, envelope: Envelope | None, depth: int) -> Iterator[Part]:
        """Several documents, one a line or one after the other; else a broken one, mended or taken apart."""
        stripped = data.strip()
        pieces = lines(stripped)
        if pieces is None:
            mended = mended_text(data)  # not stripped: in UTF-16 a byte of white space is half a character
            if mended is not None:
                yield from self.document(mended, envelope, depth + 1)
                return
            pieces = apart(stripped)
        if pieces in ([], [stripped]):
            yield _hopeless(data, stripped)
            return
        inside: Envelope = "records" if OPENING_RECORDS.match(stripped) else "documents"
        parts = [part for piece in pieces for part in self.document(piece, envelope or inside, depth + 1)]
        rejected = [part for part in parts if isinstance(part, Rejected)]
        if rejected and len(rejected) == len(parts):  # rubbish stays one message, however many pieces it has
            yield Rejected(data, rejected[0].reason, rejected[0].detail)
        else:
            yield from parts


def _decode_ecs(data: bytes) -> object:
    document = _document(data)
    source, name, _ = from_ecs.tell(document)
    return _original(from_ecs.originals(document), (source, name)) or from_ecs.record(document)


def _decode_ocsf(data: bytes) -> object:
    document = _document(data)
    return _original(from_ocsf.originals(document), from_ocsf.tell(document)) or from_ocsf.record(document)


def _document(data: bytes) -> dict[str, object]:
    document = decode_json(data)
    if not isinstance(document, dict):
        raise DecodeError("json", "the document cannot be decoded in full")
    return document


def _original(originals: Iterable[object], names: tuple[str | None, str | None] | None) -> object:
    """The record itself, if the document holds it whole: it says more than the fields made of it."""
    for original in originals:
        record = _plain(original) if isinstance(original, str) else original
        if isinstance(record, dict) and (record.get("eventSource"), record.get("eventName")) == names:
            return record
    return None


def _plain(text: str) -> dict[str, object] | None:
    """The one record that a text holds. Nothing is decompressed: that budget was `unwrap`'s."""
    found = unwrap(text.encode("utf-8", "replace"), 0)
    if len(found) != 1 or not isinstance(found[0], Record):
        return None
    try:
        return load(found[0])
    except DecodeError:
        return None


def _hopeless(data: bytes, stripped: bytes) -> Rejected:
    if stripped[:1] in (b"{", b"[", b'"'):
        return Rejected(data, "json", "broken JSON")
    if not is_json(stripped):
        return Rejected(data, "not_json", "neither JSON nor gzip")
    return Rejected(data, "not_a_record", "JSON, but no object")
