"""The agent: one conversation about pictures of faces."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from visagent.agent.answer import Answer
from visagent.agent.approval import ApprovalAsked, Approver, Refused
from visagent.agent.conversation import Conversation, ModelText
from visagent.agent.engines import open_engine
from visagent.agent.engines.base import Engine
from visagent.agent.events import Completed, Event, TextChunk, ToolFinished
from visagent.agent.grounding import ground
from visagent.agent.sentences import CheckedSentences
from visagent.agent.views import message_of
from visagent.clips import pictures_in
from visagent.errors import EngineError, QuestionError
from visagent.evidence import Finding
from visagent.media import Picture, PictureStore
from visagent.settings import Settings, load_settings
from visagent.tools.contract import Tool, ToolContext
from visagent.tools.models import Models

PictureSource = str | os.PathLike[str] | bytes | Picture
CLIP_FRAMES = 3
"""Frames of a clip that a conversation takes as pictures: as many as a small model reads at once."""


class Agent:
    """Answers questions about faces in pictures, with evidence. Remembers the conversation.

    ```python
    answer = Agent().ask("Is this a live face or a spoof? Why?", ["photo.jpg"])
    print(answer.text, answer.findings)
    ```

    Args:
        settings: Which model to ask, and the limits; read from the environment and the user's file if None.
        engine: The model itself; opened by the settings on the first question if None.
        models: What tools look through; a tool looks through the engine if None.
        tools: The tools on offer; all of `visagent.tools.TOOLS` if None.
        approve: Asks the person about a call that changes what is stored, or tells it; called in the thread that
            consumes the events. If None there is nobody to ask, and such tools are not offered.

    Attributes:
        pictures: The pictures of the conversation and what tools drew.

    One question at a time: a second one meanwhile is refused with a QuestionError.
    """

    def __init__(self, settings: Settings | None = None, *, engine: Engine | None = None, models: Models | None = None,
                 tools: Sequence[Tool[Any]] | None = None, approve: Approver | None = None) -> None:
        self._approve = approve
        self._settings = load_settings() if settings is None else settings
        self._engine = engine
        self._models = Models(self._open_engine) if models is None else models
        self._given_tools = tools
        self._given_models = models is not None
        self._conversation: Conversation | None = None
        self._busy = threading.Lock()
        self._stop_asked = threading.Event()
        self.pictures = PictureStore(max_pictures=self._settings.max_pictures)

    def ask(self, question: str, pictures: PictureSource | Sequence[PictureSource] = ()) -> Answer:
        """Answer a question about these pictures and those of the conversation so far.

        Args:
            question: At most `settings.max_question_characters`.
            pictures: One or several: paths, bytes, or loaded pictures. They become `image_1`, `image_2`, ...; of a
                clip, three frames do, and the clip itself becomes `clip_1` for tools that look at motion.

        Raises:
            QuestionError: The question is empty or too long.
            PictureError: A picture cannot be read; then none of them is added.
            EngineError: The model failed before any tool found something.
        """
        for event in self.stream(question, pictures):
            if isinstance(event, Completed):
                return event.answer
        raise EngineError("The model ended the turn without an answer.")

    def stream(self, question: str, pictures: PictureSource | Sequence[PictureSource] = ()) -> Iterator[Event]:
        """The same, event by event; the last one is `Completed`. Raises as `ask` does, bad input at once."""
        asked = self._check(question)
        if not self._busy.locked():  # what a running turn was told still holds
            self._stop_asked.clear()
        several = [pictures] if isinstance(pictures, str | os.PathLike | bytes | Picture) else list(pictures)
        loaded = [picture for source in several for picture in (
            [source] if isinstance(source, Picture) else [shown for shown, _ in pictures_in(source, CLIP_FRAMES)])]
        return self._turn(asked, loaded)

    def stop(self) -> None:
        """End the turn that was begun last, from another thread: its iterator raises `TurnStopped`.

        That takes until the model's next piece of text or the end of a tool. The turn is forgotten, its pictures stay.
        """
        self._stop_asked.set()

    def clear(self) -> None:
        """Forget the conversation and its pictures; loaded models stay. Raises QuestionError if busy."""
        if not self._busy.acquire(blocking=False):
            raise QuestionError("The agent is still answering; let that finish first.")
        try:
            self._conversation = None
            # A new store: its pictures are image_1, image_2, ... again, as a model expects of a new conversation.
            self.pictures.clear()
            self.pictures = PictureStore(max_pictures=self._settings.max_pictures)
        finally:
            self._busy.release()

    def _check(self, question: str) -> str:
        limit = self._settings.max_question_characters
        if not question.strip():
            raise QuestionError("The question is empty; ask something about the picture.")
        if len(question) > limit:
            raise QuestionError(f"The question has {len(question)} characters, over the limit of {limit}; shorten it.")
        return question.strip()

    def _turn(self, question: str, pictures: Sequence[Picture]) -> Iterator[Event]:
        if not self._busy.acquire(blocking=False):
            raise QuestionError("The agent is still answering the question before; let that finish first.")
        try:
            started = time.perf_counter()
            conversation = self._open()
            ids = self.pictures.add_all(pictures)
            with conversation.turn(message_of(question, ids), self._stop_asked) as turn:
                findings: list[Finding] = []
                sentences = CheckedSentences(findings)
                failure: EngineError | None = None
                try:
                    for event in turn.events():
                        if isinstance(event, ApprovalAsked):
                            event.answer(Refused() if self._approve is None else self._approve(event.proposal))
                        elif isinstance(event, ModelText):
                            yield from map(TextChunk, sentences.feed(event))
                        else:
                            if isinstance(event, ToolFinished):
                                findings.append(event.finding)
                            yield event
                except EngineError as error:
                    if not findings:
                        raise
                    # The specialists have answered; what they found must not be lost with the model.
                    failure = error
                written = turn.last_words() if failure is None else ""
                findings[:] = turn.ordered(findings)
                text, grounded = ground(written, findings)
                turn.keep(text)
                if rest := sentences.rest(text, grounded=grounded):
                    yield TextChunk(rest)
            yield Completed(Answer(text=text, findings=tuple(findings), grounded=grounded,
                                   model_text=None if grounded else written or None,
                                   seconds=time.perf_counter() - started))
        finally:
            self._busy.release()

    def _open(self) -> Conversation:
        if self._conversation is None:
            engine = self._engine_in_use()
            usable = [tool for tool in self._tools() if (self._approve is not None or not tool.asks_first)
                      and tool.is_set_up(self._settings)]
            offered = [tool for tool in usable if self._given_tools is not None or engine.known_tools is None
                       or tool.name in engine.known_tools]
            context = ToolContext(pictures=self.pictures, models=self._models, settings=self._settings, draws=True)
            self._conversation = Conversation(engine, offered, context, beside=usable)
        return self._conversation

    def _engine_in_use(self) -> Engine:
        if self._engine is not None:
            return self._engine
        if self._given_models and self._models.has_vision_language_model:
            shared = self._models.vision_language_model()
            if isinstance(shared, Engine):
                return shared
        return self._models.get(self._open_engine)

    def _open_engine(self) -> Engine:
        return self._engine or open_engine(self._settings)

    def _tools(self) -> Sequence[Tool[Any]]:
        if self._given_tools is not None:
            return self._given_tools
        from visagent.tools import TOOLS

        return TOOLS
