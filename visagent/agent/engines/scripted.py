"""The scripted engine: says what a test tells it to say, and remembers what it was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from visagent.agent.engines.base import MAX_ANSWER_TOKENS, Engine
from visagent.agent.engines.toolcalls import read_answer
from visagent.errors import EngineError
from visagent.evidence import ModelIdentity


class ScriptedEngine(Engine):
    """A queue of answers.

    Attributes:
        script: What to say in the conversation, in order: messages or strings. A string may hold
            `<tool_call>` blocks; an exception is raised.
        looks: What to answer to `look`, in order.
        scores: What `score` gives each option; an option that is not here gets -20.
        inputs: The messages of every call so far, for assertions.
        tools_seen: The names of the tools offered in every call so far.
    """

    script: list[Any] = Field(default_factory=list)
    looks: list[str] = Field(default_factory=list)
    scores: Mapping[str, float] = Field(default_factory=dict)
    inputs: list[list[BaseMessage]] = Field(default_factory=list)
    tools_seen: list[tuple[str, ...]] = Field(default_factory=list)

    @property
    def identity(self) -> ModelIdentity:
        """The name says that no model spoke."""
        return ModelIdentity(id="scripted")

    @property
    def _llm_type(self) -> str:
        return "visagent-scripted"

    def complete(self, messages: Sequence[BaseMessage], *, max_tokens: int = MAX_ANSWER_TOKENS) -> str:
        """The next of `looks`. Raises EngineError if none is left."""
        self.inputs.append(list(messages))
        if not self.looks:
            raise EngineError("The script has no look left.")
        return self.looks.pop(0)

    def score(self, messages: Sequence[BaseMessage], options: Sequence[str], *,
              per_token: bool = False) -> list[float]:
        """The values of `scores`."""
        self.inputs.append(list(messages))
        return [self.scores.get(option, -20.0) for option in options]

    def count_tokens(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> int:
        """One per word."""
        return sum(len(message.text.split()) for message in messages)

    def _generate(self, messages: list[BaseMessage], stop: list[str] | None = None,
                  run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages, kwargs))])

    def _stream(self, messages: list[BaseMessage], stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        message = self._next(messages, kwargs)
        for word in re.findall(r"\S+\s*|\s+", message.text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_calls=message.tool_calls))

    def _next(self, messages: list[BaseMessage], options: Mapping[str, Any]) -> AIMessage:
        self.inputs.append(list(messages))
        self.tools_seen.append(tuple(tool["function"]["name"] for tool in options.get("tools", ())))
        if not self.script:
            raise EngineError("The script is at its end.")
        line = self.script.pop(0)
        if isinstance(line, Exception):
            raise line
        message: AIMessage = read_answer(line) if isinstance(line, str) else line
        return message
