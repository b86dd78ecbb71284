"""Log lines: one form for structlog and `logging`, bounded, escaped, without secrets."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service import log
from service.escape import printable
from service.redaction import REDACTED

SECRET = "hunter2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def text_of(write: Callable[[Any], object], stream: io.StringIO | None = None) -> str:
    stream = stream or Terminal()
    log.configure("debug", "auto", stream)
    write(structlog.get_logger("tokentrail"))
    return stream.getvalue()


def json_of(write: Callable[[Any], object]) -> dict[str, Any]:
    line = text_of(write, io.StringIO())
    assert line.count("\n") == 1
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_auto_is_json_where_the_stream_is_no_terminal() -> None:
    entry = json_of(lambda logger: logger.info("joined", partitions=3))
    assert entry["event"] == "joined"
    assert entry["partitions"] == 3
    assert entry["level"] == "info"
    assert entry["logger"] == "tokentrail"


def test_auto_is_text_on_a_terminal() -> None:
    line = text_of(lambda logger: logger.warning("lag grows", topic="events", note="two words"))
    assert line.endswith(" warning lag grows note='two words' topic=events\n")


@pytest.mark.parametrize(("format_", "is_json"), [("json", True), ("text", False)])
def test_a_named_format_wins_over_the_terminal(format_: Any, is_json: bool) -> None:  # noqa: FBT001 -- a column
    for stream in (Terminal(), io.StringIO()):
        log.configure("info", format_, stream)
        structlog.get_logger().info("hello")
        assert stream.getvalue().startswith("{") is is_json


def test_the_stream_is_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    structlog.get_logger().info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


def test_times_are_rfc_3339_in_utc() -> None:
    before = datetime.now(tz=UTC)
    stamp = json_of(lambda logger: logger.info("now"))["timestamp"]
    assert stamp.endswith("Z")
    assert before <= datetime.fromisoformat(stamp) <= datetime.now(tz=UTC)


def test_keys_stand_in_one_order_whatever_the_call_gave_first() -> None:
    entry = json_of(lambda logger: logger.bind(zebra=1).info("hello", apple=2, mango=3))
    assert list(entry) == ["timestamp", "level", "logger", "event", "apple", "mango", "zebra"]


def test_levels_below_the_setting_are_silent() -> None:
    stream = io.StringIO()
    log.configure("warning", "json", stream)
    for logger in (structlog.get_logger(), logging.getLogger("confluent")):
        logger.info("quiet")
        logger.warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud", "loud"]


def test_the_standard_library_goes_through_the_same_renderer() -> None:
    def write(_: Any) -> None:
        logging.getLogger("confluent").error("broker %s down\x1b[31m", "b-1")

    entry = json_of(write)
    assert list(entry) == ["timestamp", "level", "logger", "event"]
    assert entry["logger"] == "confluent"
    assert text_of(write).endswith(" error broker b-1 down\\x1b[31m\n")


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    logger = structlog.get_logger()
    log.configure("info", "json", first)
    logger.info("one")
    log.configure("info", "json", second)
    logger.info("two")
    assert "two" not in first.getvalue()
    assert second.getvalue().count("\n") == 1


def test_other_handlers_of_the_root_logger_stay() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    log.configure("info", "json", io.StringIO())
    assert other in logging.getLogger().handlers


HOSTILE = [
    ("\x1b[2J\x1b]0;owned\x07", "\x1b"),
    ("line\nforged level=info", "\nforged"),
    ("abc\u202egpj.exe", "\u202e"),
    ("\u2066isolate", "\u2066"),
    ("nul\x00byte", "\x00"),
    ("c1\x9b31m", "\x9b"),
    ("sep\u2028arated", "\u2028"),
    ("lone \udc80 surrogate", "\udc80"),
]


@pytest.mark.parametrize(("text", "raw"), HOSTILE)
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_hostile_text_is_escaped_wherever_it_stands(text: str, raw: str, stream: type[io.StringIO]) -> None:
    written = text_of(lambda logger: logger.info(text, name=text, nested={"k": [text], text: 1}), stream())
    assert raw not in written
    assert written.count("\n") == 1


@given(st.text())
def test_printable_text_holds_nothing_that_moves_a_cursor(text: str) -> None:
    assert printable(text).isprintable()


def test_printable_text_is_left_as_it_is() -> None:
    assert printable("Zoë & 東京 🙂") == "Zoë & 東京 🙂"


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_long_values_are_cut_with_a_mark(stream: type[io.StringIO]) -> None:
    written = text_of(
        lambda logger: logger.info("e" * 9_999, value="v" * 9_999, few=["m" * 9_999] * 3, many=[1] * 9_999),
        stream(),
    )
    assert len(written) < 5_000
    assert written.count("[cut, 9999 characters]") == 5
    assert "[cut, 9999 items]" in written


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_value_of_many_parts_is_cut_as_a_whole(stream: type[io.StringIO]) -> None:
    part = ["p" * 9_999] * 99
    written = text_of(lambda logger: logger.info("nested", value={str(n): part for n in range(99)}), stream())
    assert len(written) < 2 * log.MAX_VALUE


def test_other_handlers_get_the_redacted_entry_too() -> None:
    seen: list[str] = []

    class Other(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    logging.getLogger().addHandler(Other())
    text_of(lambda logger: logger.info("login", password=SECRET))
    assert "login" in seen[0]
    assert SECRET not in seen[0]


def test_deep_and_odd_values_do_no_harm() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    entry = json_of(
        lambda logger: logger.info("odd", deep=deep, huge=10**5_000, nan=float("nan"), raw=b"\x00", obj=SECRET)
    )
    assert "nested too deeply" in json.dumps(entry["deep"])
    assert "bits" in entry["huge"]
    assert entry["nan"] == "nan"


SECRET_KEYS = [
    "password",
    "sasl_password",
    "sasl.password",
    "sessionToken",
    "SessionToken",
    "session_token",
    "token",
    "client_secret",
    "secretAccessKey",
    "Authorization",
    "ssl.key.passphrase",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_values_under_secret_keys_are_redacted(key: str, stream: type[io.StringIO]) -> None:
    written = text_of(
        lambda logger: logger.info("login", **{key: SECRET}, nested=[{key: {"deeper": SECRET}}]), stream()
    )
    assert SECRET not in written
    assert REDACTED in written


@pytest.mark.parametrize("key", ["tokentrail_version", "rule_id", "events", "principal_access_key_id"])
def test_other_keys_are_not_redacted(key: str) -> None:
    assert json_of(lambda logger: logger.info("hello", **{key: "shown"}))[key] == "shown"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"sessionToken": "{SECRET}"}}',
        f'{{\\"sessionToken\\": \\"{SECRET}\\"}}',
        f"{{credentials={{sessionToken={SECRET}, expiration=x}}}}",
        f"sessionToken=[{SECRET}]",
        f"sessionToken={{{SECRET}",
        f'sessionToken = " {SECRET}',
        f"{{'SessionToken': '{SECRET}'}}",
    ],
)
def test_a_session_token_inside_a_text_is_redacted(text: str) -> None:
    entry = json_of(lambda logger: logger.info(text, quoted=text))
    assert SECRET not in json.dumps(entry)
    assert entry["event"] != REDACTED


def _refuse(text: str) -> None:
    raise ValueError(text)


def fail(logger: Any) -> None:
    try:
        _refuse("bad\x1b[31m record" + "x" * 99_999)
    except ValueError:
        logger.exception("batch failed", topic="events")


def test_a_traceback_stands_last_bounded_and_escaped() -> None:
    entry = json_of(fail)
    assert list(entry)[-1] == "exception"
    assert entry["exception"].startswith("Traceback")
    assert len(entry["exception"]) < 11_000

    first, *rest = text_of(fail).splitlines()
    assert first.endswith("error batch failed topic=events")
    assert any("ValueError: bad\\x1b[31m record" in line for line in rest)
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
