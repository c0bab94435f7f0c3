"""One turn with the agent, shown while it happens: steps, then words, then evidence."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

from visagent.agent.answer import Answer
from visagent.agent.events import Completed, TextChunk, ToolFinished, ToolStarted
from visagent.media import Picture
from visagent.terminal import WordStream, open_console, show_answer, show_heading, show_pictures, show_step

if TYPE_CHECKING:
    from visagent.agent import Agent
    from visagent.settings import Settings


@dataclass(slots=True)
class Conversation:
    """An agent and what the person calls its pictures.

    Attributes:
        agent: Who answers.
        console: Where the turns are shown; None to show nothing.
        names: The person's own name of each picture, by id.
    """

    agent: Agent
    console: Console | None
    names: dict[str, str] = field(default_factory=dict)

    def ask(self, question: str, pictures: Sequence[tuple[str, Picture]] = ()) -> Answer:
        """Ask, show the turn, and return its answer. Pictures come with the person's names. Raises VisagentError."""
        shown = self.console or Console(quiet=True)
        words = WordStream(shown)
        waiting = [name for name, _ in pictures]
        started: Mapping[str, object] = {}
        spinner = Spinner()
        with ExitStack() as stack:
            stack.callback(spinner.stop)
            spinner.start("Loading the model")
            for event in self.agent.stream(question, [picture for _, picture in pictures]):
                spinner.stop()
                waiting = self._name_new(waiting, shown)
                match event:
                    case ToolStarted():
                        started = event.arguments
                        spinner.start(f"Running {event.tool}")
                    case ToolFinished():
                        show_step(shown, started, event.finding, event.seconds)
                        spinner.start("Writing the answer")
                    case TextChunk():
                        if not words.text:
                            show_heading(shown, "Answer")
                        words.write(event.text)
                    case Completed():
                        words.close()
                        if not words.text:
                            show_heading(shown, "Answer")
                        show_answer(shown, event.answer, streamed=words.text)
                        return event.answer
        raise AssertionError("a turn ends with Completed")

    def clear(self) -> None:
        """Forget the pictures and what was said."""
        self.agent.clear()
        self.names.clear()

    def _name_new(self, waiting: list[str], shown: Console) -> list[str]:
        new = [picture_id for picture_id in self.agent.pictures.ids() if picture_id not in self.names]
        named = dict(zip(new, waiting, strict=False))
        self.names.update(named)
        show_pictures(shown, named, self.agent.pictures)
        return waiting[len(named):]


class Spinner:
    """A sign of life on stderr, only where a person watches it."""

    def __init__(self) -> None:
        self._console = open_console(sys.stderr)
        self._status: Status | None = None

    def start(self, text: str) -> None:
        """Show `text` until `stop`."""
        if self._console.is_terminal:
            self._status = self._console.status(f"{text} ...")
            self._status.start()

    def stop(self) -> None:
        """Take the sign away, if it is there."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def open_conversation(settings: Settings, *, as_json: bool = False) -> Conversation:
    """A conversation with a new agent. Raises VisagentError if its engine cannot be opened."""
    from visagent.agent import Agent

    spinner = Spinner()
    spinner.start("Starting")
    try:
        agent = Agent(settings)
    finally:
        spinner.stop()
    return Conversation(agent, None if as_json else open_console())
