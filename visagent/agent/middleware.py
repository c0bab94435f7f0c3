"""What happens around every call of the model and of a tool during a turn."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.errors import GraphBubbleUp
from langgraph.prebuilt.tool_node import ToolCallRequest
from langgraph.types import Command
from pydantic import ValidationError

from visagent.agent.approval import ApprovalAsked, Decision, Refused, propose
from visagent.agent.engines.base import MAX_ANSWER_TOKENS, Engine
from visagent.agent.events import ToolFinished, ToolStarted
from visagent.agent.meant import as_meant, call_in_words
from visagent.agent.named import name_in_words
from visagent.agent.toolkit import finding_text, input_for_model
from visagent.agent.views import Views
from visagent.errors import VisagentError
from visagent.evidence import Finding, not_possible
from visagent.tools.contract import Tool, ToolContext
from visagent.tools.recognition.access import record

_LOG = logging.getLogger(__name__)
_IMAGE_ID = re.compile(r"image_[0-9]+")


class ShowPictures(AgentMiddleware[Any, Any, Any]):
    """Gives the model as many of the last turns as it can read, with the pixels of their pictures."""

    def __init__(self, engine: Engine, views: Views) -> None:
        super().__init__()
        self._engine = engine
        self._views = views

    def wrap_model_call(self, request: ModelRequest[Any],
                        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any] | AIMessage:
        """Trim the conversation, attach pixels for this one call, and call the model.

        After the tools, an engine that hands findings on is not called: their summaries are the answer.
        """
        if self._engine.hands_on_findings and isinstance(request.messages[-1], ToolMessage):
            return AIMessage(_summaries(request.messages))
        offered = self._engine.bind_tools(request.tools).kwargs["tools"]  # type: ignore[attr-defined]
        system = [request.system_message] if request.system_message else []
        return handler(request.override(messages=self._fit(request.messages, system, offered)))

    def _fit(self, messages: Sequence[BaseMessage], system: Sequence[SystemMessage],
             tools: Sequence[dict[str, Any]]) -> list[Any]:
        turns = turns_of(messages)[-self._engine.history_turns:]
        while True:
            shown = self._views.attach([message for turn in turns for message in turn])
            if len(turns) == 1:
                return shown
            needed = self._engine.count_tokens([*system, *shown], tools) + MAX_ANSWER_TOKENS
            if needed <= self._engine.context_tokens:
                return shown
            turns = turns[1:]


def _summaries(messages: Sequence[BaseMessage]) -> str:
    """The summaries of the findings at the end of a conversation, in the order of the calls."""
    findings: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        findings.insert(0, message.artifact["summary"] if message.artifact else message.text)
    return " ".join(dict.fromkeys(findings))


class RunTools(AgentMiddleware[Any, Any, Any]):
    """Runs a tool call so that it always ends in a finding: nothing that a tool does may end the turn.

    Also announces the call on the custom stream, and answers a call that was made before in the same turn from memory:
    small models tend to repeat themselves.
    """

    def __init__(self, tools: Sequence[Tool[Any]], context: ToolContext, beside: Sequence[Tool[Any]] = ()) -> None:
        super().__init__()
        self._by_name = {tool.name: tool for tool in tools}
        self._askable = {tool.name: tool for tool in (*beside, *tools)}
        self._untold = self._askable.keys() - self._by_name.keys()
        self._context = context
        self._pictures = context.pictures
        self._of_words = ""  # the id of the call that the person's words made
        self._waiting: ApprovalAsked | None = None
        self._broken_off = False
        self._done: dict[str, Finding] = {}
        # Tools share the cores, so that two at once are no faster. (LangGraph's own `max_concurrency=1` cannot be
        # used: its stream takes the only worker, and the turn hangs.)
        self._one_at_a_time = threading.Lock()

    def new_turn(self) -> None:
        """Forget the calls of the turn before."""
        self._done.clear()
        self._broken_off = False

    def break_off(self) -> None:
        """The turn ends before its time: what waits for a person, or will, is refused."""
        self._broken_off = True
        if self._waiting is not None:
            self._waiting.answer(Refused("the turn was broken off"))

    def wrap_model_call(self, request: ModelRequest[Any],
                        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any] | AIMessage:
        """Call the model, unless the person's words ask for a tool of which it was not told."""
        last = request.messages[-1]
        asked = call_in_words(last.text, self._untold, self._context) if isinstance(last, HumanMessage) else None
        if asked is None:
            return handler(request)
        name, arguments = asked
        self._of_words = uuid4().hex
        return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": self._of_words}])

    def wrap_tool_call(self, request: ToolCallRequest,
                       handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]) -> ToolMessage | Command[Any]:
        """Check, announce, run, and turn whatever happens into a finding."""
        with self._one_at_a_time:
            return self._call(request, handler)

    def _call(self, request: ToolCallRequest,
              handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]) -> ToolMessage:
        call = request.tool_call
        named = call["name"]
        meant, settled = as_meant(call["name"], call["args"], self._askable, request.state["messages"], self._context)
        if (meant, settled) != (call["name"], call["args"]):
            call = {**call, "name": meant, "args": settled}
            request = request.override(tool_call=call)
        turned = meant != named or call["id"] == self._of_words
        key = f"{call['name']} {sorted(call['args'].items(), key=str)}"
        if key in self._done:
            return _message(self._done[key], call["id"])
        tool = (self._askable if turned else self._by_name).get(call["name"])
        finding = self._missing(tool, call["name"], call["args"])
        arguments = dict(call["args"])
        if finding is None and isinstance(arguments.get("person"), str):
            name = name_in_words(arguments["person"], request.state["messages"])
            if name is None:
                finding = not_possible(call["name"], "the name in the call does not stand in your words; write whom "
                                                     "you mean.")
            else:
                arguments["person"] = name
                request = request.override(tool_call={**call, "args": arguments})
        if finding is None and tool is not None and tool.asks_first:
            decision = self._ask(tool, arguments, request.runtime.stream_writer)
            if isinstance(decision, Refused):
                finding = self._refuse(tool, decision)
            else:
                arguments = dict(decision.arguments)
        request.runtime.stream_writer(ToolStarted(call["name"], arguments))
        started = time.perf_counter()
        if finding is None and tool is not None:
            # LangGraph knows the tool that the model named, and runs that one only.
            finding = self._run(tool, request, handler) if not (tool.asks_first or turned) else \
                self._safely(tool, lambda: tool.call(arguments, self._context))
        assert finding is not None  # an unknown tool is a finding of `_missing`
        self._done[key] = finding
        request.runtime.stream_writer(ToolFinished(finding, time.perf_counter() - started))
        return _message(finding, call["id"])

    def _missing(self, tool: Tool[Any] | None, name: str, arguments: dict[str, Any]) -> Finding | None:
        """A finding that says what is missing, if the call cannot be carried out at all."""
        if tool is None:
            return not_possible("unknown", f"there is no such tool; there are {', '.join(self._by_name)}.")
        known = self._pictures.ids()
        wanted = list(dict.fromkeys(_images_in(arguments)))
        missing = [image for image in wanted if image not in known]
        if not missing:
            return None
        if not known:
            return not_possible(name, f"no picture is attached: {', '.join(missing)} is missing. Attach it "
                                      "and ask again.")
        return not_possible(name, f"{', '.join(missing)} is missing; attached are {', '.join(known)}.",
                            images=tuple(image for image in wanted if image in known))

    def _ask(self, tool: Tool[Any], arguments: dict[str, Any], write: Callable[[ApprovalAsked], None]) -> Decision:
        """Whether the person agrees. A call that does not fit the tool is not worth a question."""
        try:
            input_for_model(tool).model_validate(arguments)
        except ValidationError:
            return Refused("the request does not fit the tool")
        asked = ApprovalAsked(propose(tool, arguments))
        self._waiting = asked
        if self._broken_off:
            return Refused("the turn was broken off")
        write(asked)
        decision = asked.wait()
        self._waiting = None
        return decision

    def _refuse(self, tool: Tool[Any], refusal: Refused) -> Finding:
        """A refused call, with its receipt."""
        if tool.left_to_person or tool.writes or tool.discloses:
            self._safely(tool, lambda: self._receipt(tool, refusal))
        return not_possible(tool.name, f"it was not done, since {refusal.reason}.")

    def _receipt(self, tool: Tool[Any], refusal: Refused) -> Finding:
        record(self._context, tool.name, decision="refused", reason=refusal.reason)
        return not_possible(tool.name, refusal.reason)

    def _run(self, tool: Tool[Any], request: ToolCallRequest,
             handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]) -> Finding:
        def handled() -> Finding:
            message = handler(request)
            if isinstance(message, ToolMessage) and isinstance(message.artifact, dict):
                return Finding.model_validate(message.artifact)
            return not_possible(tool.name, f"the request does not fit this tool; it takes "
                                           f"{', '.join(tool.input_model.model_fields)}.")

        return self._safely(tool, handled)

    def _safely(self, tool: Tool[Any], run: Callable[[], Finding]) -> Finding:
        try:
            return run()
        except GraphBubbleUp:
            raise
        except VisagentError as error:
            return not_possible(tool.name, str(error))
        except Exception:
            # The traceback goes to the log only: a message may hold paths, and the model would repeat them.
            _LOG.exception("The tool %s failed.", tool.name)
            return not_possible(tool.name, "the tool failed; try another picture, or look into the log.")


def turns_of(messages: Sequence[BaseMessage]) -> list[list[BaseMessage]]:
    """The conversation in turns: a user's message and all that follows it up to the next one."""
    turns: list[list[BaseMessage]] = []
    for message in messages:
        if isinstance(message, HumanMessage) or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _images_in(value: object) -> Iterator[str]:
    if isinstance(value, str) and _IMAGE_ID.fullmatch(value):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _images_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _images_in(item)


def _message(finding: Finding, call_id: str | None) -> ToolMessage:
    return ToolMessage(content=finding_text(finding), artifact=finding.model_dump(mode="json"), name=finding.tool,
                       tool_call_id=call_id or "")
