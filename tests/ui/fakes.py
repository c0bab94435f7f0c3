"""A chat without a model: an engine that says what a test tells it to, and tools that wait until they may go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from visagent.agent.engines.scripted import ScriptedEngine
from visagent.agent.engines.toolcalls import tool_call
from visagent.agent.prompts import CAPABILITIES
from visagent.evidence import ArtifactKind, Box, Finding, Region, Score
from visagent.media import Picture, picture_from_array
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.ui.conversation import ChatConversation

DEADLINE_SECONDS = 20.0
"""A test fails after as long; nothing here takes more than a moment unless it is broken."""
HELLO = CAPABILITIES
"""An answer that needs no finding."""
SPOOF = "This is a spoof. The attack score is 0.83, over 0.5."


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so, and fail if it never is."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.002)


Lines = list[tuple[str | None, object]]
"""Title and text of messages."""


def finish(conversation: ChatConversation, *, watchers: int = 1) -> list[list[Lines]]:
    """Follow a conversation to the end of its turn; for each watcher, what stood there at every change."""
    async def watch() -> list[Lines]:
        return [lines(conversation) async for _ in conversation.follow()]

    async def all_watch() -> list[list[Lines]]:
        return await asyncio.wait_for(asyncio.gather(*(watch() for _ in range(watchers))), DEADLINE_SECONDS)

    return asyncio.run(all_watch())


class Follower:
    """Follows a conversation step by step."""

    def __init__(self, conversation: ChatConversation) -> None:
        self._runner = asyncio.Runner()
        self._changes = conversation.follow()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._runner.close()

    def step(self) -> bool:
        """Wait for the next change; False once the turn is over."""
        async def step() -> bool:
            try:
                await asyncio.wait_for(anext(self._changes), DEADLINE_SECONDS)
            except StopAsyncIteration:
                return False
            return True

        return self._runner.run(step())

    def until(self, true: Callable[[], bool]) -> None:
        """Go on to the change after which something is so; fails if the turn ends before."""
        while not true():
            assert self.step(), "the turn ended, and it never came about"


def lines(conversation: ChatConversation) -> Lines:
    """Title and text of all messages."""
    return [(message.metadata.get("title"), message.content) for message in conversation.messages()]


def pending(conversation: ChatConversation) -> list[str | None]:
    """The titles of what still spins."""
    return [message.metadata.get("title") for message in conversation.messages()
            if message.metadata.get("status") == "pending"]


def picture(shade: int = 0) -> Picture:
    """A small picture of one colour."""
    return picture_from_array(np.full((20, 24, 3), shade, np.uint8))


class ChatEngine(ScriptedEngine):
    """A scripted engine that can also talk without an end.

    Attributes:
        talking: Set once it does.
        silent: Set to make it stop by itself.
    """

    talking: threading.Event = Field(default_factory=threading.Event)
    silent: threading.Event = Field(default_factory=threading.Event)

    def _stream(self, messages: list[BaseMessage], stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        if self.script[:1] != ["..."]:
            yield from super()._stream(messages, stop, run_manager, **kwargs)
            return
        self._next(messages, kwargs)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.silent.wait(0.002) and time.monotonic() < deadline:
            yield ChatGenerationChunk(message=AIMessageChunk(content="well, "))
            self.talking.set()
        yield ChatGenerationChunk(message=AIMessageChunk(content="that is all."))


class ScreenInput(ToolInput):
    """Which picture."""

    image: ImageId


class WhoInput(ToolInput):
    """Somebody."""

    person: str = Field(description="The person's name.")
    consent: str | None = Field(default=None, description="Where the person agreed.")


@dataclass
class FakeTools:
    """Two tools and what was done with them.

    Attributes:
        may_end: The screening tool waits for it; set from the beginning.
        began: Set once that tool runs.
        drawing: What that tool draws, where somebody looks; nothing if None.
        erased: What the tool that asks first was called with.
    """

    may_end: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)
    drawing: np.ndarray | None = None
    erased: list[WhoInput] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_end.set()

    def all(self) -> tuple[Tool[Any], ...]:
        """The tools: `spoof`, and `erase`, which asks first."""
        return (Tool("spoof", "Live or spoof?", ScreenInput, self._screen),
                Tool("erase", "Erases somebody for good.", WhoInput, self._erase, writes=True,
                     left_to_person=("consent",)))

    def _screen(self, request: ScreenInput, context: ToolContext) -> Finding:
        context.pictures.get(request.image)
        self.began.set()
        assert self.may_end.wait(DEADLINE_SECONDS)
        finding = spoof_finding(request.image)
        if self.drawing is None or not context.draws:
            return finding
        plot = context.keep(self.drawing, ArtifactKind.picture, "A plot.")
        mask = context.keep(self.drawing, ArtifactKind.mask, "A mask.", image=request.image)
        return finding.model_copy(update={"artifacts": (plot, mask)})

    def _erase(self, request: WhoInput, context: ToolContext) -> Finding:
        self.erased.append(request)
        return Finding(tool="erase", answer="erased", summary=f'Erased "{request.person}".')


def spoof_finding(image: str = "image_1") -> Finding:
    """What the screening tool finds."""
    return Finding(
        tool="spoof", answer="spoof", images=(image,), summary=f"{image} is a spoof; attack score 0.831, over 0.5.",
        scores=(Score(name="attack score", value=0.8312, threshold=0.5, threshold_source="development split"),),
        regions=(Region(label="glare", image=image, box=Box(x1=2, y1=3, x2=8, y2=9)),))


def screen(image: str = "image_1") -> AIMessage:
    """The model calls the screening tool."""
    return AIMessage("", tool_calls=[tool_call("spoof", {"image": image})])


def erase(person: str = "Ada") -> AIMessage:
    """The model wants to erase somebody."""
    return AIMessage("", tool_calls=[tool_call("erase", {"person": person})])


Chat = Callable[..., tuple[ChatConversation, ChatEngine]]
"""Begins a conversation whose model follows a script."""


def last(conversation: ChatConversation) -> object:
    """The text of the last message."""
    return lines(conversation)[-1][1]
