"""Typing as it really is: slips of the keyboard, phonetic spelling, chat-speak, missing marks and capitals.

`type_noisily` is applied to questions of every kind alike, so that sloppiness tells nothing about the matter. Words
that hold a digit are never altered ("image_2", "2nd"): they decide which picture is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import pairwise
from random import Random
from typing import Final

_NEIGHBOURS: Final[Mapping[str, str]] = {
    "q": "wa", "w": "qeas", "e": "wrsd", "r": "etdf", "t": "ryfg", "y": "tugh", "u": "yihj", "i": "uojk", "o": "ipkl",
    "p": "ol", "a": "qwsz", "s": "awedxz", "d": "serfcx", "f": "drtgvc", "g": "ftyhbv", "h": "gyujnb", "j": "huikmn",
    "k": "jiolm", "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}

CHAT: Final[Mapping[str, tuple[str, ...]]] = {
    "you": ("u", "ya"), "your": ("ur",), "you're": ("ur", "youre"), "are": ("r",), "please": ("pls", "plz", "plss"),
    "thanks": ("thx", "tnx"), "thank you": ("ty", "thank u"), "picture": ("pic", "pix", "pict"),
    "pictures": ("pics",), "photo": ("foto", "pic", "fotto"), "photos": ("fotos", "pics"), "image": ("img", "pic"),
    "images": ("imgs", "pics"), "people": ("ppl", "peeps"), "because": ("cuz", "bc", "cos"),
    "what": ("wat", "wut", "wot"), "and": ("n", "&"), "with": ("w/", "wiv"), "between": ("btwn",),
    "want to": ("wanna",), "going to": ("gonna",), "have to": ("hafta",), "kind of": ("kinda",),
    "don't know": ("dunno", "dont kno"), "see": ("c",), "why": ("y",), "know": ("kno",),
    "tell me": ("tel me", "lemme know"), "let me": ("lemme",), "give me": ("gimme",), "this": ("dis", "ths"),
    "that": ("dat", "tht"), "the": ("da", "teh", "th"), "them": ("em",), "something": ("smth",),
    "someone": ("some1",), "person": ("pers", "persn"), "really": ("rly", "rlly"), "though": ("tho",),
    "okay": ("ok", "k"), "be": ("b",), "about": ("abt",), "right": ("rite",), "check": ("chk",), "quality": ("qual",),
    "question": ("q", "qstn"), "is it": ("izit", "is dat"), "yes": ("yea", "ya"), "to be": ("2b",),
    "isn't": ("aint", "innit"), "how": ("hw",),
}
"""Chat-speak and short forms, by the full word or pair of words."""

_EAR: Final = tuple((re.compile(pattern), written) for pattern, written in (
    (r"ph", "f"), (r"tion", "shun"), (r"tion", "shen"), (r"ck", "k"), (r"c(?=[eiy])", "s"), (r"c(?=[aou])", "k"),
    (r"(?<=[a-z])k", "ck"), (r"x", "ks"), (r"ee", "ea"), (r"ea", "ee"), (r"igh", "i"), (r"([bdfglmnprst])\1", r"\1"),
    (r"(?<=[aeiou])([bdglmnprt])(?=[aeiou])", r"\1\1"), (r"le$", "el"), (r"er$", "ur"), (r"or$", "er"), (r"ou", "ow"),
    (r"ai", "ay"), (r"ay", "ai"), (r"(?<=[^aeiou])e$", ""), (r"y$", "ey"), (r"(?<=[aeiou])s(?=[aeiou])", "z"),
    (r"ge$", "j"), (r"wh", "w"), (r"th", "f"), (r"ei", "ie"), (r"ie", "ei"), (r"qu", "kw"), (r"oo", "u"), (r"u", "oo"),
    (r"gn", "n"), (r"kn", "n"), (r"(?<=[^aeiou])e(?=[^aeiou])", "i"), (r"(?<=[^aeiou])i(?=[^aeiou])", "e"),
    (r"(?<=[^aeiou])a(?=[^aeiou])", "e"), (r"au", "o"), (r"aw", "or"), (r"ed$", "d"), (r"ing$", "in"),
))
"""What a sound is often written as by those who spell by ear, within a word in small letters."""

LITTLE_WORDS: Final = frozenset((
    "a", "am", "an", "are", "at", "be", "can", "could", "did", "do", "does", "for", "give", "here", "i", "in",
    "is", "it", "it's", "its", "just", "know", "let", "like", "me", "my", "of", "on", "please", "say", "tell",
    "that", "the", "there", "this", "to", "want", "was", "will", "would", "you", "your",
))
"""Words that hurried people leave out; none of them tells one question from another."""

_WORD = re.compile(r"[A-Za-z']+")
_PICTURE_ID = re.compile(r"\S*\d\S*")
_MAX_GROWTH: Final = 1.35


def telegraphic(text: str, rng: Random, rate: float = 0.8) -> str:
    """`text` in telegram style: little words left out ("is it a mask?" becomes "mask?").

    Args:
        text: What was meant.
        rng: Source of all choices.
        rate: Share of the little words to leave out, 0 to 1.

    Returns:
        At least one word; words that hold a digit and all words outside `LITTLE_WORDS` are kept, in order.
    """
    words = text.split(" ")
    kept = [w for w in words if w.lower().strip(",.?!") not in LITTLE_WORDS or rng.random() >= rate]
    return " ".join(kept) or text


@cache
def misspellings() -> Mapping[str, tuple[str, ...]]:
    """Misspellings by ear, homophones and the two spellings of English, by the word (`misspellings.txt`)."""
    table: dict[str, tuple[str, ...]] = {}
    for line in (files("visagent.datasets") / "misspellings.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            word, wrong = line.split(": ", 1)
            table[word] = tuple(wrong.split(", "))
    return table


def spell_by_ear(text: str, rng: Random, rate: float) -> str:
    """`text` as somebody spells who writes what is heard ("exspreshun").

    Args:
        text: What was meant.
        rng: Source of all choices.
        rate: 0 to 1: the share of known words that are misspelt; of other words of four letters or more, half of it.

    Returns:
        As many words as before, or fewer; words that hold a digit are kept.
    """
    words = _replace(text, misspellings(), rng, rate).split(" ")
    return " ".join(_as_heard(word, rng) if rng.random() < rate / 2 else word for word in words)


def _as_heard(token: str, rng: Random) -> str:
    """One sound of a word of four letters or more written otherwise."""
    found = _WORD.search(token)
    if found is None or len(found[0]) < 4 or _PICTURE_ID.fullmatch(token):
        return token
    word = found[0].lower()
    rules = [rule for rule in _EAR if rule[0].search(word)]
    if not rules:
        return token
    pattern, written = rng.choice(rules)
    word = pattern.sub(written, word, count=1)
    word = word.capitalize() if found[0][0].isupper() else word
    return token[:found.start()] + word + token[found.end():]


def type_noisily(text: str, rng: Random, rate: float = 0.3) -> str:
    """`text` as a hurried person would type it.

    Args:
        text: What was meant.
        rng: Source of all choices.
        rate: 0 to 1: about half of it is the share of words with a slip, and about all of it the chance that capitals
            and end marks are left out. 0 returns `text` unchanged.

    Returns:
        A text of at least half and at most 1.35 times the length (plus 4 signs), with every digit kept.

    Raises:
        ValueError: If the rate is out of range.
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError("the rate of noise must lie between 0 and 1")
    if rate == 0.0 or not text:
        return text
    typed = _replace(text, CHAT, rng, rate * 0.35)
    typed = _replace(typed, misspellings(), rng, rate * 0.3)
    tokens = [_slip(t, rng) if rng.random() < rate * 0.3 else t for t in typed.split(" ")]
    typed = _join(tokens, rng, rate)
    typed = _sloppy_marks(typed, rng, rate)
    bounds = len(text) * 0.5 - 4, len(text) * _MAX_GROWTH + 4
    return typed if typed.strip() and bounds[0] <= len(typed) <= bounds[1] else text


