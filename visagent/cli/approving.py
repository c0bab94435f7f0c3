"""Asking the person at the terminal before a tool changes what is stored, or tells it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from visagent.agent.approval import Approved, Decision, Proposal, Refused
from visagent.terminal import clean, open_console

NEEDED = ("purpose", "consent")
"""Fields without which enrolling is refused, so they are asked for; the others are left as they are."""


def ask_at_terminal(before: Callable[[], None]) -> Callable[[Proposal], Decision]:
    """An approver that shows the call and asks; without a terminal it refuses.

    Args:
        before: Called before it writes, to take a spinner away.
    """
    def approve(proposal: Proposal) -> Decision:
        before()
        if not sys.stdin.isatty():
            return Refused("nobody is at the terminal to agree; use the verb of that name in the shell")
        console = open_console()
        console.print(f"\nMay I call {proposal.tool}?  {clean(proposal.description)}")
        arguments = dict(proposal.arguments)
        for name, value in arguments.items():
            console.print(f"  {name}: {clean(str(value))}")
        try:
            if input("[y]es, [n]o, [e]dit: ").strip().lower()[:1] not in ("y", "e") or not _fill(proposal, arguments):
                return Refused()
        except (EOFError, KeyboardInterrupt):
            return Refused()
        return Approved(arguments)

    return approve


def _fill(proposal: Proposal, arguments: dict[str, object]) -> bool:
    """Ask for the name again, so that it can be changed, and for what only the person may say."""
    if isinstance(arguments.get("person"), str):
        arguments["person"] = input(f"  Name [{clean(str(arguments['person']))}]: ").strip() or arguments["person"]
    for name, description in proposal.open_fields.items():
        if name in NEEDED:
            arguments[name] = input(f"  {name.capitalize()} ({clean(description)}): ").strip()
            if not arguments[name]:
                return False
    return True
