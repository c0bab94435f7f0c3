"""The agent's events as chat messages: one small function for each kind of event.

Each changes the list of messages of a conversation in place. All text is escaped, since names, pictures and models can
say anything: Gradio takes even "plain" messages for HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from gradio import ChatMessage

from visagent.agent.approval import Approved, Decision, Proposal
from visagent.agent.events import Completed, Event, TextChunk, ToolFinished, ToolStarted
from visagent.evidence import Finding, State
from visagent.terminal import clean, outcome

WORKING = "Looking at it"
STEP_CHARACTERS = 600
"""Of a finding's summary in a step; the evidence beside the conversation has all of it."""


def plain(text: str) -> str:
    """The text without control characters, and so that a browser shows it as it is."""
    return escape(clean(text), quote=False)


def show(messages: list[ChatMessage], event: Event) -> None:
    """Show any event of a turn."""
    match event:
        case ToolStarted():
            show_tool_started(messages, event)
        case ToolFinished():
            show_tool_finished(messages, event)
        case TextChunk():
            show_words(messages, event)
        case Completed():
            show_completed(messages, event)


def show_question(messages: list[ChatMessage], question: str, attached: str) -> None:
    """What the person asks, and that the agent is at it."""
    messages.append(ChatMessage(role="user", content=plain(f"{attached}\n{question}" if attached else question)))
    show_working(messages, WORKING)


def show_working(messages: list[ChatMessage], what: str) -> None:
    """A line with a spinner at the end, until something else is shown."""
    _stop_working(messages)
    messages.append(ChatMessage(role="assistant", content="", metadata={"title": plain(what), "status": "pending"}))


def show_tool_started(messages: list[ChatMessage], event: ToolStarted) -> None:
    """A step begins: the tool and its arguments, with a spinner."""
    _stop_working(messages)
    messages.append(ChatMessage(role="assistant", content=_arguments(event.arguments),
                                metadata={"title": plain(f"Running {event.tool}"), "status": "pending"}))


def show_tool_finished(messages: list[ChatMessage], event: ToolFinished) -> None:
    """The step is done: time and result, folded in."""
    step = _running_step(messages)
    given = f"{step.content}\n" if step is not None and step.content else ""
    done = ChatMessage(role="assistant", content=f"{given}{_result(event.finding)}", metadata={
        "title": plain(_step_title(event.finding)), "status": "done", "duration": round(event.seconds, 2)})
    if step is None:
        messages.append(done)
    else:
        messages[_place(messages, step)] = done
    show_working(messages, "Writing the answer")


def show_words(messages: list[ChatMessage], event: TextChunk) -> None:
    """A piece of the answer."""
    _stop_working(messages)
    if messages and _is_words(messages[-1]):
        messages[-1] = ChatMessage(role="assistant", content=f"{messages[-1].content}{plain(event.text)}")
    else:
        messages.append(ChatMessage(role="assistant", content=plain(event.text)))


def show_completed(messages: list[ChatMessage], event: Completed) -> None:
    """The answer as it stands, also where it differs from what was streamed."""
    _stop_working(messages)
    text = plain(event.answer.text)
    if not event.answer.grounded:
        text += "\n(The model's own words went beyond its findings; this answer is made from the findings.)"
    if messages and _is_words(messages[-1]):
        messages[-1] = ChatMessage(role="assistant", content=text)
    else:
        messages.append(ChatMessage(role="assistant", content=text))


def show_proposal(messages: list[ChatMessage], proposal: Proposal) -> None:
    """The agent waits for the person's agreement."""
    _stop_working(messages)
    messages.append(ChatMessage(
        role="assistant", content=f"{plain(proposal.description)}\n{_arguments(proposal.arguments)}",
        metadata={"title": f"May I run {proposal.tool}? Answer below.", "status": "pending"}))


def show_decision(messages: list[ChatMessage], proposal: Proposal, decision: Decision) -> None:
    """What the person decided."""
    said = "You agreed" if isinstance(decision, Approved) else "Declined"
    step = _running_step(messages)
    if step is not None:
        messages[_place(messages, step)] = ChatMessage(
            role="assistant", content=step.content, metadata={"title": f"{said}: {proposal.tool}", "status": "done"})
    show_working(messages, WORKING)


def show_failure(messages: list[ChatMessage], text: str) -> None:
    """No answer, and why; steps that had begun are closed."""
    _stop_working(messages)
    while (step := _running_step(messages)) is not None:
        messages[_place(messages, step)] = ChatMessage(
            role="assistant", content=step.content, metadata={"title": "Broken off", "status": "done"})
    messages.append(ChatMessage(role="assistant", content=plain(text)))


def _stop_working(messages: list[ChatMessage]) -> None:
    if messages and messages[-1].metadata.get("status") == "pending" and not messages[-1].content:
        messages.pop()


def _running_step(messages: list[ChatMessage]) -> ChatMessage | None:
    return next((message for message in reversed(messages) if message.metadata.get("status") == "pending"), None)


def _place(messages: list[ChatMessage], message: ChatMessage) -> int:
    return next(place for place, other in enumerate(messages) if other is message)


def _is_words(message: ChatMessage) -> bool:
    return message.role == "assistant" and not message.metadata


def _step_title(finding: Finding) -> str:
    """The tool and, where it gave one, an answer of a single word; longer ones stand in the step."""
    if finding.state is State.abstained:
        return f"{finding.tool}: no verdict"
    if finding.state is State.not_possible:
        return f"{finding.tool}: not possible"
    return f"{finding.tool}: {finding.answer}" if (finding.answer or "").isalpha() else finding.tool


def _result(finding: Finding) -> str:
    text = finding.summary if finding.state is State.answered else outcome(finding)
    return plain(text if len(text) <= STEP_CHARACTERS else f"{text[:STEP_CHARACTERS]} ...")


def _arguments(arguments: Mapping[str, object]) -> str:
    given = [f"{name.replace('_', ' ')}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
             for name, value in arguments.items() if value is not None]
    return plain("\n".join(given))
