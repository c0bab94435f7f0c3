"""The app: which verbs there are."""

from __future__ import annotations

from typing import Annotated

import typer

import visagent
from visagent.cli.ask import ASK_EXAMPLES, AskCommand, ask
from visagent.cli.chat import CHAT_EXAMPLES, chat
from visagent.cli.finetune import finetune
from visagent.cli.gallery import audit, gallery
from visagent.cli.options import plain_help, takes_settings
from visagent.cli.private import private
from visagent.cli.recognition import calibrate, drift, embed, fairness
from visagent.cli.tools import tool_command, tool_examples
from visagent.demo import demo
from visagent.tools import TOOLS

_HELP = """
Ask about faces in pictures. Answers come from this machine, with their evidence.

Start with one of these:

\b
  visagent demo
  visagent ask photo.jpg "Is this a live face or a spoof? Why? Show me where."
  visagent ask a.jpg b.jpg "Is this the same person?"
  visagent faces photo.jpg
  visagent identify photo.jpg

The verbs named after a tool (spoof, expression, ...) run that tool alone, over as many pictures as you name. "ask"
lets a vision-language model look, choose the tools and put the answer into words.

Settings come from visagent.toml in your settings folder, from VISAGENT_* variables, and from the flags of a verb.
"""

app = typer.Typer(name="visagent", help=plain_help(_HELP), no_args_is_help=True, add_completion=False,
                  rich_markup_mode=None, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"visagent {visagent.__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                                help="Print the version and exit.")] = False) -> None:
    """Hold the options that come before a verb."""


app.command("ask", cls=AskCommand, epilog=plain_help(ASK_EXAMPLES))(takes_settings(ask))
app.command("chat", epilog=plain_help(CHAT_EXAMPLES))(takes_settings(chat))
# The tools of these names tell what is known already, or need servers; their verbs stand in groups.
_GROUPS = ("drift", "fairness", "private_identify")
for _tool in TOOLS:
    if _tool.name in _GROUPS:
        continue
    app.command(_tool.name.replace("_", "-"), help=_tool.description, epilog=plain_help(tool_examples(_tool)))(
        takes_settings(tool_command(_tool)))
app.command("demo")(takes_settings(demo))
app.add_typer(gallery, name="gallery")
app.add_typer(private, name="private")
app.command("embed")(embed)
app.command("calibrate")(calibrate)
app.add_typer(fairness, name="fairness")
app.add_typer(drift, name="drift")
app.add_typer(audit, name="audit")
app.add_typer(finetune, name="finetune")
