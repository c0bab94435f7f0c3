"""Free words for an expression, mapped to one of the eight classes.

A vision-language model that answers in its own words does not keep to the class names. The method (Castrillon-Santana
et al., "An Evaluation of a Visual Question Answering Strategy for Zero-shot Facial Expression Recognition in Still
Images", 2025) maps its answer with a fixed table of synonyms. The paper's own entries could not be had, so these are
visagent's. The table is frozen: a change raises `VERSION`, and is never made on test data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

VERSION: Final = 1

LABELS: Final = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The eight classes, in the order of FER+'s votes."""

SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "neutral": ("calm", "serious", "blank", "expressionless", "relaxed", "normal", "indifferent", "emotionless",
                "stoic", "focused", "thoughtful", "composed", "neutrality", "impassive"),
    "happiness": ("happy", "joyful", "joy", "smiling", "smile", "laughing", "laugh", "laughter", "cheerful",
                  "delighted", "delight", "pleased", "content", "amused", "amusement", "excited", "excitement",
                  "grinning", "grin"),
    "surprise": ("surprised", "shocked", "shock", "astonished", "astonishment", "amazed", "amazement", "startled",
                 "stunned", "awe", "wide-eyed"),
    "sadness": ("sad", "unhappy", "unhappiness", "sorrowful", "sorrow", "crying", "depressed", "gloomy", "melancholic",
                "melancholy", "tearful", "grieving", "grief", "dejected", "disappointed", "disappointment"),
    "anger": ("angry", "mad", "furious", "fury", "rage", "enraged", "irate", "annoyed", "annoyance", "irritated",
              "frustrated", "frustration", "aggressive", "hostile", "outraged", "scowling", "scowl", "glaring"),
    "disgust": ("disgusted", "revolted", "revulsion", "repulsed", "grossed", "nauseated", "distaste", "aversion",
                "sickened"),
    "fear": ("fearful", "afraid", "scared", "terrified", "terror", "frightened", "horrified", "horror", "panicked",
             "panic", "anxious", "anxiety", "alarmed", "nervous"),
    "contempt": ("contemptuous", "scornful", "scorn", "disdainful", "disdain", "smug", "smirk", "smirking", "sneer",
                 "sneering", "mocking"),
})
"""Class -> the words that mean it, beside its own name."""

AMBIGUOUS: Final[Mapping[str, str]] = MappingProxyType({
    "stern": "anger", "grimace": "disgust", "worried": "fear", "concerned": "fear", "upset": "sadness",
    "confused": "surprise"})
"""Words that may mean several classes, with the likeliest; mapped only on request, so that results can be given with
and without them."""

_CLEAR: Final = {word: label for label, words in SYNONYMS.items() for word in (label, *words)}
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.IGNORECASE | re.DOTALL)
_CLAUSE = re.compile(r"[,;.!?()]+|\b(?:but|rather|instead|yet)\b")
_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)*(?:'[a-z]+)?")
_NEGATIONS = frozenset({"not", "no", "never", "neither", "nor", "without", "cannot", "hardly"})
_REACH = 3
"""Words before a synonym in which a negation still speaks of it ("not a very happy face")."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer was mapped to.

    Attributes:
        label: One of `LABELS`, or None if the answer names no expression.
        multi: Whether it names several classes; `label` is then the first.
    """

    label: str | None
    multi: bool = False


def map_answer(text: str) -> str | None:
    """The class that a free-text answer names, one of `LABELS`; None if it names none."""
    return read_answer(text).label


def read_answer(text: str, *, with_ambiguous: bool = False) -> Reading:
    """Map a free-text answer.

    Args:
        text: The model's words.
        with_ambiguous: Also map the words of `AMBIGUOUS`.
    """
    table = _CLEAR | dict(AMBIGUOUS) if with_ambiguous else _CLEAR
    line = _answer_line(text)
    for part in dict.fromkeys((line.rsplit(":", 1)[-1], line)):
        found = list(dict.fromkeys(_labels(part, table)))
        if found:
            return Reading(found[0], len(found) > 1)
    return Reading(None)


def _answer_line(text: str) -> str:
    """The line with the answer, in lower case and without markup; "Answer:" alone is not it."""
    tag = _ANSWER_TAG.search(text)
    plain = re.sub(r"[*#`_~\"]+|<[^<>]*>", " ", tag[1] if tag else text).replace("\u2019", "'").lower()
    plain = re.sub(r"\bwide eyed\b", "wide-eyed", plain)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith(":")), "")


def _labels(text: str, table: Mapping[str, str]) -> Iterator[str]:
    for clause in _CLAUSE.split(text):
        tokens = _TOKEN.findall(clause)
        for index, token in enumerate(tokens):
            label = next((table[form] for form in _forms(token) if form in table), None)
            before = tokens[max(0, index - _REACH):index]
            if label and not any(word in _NEGATIONS or word.endswith("n't") for word in before):
                yield label


def _forms(token: str) -> Iterator[str]:
    """The token, and what it may be an inflection of ("smiles", "smiled", "grinned" -> "smile", "grin")."""
    yield token
    for ending in ("s", "es", "d", "ed", "ing"):
        stem = token.removesuffix(ending)
        if stem != token and len(stem) > 2:
            yield stem
            if ending == "ing":
                yield stem + "e"
            if ending in ("ed", "ing") and stem[-1] == stem[-2]:
                yield stem[:-1]
