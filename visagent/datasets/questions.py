"""Questions as people type them, made from hand-written templates: `sample_question(intent, rng)`.

Every intent is worded as questions, as indirect questions, as commands and as bare keywords, inside the same polite,
chatty and terse wrappers (`wordings/common.txt`), so that only the words about the matter itself give an intent away.
Beside the templates stand whole utterances in many voices (`wordings/*_more.txt`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Final

from visagent.datasets.grammar import Grammar

TOOL_OF: Final[Mapping[str, str]] = {
    "spoof.verdict": "spoof", "spoof.attack": "spoof", "spoof.reasons": "spoof", "spoof.where": "spoof",
    "spoof.full": "spoof",
    "expression.open": "expression", "expression.closed": "expression", "expression.yes_no": "expression",
    "verify": "verify",
    "faces.count": "faces", "faces.where": "faces", "faces.quality": "faces",
    "identify": "identify",
}
"""The tool that answers each intent about a face."""

OFF_TOPIC: Final = ("none.general", "none.nearmiss", "none.scene", "none.smalltalk", "none.inject", "none.foreign",
                    "none.gibberish")
"""Intents that are answered by saying what visagent does."""

NOT_OFFERED_INTENTS: Final = ("not_offered.identity", "not_offered.age", "not_offered.gender", "not_offered.beauty",
                              "not_offered.edit", "not_offered.character")
"""Intents about faces that no tool answers."""

INTENTS: Final = (*TOOL_OF, *OFF_TOPIC, "capabilities", *NOT_OFFERED_INTENTS)
"""Every intent of `sample_question`."""

_GRAMMAR: Final = Grammar.load()
_PICTURE_SECTION = "photo"
_TRIES = 12
_ENDS = re.compile(r"[.!?:)(,;*/-]$")
_WHOLE_SHARE: Final = 0.45
"""Share of whole utterances (`[intent.more]`) among the questions of an intent that has them."""
_SAID_AS_IS = ("none.foreign", "none.gibberish", "none.inject")


def sample_question(intent: str, rng: Random, *, photo: str | None = None, both: str | None = None) -> str:
    """One question.

    Args:
        intent: One of `INTENTS`.
        rng: Source of all choices.
        photo: How the question names its picture ("the second photo", "image_2"); None leaves it to chance. The
            name always appears in the question.
        both: For `verify`: how the question names its two pictures ("image 1 and image 3").

    Raises:
        KeyError: If there is no such intent.
    """
    bound = {}
    if photo is not None:
        bound[_PICTURE_SECTION] = photo
    if both is not None:
        bound["both"] = both
    wanted = [name.lower() for name in bound.values()]
    text = ""
    for _ in range(_TRIES):
        text = _written(intent, rng, bound)
        if all(name in text.lower() for name in wanted):
            return text
    for name in bound.values():
        text = _naming(text, name, rng)
    return text


def sample_follow_up(kind: str, rng: Random, *, photo: str | None = None) -> str:
    """One short question that only makes sense after an answer.

    Args:
        kind: `other` (the same about another picture, needs `photo`), `new` (the same about a picture just added),
            `here` (the picture that was asked for), `sure`, `why`, `where`; or another matter about the same picture:
            `to_spoof`, `to_expression`, `to_faces`, `to_verify_both` (of two pictures), and `to_verify`, whose `photo`
            is the picture to compare with; or `stop`, which needs no tool.
        rng: Source of all choices.
        photo: How the question names the picture.
    """
    bound = {} if photo is None else {_PICTURE_SECTION: photo}
    return polish(_GRAMMAR.expand(f"follow.{kind}", rng, bound=bound))


def fill(section: str, rng: Random, bound: Mapping[str, str] | None = None) -> str:
    """One filling of any section of the wordings, unpolished. Raises KeyError."""
    return _GRAMMAR.expand(section, rng, bound=bound)


def join_questions(first: str, second: str, rng: Random) -> str:
    """Two questions in one breath ("Is it live? And what does she feel?")."""
    head = first.rstrip(" .?!:,-")
    tail = second[0].lower() + second[1:] if not second.startswith(("I ", "I'")) else second
    joint = rng.choice([" and ", ", and ", ", ", " + ", " & ", " and also ", ", and also ", " and then ", "; "])
    if rng.random() < 0.4:
        start = rng.choice(["", "", "and ", "also, ", "and also ", "then ", "second: ", "oh, and "])
        return polish(f"{first} {start}{tail if start else second}")
    return polish(head + joint + tail)


def polish(text: str) -> str:
    """Sentence case, "a" or "an", single spaces, no doubled end marks."""
    text = re.sub(r" {2,}", " ", text).strip()
    text = re.sub(r" +([,.?!;])", r"\1", text)
    text = re.sub(r"([.?!,:])\1?(?<!\.\.)([?!.]) ?(?=$| )", lambda m: m[2] if m[1] in ",:" else m[1], text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU](?!ni|se|ro|K\b))", r"\1n ", text)
    text = re.sub(r"(?<=[.?!] )([a-z])(?=[a-z' ])", lambda m: m[1].upper(), text)
    return text[:1].upper() + text[1:]


def _written(intent: str, rng: Random, bound: Mapping[str, str]) -> str:
    whole = f"{intent}.more"
    if whole in _GRAMMAR and rng.random() < _WHOLE_SHARE:
        return polish(_GRAMMAR.expand(whole, rng, intent=intent, bound=bound))
    said = f"{intent}.say"
    if said in _GRAMMAR:
        text = _GRAMMAR.expand(said, rng, intent=intent, bound=bound)
        return text if intent in _SAID_AS_IS else polish(text)
    return polish(_GRAMMAR.expand("ask", rng, intent=intent, bound=bound))


def _naming(text: str, name: str, rng: Random) -> str:
    """The same question with the picture named before or after it."""
    lowered = text[:1].lower() + text[1:] if not text.startswith(("I ", "I'")) else text
    bare = text.rstrip(" .?!")
    mark = text[len(bare):].strip()[:1] or rng.choice(["", "", "?"])
    return polish(rng.choice([
        f"{name}: {lowered}", f"{name} - {lowered}", f"in {name}, {lowered}", f"for {name}: {lowered}",
        f"about {name}: {lowered}", f"{text} ({name})", f"{text} I mean {name}.", f"{text} It's about {name}.",
        f"look at {name}. {text}", f"{name}. {text}", f"{bare} - {name}{mark}", f"{bare}, {name}{mark}",
        f"take {name}: {lowered}", f"{text} In {name}.", f"regarding {name}, {lowered}", f"{text} {name} please",
    ]))
