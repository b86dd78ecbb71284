"""Where settings come from: flags, environment, files. Knows none by name; its lines never quote a value."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_core import ErrorDetails

from service.errors import SettingsError
from service.escape import printable

PREFIX: Final = "TOKENTRAIL_"
Name = tuple[str, ...]  # ("kafka", "group_id"); that of a librdkafka property has three parts


@dataclass(frozen=True)
class Layer:
    """What one source gives, nested as in the file; `where` says at which place in it a setting stands."""

    values: dict[str, Any]
    where: Callable[[Name], str]

    def problem(self, name: Name, message: str) -> str:
        return _line(name, message, self.where(name))


def _line(name: Name, message: str, where: str) -> str:
    return f"{printable('.'.join(name), 120)}: {message} (from {where})"


def variable(name: Name) -> str:
    """As in TOKENTRAIL_KAFKA__GROUP_ID."""
    return PREFIX + "__".join(name).upper()


def file_variant(secret: Name) -> Name:
    return (*secret[:-1], f"{secret[-1]}_file")


def is_property_table(name: Name) -> bool:
    return name[-1].endswith("properties")


# --- the environment -------------------------------------------------------------------------------------------


def from_environment(environ: Mapping[str, str], names: Iterable[Name], problems: list[str]) -> Layer:
    known = {variable(name): name for name in names}
    ours = {key: text for key, text in sorted(environ.items()) if key.upper().startswith(PREFIX)}
    problems.extend(_unread({key: text for key, text in ours.items() if key not in known}, known))
    source = Layer({}, lambda name: f"environment {variable(name[:2])}")
    for name, text in ((known[key], text) for key, text in ours.items() if key in known):
        table = source.values.setdefault(name[0], {}) if len(name) > 1 else source.values
        try:
            table[name[-1]] = _json_object(text) if is_property_table(name) else text
        except ValueError as error:
            problems.append(source.problem(name, str(error)))
    return source


_SERVICE_LINK: Final = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)|PORT")


def _unread(unknown: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """A line for each variable that nobody reads; one for all that Kubernetes adds."""

    def is_service_link(key: str) -> bool:
        in_url_form = key.endswith("_PORT") and "://" in unknown[key]
        return in_url_form or _SERVICE_LINK.fullmatch(key.removeprefix(PREFIX)) is not None

    if links := [key for key in unknown if is_service_link(key)]:
        yield (
            f"{printable(', '.join(links))}: no settings; Kubernetes adds such variables for a Service named "
            "tokentrail: set enableServiceLinks: false in the pod (from the environment)"
        )
    for key in (key for key in unknown if key not in links):
        yield f"{printable(key, 80)}: no such setting{_hint(key.upper(), known)} (from the environment)"


def _hint(wrong: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(wrong[:80], known, n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""


def _json_object(text: str) -> dict[str, Any]:
    expected = 'expected a JSON object such as {"linger.ms": 5}'
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise ValueError(f"is not JSON: {error.msg} at {at}; {expected}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
        raise ValueError(f"is not JSON that can be read; {expected}") from None
    if isinstance(value, dict):
        return value
    raise ValueError(expected)


# --- files -----------------------------------------------------------------------------------------------------


def named_file(key: str, sources: Sequence[Layer], cwd: Path) -> tuple[Path, bytes] | None:
    """Path, as given, and content of the file that the first source with `key` names.

    The last source holds the default, which may be absent. Raises SettingsError.
    """
    source = next(source for source in sources if key in source.values)
    given = source.values[key]
    if not isinstance(given, str | Path):
        return None  # the model says what it must be
    try:
        return Path(given), (cwd / given).read_bytes()
    except (OSError, ValueError) as error:
        if source is sources[-1] and isinstance(error, FileNotFoundError):
            return None
        problem = f"{printable(str(given))} cannot be read: {_why(error)}"
        raise SettingsError([source.problem((key,), problem)]) from None


def _why(error: OSError | ValueError) -> str:
    """Without the path: that of a secret's file may be the secret itself, given by mistake."""
    return (error.strerror if isinstance(error, OSError) else None) or "not a path"


def from_file(path: Path, content: bytes) -> Layer:
    """Raises SettingsError for a file that is not TOML, or names a configuration file."""
    shown = f"file {printable(str(path))}"
    try:
        text = content.decode("utf-8-sig")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"config: {shown}, line {line}: is not UTF-8 text"]) from None
    except RecursionError:
        raise SettingsError([f"config: {shown} is nested too deeply"]) from None
    except ValueError as error:
        raise SettingsError([f"config: {shown} is not TOML: {printable(str(error))}"]) from None
    lines = _lines(text)

    def where(name: Name) -> str:
        outwards = (".".join(name[:length]) for length in range(len(name), 0, -1))
        line = next((lines[key] for key in outwards if key in lines), None)
        return shown if line is None else f"{shown}, line {line}"

    source = Layer(values, where)
    if "config" in values:
        raise SettingsError([source.problem(("config",), "a file cannot name itself: remove it")])
    return source


