"""Files through the detector: what is read, what is reported, what is printed where, how it ends."""

import fcntl
import gzip
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import files
from service.files import blocks, find_files
from service.scan import FileResult, scan_file
from tests.broker import ROOT
from tests.program import PROGRAM, environment, in_process, start, tokentrail

CLOUDTRAIL = ROOT.parent / "shared" / "cloudtrail"
SAMPLES = ROOT / "tests" / "rules" / "samples"
SUSPICIOUS: dict[str, Any] = json.loads(
    (SAMPLES / "sts-federation-token-suspicious" / "fires-inline-full-admin-star.json").read_text()
)
QUIET: dict[str, Any] = json.loads(
    (SAMPLES / "sts-federation-token-issued" / "quiet-assume-role.json").read_text()
)


def event(event_id: str, **changes: object) -> dict[str, Any]:
    return {**SUSPICIOUS, "eventID": event_id, **changes}


def as_lines(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def as_file(*records: dict[str, Any]) -> bytes:
    return json.dumps({"Records": records}, indent=1).encode()


def ids(output: str) -> list[str]:
    """The events found, in order, each once; every line has to be a finding."""
    return list(dict.fromkeys(json.loads(line)["event_id"] for line in output.splitlines()))


# --- which files, and what is in them --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", as_file(event("a"), event("b"))),
        ("a.json.gz", gzip.compress(as_file(event("a"), event("b")))),
        ("a.jsonl", as_lines(event("a"), event("b"))),
        ("a.jsonl.gz", gzip.compress(as_lines(event("a"), event("b")))),
        ("a.ndjson", as_lines(event("a"), event("b"))),
        ("a.ndjson.gz", gzip.compress(as_lines(event("a"))) + gzip.compress(as_lines(event("b"))) + b"\0" * 9),
        ("a.gz", gzip.compress(as_lines(event("a"), event("b")))),
    ],
)
def test_every_kind_of_file_is_read_by_name_in_a_folder_and_from_standard_input(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "below").mkdir()
    path = tmp_path / "below" / name
    path.write_bytes(content)
    for arguments, stdin in (([path], b""), ([tmp_path], b""), (["-"], content)):
        done = in_process("scan", *arguments, "--output", "ndjson", stdin=stdin)
        assert (done.returncode, ids(done.stdout)) == (0, ["a", "b"])
        assert done.stderr == "2 records in 1 files, 4 findings (2 high, 2 medium)\n"


