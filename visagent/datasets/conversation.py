"""A conversation being written: pictures come, questions are asked and typed by some hand, tools are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Final

from visagent.datasets.noise import spell_by_ear, telegraphic, type_noisily
from visagent.datasets.summaries import sample_summary

Message = dict[str, object]

TOOL_NAMES: Final = ("spoof", "expression", "verify", "faces", "identify", "enrol", "people", "forget", "drift",
                     "fairness")
ASKING_TOOLS: Final = ("enrol", "people", "forget")
"""Those that are on offer only where somebody can be asked first."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: a tool and its arguments, pictures by id."""

    name: str
    arguments: dict[str, str | list[str]]

    def images(self) -> tuple[str, ...]:
        """Ids of the pictures it looks at."""
        return tuple(image for name, value in self.arguments.items() if name != "person"
                     for image in ([value] if isinstance(value, str) else value))

    @property
    def person(self) -> str | None:
        """Whom it is about, if it names somebody."""
        name = self.arguments.get("person")
        return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class RoutingExample:
    """A conversation and what the assistant shall say or call next.

    Attributes:
        kind: One of the keys of `visagent.datasets.routing.MIX`.
        pictures: Pictures attached so far, over all turns.
        messages: Chat messages up to and including the last question or tool result.
        target: Text, or the tool calls in order.
    """

    kind: str
    pictures: int
    messages: tuple[Message, ...]
    target: str | tuple[ToolCall, ...]

    def chat(self) -> list[Message]:
        """`messages` followed by the target as the assistant's message."""
        return [*self.messages, assistant_message(self.target)]

    @property
    def question(self) -> str:
        """The last thing the person wrote."""
        parts = next(m["content"] for m in reversed(self.messages) if m["role"] == "user")
        assert isinstance(parts, list)
        return str(parts[-1]["text"])


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, what answers it, and the name in it that must be typed right."""

    text: str
    target: str | tuple[ToolCall, ...]
    person: str | None = None


class Talk:
    """A conversation being written; who types it, and how well, is drawn once."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.pictures = 0
        self.fresh = 0
        self.last_calls: tuple[ToolCall, ...] = ()
        self.messages: list[Message] = []
        self.noise = 0.0 if rng.random() < 0.45 else rng.choice([0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
        self.by_ear = rng.uniform(0.2, 0.9) if rng.random() < 0.2 else 0.0

    def branch(self) -> Talk:
        """A copy to go on with in another way, typed by another hand."""
        other = Talk(self.rng)
        other.pictures, other.fresh, other.last_calls = self.pictures, self.fresh, self.last_calls
        other.messages = list(self.messages)
        return other

    def attach(self, count: int) -> None:
        """Pictures that come with the next question."""
        self.fresh = count
        self.pictures += count

    def ask(self, text: str, person: str | None = None) -> None:
        """Append a question, typed by the hand of this talk, with the pictures attached since the last one.

        A name is typed without slips: what the person wrote is what is looked up.
        """
        parts: list[dict[str, str]] = []
        for index in range(self.pictures - self.fresh + 1, self.pictures + 1):
            parts += [{"type": "text", "text": f"image_{index}"}, {"type": "image"}]
        pieces = [text] if person is None else text.split(person)
        parts.append({"type": "text", "text": (person or "").join(self._typed(piece) for piece in pieces)})
        self.messages.append({"role": "user", "content": parts})
        self.fresh = 0

    def _typed(self, text: str) -> str:
        if self.rng.random() < 0.1:
            text = telegraphic(text, self.rng)
        if self.by_ear:
            text = spell_by_ear(text, self.rng, self.by_ear)
        return type_noisily(text, self.rng, self.noise)

    def call(self, calls: tuple[ToolCall, ...]) -> str:
        """Append calls and their results; returns the answer made of them."""
        self.messages.append(assistant_message(calls))
        summaries = [sample_summary(call.name, call.images(), self.rng, person=call.person) for call in calls]
        for call, summary in zip(calls, summaries, strict=True):
            self.messages.append({"role": "tool", "name": call.name, "content": summary})
        self.last_calls = calls
        return " ".join(summaries)

    def answer(self, target: str | tuple[ToolCall, ...]) -> None:
        """Append the assistant's whole turn."""
        if isinstance(target, str):
            self.last_calls = ()
            text = target
        else:
            text = self.call(target)
        self.messages.append({"role": "assistant", "content": text})

    def example(self, kind: str, target: str | tuple[ToolCall, ...]) -> RoutingExample:
        """What was written so far, and what the assistant shall say or call next."""
        return RoutingExample(kind, self.pictures, tuple(self.messages), target)


def call_text(call: ToolCall) -> str:
    """A call as nano's chat template writes it."""
    arguments = json.dumps(spaced(call), ensure_ascii=False)
    return f'<tool_call>{{"name": "{call.name}", "arguments": {arguments}}}</tool_call>'


def spaced(call: ToolCall) -> dict[str, str | list[str]]:
    """The arguments with a space before the person's name, so that it is the same tokens as in a question."""
    return {name: f" {value}" if name == "person" and isinstance(value, str) else value
            for name, value in call.arguments.items()}


def assistant_message(target: str | tuple[ToolCall, ...]) -> Message:
    """Text or calls as a chat message."""
    if isinstance(target, str):
        return {"role": "assistant", "content": target}
    return {"role": "assistant", "tool_calls": [
        {"type": "function", "function": {"name": call.name, "arguments": spaced(call)}} for call in target]}
