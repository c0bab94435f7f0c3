"""The agent: a vision-language model that reasons, calls tools, and answers only what their findings carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visagent.agent.agent import Agent
    from visagent.agent.answer import Answer

__all__ = ["Agent", "Answer"]


def __getattr__(name: str) -> object:
    """Import on first use, so that `import visagent.agent` loads neither LangChain nor torch."""
    if name == "Agent":
        from visagent.agent.agent import Agent

        return Agent
    if name == "Answer":
        from visagent.agent.answer import Answer

        return Answer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
