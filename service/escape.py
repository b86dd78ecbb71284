"""Text from outside made fit for a terminal or a log line. Pure, and knows nothing of who shows it."""

from typing import Final

MAX_TEXT: Final = 500


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Text for a terminal: cut at `limit` characters with a mark, and all that could move the cursor or
    reorder the line (control characters, escape sequences, bidi marks, lone surrogates) shown as an escape.
    """
    kept = escaped(text[:limit])
    return kept if len(text) <= limit else f"{kept}… [cut, {len(text)} characters]"


def escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