def test_a_folder_gives_its_files_in_order_each_once_and_no_others(tmp_path: Path) -> None:
    for name in ("b.json", "a/z.jsonl.gz", "a/b.json", "a.txt", "json", "a/gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    files, problems = find_files([str(tmp_path), str(tmp_path / "b.json"), str(tmp_path / "a.txt")])
    assert [str(Path(file).relative_to(tmp_path)) for file in files] == [
        "a/b.json",
        "a/z.jsonl.gz",
        "b.json",
        "a.txt",  # named by the caller, who knows
    ]
    assert problems == []


def test_a_folder_without_files_is_a_problem(tmp_path: Path) -> None:
    assert find_files([str(tmp_path)])[1] == [f"{tmp_path}: no file ends in one of {', '.join(files.SUFFIXES)}"]


@contextmanager
def as_somebody() -> Iterator[None]:
    """Root may list every folder; somebody else may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_may_not_be_listed_is_a_problem() -> None:
    with TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0)
        (folder / "a.json").touch()
        with as_somebody():
            assert find_files([name]) == ([f"{name}/a.json"], [f"{name}/closed: permission denied"])


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").touch()
    assert find_files([str(tmp_path)])[0] == [str(tmp_path / "b.json")]


# --- what cannot be read is reported, the rest goes on ---------------------------------------------------------


def cut_short(folder: Path) -> None:
    content = gzip.compress(as_lines(*(event(f"cut-{number}") for number in range(2_000))))
    (folder / "b.jsonl.gz").write_bytes(content[: len(content) // 2])


BAD: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "b.json").symlink_to("nowhere"), "b.json: no such file or directory"),
    (lambda folder: (folder / "b.json").write_bytes(b'{"Records": [{"eventName": "Get'), "1 json"),
    (lambda folder: (folder / "b.json").write_bytes(b"\xff\xfe\x00nonsense"), "1 not_json"),
    (lambda folder: (folder / "b.gz").write_bytes(b"\x1f\x8bnonsense"), "b.gz: a damaged gzip stream"),
    (cut_short, "b.jsonl.gz: the gzip stream ends too early"),
]


@pytest.mark.parametrize(("make", "problem"), BAD, ids=["link", "json", "binary", "damaged", "truncated"])
def test_a_bad_file_is_reported_and_the_others_are_read(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    (tmp_path / "a.json").write_bytes(as_file(event("a")))
    make(tmp_path)
    (tmp_path / "c.json").write_bytes(as_file(event("c")))
    done = in_process("scan", tmp_path, "--output", "ndjson")
    assert done.returncode == 1
    found = ids(done.stdout)
    assert (found[0], found[-1]) == ("a", "c")
    complaint, summary = done.stderr.splitlines()
    assert problem in complaint
    assert "1 with problems" in summary


def test_a_truncated_gzip_file_gives_all_that_can_be_read(tmp_path: Path) -> None:
    cut_short(tmp_path)
    path = str(tmp_path / "b.jsonl.gz")
    report = scan_file(path)
    readable = zlib.decompressobj(wbits=31).decompress(Path(path).read_bytes())
    assert report.records["documents"] == readable.count(b"\n") > 500
    assert [finding.event_id for finding in report.findings][::2] == [
        f"cut-{number}" for number in range(report.records["documents"])
    ]


def test_one_bad_line_costs_that_line_only(tmp_path: Path) -> None:
    lines = as_lines(*(event(str(number)) for number in range(50))).splitlines()
    lines[20] = lines[20][:-9]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    report = scan_file(str(path))
    assert len(report.findings) == 2 * 49
    assert report.problem == "parts that could not be read: 1 json"


def test_an_empty_file_holds_nothing_and_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    done = in_process("scan", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 records in 1 files, 0 findings\n")


def test_a_missing_path_is_one_line(tmp_path: Path) -> None:
    done = tokentrail("scan", "none\x1b[2J", cwd=tmp_path)
    line = "tokentrail: none\\x1b[2J: no such file or folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


# --- large files, in blocks ------------------------------------------------------------------------------------


def pieces(path: Path, block: int, piece: int) -> list[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_BYTES", block)
        patch.setattr(files, "PIECE_BYTES", piece)
        return list(blocks(str(path), FileResult("x")))


@given(
    lengths=st.lists(st.integers(0, 300), min_size=1),
    block=st.integers(1, 500),
    piece=st.integers(2, 500),
    compressed=st.booleans(),
)
def test_blocks_are_whole_lines_and_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int, piece: int, *, compressed: bool
) -> None:
    content = as_lines(*(event(str(number), padding="x" * length) for number, length in enumerate(lengths)))
    path = tmp_path_factory.getbasetemp() / "blocks"
    path.write_bytes(gzip.compress(content, 1) if compressed else content)
    given_out = pieces(path, block, piece)
    assert b"".join(given_out) == content
    assert all(each.endswith(b"\n") for each in given_out)


def test_one_document_is_kept_whole_whatever_its_size(tmp_path: Path) -> None:
    content = as_file(*(event(str(number)) for number in range(20)))
    path = tmp_path / "a.json"
    path.write_bytes(content)
    assert pieces(path, 100, 100) == [content]


def test_lines_longer_than_a_block_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_lines(*(event(str(number), padding="x" * 5_000 * (number % 3)) for number in range(9))))
    expected = [finding.finding_id for finding in scan_file(str(path)).findings]
    assert len(expected) == 18
    monkeypatch.setattr(files, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(files, "PIECE_BYTES", 700)
    report = scan_file(str(path))
    assert [finding.finding_id for finding in report.findings] == expected
    assert [finding.origin.index for finding in report.findings[::2]] == list(range(9))
    assert report.problem is None


def test_several_processes_give_the_same_findings_in_the_same_order(tmp_path: Path) -> None:
    quiet = as_lines(*[QUIET] * 1_200)
    for number in range(4):  # together beyond what one process does alone
        (tmp_path / f"{number}.jsonl").write_bytes(quiet + as_lines(event(f"{number}-a"), event(f"{number}-b")))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > files.SERIAL_BYTES
    outputs = [
        re.sub(
            r'"detected_at":"[^"]+"',
            '"detected_at":""',
            tokentrail("scan", tmp_path, *how, "--output", "ndjson").stdout,
        )
        for how in (["--processes", "1"], ["--processes", "2"])
    ]
    assert outputs[0] == outputs[1]
    assert ids(outputs[0]) == [f"{number}-{name}" for number in range(4) for name in "ab"]


# --- what is asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "code"), [("informational", 3), ("medium", 3), ("high", 3), ("critical", 0)])
def test_fail_on_exits_3_when_a_finding_is_that_severe(level: str, code: int) -> None:
    done = in_process("scan", "-", "--fail-on", level, stdin=as_lines(event("a")))
    assert done.returncode == code


def test_fail_on_wins_over_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_file(event("a")))
    (tmp_path / "b.json").write_bytes(b"{")
    assert in_process("scan", tmp_path, "--fail-on", "high").returncode == 3
    assert in_process("scan", tmp_path, "--fail-on", "critical").returncode == 1


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ([], ["old", "noon", "evening", "unknown"]),
        (["--since", "2024-06-01"], ["noon", "evening", "unknown"]),
        (["--since", "2024-06-01T12:00:00Z"], ["noon", "evening", "unknown"]),
        (["--since", "2024-06-01T14:00:01+02:00"], ["evening", "unknown"]),
        (["--until", "2024-06-01T12:00:00"], ["old", "unknown"]),
        (["--since", "2024-06-01", "--until", "2024-06-01T18:00Z"], ["noon", "unknown"]),
        (["--since", "90d"], ["unknown"]),
        (["--until", "5w"], ["old", "noon", "evening", "unknown"]),
    ],
)
def test_since_and_until_bound_the_time_of_events(bounds: list[str], found: list[str]) -> None:
    times = {
        "old": "2023-01-01T00:00:00Z",
        "noon": "2024-06-01T12:00:00Z",
        "evening": "2024-06-01T18:00:00Z",
        "unknown": "redacted",  # nothing says that it is out
    }
    stdin = as_lines(*(event(name, eventTime=time) for name, time in times.items()))
    done = in_process("scan", "-", *bounds, "--output", "ndjson", stdin=stdin)
    assert (done.returncode, ids(done.stdout)) == (0, found)


# --- what is printed -------------------------------------------------------------------------------------------

LONG = "arn:aws:iam::111122223333:user/" + "a-very-long-path/" * 15 + "user"


def test_away_from_a_terminal_nothing_is_cut_or_coloured() -> None:
    record = event("a" * 100, userIdentity={"type": "IAMUser", "arn": LONG, "userName": "user"})
    done = tokentrail("scan", "-", stdin=as_lines(record), extra={"COLUMNS": "40", "TERM": "xterm-256color"})
    head, *rows = done.stdout.splitlines()
    assert head.split()[:3] == ["time", "severity", "rule"]
    assert len(rows) == 2
    for row, rule in zip(rows, ("sts-federation-token-issued", "sts-federation-token-suspicious"), strict=True):
        assert {rule, LONG, "a" * 100} <= set(row.split())
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == "1 records in 1 files, 2 findings (1 high, 1 medium)\n"


def test_event_text_cannot_move_the_cursor_or_add_a_row() -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\u202eevil\u2066\nline\r[bold]:warning:"
    parameters = {**SUSPICIOUS["requestParameters"], "name": hostile}
    record = event(hostile, requestParameters=parameters, sourceIPAddress=hostile)
    done = tokentrail("scan", "-", stdin=as_lines(record))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\x1b[2J" in done.stdout
    assert "\\u202eevil\\u2066\\nline\\r[bold]:warning:" in done.stdout


def on_a_terminal(*arguments: str, columns: int = 200) -> tuple[int, str]:
    """Exit code and all that a terminal of that width was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment({"TERM": "xterm-256color", "NO_COLOR": "", "COLUMNS": ""}),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # how Linux tells that nobody writes any more
        pass
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_on_a_terminal_there_are_a_table_colours_and_a_progress_bar(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_bytes(as_file(event(name)))
    code, shown = on_a_terminal("scan", str(tmp_path))
    assert code == 0
    assert "scanning" in shown
    assert "\x1b[31mhigh" in shown
    assert "sts-federation-token-suspicious" in shown
    assert "2 records in 2 files, 4 findings (2 high, 2 medium)" in shown


def test_a_narrow_terminal_folds_values_and_loses_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_file(event("0123456789abcdef")))
    _, shown = on_a_terminal("scan", str(tmp_path), columns=70)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert max(len(line) for line in text.splitlines()) <= 70
    assert "…" not in text


# --- how it ends -----------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_file(event("a")))
    (tmp_path / "b.json").write_bytes(as_file(*(event(str(number)) for number in range(200))))
    with start("scan", str(tmp_path), "--output", "ndjson") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("{")
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""


def test_ctrl_c_ends_it_with_130_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_file(event("a")))
    with start("scan", str(tmp_path), "-", "--output", "ndjson", stdin=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("{")  # now it waits for standard input
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints.strip()) == (130, "")


