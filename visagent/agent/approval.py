"""Asking the person first: calls that change what is stored, or tell it, wait until somebody agrees.

The tool waits in its thread, the proposal travels as an event, and whoever consumes the events answers it: a terminal
asks a question, a page shows a dialogue. Nobody there, or the turn broken off, means no.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from visagent.tools.contract import Tool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call that the model wants to make.

    Attributes:
        tool: Its name.
        description: What it does, in the tool's words.
        arguments: As the model gave them, checked.
        open_fields: What only the person may fill in: name and description of each field.
    """

    tool: str
    description: str
    arguments: Mapping[str, object]
    open_fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Approved:
    """Go on, with these arguments: the model's, changed or filled in by the person."""

    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """Do not."""

    reason: str = "the person declined"


Decision = Approved | Refused
Approver = Callable[[Proposal], Decision]


@dataclass(slots=True)
class ApprovalAsked:
    """The event of a waiting call; `answer` lets it go on."""

    proposal: Proposal
    _decided: threading.Event = field(default_factory=threading.Event)
    _decision: Decision = field(default_factory=lambda: Refused("nobody was there to agree"))

    def answer(self, decision: Decision) -> None:
        """Decide; only the first answer counts."""
        if not self._decided.is_set():
            self._decision = decision
            self._decided.set()

    def wait(self) -> Decision:
        """Wait for the answer."""
        self._decided.wait()
        return self._decision


def propose(tool: Tool[Any], arguments: Mapping[str, object]) -> Proposal:
    """The proposal of a call; values that only the person may give are taken out."""
    fields = tool.input_model.model_fields
    return Proposal(
        tool.name, tool.description,
        {name: value for name, value in arguments.items() if name not in tool.left_to_person},
        {name: fields[name].description or name for name in tool.left_to_person})
