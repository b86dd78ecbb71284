"""What is compressed, nested or long: bounded in memory, in depth and in time."""

import base64
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable

import pytest

from service.envelopes import DEFAULT_LIMIT, Rejected, load, unwrap
from tests.unit.enveloped import DOCUMENTS, cloudwatch, names, only, records
from tests.unit.strategies import base64_gzip, issuance, members


def test_a_bomb_is_too_large() -> None:
    bomb = gzip.compress(b"\x00" * (DEFAULT_LIMIT + 1), compresslevel=1)
    for data in (bomb, base64.b64encode(bomb), gzip.compress(bomb), members(b"\x00" * (DEFAULT_LIMIT + 1))):
        (part,) = unwrap(data)
        assert isinstance(part, Rejected)
        assert (part.reason, bool(part.detail)) == ("too_large", True)


def test_the_limit_is_exact() -> None:
    data = DOCUMENTS[0]
    assert names(unwrap(gzip.compress(data), len(data))) == ["GetFederationToken"]
    assert names(unwrap(gzip.compress(data), len(data) - 1)) == ["!too_large"]
    assert names(unwrap(members(data), len(data))) == ["GetFederationToken"]
    assert names(unwrap(members(data), len(data) - 1)) == ["!too_large"]
    assert names(unwrap(data, 0)) == ["GetFederationToken"]


def test_parts_share_one_budget() -> None:
    """Each fits by itself; together they do not. What is not compressed costs nothing."""
    part = base64_gzip(DOCUMENTS[0])
    data = b'["' + part + b'","' + part + b'","' + part + b'",' + DOCUMENTS[1] + b"]"
    limit = 2 * len(DOCUMENTS[0])
    assert names(unwrap(data, limit)) == ["GetFederationToken", "GetFederationToken", "!too_large", "X"]
    nested = gzip.compress(gzip.compress(DOCUMENTS[0]))
    assert names(unwrap(nested, len(DOCUMENTS[0]))) == ["!too_large"]


def test_a_bomb_spends_the_whole_budget() -> None:
    """A message full of bombs that each just miss what is left would be worked through one by one."""
    bomb, good = base64_gzip(b"\x00" * 8_000), base64_gzip(DOCUMENTS[0])
    data = b'["' + bomb + b'","' + good + b'",' + DOCUMENTS[1] + b"]"
    assert names(unwrap(data, 7_999)) == ["!too_large", "!too_large", "X"]


def test_damaged_bombs_spend_the_budget_too() -> None:
    """What a damaged stream made before it broke was work as well."""
    damaged = base64.b64encode(gzip.compress(b"\x00" * 8_000_000)[:-8] + b"\x01" * 8)
    data = b"[" + b",".join([b'"' + damaged + b'"'] * 20) + b"]"
    found = [str(name) for name in names(unwrap(data))]
    assert found == sorted(found)
    assert set(found) == {"!gzip", "!too_large"}


def test_a_damaged_stream_leaves_most_of_the_budget_to_others() -> None:
    damaged, good = base64_gzip(DOCUMENTS[0])[:-8], base64_gzip(DOCUMENTS[1])
    data = b'["' + damaged + b'","' + good + b'"]'
    assert names(unwrap(data)) == ["!gzip", "X"]


def test_a_damaged_stream_costs_the_most_that_it_may_have_made() -> None:
    """A token of two bits stands for at most 258 bytes (RFC 1951, 3.2.5): 1,032 of each byte."""
    damaged, good = base64_gzip(DOCUMENTS[0])[:-8], base64_gzip(DOCUMENTS[1])
    data = b'["' + damaged + b'","' + good + b'"]'
    limit = 1_032 * len(base64.b64decode(damaged)) + len(DOCUMENTS[1])
    assert names(unwrap(data, limit)) == ["!gzip", "X"]
    assert names(unwrap(data, limit - 1)) == ["!gzip", "!too_large"]


def test_a_bomb_behind_another_member_takes_no_more_memory_than_one_member() -> None:
    """Which takes twice what it makes, while zlib joins its blocks."""
    limit = 10_000_000
    data = gzip.compress(b"\x00" * limit) + gzip.compress(b"\x00" * 3 * limit)
    tracemalloc.start()
    try:
        assert names(unwrap(data, limit)) == ["!too_large"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * limit


def test_gzip_that_refers_far_back_is_read() -> None:
    """Compressors look 32 KiB back (RFC 1951, 2)."""
    noise = random.Random(7).randbytes(15_000).hex()
    record = issuance(one=noise, other=noise)
    assert load(only(unwrap(gzip.compress(json.dumps(record).encode())))) == record


def quoted(data: bytes) -> bytes:
    return json.dumps(data.decode()).encode()


# How often each may stand around itself: some count twice, as a text in an object does.
NESTED: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "gzip": (gzip.compress, 8),
    "base64 of gzip": (base64_gzip, 4),
    "byte order mark": (b"\xef\xbb\xbf".__add__, 8),
    "text": (quoted, 8),
    "array": (lambda data: b"[%s]" % data, 8),
    "records": (lambda data: b'{"Records":[%s]}' % data, 8),
    "event bridge": (lambda data: b'{"detail":%s}' % data, 8),
    "event bridge, mended": (lambda data: b'{"x":NaN,"detail":%s}' % data, 7),
    "sns": (lambda data: b'{"Type":"Notification","Message":%s}' % data, 8),
    "sns around text": (lambda data: b'{"Type":"Notification","Message":%s}' % quoted(data), 4),
    "cloudwatch": (lambda data: cloudwatch(data.decode()), 8),
    "ecs": (lambda data: b'{"event":{"original":%s}}' % data, 8),
    "ecs around text": (lambda data: b'{"event":{"original":%s}}' % quoted(data), 4),
    "one of two lines": (lambda data: quoted(b"{}\n" + data), 4),
}


@pytest.mark.parametrize(("wrap", "most"), NESTED.values(), ids=NESTED)
def test_envelopes_are_followed_to_a_depth_of_eight(wrap: Callable[[bytes], bytes], most: int) -> None:
    data = DOCUMENTS[0]
    for _ in range(most):
        data = wrap(data)
    assert [part.name for part in records(unwrap(data))] == ["GetFederationToken"]
    data = wrap(data)
    assert records(unwrap(data)) == []
    assert names(unwrap(data))[0] in ("!too_deep", "!not_a_record")


@pytest.mark.parametrize(
    "data",
    [
        b'{"' + b'\\"' * 200_000,
        b'{"a":"' + b'\\"{' * 200_000,
        b'"' * 100_000,
        b"[" * 20_000,
        b'{"a":' * 50_000,
        b'[{"a":[' * 30_000,
        b'{"Records":[' * 10_000,
        b"{\n" * 10_000,
        b"\n{" * 10_000,
        b"}" * 100_000,
        b"{}" * 20_000,
        b"{},\n" * 20_000,
        b"1e" * 100_000,
        b"9" * 300_000,
        b"-" * 100_000,
        b"\\u" * 100_000,
    ],
    ids=lambda data: repr(data[:9]),
)
def test_hostile_text_is_read_in_good_time(data: bytes) -> None:
    """Not asserted but for the test's own timeout: time that grows by the square would exceed it."""
    for part in unwrap(data):
        assert isinstance(part, Rejected)
