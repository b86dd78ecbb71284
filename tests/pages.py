"""An HTML page as a browser would take it apart: its elements, whether they are balanced, what it would load."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "meta"}
APART = {
    "dd",
    "div",
    "dt",
    "h1",
    "h2",
    "h3",
    "h4",
    "li",
    "p",
    "span",
    "summary",
    "td",
    "th",
}  # from what is before
# Attributes that make a browser fetch, send or run something. A link is followed by a person, if at all.
LOADING = {"src", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href", "ping", "style"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str]
    _pieces: list[str]  # of the whole page's text
    _start: int
    end: int | None = None

    @property
    def text(self) -> str:
        return "".join(self._pieces[self._start : self.end])


@dataclass
class Page(HTMLParser):
    """Raises AssertionError for a page whose elements do not close in the order that they were opened."""

    html: str
    elements: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)
        self.close()
        assert not self._open, f"not closed: {[element.name for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        if tag in APART:
            self._pieces.append(" ")
        attributes = {name: value or "" for name, value in attrs}
        element = Element(tag, attributes, self._pieces, len(self._pieces))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        element = self._open.pop()
        assert element.name == tag, f"</{tag}> closes <{element.name}>"
        element.end = len(self._pieces)

    def handle_data(self, data: str) -> None:
        self._pieces.append(data)

    def all(self, name: str, **attributes: str) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.name == name and attributes.items() <= element.attributes.items()
        ]

    def one(self, name: str, **attributes: str) -> Element:
        (element,) = self.all(name, **attributes)
        return element

    @property
    def text(self) -> str:
        return " ".join(self.one("body").text.split())

    def section(self, name: str) -> str:
        return " ".join(self.one("section", id=name).text.split())

    def active_parts(self) -> list[str]:
        """What would run or load; a page that is only read has none."""
        elements = {"script", "iframe", "object", "embed", "img", "link", "base", "form", "input", "use", "image"}
        found = [f"<{element.name}>" for element in self.elements if element.name in elements]
        for element in self.elements:
            for name, value in element.attributes.items():
                if name.startswith("on") or name in LOADING or re.match(r"\s*(javascript|data|vbscript):", value):
                    found.append(f"{element.name} {name}={value}")
        return found
