"""`visagent demo`: the main question about a bundled photo, and how to go on."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from visagent.cli.saving import DEFAULT_FOLDER, save_pictures
from visagent.cli.turn import open_conversation
from visagent.media import Picture, load_picture
from visagent.settings import Settings
from visagent.terminal import clean, open_console, show_heading

PHOTO_NAME = "astronaut.jpg"
QUESTION = "Is this a live face or a spoof? Why? Show me where."
_NEXT = """Copy one of these, with a picture of yours:
  visagent ask photo.jpg "What expression does she show?"
  visagent verify a.jpg b.jpg
  visagent faces photos/ --json
More: visagent --help, and visagent ask --chat for follow-up questions."""


def demo_photo(name: str = PHOTO_NAME) -> Picture:
    """A bundled picture: a NASA portrait in the public domain, 512 x 512 pixels, or another of `visagent/assets`."""
    return load_picture(bundled(name))


def bundled(name: str) -> bytes:
    """A file of `visagent/assets`."""
    return (files("visagent") / "assets" / name).read_bytes()


def demo(
    settings: Settings,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER",
                                      help="Where annotated pictures go, and what tools draw.")] = DEFAULT_FOLDER,
) -> int:
    """Ask one question about a bundled photo, and show how to go on."""
    console = open_console()
    console.print("visagent demo: a question about a bundled photo (NASA portrait, public domain).")
    console.print("Everything runs on this machine.")
    show_heading(console, f"> {QUESTION}")
    conversation = open_conversation(settings)
    conversation.waiting.append((PHOTO_NAME, demo_photo()))
    answer = conversation.ask(QUESTION)
    for path in save_pictures(answer.findings, conversation.agent.pictures, out):
        console.print(f"Picture saved: {clean(str(path))}")
    show_heading(console, "How to go on")
    console.print(_NEXT)
    return 0
