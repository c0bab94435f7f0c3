"""LangChain messages as the chat templates of transformers expect them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from visagent.agent.views import decode_part
from visagent.errors import EngineError


def template_messages(messages: Sequence[BaseMessage], clean: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """The messages as dicts for `apply_chat_template`; a picture's part holds the picture itself under `image`.

    Args:
        messages: The conversation. Pictures only in user turns.
        clean: Takes the model's control tokens out of text from outside, so that a question or a tool's result cannot
            open a turn of its own.
    """
    return [_convert(message, clean) for message in messages]


def control_token_cleaner(tokens: Sequence[str]) -> Callable[[str], str]:
    """A function that breaks up every one of these tokens in a text, by a space behind its first character."""
    ordered = sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)

    def clean(text: str) -> str:
        for token in ordered:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    return clean


def _convert(message: BaseMessage, clean: Callable[[str], str]) -> dict[str, Any]:
    if isinstance(message, SystemMessage):
        return {"role": "system", "content": [{"type": "text", "text": message.text}]}
    if isinstance(message, HumanMessage):
        return {"role": "user", "content": _parts(message, clean)}
    if isinstance(message, ToolMessage):
        return {"role": "tool", "name": message.name or "", "content": clean(message.text)}
    if isinstance(message, AIMessage):
        words = clean(message.text)
        turn: dict[str, Any] = {"role": "assistant", "content": [{"type": "text", "text": words}] if words else []}
        if message.tool_calls:
            turn["tool_calls"] = [{"type": "function", "function": {"name": call["name"], "arguments": call["args"]}}
                                  for call in message.tool_calls]
        return turn
    raise EngineError(f"The engine cannot take a message of kind {message.type!r}.")


def _parts(message: HumanMessage, clean: Callable[[str], str]) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": clean(message.content)}]
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": clean(part)})
        elif part["type"] == "image":
            parts.append({"type": "image", "image": decode_part(part)})
        else:
            parts.append({"type": "text", "text": clean(part["text"])})
    return parts
