"""One verb per tool, made from the tool itself: `visagent spoof`, `visagent verify`, and every later one."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visagent.cli.saving import save_pictures
from visagent.cli.turn import Spinner
from visagent.evidence import State
from visagent.settings import Settings
from visagent.terminal import clean, open_console, printable, show_finding
from visagent.tools.contract import Tool, ToolInput
from visagent.verbs import (
    CLIP_SUFFIXES,
    PICTURE_SUFFIXES,
    Outcome,
    PictureFields,
    each,
    expand,
    open_models,
    picture_fields,
    plain_fields,
)

_Pictures = Annotated[list[str], typer.Argument(metavar="PICTURE", show_default=False,
                                                help="Files, folders or patterns such as 'photos/*.jpg'.")]
_Clips = Annotated[list[str], typer.Argument(metavar="CLIP", show_default=False,
                                             help="Files, folders or patterns such as 'clips/*.mp4'.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON Lines: one finding per line, the picture's name under "
                                                    "'input'.")]
_Out = Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help=(
    "Save annotated pictures there, and what the tool draws; or a name such as timeline.png."))]
_PLAIN_TYPES: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_BESIDE_PICTURES = ("settings", "pictures", "as_json", "out")


def tool_command(tool: Tool[Any]) -> Callable[..., int]:
    """The verb of a tool, for `takes_settings`.

    Pictures are positional; every other field of the tool's input whose type is plain (text, number, yes/no, choice)
    becomes an option of its name.
    """
    fields = picture_fields(tool.input_model)
    options = _options(tool.input_model)
    looks = fields.looks
    def run(settings: Settings, as_json: bool, out: Path | None = None, pictures: list[str] | None = None,
            **arguments: object) -> int:
        pictures = pictures or []
        given = {name: value for name, value in arguments.items() if value is not None}
        return _run(tool, fields, settings, pictures, as_json, out, given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    run.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        inspect.Parameter("settings", keyword, annotation=Settings),
        *([inspect.Parameter("pictures", keyword, annotation=_Pictures if fields.clip is None else _Clips)]
          if looks else []),
        inspect.Parameter("as_json", keyword, default=False, annotation=_Json),
        *([inspect.Parameter("out", keyword, default=None, annotation=_Out)] if looks else []),
        *options,
    ])
    run.__doc__ = tool.description
    return run


def tool_examples(tool: Tool[Any]) -> str:
    """Examples for the verb's help, in the shape of its input."""
    fields = picture_fields(tool.input_model)
    person = " --person NAME" if "person" in tool.input_model.model_json_schema().get("required", ()) else ""
    verb = tool.name.replace("_", "-")
    if fields.clip is not None:
        lines = [f"visagent {verb} clip.mp4", f"visagent {verb} clip.mp4 --out timeline.png",
                 f"visagent {verb} clips/ --json > findings.jsonl"]
    elif not fields.looks:
        lines = [f"visagent {tool.name}{person}", f"visagent {tool.name}{person} --json"]
    elif person:
        lines = [f'visagent {tool.name} a.jpg b.jpg{person} --purpose "..." --consent "..."']
    elif fields.several is not None or len(fields.single) != 1:
        pictures = " ".join(f"{letter}.jpg" for letter in "abcdefgh"[:max(2, len(fields.single))])
        lines = [f"visagent {tool.name} {pictures}", f"visagent {tool.name} {pictures} --json"]
        if len(fields.single) == 2 and fields.several is None:
            lines.append(f"visagent {tool.name} a.jpg photos/    (a.jpg against each picture of the folder)")
    else:
        lines = [f"visagent {tool.name} photo.jpg", f"visagent {tool.name} photo.jpg --out annotated/",
                 f"visagent {tool.name} photos/ more/*.png --json > findings.jsonl"]
    examples = "\n".join(f"  {line}" for line in lines)
    return f"\b\nExamples:\n{examples}\n\nExit status: 0 answered or no verdict, 1 an error, 2 wrong usage."


def _options(input_model: type[ToolInput]) -> list[inspect.Parameter]:
    parameters = []
    for field in plain_fields(input_model):
        if field.name in _BESIDE_PICTURES:
            continue
        plain: Any = Literal[field.choices] if field.choices else _PLAIN_TYPES[field.kind]
        flag = field.name.replace("_", "-")
        names = [f"--{flag}/--no-{flag}"] if plain is bool and field.default is True else [f"--{flag}"]
        option = typer.Option(*names, help=field.description, show_default=False)
        parameters.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None,
                                            annotation=Annotated[plain | None, option]))
    return parameters


def _run(tool: Tool[Any], fields: PictureFields, settings: Settings, pictures: list[str], as_json: bool,
         out: Path | None, arguments: dict[str, object]) -> int:
    names = expand(pictures, PICTURE_SUFFIXES if fields.clip is None else CLIP_SUFFIXES)
    try:
        total = len(fields.groups(names))
    except ValueError as error:
        raise typer.BadParameter(f"{tool.name} {error}; {len(names)} given") from None
    outcomes = each(tool, names, settings=settings, models=open_models(settings), arguments=arguments,
                    draws=out is not None)
    console = open_console()
    failed = False
    for outcome in _watched(outcomes, total, tool.name, console, as_json=as_json):
        failed |= outcome.finding.state is State.not_possible
        saved = [] if out is None else save_pictures([outcome.finding], outcome.pictures, out)
        if as_json:
            _print_json(outcome, saved)
        else:
            named = [clean(name) for name in outcome.inputs]
            title = f"{' and '.join(named)}: {tool.name}" if named else tool.name
            show_finding(console, outcome.finding, title=title, summary=True)
            for path in saved:
                console.print(f"  picture saved: {clean(str(path))}")
    return 1 if failed else 0


def _print_json(outcome: Outcome, saved: list[Path]) -> None:
    names = [printable(name) for name in outcome.inputs]
    line = {**({"input": names[0] if len(names) == 1 else names} if names else {}),
            **outcome.finding.model_dump(mode="json")}
    if saved:
        line["saved"] = [printable(str(path)) for path in saved]
    typer.echo(json.dumps(line, ensure_ascii=False))
    sys.stdout.flush()


def _watched(outcomes: Iterable[Outcome], total: int, label: str, console: Console, *,
             as_json: bool) -> Iterator[Outcome]:
    """The outcomes, with a bar under them if there are several and a person watches."""
    if total < 2:
        spinner = Spinner()
        spinner.start(f"Running {label}")
        try:
            for outcome in outcomes:
                spinner.stop()
                yield outcome
        finally:
            spinner.stop()
        return
    # On a terminal the bar must share the console of the results, or the two would overwrite each other; JSON goes
    # around the console, and lines of it on a terminal are progress enough.
    bar_console = console if console.is_terminal else open_console(sys.stderr)
    hidden = not bar_console.is_terminal or (as_json and console.is_terminal)
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  console=bar_console, transient=True, disable=hidden, redirect_stdout=False,
                  redirect_stderr=False) as progress:
        task = progress.add_task(label, total=total)
        for outcome in outcomes:
            yield outcome
            progress.advance(task)
