"""The shortcut for ordinary files gives what reading each record by itself gives, or leaves the file to that."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service import files
from service.bulk import Unusual, in_array, in_lines, pages
from service.scan import ScanPlan, scan_file
from tests.unit.strategies import asking, base64_gzip, console_exchange, issuance

QUIET = {
    "eventVersion": "1.08",
    "eventName": "ListUsers",
    "eventSource": "ec2.amazonaws.com",
    "n": {"a": [1]},
}
WATCHED = {"eventVersion": "1.08", **issuance()}
ONE_BY_ONE = ScanPlan(times=True)  # which needs the bytes of every record


def quiet(**changes: object) -> dict[str, Any]:
    return QUIET | changes


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


ORDINARY = [
    WATCHED,
    {"eventVersion": "1.08", **asking(durationSeconds=129_600)},
    {"eventVersion": "1.08", **console_exchange()},
    quiet(),
    quiet(eventName="ListBuckets", text='},{"eventVersion":"1.0","eventName":"a"} ]}'),
    quiet(inner={"eventVersion": "1", "eventName": "GetFederationToken", "eventSource": "sts.amazonaws.com"}),
    quiet(long="x" * 400),
]
ODD: list[Any] = [
    quiet(eventName="getfederationtoken", eventSource="STS.amazonaws.com"),
    quiet(eventName="GetFederationToken", eventSource="connect.amazonaws.com"),
    quiet(eventName=["a"]),
    quiet(eventName=None),
    quiet(eventSource="aws:s3"),
    quiet(Records=[QUIET]),
    quiet(Records=None),
    {"eventVersion": "1", "eventName": "a"},
    {"eventVersion": "1", "eventType": "AwsCloudTrailInsight"},
    {"Records": [WATCHED]},
    {"detail-type": "AWS API Call via CloudTrail", "detail": WATCHED},
    json.dumps(WATCHED),
    base64_gzip(_compact(WATCHED)).decode(),
    [WATCHED],
    {},
    1,
]
records = st.lists(st.sampled_from(ORDINARY) | st.sampled_from(ORDINARY + ODD), min_size=1, max_size=12)


STYLES = {
    "file": lambda found: _compact({"Records": found}),
    "file, spaced": lambda found: json.dumps({"Records": found}).encode() + b"\n",
    "file, indented": lambda found: json.dumps({"Records": found}, indent=2).encode(),
    "file, escaped": lambda found: _compact({"Records": found}).replace(b"Token", b"\\u0054oken"),
    "file, and more": lambda found: _compact({"Records": found, "eventName": "a", "eventSource": "b"}),
    "file, twice": lambda found: _compact({"Records": found})[:-1] + b',"Records":' + _compact(found) + b"}",
    "files": lambda found: b"\n".join([_compact({"Records": found})] * 2),
    "lines": lambda found: b"".join(_compact(each) + b"\n" for each in found),
    "lines, unended": lambda found: b"\n".join(map(_compact, found)),
    "lines of Windows": lambda found: b"".join(_compact(each) + b"\r\n" for each in found),
    "side by side": lambda found: b"".join(map(_compact, found)),
    "array": _compact,
}
WHOLE = ["file", "file, spaced", "file, indented"]
# What turns up at a fault: of JSON's own signs, and of what the shortcut looks for.
SCRAPS = [
    b"",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"]}",
    b'"',
    b"\\",
    b"\n",
    b" ",
    b"\0",
    b"\xff",
    b"1",
    b',{"eventVersion":',
]


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    content: bytes = STYLES[draw(st.sampled_from(sorted(STYLES)))](draw(records))
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.sampled_from([0, 0, 1, 2, 30, 10_000])))
        scrap = draw(st.sampled_from(SCRAPS) | st.just(content[begin:end]).map(lambda part: part * 2))
        content = content[:begin] + scrap + content[end:]
    return content


def reports(path: Path) -> list[dict[str, Any]]:
    """As the shortcut reads the file, and as it is read one record after the other."""
    return [_comparable(asdict(scan_file(str(path), plan=plan))) for plan in (ScanPlan(), ONE_BY_ONE)]


def _comparable(report: dict[str, Any]) -> dict[str, Any]:
    findings = [msgspec.structs.replace(finding, detected_at=None) for finding in report["findings"]]
    return report | {"findings": findings, "times": None}


SIDE_BY_SIDE = _compact(QUIET) * 2 + b"\n" + json.dumps(QUIET, indent=0).encode()


@given(
    content=contents(),
    piece=st.integers(2, 3_000),
    block=st.sampled_from([700, 5_000]),
    compressed=st.booleans(),
)
@example(content=b'{"Records":[,' + _compact(QUIET) + b"]}", piece=13, block=700, compressed=False)
@example(
    content=b'{"Records":[' + _compact(QUIET) + b" x" + _compact(QUIET) + b"]}",
    piece=90,
    block=9,
    compressed=False,
)
@example(content=b'{"Records":[' + _compact(QUIET) + b"]]", piece=90, block=9, compressed=False)
@example(content=SIDE_BY_SIDE, piece=9, block=9, compressed=False)
def test_whatever_a_file_holds_the_shortcut_reports_the_same(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int, block: int, *, compressed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "bulk"
    path.write_bytes(gzip.compress(content, 1)[: -1 if piece % 7 == 0 else None] if compressed else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PIECE_BYTES", piece)
        patch.setattr(files, "BLOCK_BYTES", block)
        short, long = reports(path)
    assert short == long


def _pieces(content: bytes, length: int) -> Iterator[bytes]:
    return (content[begin : begin + length] for begin in range(0, len(content), length))


@given(
    st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=30), st.integers(2, 3_000), st.sampled_from([None, 1])
)
def test_pages_hold_the_records_of_the_file_in_order(found: list[Any], length: int, indent: int | None) -> None:
    content = json.dumps({"Records": found}, indent=indent, separators=None if indent else (",", ":")).encode()
    try:
        told = [names for page in pages(_pieces(content, max(60, length))) for names in in_array(page)]
    except Unusual:  # where a record holds what looks like the start of another
        return
    assert [(names.event_source, names.event_name) for names in told] == [
        (record["eventSource"], record["eventName"]) for record in found
    ]


@pytest.mark.parametrize("style", WHOLE)
def test_an_ordinary_file_is_cut_however_it_is_spaced(style: str) -> None:
    content = STYLES[style]([quiet(n=number) for number in range(1_000)])
    cut = list(pages(_pieces(content, 4_096)))
    assert len(cut) > 20
    assert [len(in_array(page)) for page in cut] == [page.count(b"eventSource") for page in cut]
    assert sum(map(len, cut)) < len(content) + 2 * len(cut)


@pytest.mark.parametrize("content", [b"", b"[]", _compact({"Records": []}), _compact({"Records": [QUIET]})[:-1]])
def test_what_is_no_file_of_records_or_has_no_end_is_told_of(content: bytes) -> None:
    with pytest.raises(Unusual):
        list(pages([content]))


@pytest.mark.parametrize("record", ODD[2:])
def test_a_record_that_is_not_ordinary_is_told_of(record: object) -> None:
    with pytest.raises(Unusual):
        in_array(_compact([QUIET, record]))
    with pytest.raises(Unusual):
        in_lines(_compact(QUIET) + b"\n" + _compact(record))


def test_lines_are_told_with_where_they_end() -> None:
    lines = [_compact(quiet()), _compact(WATCHED), _compact(quiet(eventName="a"))]
    names, ends = in_lines(b"\n".join(lines))
    assert [each.event_name for each in names] == ["ListUsers", "GetFederationToken", "a"]
    assert ends == [len(b"\n".join(lines[: number + 1])) for number in range(3)]
