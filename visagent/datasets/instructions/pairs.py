"""From one picture to its conversations: a description, seed pairs, and two rewordings of each seed.

As in FaceShield (its fact sheet, section 6): about one seed pair per picture and one more per picture with a box, and
three times as many by rewording. One seed in seven goes on for another turn or two about the same picture. Some live
faces are asked for the spoof area too, which the paper's are not: a model that has only ever been asked where an
attack is would give a box to anybody.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from visagent.datasets.instructions.answers import BoxStyle, PictureLabel, answer
from visagent.datasets.instructions.filters import contradiction, refusal
from visagent.datasets.instructions.generator import Pair
from visagent.datasets.instructions.questions import Task, ask, ask_further

REWORDINGS: Final = 2
"""New pairs for every seed pair, as in the paper."""

SEVERAL_TURNS: Final = 1 / 7
"""Share of the seeds that are conversations of two or three turns."""

LIVE_ASKED_WHERE: Final = 0.15
"""Share of the live pictures whose seed pair asks for the spoof area."""

_TRIES: Final = 20
_FURTHER: Final[dict[Task, tuple[Task, ...]]] = {
    "coarse": ("fine", "reasoning", "localisation"),
    "fine": ("reasoning", "localisation"),
    "reasoning": ("fine", "localisation"),
    "localisation": ("fine", "reasoning"),
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation about one picture.

    Attributes:
        tasks: What each turn asks.
        pairs: Each turn's question and answer.
        original: Whether it is a seed, which is never reworded by a generator.
    """

    tasks: tuple[Task, ...]
    pairs: tuple[Pair, ...]
    original: bool

    @property
    def name(self) -> str:
        """The task of a single turn, "conversation" of several."""
        return self.tasks[0] if len(self.tasks) == 1 else "conversation"


def description_of(label: PictureLabel, rng: Random, dropped: Counter[str]) -> Conversation | None:
    """The pre-training pair of a picture, None if the filters stop it."""
    return _converse(("description",), label, rng, "pixels", set(), dropped, original=False)


def conversations_about(
    label: PictureLabel, rng: Random, dropped: Counter[str], *, boxes: BoxStyle = "pixels"
) -> list[Conversation]:
    """The fine-tuning conversations of a picture: seeds, each followed by its rewordings.

    Args:
        label: What is known of the picture.
        rng: Source of all choices.
        dropped: Counts what the filters stop, by reason.
        boxes: How boxes are written, see `answers.written_box`.
    """
    said: set[str] = set()
    conversations = []
    for tasks in _seeds(label, rng):
        for number in range(1 + REWORDINGS):
            made = _converse(tasks, label, rng, boxes, said, dropped, original=number == 0)
            if made is not None:
                conversations.append(made)
    return conversations


def reworded(conversation: Conversation, pair: Pair) -> Conversation:
    """A conversation of one turn in other words."""
    return replace(conversation, pairs=(pair,))


def _seeds(label: PictureLabel, rng: Random) -> list[tuple[Task, ...]]:
    first: Task = rng.choice(("coarse", "fine", "reasoning"))
    if label.attack is None and rng.random() < LIVE_ASKED_WHERE:
        first = "localisation"
    seeds: list[Task] = [first] if label.box is None else [first, "localisation"]
    return [_go_on(task, rng) if rng.random() < SEVERAL_TURNS else (task,) for task in seeds]


def _go_on(first: Task, rng: Random) -> tuple[Task, ...]:
    further = rng.sample(_FURTHER[first], rng.randint(1, 2))
    return (first, *sorted(further, key=_FURTHER[first].index))


def _converse(
    tasks: tuple[Task, ...],
    label: PictureLabel,
    rng: Random,
    boxes: BoxStyle,
    said: set[str],
    dropped: Counter[str],
    *,
    original: bool,
) -> Conversation | None:
    """A conversation in words not yet said about this picture; None if none is found or a filter stops it."""
    for _ in range(_TRIES):
        questions = (ask(tasks[0], rng), *(ask_further(task, rng) for task in tasks[1:]))
        pairs = tuple(
            Pair(question, answer(task, label, rng, boxes=boxes))
            for task, question in zip(tasks, questions, strict=True)
        )
        words = {text.lower() for text in (pairs[0].question, *(pair.answer for pair in pairs))}
        if words & said:
            continue
        for task, pair in zip(tasks, pairs, strict=True):
            wrong = refusal(pair.answer) or contradiction(task, pair.answer, label, boxes=boxes)
            if wrong:
                dropped[f"filtered: {wrong}"] += 1
                return None
        said |= words
        return Conversation(tasks, pairs, original)
    dropped["the same words about the same picture"] += 1
    return None