def test_ctrl_c_ends_the_worker_processes_too(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_lines(event("a"), *[QUIET] * 4_000))
    (tmp_path / "b.jsonl").write_bytes(as_lines(*(event(str(number)) for number in range(8_000))))
    with start("scan", str(tmp_path), "--processes", "2", "--output", "ndjson") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("{")  # now the larger one is worked on
        os.killpg(process.pid, signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints.strip()) == (130, "")
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


# --- real data -------------------------------------------------------------------------------------------------


def test_the_public_records_give_the_findings_that_their_readme_names() -> None:
    if not CLOUDTRAIL.is_dir():
        pytest.skip("no ../shared/cloudtrail: other projects' data, which is not copied into this one")
    done = tokentrail("scan", CLOUDTRAIL, "--output", "ndjson")
    assert done.returncode == 0
    assert done.stderr == "3,399 records in 13 files, 2 findings (1 high, 1 medium)\n"
    findings = {found["rule_id"]: found for found in map(json.loads, done.stdout.splitlines())}
    assert findings.keys() == {"sts-federation-token-issued", "sts-federation-token-suspicious"}
    for found in findings.values():
        assert found["event_id"] == "6e882b9d-2af8-4c67-b91f-aeac6a0e5e70"
        assert (found["duration_seconds_requested"], found["duration_seconds_effective"]) == (None, 43_200)
    assert findings["sts-federation-token-suspicious"]["clauses"] == ["inline-policy-full-admin"]
