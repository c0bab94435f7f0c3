"""One turn with the agent, shown while it happens: steps, then words, then evidence."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status

from visagent.agent.answer import Answer
from visagent.agent.events import Completed, TextChunk, ToolFinished, ToolStarted
from visagent.cli.approving import ask_at_terminal
from visagent.errors import EngineError
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
        console: Where the turns are shown; a quiet one shows nothing.
        names: The person's own name of each picture, by id.
        waiting: Named pictures that go with the next question.
        spinner: A sign of life while a turn runs.
        asked: Whether there was a question before, so that the model is loaded.
    """

    agent: Agent
    console: Console
    names: dict[str, str] = field(default_factory=dict)
    waiting: list[tuple[str, Picture]] = field(default_factory=list)
    spinner: Spinner = field(default_factory=lambda: Spinner())
    asked: bool = False

    def ask(self, question: str) -> Answer:
        """Ask about the pictures so far and those waiting, show the turn, and return its answer.

        Raises:
            VisagentError: No answer; see `Agent.ask`.
        """
        words = WordStream(self.console)
        started: Mapping[str, object] = {}
        spinner = self.spinner
        spinner.start("Reading the question" if self.asked else "Loading the model")
        self.asked = True
        try:
            for event in self.agent.stream(question, [picture for _, picture in self.waiting]):
                spinner.stop()
                self._name_new()
                match event:
                    case ToolStarted():
                        started = event.arguments
                        spinner.start(f"Running {event.tool}")
                    case ToolFinished():
                        show_step(self.console, started, event.finding, event.seconds)
                        spinner.start("Writing the answer")
                    case TextChunk():
                        if not words.text:
                            show_heading(self.console, "Answer")
                        words.write(event.text)
                    case Completed():
                        words.close()
                        if not words.text:
                            show_heading(self.console, "Answer")
                        show_answer(self.console, event.answer, streamed=words.text)
                        return event.answer
        finally:
            spinner.stop()
            words.close()
            self._name_new()
        raise EngineError("The model ended the turn without an answer.")

    def clear(self) -> None:
        """Forget the pictures and what was said."""
        self.agent.clear()
        self.names.clear()
        self.waiting.clear()

    def _name_new(self) -> None:
        new = [picture_id for picture_id in self.agent.pictures.ids() if picture_id not in self.names]
        named = {picture_id: name for picture_id, (name, _) in zip(new, self.waiting, strict=False)}
        self.names.update(named)
        del self.waiting[:len(named)]
        show_pictures(self.console, named, self.agent.pictures)


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
    """A conversation with a new agent; its model is opened by the first question."""
    from visagent.agent import Agent

    spinner = Spinner()
    agent = Agent(settings, approve=ask_at_terminal(spinner.stop))
    return Conversation(agent, Console(quiet=True) if as_json else open_console(), spinner=spinner)
