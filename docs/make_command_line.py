"""Writes docs/command-line.md from the command line itself: `python docs/make_command_line.py`.

With `--check` it writes nothing and fails if the page is out of date; `tests/test_cli.py` does the same.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from visagent.cli import app

PAGE = Path(__file__).parent / "command-line.md"
_HEAD = """# The command line

Written by `python docs/make_command_line.py` from the program's own help; change the help, not this page. What the
words finding, score, threshold and region mean is in [concepts.md](concepts.md).

Exit status of every verb: 0 when everything was answered or abstained, 1 for an error (an unreadable picture
included), 2 for wrong usage, 130 after Ctrl-C. Answers go to stdout; messages, spinner and progress bar go to
stderr, the latter two only on a terminal. No colour is needed to read an answer; `NO_COLOR=1` switches it off.

With `--json` the output is JSON Lines. A tool's verb writes one finding per line, with the picture's name under
`input` (a list of names where a tool looks at several pictures; the first is `image_1` of that finding). `ask`
writes one answer per line: `input` (the names, in the order of `image_1`, `image_2`, ...), `question`, `text`,
`grounded`, `findings`, `model_text`, `seconds`, and `saved` (annotated pictures, and what tools drew).
"""


def page() -> str:
    """The page as it should be: the help of the program and of each verb, 80 columns wide."""
    os.environ["COLUMNS"] = "80"
    verbs = [name for name in get_command(app).commands if name]  # type: ignore[attr-defined]
    parts = [_HEAD, _help("visagent", [])]
    parts += [_help(f"visagent {verb}", [verb]) for verb in verbs]
    return "\n".join(parts)


def _help(title: str, words: list[str]) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="visagent")
    lines = "\n".join(line.rstrip() for line in result.stdout.rstrip().splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf-8") != page() and "docs/command-line.md is out of date")
    PAGE.write_text(page(), encoding="utf-8")
