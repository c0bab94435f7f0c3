"""The conversation with one model: LangChain's agent loop, its memory, and what happens in a turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware, ToolCallLimitMiddleware
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langsmith.run_helpers import tracing_context

from visagent.agent.approval import ApprovalAsked
from visagent.agent.engines.base import Engine
from visagent.agent.events import ToolFinished, ToolStarted
from visagent.agent.middleware import RunTools, ShowPictures
from visagent.agent.toolkit import langchain_tool
from visagent.agent.views import Views
from visagent.errors import TurnStopped
from visagent.evidence import Finding
from visagent.tools.contract import Tool, ToolContext

_CONFIG: RunnableConfig = {"configurable": {"thread_id": "conversation"}}


@dataclass(frozen=True, slots=True)
class ModelText:
    """A piece of what the model writes, unchecked, and the id of the message it belongs to."""

    text: str
    message: str


class Conversation:
    """A model, its tools, and what was said so far. In memory only; nothing is traced.

    Args:
        engine: The model.
        tools: What it may call.
        context: What these may reach.
        beside: Tools that the model is not told of, and the person's own words may still ask for (`agent.meant`).
    """

    def __init__(self, engine: Engine, tools: Sequence[Tool[Any]], context: ToolContext, *,
                 beside: Sequence[Tool[Any]] = ()) -> None:
        calls = context.settings.max_tool_calls
        self._run_tools = RunTools(tools, context, beside)
        takes_clips = any("clip" in tool.input_model.model_fields for tool in tools)
        self._views = Views(engine.view, context.pictures, context.models, names_clips=takes_clips)
        around: list[AgentMiddleware[Any, Any, Any]] = [
            ModelCallLimitMiddleware(run_limit=calls + 1, exit_behavior="end"),
            ToolCallLimitMiddleware(run_limit=calls, exit_behavior="continue"),
            self._run_tools, ShowPictures(engine, self._views)]
        self._graph: Any = create_agent(
            engine, [langchain_tool(tool, context) for tool in tools], system_prompt=engine.system_prompt(),
            middleware=around, checkpointer=InMemorySaver())

    def turn(self, message: HumanMessage, stop: threading.Event) -> Turn:
        """Begin a turn with a user's message; it ends with TurnStopped soon after `stop` is set."""
        self._run_tools.new_turn()
        return Turn(self._graph, message, self._run_tools, stop)

    def history(self) -> list[BaseMessage]:
        """All messages so far, the pictures as ids."""
        return _history(self._graph)


class _StopWriting(BaseCallbackHandler):
    """Stops a model between two pieces of its answer: closing LangGraph's stream would wait for the whole of it."""

    raise_error = True

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def on_llm_new_token(self, token: str | list[str | dict[str, Any]], **further: Any) -> None:
        """Called by LangChain after every piece."""
        _check(self._stop)


class Turn:
    """One turn, as a context: unless `keep` is called in it, it is as if it had never been.

    Args:
        graph: LangChain's agent.
        message: The user's message.
        run_tools: What runs the tools.
        stop: Ends the turn once it is set.
    """

    def __init__(self, graph: Any, message: HumanMessage, run_tools: RunTools, stop: threading.Event) -> None:
        self._run_tools = run_tools
        self._stop = stop
        self._graph = graph
        self._message = message
        self._before = len(_history(graph))
        self._kept = False

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if not self._kept:
            self._replace([])

    def events(self) -> Iterator[ModelText | ToolStarted | ToolFinished | ApprovalAsked]:
        """Run the turn. Raises EngineError if the model fails, TurnStopped if it is stopped."""
        context = copy_context()
        # Entered and never left: the context ends with this turn. Faces must not reach a tracing service.
        context.run(tracing_context(enabled=False).__enter__)
        config: RunnableConfig = {**_CONFIG, "callbacks": [_StopWriting(self._stop)]}
        stream = self._graph.stream({"messages": [self._message]}, config, stream_mode=["messages", "custom"])
        try:
            while (item := context.run(next, stream, None)) is not None:
                _check(self._stop)
                mode, content = item
                if mode == "custom":
                    yield content
                elif isinstance(content[0], AIMessageChunk) and content[0].text:
                    yield ModelText(content[0].text, content[0].id or "")
        finally:
            self._run_tools.break_off()
            context.run(stream.close)

    def last_words(self) -> str:
        """What the model wrote at the end."""
        written = _history(self._graph)[self._before:]
        last = written[-1] if written else None
        return last.text.strip() if isinstance(last, AIMessage) and not last.tool_calls else ""

    def keep(self, answer: str) -> None:
        """Remember this turn, with the answer that was given; what the model wrote in its place is forgotten."""
        self._kept = True
        if answer and self.last_words() == answer:
            return
        written = _history(self._graph)[self._before:]
        if written and isinstance(written[-1], AIMessage) and not written[-1].tool_calls:
            self._update([AIMessage(answer, id=written[-1].id)])
        else:  # the model failed in the middle: a call without its results would confuse the next turn
            self._replace([self._message, AIMessage(answer)])

    def ordered(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """The findings in the order of the calls; calls of one step may have ended in another."""
        artifacts = [message.artifact for message in _history(self._graph)[self._before:]
                     if isinstance(message, ToolMessage)]
        places = {finding.to_json(): len(artifacts) for finding in findings}
        for place, artifact in reversed(list(enumerate(artifacts))):
            if isinstance(artifact, dict):
                places[Finding.model_validate(artifact).to_json()] = place
        return tuple(sorted(findings, key=lambda finding: places[finding.to_json()]))

    def _replace(self, messages: list[BaseMessage]) -> None:
        earlier = _history(self._graph)[:self._before]
        self._update([RemoveMessage(id=REMOVE_ALL_MESSAGES), *earlier, *messages])

    def _update(self, messages: list[BaseMessage]) -> None:
        self._graph.update_state(_CONFIG, {"messages": messages}, as_node="model")


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise TurnStopped("The answer was stopped; ask again, the pictures are still here.")


def _history(graph: Any) -> list[BaseMessage]:
    return list(graph.get_state(_CONFIG).values.get("messages", ()))
