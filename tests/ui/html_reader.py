"""A page read with a parser of HTML, as a browser would: what matters is which elements come out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"image", "rect", "circle", "img", "br", "hr", "meta", "link", "input"}


@dataclass
class Element:
    """An element of a page that was read: its tag, attributes, and all text inside."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """Every element of this tag inside, in the order of the page."""
        return [found for child in self.children for found in ([child] if child.tag == tag else []) + child.all(tag)]

    def walk(self) -> Iterator[Element]:
        """Every element inside."""
        for child in self.children:
            yield child
            yield from child.walk()


class Reader(HTMLParser):
    """Reads a page into elements, and insists that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), "an attribute stands twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction")


def read(html: str) -> Element:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader._open == [reader.root]
    return reader.root


def skeleton(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """Which elements a page has, and which attributes each."""
    return [(element.tag, tuple(element.attributes)) for element in read(html).walk()]
