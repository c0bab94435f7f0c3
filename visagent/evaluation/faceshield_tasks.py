"""The questions of FaceShield's four tasks, and what the answers say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from visagent.agent.engines.base import Engine
from visagent.datasets.attacks import ATTACK_TYPES
from visagent.evaluation.batch import look_many
from visagent.evaluation.boxes import BoxCorners
from visagent.evaluation.faceshield_trials import Trial
from visagent.tools.contract import Look
from visagent.tools.spoof.words import Verdict, read_attack, read_words

BONA_FIDE: Final = "bona fide"
CLASSES: Final = (BONA_FIDE, *ATTACK_TYPES)
"""FaceShield's twelve."""

COARSE: Final = (
    "Is this a live face or a spoof?",
    "Is the face in this picture genuine or spoofed?",
    "Does this picture show a real person, or a presentation attack?",
    "Real or spoof: which is this face?",
)
FINE: Final = (
    "Which type of attack is shown, if any?",
    "What kind of spoof is this face, or is it bona fide?",
    "If this is a presentation attack, which type is it?",
    "Name the attack type of this face, or say that it is live.",
)
REASONING: Final = (
    "Why is this face live or a spoof?",
    "Explain whether this face is real or spoofed, and what shows it.",
    "Which signs say that this face is genuine or an attack? Conclude with your verdict.",
    "Describe the light, the shape of the features, the depth and any edges of a screen or paper, then conclude "
    "whether the face is real or a spoof.",
)
LOCALISATION: Final = (
    "Where is the attacked area? Give its box.",
    "Which region of the face is spoofed? Give the bounding box as [x1, y1, x2, y2].",
    "Show me where the spoof is.",
    "Locate the forged region of this face with a box.",
)
"""Wordings of each task, in the shapes of the fact sheet's section 6. Picture n is asked in wording n modulo 4."""

REASONING_TOKENS: Final = 256
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of a picture, and what was said of it in the four tasks.

    Attributes:
        attack: The right attack type, None for a live face.
        right_box: The attacked area in pixels of the view, None if it is not known.
        subject: Set and person.
        is_whole: No face was found, and the whole picture was shown.
        coarse: The verdict, None if none can be read.
        fine: One of `CLASSES`, None if none can be read.
        reasoning: The verdict that the reasons end in.
        box: The first box named, in pixels of the view; also None if the task was not asked.
    """

    attack: str | None
    right_box: BoxCorners | None
    subject: tuple[str, str]
    is_whole: bool
    coarse: Verdict | None
    fine: str | None
    reasoning: Verdict | None
    box: BoxCorners | None


def ask_tasks(engine: Engine, trials: Sequence[Trial], *, start: int = 0, batch: int = 32) -> list[Answers]:
    """Ask each task in a turn of its own, localisation only where the right box is known.

    Args:
        engine: Who is asked.
        trials: The pictures.
        start: Number of the first, which says which wording it gets.
        batch: Pictures that go through the model together.

    Raises:
        EngineError: The model failed.
    """
    places = range(len(trials))

    def ask(questions: Sequence[str], which: Sequence[int], max_tokens: int = 96) -> dict[int, Look]:
        looks: dict[int, Look] = {}
        for number, question in enumerate(questions):
            mine = [place for place in which if (start + place) % len(questions) == number]
            said = look_many(engine, question, [trials[place].rgb for place in mine], batch=batch,
                             max_tokens=max_tokens)
            looks |= dict(zip(mine, said, strict=True))
        return looks

    coarse, fine, reasons = ask(COARSE, places), ask(FINE, places), ask(REASONING, places, REASONING_TOKENS)
    where = ask(LOCALISATION, [place for place in places if trials[place].box is not None])
    return [Answers(
        attack=trial.attack, right_box=trial.box, subject=trial.subject, is_whole=trial.is_whole,
        coarse=read_words(coarse[place].text).verdict, fine=read_class(fine[place].text),
        reasoning=final_verdict(reasons[place].text),
        box=next(iter(where[place].boxes), None) if place in where else None) for place, trial in enumerate(trials)]


def read_class(text: str) -> str | None:
    """Which of `CLASSES` an answer names, None for none; a type also counts where no verdict stands beside it."""
    words = read_words(text)
    if words.verdict == "live":
        return BONA_FIDE
    return words.attack if words.verdict == "spoof" else read_attack(text)


def final_verdict(text: str) -> Verdict | None:
    """The verdict of the last sentence that passes one: reasons walk through their signs and then conclude."""
    verdicts = (read_words(sentence).verdict for sentence in reversed(_SENTENCE.split(text)))
    return next((verdict for verdict in verdicts if verdict is not None), None)