def _replace(text: str, table: Mapping[str, tuple[str, ...]], rng: Random, chance: float) -> str:
    """Swap whole words and pairs of words by the table, each with this chance, keeping a leading capital."""
    words = text.split(" ")
    result: list[str] = []
    at = 0
    while at < len(words):
        for span in (2, 1):
            piece = " ".join(words[at:at + span])
            bare = piece.strip(".,?!:;()\"").lower()
            if len(words) - at >= span and bare in table and rng.random() < chance:
                new = rng.choice(table[bare])
                if bare in (piece.lower(), piece.lower().rstrip(".,?!:;()\"")):
                    new += piece[len(bare):]
                result.append(new[0].upper() + new[1:] if piece[0].isupper() else new)
                at += span
                break
        else:
            result.append(words[at])
            at += 1
    return " ".join(result)


def _slip(token: str, rng: Random) -> str:
    """One slip of the fingers in a word of three letters or more that holds no digit."""
    found = _WORD.search(token)
    if found is None or len(found[0]) < 3 or _PICTURE_ID.fullmatch(token):
        return token
    word = found[0]
    at = rng.randrange(len(word) if len(word) < 5 else len(word) - 1)
    if len(word) >= 5 and at == 0:
        at = 1
    kind = rng.choice(["drop", "double", "swap", "neighbour", "neighbour", "insert", "drop"])
    letter = word[at].lower()
    if kind == "drop" and len(word) > 3:
        word = word[:at] + word[at + 1:]
    elif kind == "double":
        word = word[:at] + word[at] + word[at:]
    elif kind == "swap" and at + 1 < len(word):
        word = word[:at] + word[at + 1] + word[at] + word[at + 2:]
    elif letter in _NEIGHBOURS:
        near = rng.choice(_NEIGHBOURS[letter])
        word = word[:at] + near + word[at + (kind != "insert"):]
    return token[:found.start()] + word + token[found.end():]


def _join(tokens: list[str], rng: Random, rate: float) -> str:
    """The words with some spaces left out or typed twice."""
    text = tokens[0]
    for before, token in pairwise(tokens):
        has_digit = any(c.isdigit() for c in before + token)
        drawn = rng.random()
        space = "" if drawn < rate * 0.03 and not has_digit else "  " if drawn > 1 - rate * 0.02 else " "
        text += space + token
    return text


def _sloppy_marks(text: str, rng: Random, rate: float) -> str:
    if rng.random() < rate:
        text = re.sub(r"(?<=\w)'(?=\w)", "", text)
    drawn = rng.random()
    if drawn < rate * 0.85:
        text = text.lower()
    elif drawn < rate * 0.9:
        text = text.upper()
    drawn = rng.random()
    if drawn < rate * 0.6:
        text = re.sub(r"[?.!]+$", "", text)
    elif drawn < rate * 0.7:
        text = re.sub(r"([?!.])$", lambda m: m[1] * rng.randint(2, 3), text)
    elif drawn < rate * 0.75:
        text = re.sub(r"([?!])$", r" \1", text)
    if rng.random() < rate * 0.4:
        text = re.sub(r"[,;:](?= )", "", text)
    return text
