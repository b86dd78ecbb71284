"""Tables of an operator's TOML file -> structs, with the file and the line of whatever is wrong.

Knows no file's own keys: `tuning_file` and `context_file` do.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from service.errors import SettingsError
from service.escape import printable

_HEADER: Final = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"\s*(\"(?P<quoted>[^\"]+)\"|(?P<bare>[\w-]+))\s*=")
# Where msgspec, or a check of our own, names the field.
_FIELD: Final = (re.compile(r"`\$\.(\w+)"), re.compile(r"`([^`]+)`"), re.compile(r"^(\w+)"))

# A table's or a key's names from the top down; a table of an array has its number, from 0.
Place = tuple[str | int, ...]
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Tables:
    """One file's tables, and what is wrong in them. `what` is what messages call the file."""

    def __init__(self, path: Path, what: str) -> None:
        """Raises SettingsError where the file cannot be read or is no TOML."""
        try:
            text = path.read_text(encoding="utf-8")
            self.document = tomllib.loads(text)
        except OSError as error:
            raise SettingsError([f"{what}: {path}: {(error.strerror or 'cannot be read').lower()}"]) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError([f"{what}: {path}: {error}"]) from None
        self._path = path
        self._lines = _lines_of(text)
        self._problems: list[str] = []

    def problem(self, place: Place, what: str) -> None:
        line = next((self._lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self._lines), 1)
        name = ".".join(str(part) for part in place)
        self._problems.append(f"{self._path}:{line}: {printable(name)}: {printable(what)}")

    def flag(self, name: str) -> bool:
        value = self.document.pop(name, False)
        if not isinstance(value, bool):
            self.problem((name,), "has to be true or false")
        return value is True

    def named(self, name: str) -> Mapping[str, object]:
        """The tables `[name.x]`, by x."""
        tables = self.document.pop(name, {})
        if not isinstance(tables, Mapping):
            self.problem((name,), f"has to be tables: [{name}.…]")
            return {}
        return tables

    def array(self, name: str) -> list[object]:
        """The tables `[[name]]`."""
        tables = self.document.pop(name, [])
        if not isinstance(tables, list):
            self.problem((name,), f"has to be an array of tables: [[{name}]]")
            return []
        return tables

    def struct(self, place: Place, table: object, kind: type[Struct]) -> Struct | None:
        """None where the table does not fit, which is then among the problems."""
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            what = str(error)
            named = next((found[1] for pattern in _FIELD if (found := pattern.search(what))), "")
            fields = {field.name for field in msgspec.structs.fields(kind)}
            known = fields | set(table if isinstance(table, Mapping) else ())
            self.problem((*place, named) if named in known else place, what)
            return None

    def finish(self) -> None:
        """What nobody asked for is unknown. Raises SettingsError with a line for each thing that is wrong."""
        for name in self.document:
            self.problem((name,), "unknown key")
        if self._problems:
            raise SettingsError(self._problems)


def _lines_of(text: str) -> dict[Place, int]:
    """Where each table and key stands; the TOML reader does not say."""
    lines: dict[Place, int] = {}
    counts: dict[str, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = header["name"]
            if header["open"] == "[[":
                table = (name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            else:
                table = tuple(part.strip('" ') for part in re.findall(r'"[^"]*"|[^.]+', name))
            lines.setdefault(table, number)
            lines.setdefault(table[:1], number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, key["quoted"] or key["bare"]), number)
    return lines
