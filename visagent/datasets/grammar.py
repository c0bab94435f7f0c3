"""A small recursive grammar for wordings: hand-written templates with slots, kept as text files beside this module.

```
# a comment
[spoof.q]                    a section: one alternative per line, all equally likely
3* is {face} (real|live)     three times as likely; `(a|b|)` is an inline choice, possibly empty; may be nested
{@q}                         a slot of the intent that is being sampled: `spoof.verdict.q` for intent spoof.verdict
a {animal} and two {animal:s}   `:s` makes the last word of the filling plural
\\( \\) \\{ \\|                  these signs themselves
[words: animal]              a word list: items separated by commas or line ends
```
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from random import Random
from typing import Final

_SECTION = re.compile(r"^\[(words: *)?([A-Za-z0-9_.]+)\]$")
_WEIGHT = re.compile(r"^(\d+)\* ")
_DEEPEST = 40
_IRREGULAR: Final = {"man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice",
                     "foot": "feet", "tooth": "teeth", "goose": "geese", "leaf": "leaves", "knife": "knives",
                     "shelf": "shelves", "wolf": "wolves", "scarf": "scarves", "loaf": "loaves", "sheep": "sheep",
                     "fish": "fish", "deer": "deer", "fireman": "firemen", "policeman": "policemen"}


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    plural: bool


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple[tuple[_Part, ...], ...]


_Part = str | _Slot | _Choice


@dataclass(slots=True)
class _Section:
    options: list[tuple[_Part, ...]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)


class Grammar:
    """Templates and their slots.

    Args:
        texts: The grammar files' contents.

    Raises:
        ValueError: If a line is malformed, a slot names no section, or two sections have one name.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._sections: dict[str, _Section] = {}
        for text in texts:
            self._read(text)
        self._check()

    @classmethod
    def load(cls) -> Grammar:
        """The grammar shipped in `wordings/`."""
        folder = files("visagent.datasets") / "wordings"
        entries = sorted((e for e in folder.iterdir() if e.name.endswith(".txt")), key=lambda e: e.name)
        return cls(e.read_text(encoding="utf-8") for e in entries)

    def __contains__(self, name: object) -> bool:
        return name in self._sections

    def names(self) -> tuple[str, ...]:
        """Every section."""
        return tuple(self._sections)

    def expand(self, name: str, rng: Random, *, intent: str = "", bound: Mapping[str, str] | None = None) -> str:
        """One filling of a section.

        Args:
            name: Section; a leading `@` is replaced by `intent.`.
            rng: Source of all choices.
            intent: What `@` stands for.
            bound: Fillings that replace whole sections, by section name.

        Raises:
            KeyError: If there is no such section.
        """
        return re.sub(r" {2,}", " ", self._slot(_Slot(name, False), rng, intent, bound or {}, 0)).strip()

    def _slot(self, slot: _Slot, rng: Random, intent: str, bound: Mapping[str, str], depth: int) -> str:
        name = f"{intent}.{slot.name[1:]}" if slot.name.startswith("@") else slot.name
        if depth > _DEEPEST:
            raise RecursionError(f"section {name!r} of the grammar never ends")
        if name in bound:
            return bound[name]
        section = self._sections[name]
        parts = rng.choices(section.options, section.weights)[0]
        text = self._fill(parts, rng, intent, bound, depth + 1)
        return plural(text) if slot.plural else text

    def _fill(self, parts: tuple[_Part, ...], rng: Random, intent: str, bound: Mapping[str, str], depth: int) -> str:
        words: list[str] = []
        for part in parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, _Slot):
                words.append(self._slot(part, rng, intent, bound, depth))
            else:
                words.append(self._fill(rng.choice(part.options), rng, intent, bound, depth))
        return "".join(words)

    def _read(self, text: str) -> None:
        section: _Section | None = None
        is_list = False
        for raw in text.splitlines():
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if header := _SECTION.match(line):
                if header[2] in self._sections:
                    raise ValueError(f"section {header[2]!r} is written twice")
                section, is_list = self._sections.setdefault(header[2], _Section()), bool(header[1])
                continue
            if section is None:
                raise ValueError(f"a line before the first section: {line!r}")
            if is_list:
                for word in filter(None, (w.strip() for w in line.split(","))):
                    section.options.append((word,))
                    section.weights.append(1)
                continue
            weight = _WEIGHT.match(line)
            section.options.append(_parse(line[weight.end():] if weight else line))
            section.weights.append(int(weight[1]) if weight else 1)

    def _check(self) -> None:
        for name, section in self._sections.items():
            if not section.options:
                raise ValueError(f"section {name!r} is empty")
            for slot in _slots(section.options):
                if not slot.startswith("@") and slot not in self._sections:
                    raise ValueError(f"section {name!r} names the unknown slot {slot!r}")


def plural(text: str) -> str:
    """The plural of a noun phrase, made on its last word."""
    head, _, last = text.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def _slots(options: Iterable[tuple[_Part, ...]]) -> Iterable[str]:
    for parts in options:
        for part in parts:
            if isinstance(part, _Slot):
                yield part.name
            elif isinstance(part, _Choice):
                yield from _slots(part.options)


def _parse(line: str) -> tuple[_Part, ...]:
    parts, end = _sequence(line, 0, nested=False)
    if end != len(line):
        raise ValueError(f"unbalanced parentheses: {line!r}")
    return parts


def _sequence(line: str, at: int, *, nested: bool) -> tuple[tuple[_Part, ...], int]:
    parts: list[_Part] = []
    text = ""
    while at < len(line):
        char = line[at]
        if char == "\\" and at + 1 < len(line):
            text, at = text + line[at + 1], at + 2
            continue
        if nested and char in "|)":
            break
        if char == "{":
            close = line.index("}", at)
            name, _, modifier = line[at + 1:close].partition(":")
            parts += [text, _Slot(name, modifier == "s")] if text else [_Slot(name, modifier == "s")]
            text, at = "", close + 1
        elif char == "(":
            choice, at = _choice(line, at)
            parts += [text, choice] if text else [choice]
            text = ""
        else:
            if char in "})":
                raise ValueError(f"unbalanced brackets: {line!r}")
            text, at = text + char, at + 1
    return tuple([*parts, text] if text else parts), at


def _choice(line: str, at: int) -> tuple[_Choice, int]:
    options: list[tuple[_Part, ...]] = []
    while True:
        parts, at = _sequence(line, at + 1, nested=True)
        options.append(parts)
        if at >= len(line):
            raise ValueError(f"unbalanced parentheses: {line!r}")
        if line[at] == ")":
            return _Choice(tuple(options)), at + 1
