"""`visagent finetune sft` and `visagent finetune merge`: the recipes of visagent.finetune from the command line."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from visagent.cli.options import complain, plain_help
from visagent.errors import SettingsError, VisagentError

_EXAMPLES = """
Examples:

\b
  visagent finetune sft --recipe faceshield-nano-lora --data spoof-set --out runs/mine
  visagent ask photo.jpg "Is this a live face or a spoof?" \\
    --adapter runs/mine/faceshield-nano-lora

\b
On two processes (the recipe's "processes" must be 2):
  torchrun --nproc_per_node 2 -m visagent finetune sft ...

A run that was stopped goes on when the same command is given again. docs/finetuning.md says what the data looks like,
and what the recipes are.
"""

_Debug = Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")]

finetune = typer.Typer(help="Teach a vision-language model with samples of your own.", no_args_is_help=True,
                       rich_markup_mode=None)


@finetune.command("sft", epilog=plain_help(_EXAMPLES))
def sft(
    recipe: Annotated[str, typer.Option("--recipe", metavar="NAME_OR_FILE", show_default=False,
                                        help="A shipped recipe's name, or a YAML file.")],
    data: Annotated[Path, typer.Option("--data", metavar="FOLDER", show_default=False,
                                       help="Holds train.parquet and dev.parquet.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", show_default=False,
                                      help="Adapter, report and curves go there.")],
    model: Annotated[str | None, typer.Option("--model", metavar="ID_OR_FOLDER",
                                              help="Another model than the recipe's.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option("--device", help="Where to train.")] = None,
    debug: _Debug = False,
) -> None:
    """Fine-tune a model by a recipe: supervised, an adapter or all weights."""
    def run() -> None:
        _require_training_libraries()
        from visagent.finetune.distributed import is_first
        from visagent.finetune.sft import fine_tune
        from visagent.finetune.sft_recipe import read_recipe
        from visagent.settings import load_settings

        chosen = read_recipe(recipe)
        if model is not None:
            chosen = chosen.model_copy(update={"model": model})
        outcome = fine_tune(chosen, data, out, load_settings({"device": device}))
        if not is_first():
            return
        step, loss = outcome.best
        typer.echo(f"Loss on the dev split: {outcome.looks[0][1]:.4f} before, {loss:.4f} at step {step:.0f}.")
        typer.echo(f"Saved: {outcome.folder}")
        typer.echo(f"Report: {out / 'report.md'}")

    _finish(run, debug)


@finetune.command("merge")
def merge(
    model: Annotated[str, typer.Option("--model", metavar="ID_OR_FOLDER", show_default=False,
                                       help="The model that the adapter was trained on.")],
    adapter: Annotated[Path, typer.Option("--adapter", metavar="FOLDER", show_default=False,
                                          help="The adapter.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", show_default=False,
                                      help="The merged model's folder; it must not exist.")],
    debug: _Debug = False,
) -> None:
    """Put an adapter into its model for good, to serve both as one."""
    def run() -> None:
        _require_training_libraries()
        from visagent.finetune.sft_model import merge_adapter
        from visagent.settings import load_settings

        merge_adapter(load_settings({"model": model, "adapter": adapter}), out)
        typer.echo(f"Saved: {out}")

    _finish(run, debug)


def _finish(run: Callable[[], None], debug: bool) -> None:
    """Run a verb; a `VisagentError` ends it with one line on stderr and status 1."""
    try:
        run()
    except VisagentError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        raise typer.Exit(1) from None


def _require_training_libraries() -> None:
    import importlib.util

    missing = [name for name in ("accelerate", "datasets", "peft", "tqdm", "yaml")
               if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(f"Training needs {', '.join(missing)}: pip install 'visagent[train]'.")
