"""How a log line looks, ours and that of libraries: bounded, escaped, without secrets."""

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service.escape import MAX_TEXT, printable
from service.redaction import REDACTED, masked

MAX_VALUE: Final = 10_000  # of a list or an object as JSON, and of a traceback
MAX_KEY: Final = 80
MAX_ITEMS: Final = 20
MAX_DEPTH: Final = 3

_SECRET_KEY: Final = re.compile(
    r"passw|passphrase|secret|credentials?$|authorization|private_?key|api_?key|token$", re.IGNORECASE
)
# Text that a reader cannot mistake for anything else stands without quotes.
_PLAIN: Final = re.compile(r"[\w.:/@+%-]+", re.ASCII)
_FIRST: Final = ("timestamp", "level", "logger", "event")


def configure(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["auto", "json", "text"],  # noqa: A002  the setting's own name
    stream: TextIO | None = None,
) -> None:
    """Send structlog and the root logger to `stream` (standard error by default), one line an entry.

    `auto` is text on a terminal, JSON elsewhere. A second call replaces the first.
    """
    stream = stream or sys.stderr
    as_text = format == "text" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _bound_and_redact,  # here, not in the formatter: no other handler shall see what ours would hide
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _in_order,
            _render_text if as_text else structlog.processors.JSONRenderer(),
        ],
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a second `configure` reaches loggers made before it
    )
    _replace_root_handler(formatter, level, stream)


def _replace_root_handler(formatter: logging.Formatter, level: str, stream: TextIO) -> None:
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(old)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _bound_and_redact(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    own = {key: entry.pop(key) for key in ("_record", "_from_structlog") if key in entry}
    exception = entry.pop("exception", None)
    safe = {key: _cut_whole(value) for key, value in _safe_items(entry, depth=0).items()}
    if exception is not None:
        safe["exception"] = _safe_text(str(exception), MAX_VALUE)
    return {**safe, **own}


def _cut_whole(value: object) -> object:
    if isinstance(value, str) or len(as_json := json.dumps(value)) <= MAX_VALUE:
        return value
    return f"{as_json[:MAX_VALUE]}… [cut, {len(as_json)} characters]"


def _safe_items(items: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """`items` cut to `MAX_ITEMS`, with printable keys, the values under secret keys replaced."""
    safe: dict[str, Any] = {}
    for key, value in list(items.items())[:MAX_ITEMS]:
        name = printable(str(key), MAX_KEY)
        safe[name] = REDACTED if _SECRET_KEY.search(name) else _safe_value(value, depth)
    if len(items) > MAX_ITEMS:
        safe["…"] = f"[cut, {len(items)} items]"
    return safe


def _safe_value(value: object, depth: int) -> object:
    """The value as JSON knows it: text, number, boolean, null, list or object, all of them bounded."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value.bit_length() <= 64:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        return _safe_items(value, depth + 1)
    if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
        kept = [_safe_value(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        return kept if len(value) <= MAX_ITEMS else [*kept, f"… [cut, {len(value)} items]"]
    return _safe_text(_as_text(value), MAX_TEXT)


def _as_text(value: object) -> str:
    if isinstance(value, int):
        return f"[a number of {value.bit_length()} bits]"  # Python refuses to print one of 4,300 digits
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"[{len(value)} items, nested too deeply]"  # its text could hold what a key would redact
    return str(value)


def _safe_text(text: str, limit: int) -> str:
    kept = text if len(text) <= limit else f"{text[:limit]}… [cut, {len(text)} characters]"
    return masked(kept)  # a library's message may quote an event


def _in_order(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Time, level, logger and event first, the rest by name, a traceback last."""
    last = ("exception",)
    rest = sorted(key for key in entry if key not in _FIRST + last)
    return {key: entry[key] for key in (*_FIRST, *rest, *last) if key in entry}


def _render_text(_logger: WrappedLogger, _method: str, entry: EventDict) -> str:
    head = " ".join(_on_one_line(entry.get(key)) for key in ("timestamp", "level", "event"))
    pairs = [f"{key}={_quoted(value)}" for key, value in entry.items() if key not in (*_FIRST, "exception")]
    lines = str(entry.get("exception", "")).splitlines()
    return "\n    ".join([" ".join([head, *pairs]), *(_on_one_line(line) for line in lines)])


def _on_one_line(value: object) -> str:
    return printable(str(value), 2 * MAX_VALUE)  # bounded before: here only escaped


def _quoted(value: object) -> str:
    if isinstance(value, str):
        # `repr` quotes, and escapes exactly what `str.isprintable` rules out.
        return value if _PLAIN.fullmatch(value) else repr(value)
    return json.dumps(value)  # ASCII only, so nothing is left to escape
