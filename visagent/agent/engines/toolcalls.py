"""Tool calls that a model writes into its text: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

Small local models write nothing else; servers leave such text in `content` when their own parser misses it.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from langchain_core.messages import AIMessage, ToolCall

OPENING = "<tool_call>"
_BLOCK = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


def read_answer(text: str) -> AIMessage:
    """What a model wrote, as a message: words in `content`, well-formed tool calls in `tool_calls`.

    A call that is not JSON, or lacks a name, stays in the text: nothing is repaired.
    """
    calls: list[ToolCall] = []

    def take(match: re.Match[str]) -> str:
        call = _parse(match.group(1))
        if call is None:
            return match.group()
        calls.append(call)
        return ""

    words = _BLOCK.sub(take, text).strip()
    return AIMessage(content=words, tool_calls=calls)


def tool_call(name: str, arguments: dict[str, Any]) -> ToolCall:
    """A tool call with an id of its own."""
    return ToolCall(name=name, args=arguments, id=f"call_{uuid.uuid4().hex[:12]}", type="tool_call")


def visible_prefix(text: str) -> str:
    """The part of unfinished text that is surely words: before a tool call, or before what may become one."""
    start = text.find(OPENING)
    if start >= 0:
        return text[:start]
    for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
        if text.endswith(OPENING[:length]):
            return text[:-length]
    return text


def _parse(block: str) -> ToolCall | None:
    try:
        call = json.loads(block)
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    if isinstance(arguments, str):  # some models quote the arguments once more
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(arguments, dict):
        return None
    return tool_call(call["name"], arguments)
