"""Questions of the instruction data: FaceShield's four tasks and the description of a picture.

Half are one formal sentence, as the paper's (its fact sheet, section 6), from `wordings.txt` beside this module. The
others are what people type (`visagent.datasets.questions`), so that a model trained here understands both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from random import Random
from typing import Final, Literal

from visagent.datasets.grammar import Grammar
from visagent.datasets.questions import polish, sample_follow_up, sample_question

Task = Literal["description", "coarse", "fine", "reasoning", "localisation"]

SFT_TASKS: Final[tuple[Task, ...]] = ("coarse", "fine", "reasoning", "localisation")
"""FaceShield's four tasks."""

FACTS: Final = (
    "class",
    "thing",
    "area",
    "clues",
    "are",
    "show",
    "give",
    "absent",
    "box",
    "tone",
    "origin",
    "attribute",
    "remark",
)
"""Slots of the wordings that the code fills; the grammar knows each as a section of one word, its own name."""

_AS_TYPED: Final[Mapping[Task, str]] = {
    "coarse": "spoof.verdict",
    "fine": "spoof.attack",
    "reasoning": "spoof.reasons",
    "localisation": "spoof.where",
}
_FOLLOW_UPS: Final[Mapping[Task, str]] = {"reasoning": "why", "localisation": "where"}
_FORMAL_SHARE: Final = 0.5


@cache
def wordings() -> Grammar:
    """The grammar of the instruction data. Raises ValueError if its file is malformed."""
    text = (files("visagent.datasets.instructions") / "wordings.txt").read_text(encoding="utf-8")
    return Grammar([text, "\n".join(f"[{fact}]\n{fact}" for fact in FACTS)])


def ask(task: Task, rng: Random) -> str:
    """A question that opens a conversation about one picture."""
    if task != "description" and rng.random() >= _FORMAL_SHARE:
        return sample_question(_AS_TYPED[task], rng)
    return polish(wordings().expand("ask", rng, intent=task))


def ask_further(task: Task, rng: Random) -> str:
    """A question about the same picture after an answer."""
    if task in _FOLLOW_UPS and rng.random() < 0.7:
        return sample_follow_up(_FOLLOW_UPS[task], rng)
    if task == "fine":
        return polish(wordings().expand("fine.follow", rng))
    return polish(wordings().expand("ask", rng, intent=task))
