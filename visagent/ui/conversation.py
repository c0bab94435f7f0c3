"""One conversation in the browser: the agent, what was shown, and the turn that runs.

A turn runs in a thread of its own, whether somebody watches or not: a page that is loaded again goes on watching it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from gradio import ChatMessage

from visagent.agent import Agent
from visagent.agent.approval import Decision, Proposal, Refused
from visagent.agent.events import Completed, Event, ToolFinished
from visagent.errors import QuestionError, TurnStopped, VisagentError
from visagent.evidence import Finding
from visagent.media import Picture
from visagent.settings import Settings
from visagent.terminal import clean
from visagent.tools.models import Models
from visagent.ui import messages as shown
from visagent.ui.turns import Place, TurnQueue

_LOG = logging.getLogger(__name__)
TITLE_CHARACTERS = 40
REPAINT_SECONDS = 0.05
"""Changes that follow each other faster are shown together."""


@dataclass(slots=True)
class Answered:
    """One question with the evidence of its answer.

    Attributes:
        question: What was asked.
        findings: What tools found so far; all of it once the turn is over.
        seconds: Time of the turn; None while it runs or if it was broken off.
    """

    question: str
    findings: tuple[Finding, ...] = ()
    seconds: float | None = None


@dataclass(slots=True)
class Waiting:
    """A call that waits for the person's agreement."""

    proposal: Proposal
    decided: threading.Event = field(default_factory=threading.Event)
    decision: Decision = field(default_factory=Refused)


