"""Answers of the instruction data, said from a picture's label and from nothing else.

The shapes are FaceShield's (its fact sheet, section 6): a verdict with short evidence; "represents a Print Attack"
with evidence; a walk over four quoted attributes that ends in a verdict; a box in pixels with what it encloses.
Evidence is made of clues that are in the picture. Of a live face the label knows one thing, that there is no clue;
that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from visagent.datasets.grammar import Grammar
from visagent.datasets.instructions.clues import (
    ABSENT,
    ATTRIBUTES,
    CLUE_WORDS,
    DEPTH,
    EDGES,
    LIGHTING,
    SHAPE,
    TYPE_WORDS,
)
from visagent.datasets.instructions.questions import Task, wordings
from visagent.datasets.questions import polish

BoxStyle = Literal["pixels", "thousandths"]
Corners = tuple[float, float, float, float]

MAX_CLUES: Final = 3
"""Most clues that one piece of evidence names."""

FLAT: Final = ("print", "replay")
WHOLE_PICTURE: Final = 0.93
"""Share of the picture from which the box of a print or a replay is called the whole picture."""

_REMARKS: Final = {LIGHTING: "remark.lighting", SHAPE: "remark.shape", DEPTH: "remark.depth", EDGES: "remark.edges"}


@dataclass(frozen=True, slots=True)
class PictureLabel:
    """What is known of a picture.

    Attributes:
        attack: One of `visagent.datasets.attacks.ATTACK_TYPES`; None for a live face.
        clues: What gives the attack away; empty for a live face.
        box: The attacked area `(x1, y1, x2, y2)` in pixels; None for a live face.
        side: Side of the square picture in pixels.
        colour: Whether the picture has colours; None where it is hard to say.
    """

    attack: str | None
    clues: tuple[str, ...]
    box: Corners | None
    side: int
    colour: bool | None


def answer(task: Task, label: PictureLabel, rng: Random, *, boxes: BoxStyle = "pixels") -> str:
    """The answer to one task about one picture.

    Args:
        task: One of FaceShield's four, or the description.
        label: What is known of the picture. An attack has clues and a box.
        rng: Source of all choices.
        boxes: How boxes are written, see `written_box`.
    """
    grammar, facts = wordings(), _facts(label, rng, boxes)
    if task == "reasoning":
        walk = " ".join(_step(attribute, label, rng) for attribute in ATTRIBUTES)
        return f"{walk} {polish(grammar.expand(_section(task, label), rng, bound=facts))}"
    return _say(grammar, _section(task, label), facts, rng)


def written_box(box: Corners, side: int, boxes: BoxStyle = "pixels") -> str:
    """A box as it is written in an answer.

    Args:
        box: `(x1, y1, x2, y2)` in pixels, y down.
        side: Side of the square picture in pixels.
        boxes: `pixels` with one decimal, as FaceShield's; `thousandths` of the picture's side, whole numbers, as
            Qwen2-VL, Qwen3-VL and visagent-nano write them.
    """
    if boxes == "thousandths":
        return "[" + ", ".join(str(round(value * 1000 / side)) for value in box) + "]"
    return "[" + ", ".join(f"{value:.1f}" for value in box) + "]"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as a sentence lists them: "a", "a and b", "a, b and c". Raises ValueError if there are none."""
    if not names:
        raise ValueError("there is nothing to list")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _say(grammar: Grammar, section: str, facts: dict[str, str], rng: Random) -> str:
    return polish(grammar.expand(section, rng, bound=facts))


def _section(task: Task, label: PictureLabel) -> str:
    return f"{task}.{'real' if label.attack is None else 'spoof'}"


def _facts(label: PictureLabel, rng: Random, boxes: BoxStyle) -> dict[str, str]:
    """Fillings of the wordings' slots."""
    tones = {None: "picture", True: "colour picture", False: "black-and-white picture"}
    facts = {
        "tone": tones[label.colour] if rng.random() < 0.7 else "picture",
        "absent": _named(_some(ABSENT, rng), rng, last="or"),
    }
    if label.attack is None:
        return facts
    words = TYPE_WORDS[label.attack]
    facts |= {"class": words.title, "thing": rng.choice(words.things), "area": words.area}
    facts |= _clue_facts(_some(label.clues, rng), rng)
    if label.box is not None:
        x1, y1, x2, y2 = label.box
        if label.attack in FLAT and (x2 - x1) * (y2 - y1) >= WHOLE_PICTURE * label.side**2:
            facts["area"] = "the whole picture"
        facts["box"] = written_box(label.box, label.side, boxes)
    return facts


def _clue_facts(clues: Sequence[str], rng: Random) -> dict[str, str]:
    many = len(clues) > 1 or CLUE_WORDS[clues[0]].plural
    return {
        "clues": _named(clues, rng),
        "are": "are" if many else "is",
        "show": "show" if many else "shows",
        "give": "give" if many else "gives",
    }


def _step(attribute: str, label: PictureLabel, rng: Random) -> str:
    """One attribute of the walk, with the clues that fall under it."""
    grammar = wordings()
    clues = [clue for clue in label.clues if CLUE_WORDS[clue].attribute == attribute]
    if clues:
        shown = _some(clues, rng)
        origin = listed(list(dict.fromkeys(CLUE_WORDS[clue].origin for clue in shown)))
        remark = grammar.expand("remark.clues", rng, bound={**_clue_facts(shown, rng), "origin": origin})
    else:
        pattern_only = attribute == DEPTH and label.attack is not None
        remark = grammar.expand("remark.pattern" if pattern_only else _REMARKS[attribute], rng)
    return polish(grammar.expand("walk", rng, bound={"attribute": attribute, "remark": remark}))


def _some(clues: Sequence[str], rng: Random) -> list[str]:
    return rng.sample(list(clues), min(len(clues), rng.randint(1, MAX_CLUES)))


def _named(clues: Sequence[str], rng: Random, last: str = "and") -> str:
    return listed([rng.choice(CLUE_WORDS[clue].names) for clue in clues], last)
