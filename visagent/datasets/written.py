"""Questions that were written whole, one at a time, each by "somebody else": `wordings/written.jsonl`.

The grammar has a hundred times as many wordings, but of the same build; strangers build their sentences otherwise. A
record is `{"question": ..., "pictures": 3, "calls": [["verify", 1, 3]]}`, or has an `answer` instead of calls: the
kind of `visagent.datasets.routing.MIX` that says what is answered. A call about somebody ends in `{"person":
"{name}"}`; `{name}` stands for any name, in the question too. A follow-up has also the turn before: `"earlier":
{"question": ..., "pictures": 1, "calls": [["spoof", 1]]}`; its own `pictures` counts all that have come by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Call = tuple[str, tuple[int, ...], bool]
"""A tool, the numbers of its pictures, from 1, and whether it is about the person that the question names."""
NAME = "{name}"


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """A question and what it needs.

    Attributes:
        text: As it was typed.
        pictures: Pictures that came with it.
        calls: Tools to call, in order; empty if it is answered directly.
        answer: What is answered directly, else None.
        earlier: The turn that a follow-up leans on.
    """

    text: str
    pictures: int
    calls: tuple[Call, ...]
    answer: str | None = None
    earlier: WrittenQuestion | None = None


@cache
def written_questions() -> Mapping[str, tuple[WrittenQuestion, ...]]:
    """All of them: under a tool's name, "two_intents", "follow_up", or what is answered directly."""
    found: dict[str, list[WrittenQuestion]] = {}
    lines = (files("visagent.datasets") / "wordings" / "written.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        question = _read(record)
        tools = {name for name, _, _ in question.calls}
        need = question.answer or (question.calls[0][0] if len(tools) == 1 else "two_intents")
        found.setdefault("follow_up" if question.earlier else need, []).append(question)
    return {need: tuple(questions) for need, questions in found.items()}


def _read(record: dict[str, Any]) -> WrittenQuestion:
    calls = tuple((name, tuple(rest for rest in others if isinstance(rest, int)),
                   any(isinstance(rest, dict) for rest in others)) for name, *others in record.get("calls", ()))
    earlier = _read(record["earlier"]) if "earlier" in record else None
    return WrittenQuestion(record["question"], record["pictures"], calls, record.get("answer"), earlier)
