"""The command line: `visagent ask`, one verb per tool, and `visagent demo`.

Thin on purpose: every verb calls a function that Python users can call too (`visagent.Agent`, `visagent.verbs`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from visagent.cli.program import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line on this process's arguments, and exit with its status."""
    try:
        from visagent.cli.program import app  # here, so that Ctrl-C while it loads is as quiet as later

        app(prog_name="visagent")
    except KeyboardInterrupt:
        sys.exit(130)


def __getattr__(name: str) -> object:
    if name == "app":
        from visagent.cli.program import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
