"""The tools, each defined once and shown on every surface.

`TOOLS` is made on first use, and a tool's networks load when it first runs: importing this package loads neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visagent.tools.contract import Tool

    TOOLS: tuple[Tool[Any], ...]

_HOME = {
    "spoof": ("visagent.tools.spoof.tool", "SPOOF"),
    "expression": ("visagent.tools.expression.tool", "EXPRESSION"),
    "micro_expression": ("visagent.tools.micro_expression.tool", "MICRO_EXPRESSION"),
    "verify": ("visagent.tools.verify.tool", "VERIFY"),
    "faces": ("visagent.tools.faces.tool", "FACES"),
    "identify": ("visagent.tools.identify.tool", "IDENTIFY"),
    "private_identify": ("visagent.tools.private_match.tool", "PRIVATE_IDENTIFY"),
    "enrol": ("visagent.tools.enrol.tool", "ENROL"),
    "people": ("visagent.tools.people.tool", "PEOPLE"),
    "forget": ("visagent.tools.forget.tool", "FORGET"),
    "drift": ("visagent.tools.drift.tool", "DRIFT"),
    "fairness": ("visagent.tools.fairness.tool", "FAIRNESS"),
}
"""Where each tool lives, by its name; a new tool is one more line."""

__all__ = ["TOOLS", "tool_by_name"]


def tool_by_name(name: str) -> Tool[Any]:
    """The tool of this name. Raises KeyError, with the names there are."""
    if name not in _HOME:
        raise KeyError(f"there is no tool {name!r}; there are {', '.join(_HOME)}")
    module, attribute = _HOME[name]
    tool: Tool[Any] = getattr(import_module(module), attribute)
    return tool


def __getattr__(name: str) -> object:
    if name == "TOOLS":
        return tuple(tool_by_name(tool) for tool in _HOME)
    raise AttributeError(f"module 'visagent.tools' has no attribute {name!r}")