def _lines(text: str) -> dict[str, int]:
    """Dotted name -> number of the line that sets it. `tomllib` gives no places, so it reads line by line."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        is_header = line.lstrip().startswith("[")
        try:
            parsed = tomllib.loads(line if is_header else f"{line.partition('=')[0]} = 0")
        except (ValueError, RecursionError):
            continue  # a comment, or the inside of a value of several lines
        name = ".".join(next((path for path, _ in _leaves(parsed)), ()))
        table = name if is_header else table
        found.setdefault(name if is_header or not table else f"{table}.{name}", number)
    return found


def _leaves(table: dict[str, Any]) -> Iterator[tuple[Name, Any]]:
    """Path and value of all that is not a table, or is an empty one. No recursion: a file nests at will."""
    todo: list[tuple[Name, Any]] = [((key,), value) for key, value in reversed(table.items())]
    while todo:
        path, value = todo.pop()
        if isinstance(value, dict) and value:
            todo.extend(((*path, key), inner) for key, inner in reversed(value.items()))
        else:
            yield path, value


# --- what merging the sources would hide ---------------------------------------------------------------------


def tidy(source: Layer, names: Iterable[Name], problems: list[str]) -> None:
    """Refuse sections that are no tables; flatten librdkafka's dotted names where TOML made tables of them."""
    in_sections = [name for name in names if len(name) == 2]
    for section in sorted({name[0] for name in in_sections} & source.values.keys()):
        if not isinstance(source.values[section], dict):
            problems.append(source.problem((section,), "must be a table"))
            del source.values[section]
    for section, key in filter(is_property_table, in_sections):
        table = source.values.get(section, {})
        if isinstance(table.get(key), dict):
            table[key] = {".".join(path): value for path, value in _leaves(table[key])}


def read_secrets(source: Layer, secrets: Iterable[Name], cwd: Path, problems: list[str]) -> None:
    """Give each secret the content of the file that its `_file` variant names."""
    for secret in secrets:
        table, file = source.values.get(secret[0], {}), file_variant(secret)
        if file[-1] not in table:
            continue
        given = table.pop(file[-1])
        if secret[-1] in table:
            problems.append(source.problem(file, f"{'.'.join(secret)} is given too: keep one of the two"))
            continue
        try:
            table[secret[-1]] = _secret_in(given, cwd)
        except ValueError as error:
            problems.append(source.problem(file, str(error)))


def _secret_in(file: Any, cwd: Path) -> str:
    """Raises ValueError that says what is wrong, not with which path: that may be the secret, by mistake."""
    try:
        text = Path(cwd, file).read_bytes().decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    except TypeError:
        raise ValueError("must be a path, in quotes") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the file cannot be read: {_why(error)}") from None
    if not text:
        raise ValueError("the file is empty")
    return text


# --- what pydantic refuses, in an operator's words -----------------------------------------------------------

_MUST: Final = {  # by the first word of the error's type
    "bool": "must be true or false",
    "dict": "must be a table",
    "greater": "must be at least {ge}",
    "int": "must be a whole number",
    "less": "must be at most {le}",
    "path": "must be a path, in quotes",
    "string": "must be text, in quotes",
    "value": "{error}",
}


def explain(detail: ErrorDetails, sources: Sequence[Layer], names: Iterable[Name]) -> str:
    """One line: the setting, what it must be, where it was given."""
    name = tuple(str(part) for part in detail["loc"] if part != "[key]")
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        message = f"no such setting{_hint('.'.join(name), {'.'.join(known[: len(name)]) for known in names})}"
    elif detail["type"] == "literal_error":
        message = "must be one of " + context["expected"].replace(" or ", ", ").replace("'", "")
    else:
        message = _MUST.get(detail["type"].partition("_")[0], "is not valid").format(**context)
    return _line(name, message, ", ".join(_places(name, sources)))


def _places(name: Name, sources: Sequence[Layer]) -> list[str]:
    """Where `name` was given, or for a section (topics that must differ) each value in it; three at most."""
    winners = {path: source for source in reversed(sources) for path, _ in _leaves(source.values)}
    return [source.where(path) for path, source in winners.items() if path[: len(name)] == name][:3]
