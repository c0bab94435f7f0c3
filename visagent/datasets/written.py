"""Questions that were written whole, one at a time, each by "somebody else": `wordings/written.jsonl`.

The grammar has a hundred times as many wordings, but of the same build; strangers build their sentences otherwise. A
record is `{"question": ..., "pictures": 3, "calls": [["verify", 1, 3]]}`, or has an `answer` instead of calls: the
kind of `visagent.datasets.routing.MIX` that says what is answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

WRITTEN_TOOLS: Final = ("spoof", "expression", "verify", "faces")

Call = tuple[str, tuple[int, ...]]
"""A tool and the numbers of its pictures, from 1."""


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """A question and what it needs.

    Attributes:
        text: As it was typed.
        pictures: Pictures that came with it.
        calls: Tools to call, in order; empty if it is answered directly.
    """

    text: str
    pictures: int
    calls: tuple[Call, ...]


@cache
def written_questions() -> Mapping[str, tuple[WrittenQuestion, ...]]:
    """All of them, by what they need: a tool of `WRITTEN_TOOLS`, else "two_intents" or what is answered."""
    found: dict[str, list[WrittenQuestion]] = {}
    lines = (files("visagent.datasets") / "wordings" / "written.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        calls = tuple((name, tuple(pictures)) for name, *pictures in record.get("calls", ()))
        tools = {name for name, _ in calls}
        need = record.get("answer") or (calls[0][0] if len(tools) == 1 else "two_intents")
        found.setdefault(need, []).append(WrittenQuestion(record["question"], record["pictures"], calls))
    return {kind: tuple(questions) for kind, questions in found.items()}
