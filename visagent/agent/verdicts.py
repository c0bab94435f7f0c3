"""The verdict words of the field, and which of them a text asserts, denies, or only mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Stance(StrEnum):
    """How a text stands to a verdict."""

    asserts = "asserts"
    denies = "denies"


# Category -> value -> pattern. In every category the values exclude each other, except kinds of attack.
CATEGORIES: dict[str, dict[str, str]] = {
    "liveness": {
        "live": r"live(?! stream)|alive|bona[ -]fide|genuine|authentic|real(?= (?:face|person|one|human))"
                r"|(?<=is )real|(?<=be )real|(?<=looks )real|(?<=appears )real|(?<=seems )real",
        "spoof": r"spoof(?:ed|s)?|presentation attacks?|attacks?|fake[ds]?|not live|forged|impostor|counterfeit",
    },
    "identity": {
        "same": r"same (?:person|people|individual|man|woman|identity|face|subject)|(?:is|are) the same(?! \w)"
                r"|(?<=answer: )same|match(?:es)?(?! score)",
        "different": r"different (?:people|persons?|individuals?|men|women|identit(?:y|ies)|faces?|subjects?)"
                     r"|two people|mismatch|(?:is|are) different(?! from the threshold)|(?<=answer: )different",
    },
    "expression": {
        "neutral": r"neutral(?:ity)?|expressionless",
        "happiness": r"happiness|happy|joy(?:ful)?|smil(?:es?|ing)|cheerful",
        "surprise": r"surprised?|astonish(?:ed|ment)",
        "sadness": r"sad(?:ness)?|unhappy|sorrow(?:ful)?",
        "anger": r"anger|angry|furious",
        "disgust": r"disgust(?:ed)?",
        "fear": r"fear(?:ful)?|afraid|scared",
        "contempt": r"contempt(?:uous)?",
    },
    "attack": {
        "print": r"print(?:ed|out|s)?(?! quality)",
        "paper": r"paper",
        "replay": r"replay(?:ed|s)?",
        "screen": r"screen|monitor|tablet|(?:mobile )?phone",
        "mask": r"masks?",
        "paper mask": r"paper masks?",
        "rigid mask": r"(?:rigid|3d|silicone|resin|latex) masks?",
        "glasses": r"glasses attack",
        "partial eye": r"partial eyes?(?: attack)?",
        "partial mouth": r"partial mouth(?: attack)?",
        "cutout": r"cut-?outs?",
        "makeup": r"make-?up",
        "mannequin": r"mannequins?|dummy",
        "deepfake": r"deep-?fakes?|generated|synthetic",
    },
}
EXCLUSIVE = ("liveness", "identity", "expression")

# These contain a verdict word and pass no verdict.
_NO_VERDICT = re.compile(
    r"(?:presentation[- ])?attack[- ](?:scores?|types?|screening|detection|network|specialist|probability|threshold)"
    r"|presentation-attack screening|(?:spoof|live|liveness|expression)[- ](?:scores?|screening|detection|check|"
    r"probability|threshold|verdict|question)|no live verdict|certified live(?:ness)?"
    r"|live(?:\s*/\s*|,? or (?:a |an )?)(?:spoof(?:ed)?|fake)|(?:spoof|fake)(?:\s*/\s*|,? or )(?:a )?(?:live|real)"
    r"|(?:the )?same or (?:a )?different(?: (?:people|persons?))?|happy to\b|afraid (?:i|that)\b|surprise you"
    r"|that do(?:es)? not match|enough for [^.;:]*", re.IGNORECASE)
_DENIAL = re.compile(r"\b(?:no(?!,)|not|isn't|aren't|wasn't|never|nor|neither|without|cannot be|can't be|rather than|"
                     r"instead of|rules? out|excludes?|unlikely(?: to be)?|n't)\b|n't\b", re.IGNORECASE)
_OPEN = re.compile(r"\b(?:whether|if|how likely|cannot (?:say|tell|decide)|can't (?:say|tell|decide)|could not (?:say|"
                   r"tell|decide)|unable to (?:say|tell|decide)|unsure|no verdict|do not know|don't know)\b",
                   re.IGNORECASE)
_CLAUSES = re.compile(r"[.;:!?\n]+(?=\s|$)|,\s+(?=(?:and|but|while|whereas|so|however)\b)|\s+(?:but|while|whereas|"
                      r"however)\s+|—|\s-\s", re.IGNORECASE)
_REACH = 45  # characters before a verdict word in which a denial still speaks of it
_PATTERNS = {(category, value): re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
             for category, values in CATEGORIES.items() for value, pattern in values.items()}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict in a text."""

    category: str
    value: str
    stance: Stance
    text: str


def canonical(answer: str) -> tuple[str, str] | None:
    """Category and value of a finding's machine-readable answer; None if it is no verdict (a count, unsure)."""
    for category, values in CATEGORIES.items():
        if answer.lower() in values:
            return category, answer.lower()
    return None


def clauses_of(text: str) -> list[str]:
    """The text in clauses, so that a denial or a picture's id is not carried into the next one."""
    return [clause for clause in _CLAUSES.split(text) if clause and clause.strip()]


def verdicts_of(text: str) -> Iterator[Verdict]:
    """Every verdict that the text asserts or denies. What it leaves open ("whether it is live") is none."""
    for clause in clauses_of(_NO_VERDICT.sub(" ", text)):
        opening = _OPEN.search(clause)
        for (category, value), pattern in _PATTERNS.items():
            for match in pattern.finditer(clause):
                if opening and opening.start() < match.start():
                    continue
                before = clause[max(0, match.start() - _REACH):match.start()]
                denied = _DENIAL.search(before) is not None
                if (category, value) == ("liveness", "spoof") and match.group().lower() == "not live":
                    denied = False
                if category == "liveness" and value == "live" and re.search(r"\bnot\s+$", before):
                    continue  # "not live" is a verdict of its own
                yield Verdict(category, value, Stance.denies if denied else Stance.asserts, match.group())
