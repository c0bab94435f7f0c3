"""The command line: `visagent ask`, one verb per tool, and `visagent demo`.

Thin on purpose: every verb calls a function that Python users can call too (`visagent.Agent`, `visagent.verbs`).
"""

from __future__ import annotations

from visagent.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line on this process's arguments, and exit with its status."""
    app(prog_name="visagent")
