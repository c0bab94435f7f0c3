"""LangChain messages as an OpenAI-compatible server expects them, and its answers back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from visagent.agent.engines.toolcalls import read_answer, tool_call
from visagent.errors import EngineError

# The server's tokenizer is not known here: anything that looks like a tag may be one of its control tokens.
_TAG = re.compile(r"<(?=[|/\w])")


def request_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages of a request; pictures as `data:` URLs in user turns, tool results as text."""
    return [_convert(message) for message in messages]


def read_reply(message: Mapping[str, Any]) -> AIMessage:
    """A server's message. Tool calls that its parser missed are read from the text."""
    calls = [_call(call["function"]["name"], call["function"].get("arguments") or "{}")
             for call in message.get("tool_calls") or ()]
    text = message.get("content") or ""
    if not calls:
        return read_answer(text)
    if None in calls:  # arguments that are no JSON: nothing is repaired, the words (if any) stand
        return AIMessage(content=text.strip())
    return AIMessage(content=text.strip(), tool_calls=[call for call in calls if call is not None])


def join_deltas(deltas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The message that streamed deltas add up to."""
    text = "".join(delta.get("content") or "" for delta in deltas)
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas:
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(part.get("index", 0), {"name": "", "arguments": ""})
            function = part.get("function") or {}
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""
    return {"content": text, "tool_calls": [{"function": calls[index]} for index in sorted(calls)]}


def _call(name: str, arguments: str) -> Any:
    try:
        parsed = json.loads(arguments)
    except ValueError:
        return None
    return tool_call(name, parsed) if isinstance(parsed, dict) else None


def _convert(message: BaseMessage) -> dict[str, Any]:
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": message.text}
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": _parts(message)}
    if isinstance(message, ToolMessage):
        return {"role": "tool", "tool_call_id": message.tool_call_id, "name": message.name or "",
                "content": _TAG.sub("< ", message.text)}
    if isinstance(message, AIMessage):
        turn: dict[str, Any] = {"role": "assistant", "content": message.text}
        if message.tool_calls:
            turn["tool_calls"] = [{"id": call["id"], "type": "function",
                                   "function": {"name": call["name"], "arguments": json.dumps(call["args"])}}
                                  for call in message.tool_calls]
        return turn
    raise EngineError(f"The engine cannot take a message of kind {message.type!r}.")


def _parts(message: HumanMessage) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in [message.content] if isinstance(message.content, str) else message.content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": _TAG.sub("< ", part)})
        elif part["type"] == "image":
            url = f"data:{part['mime_type']};base64,{part['base64']}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            parts.append({"type": "text", "text": _TAG.sub("< ", part["text"])})
    return parts
