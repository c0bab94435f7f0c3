"""What happens during a turn, in order: tools start and finish, text arrives, the answer completes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from visagent.agent.answer import Answer
from visagent.evidence import Finding


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A piece of the answer. Only sentences that passed the grounding check arrive.

    `Completed.answer.text` stands: if a later sentence fails the check, the answer is not what the chunks add up to.
    """

    text: str


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool begins its work."""

    tool: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool is done, or could not do it: see the finding's state."""

    finding: Finding
    seconds: float


@dataclass(frozen=True, slots=True)
class Completed:
    """The turn is over. Always the last event."""

    answer: Answer


Event = TextChunk | ToolStarted | ToolFinished | Completed
