"""What may not enter the instruction data: refusals, answers that contradict their label, repetitions, near copies.

FaceShield filters its generated pairs by a language model's check, a black-list of phrases, and people (its fact
sheet, section 6). Here the label is known exactly, so the check is made by rules on the answer's own structure. They
hold for the templates, which a test shows, and decide what is kept of a generator's rewording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.instructions.answers import BoxStyle, Corners, PictureLabel, written_box
from visagent.datasets.instructions.clues import ATTRIBUTES, CLUE_WORDS, TYPE_WORDS
from visagent.datasets.instructions.questions import Task

BLACKLIST: Final = (
    "as an ai",
    "ai language model",
    "language model",
    "difficult to determine",
    "difficult to say",
    "hard to determine",
    "hard to say",
    "hard to tell",
    "not possible to",
    "impossible to",
    "cannot determine",
    "can't determine",
    "cannot be determined",
    "unable to",
    "i cannot",
    "i can't",
    "i can not",
    "i am not able",
    "i'm not able",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "i apologise",
    "not enough information",
    "without more information",
    "without additional information",
    "without further information",
    "it is unclear",
    "it's unclear",
    "not clear whether",
    "may or may not",
    "might be",
    "could be",
    "may be",
    "possibly",
    "perhaps",
    "it depends",
    "cannot provide",
)
"""Phrases of refusal and hedging, lower case; the first three kinds are the paper's."""

NEAR_COPY_BITS: Final = 4
"""Two pictures of one label are near copies when so few of the 64 signs of their difference hash differ."""

_LIVE = re.compile(r"\b(?:real|live|genuine|bona[ -]?fide|authentic)\b", re.IGNORECASE)
_SPOOF = re.compile(r"\b(?:spoof(?:ed|ing)?|fake|forged|attack(?:ed|s)?|presentation attacks?)\b", re.IGNORECASE)
_DENIAL = re.compile(
    r"\b(?:no|not|nor|neither|none|nothing|never|without|free of|absence of|lacks?|rather than|"
    r"instead of)\b|n't\b|n\u2019t\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.;:!?\n]+(?:\s*(?:no|yes),)?|^\s*(?:no|yes),|,\s+(?:and|but|so|because|since|as)\s+|\bbut\b", re.IGNORECASE
)
_QUOTED = re.compile("|".join(re.escape(f'"{attribute}"') for attribute in ATTRIBUTES))
_BOX = re.compile(r"\[\s*([\d.]+)[,\s]+([\d.]+)[,\s]+([\d.]+)[,\s]+([\d.]+)\s*\]")
_CLASSES = {
    kind: re.compile(rf"\b{words.title.replace(' ', '[ -]')} attack\b", re.IGNORECASE)
    for kind, words in TYPE_WORDS.items()
}


def refusal(text: str) -> str | None:
    """The phrase of the black-list that a text contains, if any."""
    plain = re.sub(r"\s+", " ", text.lower().replace("\u2019", "'"))
    return next((phrase for phrase in BLACKLIST if phrase in plain), None)


def contradiction(task: Task, answer: str, label: PictureLabel, *, boxes: BoxStyle = "pixels") -> str | None:
    """How an answer contradicts the label of its picture, or breaks its task's shape; None if it does neither.

    Args:
        task: What was asked.
        answer: What is said.
        label: What is known of the picture.
        boxes: How boxes are written, see `answers.written_box`.
    """
    plain = _BOX.sub("box", _QUOTED.sub("it", answer))
    said = verdicts(plain)
    true = "live" if label.attack is None else "spoof"
    if said - {true}:
        return "the other verdict"
    if not said and task != "description":
        return "no verdict"
    named = {kind for kind, pattern in _CLASSES.items() if pattern.search(plain)}
    if named - {label.attack}:
        return "another attack type"
    if task == "fine" and label.attack is not None and not named:
        return "no attack type"
    if unknown_clues(plain, label):
        return "a clue that is not there"
    found = _BOX.findall(answer)
    if task == "localisation" and label.box is not None:
        if len(found) != 1 or not _same_box(found[0], label.box, label.side, boxes):
            return "another box"
    elif found:
        return "a box that was not asked for"
    if task == "reasoning" and tuple(match.group()[1:-1] for match in _QUOTED.finditer(answer)) != ATTRIBUTES:
        return "another walk"
    return None


def verdicts(text: str) -> set[str]:
    """The verdicts that a text passes: "live", "spoof", both or none. A verdict after a denial is the other one."""
    return {
        verdict if len(_DENIAL.findall(clause[: match.start()])) % 2 == 0 else other
        for clause in _CLAUSE.split(text)
        for pattern, verdict, other in ((_LIVE, "live", "spoof"), (_SPOOF, "spoof", "live"))
        for match in pattern.finditer(clause)
    }


def unknown_clues(text: str, label: PictureLabel) -> set[str]:
    """The clues that a text says are visible and that the label does not have."""
    mine = [CLUE_WORDS[clue].marks for clue in label.clues]
    found = set()
    for clause in _clauses_that_affirm(text):
        for pattern in mine:
            clause = pattern.sub(" ", clause)
        found |= {clue for clue, words in CLUE_WORDS.items() if words.marks.search(clause)}
    return found - set(label.clues)


def difference_hash(rgb: NDArray[np.uint8]) -> int:
    """The signs of the differences between neighbours in a row of the 9x8 gray picture, as 64 bits."""
    small = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


class NearCopies:
    """Remembers pictures by label and difference hash."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str | None], list[int]] = {}

    def is_new(self, digest: int, key: str, attack: str | None) -> bool:
        """Whether no picture of this person with this label looked nearly the same; remembers it if so.

        Args:
            digest: The picture's `difference_hash`.
            key: Person, or picture where a set names no people: others are never copies.
            attack: Attack type; a live face and an attack made from it are no copies, however alike.
        """
        seen = self._seen.setdefault((key, attack), [])
        if any((digest ^ other).bit_count() <= NEAR_COPY_BITS for other in seen):
            return False
        seen.append(digest)
        return True


def _clauses_that_affirm(text: str) -> Iterator[str]:
    return (clause for clause in _CLAUSE.split(text) if not _DENIAL.search(clause))


def _same_box(found: tuple[str, ...], box: Corners, side: int, boxes: BoxStyle) -> bool:
    wanted = _BOX.findall(written_box(box, side, boxes))[0]
    return [float(value) for value in found] == [float(value) for value in wanted]
