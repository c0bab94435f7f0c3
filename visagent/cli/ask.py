"""`visagent ask`: one question, or a conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from visagent.cli.options import complain
from visagent.cli.saving import DEFAULT_FOLDER, save_pictures
from visagent.cli.turn import Conversation, open_conversation
from visagent.clips import clip_frames, is_clip_file
from visagent.errors import ClipError, PictureError, VisagentError
from visagent.media import Picture
from visagent.settings import Settings
from visagent.terminal import clean, open_console, printable, show_pictures
from visagent.verbs import expand, open_clip, open_picture


class AskCommand(TyperCommand):
    """Says in the usage line which of the words is the question."""

    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The usage line's parts."""
        return ["[OPTIONS]", "[PICTURE]...", "QUESTION"]


ASK_EXAMPLES = """
Examples:

\b
  visagent ask photo.jpg "Is this a live face or a spoof? Why? Show me where."
  visagent ask photo.jpg "What expression does she show?"
  visagent ask a.jpg b.jpg "Is this the same person?"
  visagent ask clip.mp4 "Was there a micro-expression? When, and where?"
  visagent ask photo.jpg "How many faces are there?" --json
  visagent ask --chat photo.jpg

\b
Another vision-language model:
  visagent ask photo.jpg "..." --model FOLDER_OR_ID --adapter FOLDER
  visagent ask photo.jpg "..." --engine vllm --model ID --server-url URL

The picture with the boxes drawn in is saved in visagent-answers/ of the current folder, and so is what tools drew;
--no-picture saves none of it, --out chooses another folder. Exit status: 0 answered or no verdict, 1 an error, 2 wrong
usage.
"""
_CHAT_HELP = """Ask in plain words. Also:
  /add FILE...   add pictures to the conversation
  /pictures      list the pictures
  /clear         forget the pictures and what was said
  /export FILE   write the people enrolled to an encrypted file
  /quit          end (so does the end of input)"""


@dataclass(slots=True)
class _Chat:
    settings: Settings
    conversation: Conversation
    out: Path | None
    as_json: bool
    failed: bool = False


def ask(
    settings: Settings,
    words: Annotated[list[str] | None, typer.Argument(
        metavar="WORDS", show_default=False,
        help="Pictures or clips (files, folders, patterns), then the question in quotes.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask several questions, one per line; /help lists commands. "
                                                      "Pictures only, the questions come from the input.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per answer.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER",
                                      help="Where annotated pictures go, and what tools draw.")] = DEFAULT_FOLDER,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Save no pictures.")] = False,
) -> int:
    """Ask a question about pictures.

    The agent looks, calls the tools it needs, and answers with scores, thresholds and boxes. Put the question last, in
    quotes.
    """
    given = list(words or [])
    folder = None if no_picture else out
    if chat:
        first = None if not given or _is_picture(given[-1]) else given.pop()
        conversation = _conversation(settings, given, as_json)
        return _chat(_Chat(settings, conversation, folder, as_json), first)
    if not given:
        raise typer.BadParameter('write a question, as in: visagent ask photo.jpg "How many faces are there?"')
    if _is_picture(given[-1]):
        raise typer.BadParameter("the last word is a picture; put the question after the pictures, in quotes "
                                 "(or use --chat).")
    _answer(_conversation(settings, given[:-1], as_json), given[-1], folder, as_json)
    return 0


def _conversation(settings: Settings, pictures: Sequence[str], as_json: bool) -> Conversation:
    conversation = open_conversation(settings, as_json=as_json)
    conversation.waiting += _open_all(pictures)
    return conversation


def _answer(conversation: Conversation, question: str, out: Path | None, as_json: bool) -> None:
    answer = conversation.ask(question)
    saved = [] if out is None else save_pictures(answer.findings, conversation.agent.pictures, out)
    if as_json:
        line = {"input": [printable(name) for name in conversation.names.values()], "question": printable(question),
                **json.loads(answer.to_json()), "saved": [printable(str(path)) for path in saved]}
        typer.echo(json.dumps(line, ensure_ascii=False))
        return
    for path in saved:
        typer.echo(f"Picture saved: {clean(str(path))}")


def _chat(chat: _Chat, first: str | None) -> int:
    console = open_console()
    asking = sys.stdin.isatty()
    if asking and not chat.as_json:
        console.print(_CHAT_HELP)
    for line in _lines(first, asking):
        if not asking and not chat.as_json:
            console.print(f"> {clean(line)}")  # so that the transcript reads like the conversation
        command, _, rest = line.partition(" ")
        if command == "/quit":
            break
        try:
            _obey(chat, command, rest.strip(), line)
        except VisagentError as error:
            complain(str(error))
            chat.failed = True
    return 1 if chat.failed else 0


def _obey(chat: _Chat, command: str, rest: str, line: str) -> None:
    console = open_console(sys.stderr if chat.as_json else None)
    conversation = chat.conversation
    match command:
        case "/add":
            pictures = _open_all([rest] if Path(rest).exists() else rest.split())
            conversation.waiting += pictures
            console.print(f"{len(pictures)} added; ask about them now." if pictures else "Write /add FILE.")
        case "/pictures":
            show_pictures(console, conversation.names, conversation.agent.pictures)
            for name, picture in conversation.waiting:
                console.print(f"(next)   {clean(name)}  ({picture.width} x {picture.height} px)")
            if not conversation.names and not conversation.waiting:
                console.print("No pictures yet; /add FILE adds one.")
        case "/clear":
            conversation.clear()
            console.print("Forgotten: the pictures and what was said.")
        case "/export":
            from visagent.cli.gallery import export_own_gallery

            console.print(export_own_gallery(chat.settings, Path(rest)) if rest else "Write /export FILE.")
        case "/help":
            console.print(_CHAT_HELP)
        case _ if command.startswith("/") and not Path(command).exists():
            console.print(f"There is no command {clean(command)}; /help lists them.")
        case _:
            _answer(conversation, line, chat.out, chat.as_json)


def _lines(first: str | None, asking: bool) -> Iterator[str]:
    if first is not None:
        yield first
    while True:
        if asking:
            try:
                line = input("\n> ")
            except EOFError:
                return
        else:
            read = sys.stdin.buffer.readline()
            if not read:
                return
            line = read.decode("utf-8", "replace")
        if line.strip():
            yield line.strip()


def _open_all(names: Sequence[str]) -> list[tuple[str, Picture]]:
    from visagent.agent.agent import CLIP_FRAMES

    pictures: list[tuple[str, Picture]] = []
    for name in expand(names):
        try:
            if is_clip_file(name):
                pictures += [(f"{name} at {seconds:.1f} s", frame)
                             for frame, seconds in clip_frames(open_clip(name), CLIP_FRAMES)]
            else:
                pictures.append((name, open_picture(name)))
        except ClipError as error:
            raise ClipError(f"{name}: {error}") from error
        except PictureError as error:
            hint = "" if Path(name).suffix or Path(name).exists() else \
                " If this word belongs to the question, put the question in quotes."
            raise PictureError(f"{name}: {error}{hint}") from error
    return pictures


def _is_picture(word: str) -> bool:
    try:
        return bool(word) and Path(word).exists()
    except OSError:  # a long question is no file name
        return False
