"""The flags that every verb has, and how a verb ends."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal

import typer

from visagent.errors import VisagentError
from visagent.settings import Settings, load_settings
from visagent.terminal import clean

Model = Annotated[str | None, typer.Option("--model", metavar="ID_OR_FOLDER",
                                           help="Vision-language model: a name, a hub id or a folder.")]
Engine = Annotated[Literal["local", "vllm"] | None, typer.Option(
    "--engine", help="Where it runs: in this process, or behind an OpenAI-compatible server.")]
Adapter = Annotated[Path | None, typer.Option("--adapter", metavar="FOLDER",
                                              help="LoRA adapter for the model (engine local).")]
LoadIn4Bit = Annotated[bool, typer.Option("--load-in-4bit", help="Load the model in 4 bits (engine local).")]
ServerUrl = Annotated[str | None, typer.Option("--server-url", metavar="URL",
                                               help="Base address of the server (engine vllm).")]
Device = Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option("--device", help="Where models run.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]

_COMMON: dict[str, tuple[object, object]] = {
    "model": (Model, None),
    "engine": (Engine, None),
    "adapter": (Adapter, None),
    "load_in_4bit": (LoadIn4Bit, False),
    "server_url": (ServerUrl, None),
    "device": (Device, None),
    "debug": (Debug, False),
}

Command = Callable[..., int]


def takes_settings(command: Command) -> Callable[..., None]:
    """Make a verb of a function that takes `Settings` first and returns its exit status.

    The verb has the function's other parameters and the flags above. A `VisagentError` ends it with one line on stderr
    and status 1, never with a stack trace unless `--debug` asks for it.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.annotation is not Settings]
    common = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
              for name, (annotation, default) in _COMMON.items()]

    @wraps(command)
    def run(*, debug: bool, **values: object) -> None:  # typer calls by keyword, with exactly the signature's names
        chosen = {name: values.pop(name) for name in _COMMON if name != "debug"}
        chosen["load_in_4bit"] = chosen["load_in_4bit"] or None  # not given must not overrule the environment
        try:
            status = command(load_settings(chosen), **values)
        except VisagentError as error:
            if debug:
                traceback.print_exc()
            complain(str(error))
            status = 1
        raise typer.Exit(status)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=keyword_only + common, return_annotation=None)
    return run


def complain(message: str) -> None:
    """One line about an error, on stderr."""
    sys.stdout.flush()
    typer.echo(f"visagent: {clean(message)}", err=True)


def plain_help(text: str) -> str:
    """Help text whose lines after a backspace mark stay as they are written."""
    return inspect.cleandoc(text)