class ChatConversation:
    """A conversation. Its methods may be called from any thread.

    Args:
        settings: Which model to ask, and the limits.
        models: The loaded models, shared by all conversations of the process.
        queue: Where the turns of all conversations wait for each other; one of its own if None.

    Attributes:
        agent: Who answers.
        answers: The questions so far, each with its evidence.
        page: Which of `answers` the page shows; the newest after each question.
        captions: What pictures show, by id, where the person cannot know.
        addresses: The pictures as the page shows them, so that each is made once.
    """

    def __init__(self, settings: Settings, models: Models, queue: TurnQueue | None = None) -> None:
        self._queue = TurnQueue(1) if queue is None else queue
        self._place: Place | None = None
        self._stopped = threading.Event()
        self.agent = Agent(settings, models=models, approve=self._ask_person)
        self.answers: list[Answered] = []
        self.page = 0
        self.captions: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self._messages: list[ChatMessage] = []
        self._waiting: Waiting | None = None
        self._changed = threading.Condition()
        self._version = 0
        self._turn: threading.Thread | None = None

    @property
    def title(self) -> str:
        """The first question, shortened."""
        first = clean(self.answers[0].question) if self.answers else "New conversation"
        return first if len(first) <= TITLE_CHARACTERS else f"{first[:TITLE_CHARACTERS - 1]}…"

    @property
    def busy(self) -> bool:
        """Whether a turn runs."""
        with self._changed:
            return self._turn is not None

    @property
    def waiting(self) -> Waiting | None:
        """The call that waits for agreement, if there is one."""
        return self._waiting

    def messages(self) -> list[ChatMessage]:
        """All messages so far."""
        with self._changed:
            return list(self._messages)

    def ask(self, question: str, pictures: Sequence[Picture] = (), captions: Sequence[str] = ()) -> None:
        """Begin a turn.

        Args:
            question: What the person asks.
            pictures: Pictures that are attached to it.
            captions: What each shows, where the person cannot know (the time of a clip's frame); may be empty.

        Raises:
            QuestionError: A turn runs, or the question is empty or too long.
        """
        with self._changed:
            if self._turn is not None:
                raise QuestionError("The question before is still being answered; wait, or stop it.")
            events = self.agent.stream(question, pictures)  # refuses a bad question before anything is shown
            first = self._pictures_so_far() + 1
            names = [f"image_{number}" for number in range(first, first + len(pictures))]
            self.captions.update(zip(names, captions, strict=False))
            shown.show_question(self._messages, question, ", ".join(map(self.caption, names)))
            self.answers.append(Answered(question))
            self.page = len(self.answers) - 1
            self._stopped.clear()
            self._turn = threading.Thread(target=self._run, args=(events,), name="visagent-turn", daemon=True)
            self._turn.start()
        self._tell()

    def caption(self, picture: str) -> str:
        """A picture's id and what it shows, for reading."""
        said = self.captions.get(picture)
        return f"{picture} ({said})" if said else picture

    def stop(self) -> None:
        """Stop the turn that runs; a call that waits for agreement is refused."""
        self._stopped.set()
        self.agent.stop()
        self.decide(Refused("the answer was stopped"))

    def decide(self, decision: Decision) -> None:
        """Answer the call that waits for agreement, if there is one."""
        waiting = self._waiting
        if waiting is not None and not waiting.decided.is_set():
            waiting.decision = decision
            waiting.decided.set()

    async def follow(self) -> AsyncIterator[None]:
        """Come back at once, then after every change until no turn runs. Takes no thread while it waits."""
        seen, over = -1, False
        while not over:
            with self._changed:
                changed = self._version != seen
                seen, over = self._version, self._turn is None
            if changed or over:
                yield
            if not over:
                await asyncio.sleep(REPAINT_SECONDS)

    def clear(self) -> None:
        """Stop what runs, and forget what was said, all pictures and all findings."""
        self.stop()
        turn = self._turn
        if turn is not None:
            turn.join()
        self.agent.clear()
        with self._changed:
            self._messages.clear()
            self.answers.clear()
            self.captions.clear()
            self.addresses = {}  # a page that is being drawn fills the old one: ids begin anew, and are of others
            self.page = 0
        self._tell()

    def _run(self, events: Iterator[Event]) -> None:
        failure = ""
        self._place = self._queue.join()
        try:
            if not self._place.wait(self._tell_place, self._stopped.is_set) or self._stopped.is_set():
                raise TurnStopped("The question was taken back.")
            self._show(events)
        except VisagentError as error:
            failure = str(error)
        except Exception:
            _LOG.exception("The turn failed.")
            failure = "Something went wrong that should not have; the log says what. Ask again."
        self._place.leave()
        with self._changed:
            if failure:
                shown.show_failure(self._messages, failure)
            held = self.agent.pictures.ids()
            self.captions = {picture: said for picture, said in self.captions.items() if picture in held}
            self._turn = None
        self._tell()

    def _show(self, events: Iterator[Event]) -> None:
        answer = self.answers[-1]
        with self._changed:
            shown.show_working(self._messages, shown.WORKING)
        self._tell()
        for event in events:
            with self._changed:
                shown.show(self._messages, event)
                if isinstance(event, ToolFinished):
                    answer.findings = (*answer.findings, event.finding)
                elif isinstance(event, Completed):
                    answer.findings, answer.seconds = event.answer.findings, event.answer.seconds
            self._tell()

    def _tell_place(self, ahead: int) -> None:
        with self._changed:
            shown.show_working(self._messages, f"Waiting: {ahead} question{'' if ahead == 1 else 's'} before this one")
        self._tell()

    def _ask_person(self, proposal: Proposal) -> Decision:
        """Show the call and wait for `decide`; called in the turn's thread."""
        waiting = Waiting(proposal)
        with self._changed:
            shown.show_proposal(self._messages, proposal)
            self._waiting = waiting
        self._tell()
        assert self._place is not None
        self._place.leave()  # a person may take long: others go on meanwhile
        if self._stopped.is_set():  # before there was something to refuse
            self.decide(Refused("the answer was stopped"))
        waiting.decided.wait()
        self._place = self._queue.join(in_front=True)
        self._place.wait(lambda ahead: None, lambda: False)
        with self._changed:
            self._waiting = None
            shown.show_decision(self._messages, proposal, waiting.decision)
        self._tell()
        return waiting.decision

    def _tell(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def _pictures_so_far(self) -> int:
        ids = self.agent.pictures.ids()
        return int(ids[-1].removeprefix("image_")) if ids else 0
