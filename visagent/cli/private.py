"""`visagent private ...`: recognition over an encrypted gallery that two servers search without seeing anything."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import platformdirs
import typer

from visagent.cli.options import complain, plain_help
from visagent.errors import VisagentError
from visagent.evidence import State
from visagent.settings import Settings, load_settings
from visagent.terminal import clean, open_console, show_finding

if TYPE_CHECKING:
    from rich.console import Console

    from visagent.tools.contract import Progress as Watch
    from visagent.tools.private_match.parties import Place, Terms
    from visagent.tools.private_match.server import Server

_EXAMPLES = """
Try it on this machine:

\b
  visagent private keygen
  visagent private enrol ada1.jpg ada2.jpg --person "Ada Lovelace" \\
    --purpose "door of lab 3" --consent "form of 2026-11-12"
  visagent private identify door.jpg --start     (starts both servers for it)

For good, on three machines of different owners:

\b
  visagent private keygen --server-1 one.example:8471 \\
    --server-2 two.example:8471
  visagent private enrol ...           (then copy server-1/, server-2/, user/)
  visagent private serve --party 1 --folder server-1       (on one machine)
  visagent private serve --party 2 --folder server-2       (on another)
  visagent private identify door.jpg --folder user         (on a third)

Who learns what: docs/private-recognition.md.
"""

private = typer.Typer(help="Recognise people by an encrypted gallery that nobody can read.", no_args_is_help=True,
                      rich_markup_mode=None, epilog=plain_help(_EXAMPLES))

_Folder = Annotated[Path | None, typer.Option("--folder", metavar="FOLDER", help=(
    "Where the folders of all parties are, or of the one that is needed; your data folder by default."))]
_Way = Annotated[Literal["shared", "packed", "reference"], typer.Option("--way", help=(
    "How servers search: on shares (fastest), on packed ciphertexts, or by Pura's protocols (slowest)."))]
_Bits = Annotated[str, typer.Option("--numbers", metavar="8|10", help="Bits of each number of a template.")]
_Queries = Annotated[int, typer.Option("--queries", min=1, max=1_000_000, help=(
    "For how many questions random numbers are dealt; then publish again."))]
_Cores = Annotated[int, typer.Option("--cores", min=1, max=512, help="To work on.")]


@private.command("keygen")
def keygen(folder: _Folder = None,
           bits: Annotated[str, typer.Option("--bits", metavar="2048|3072", help=(
               "Of the key: 2048 (112-bit security) or 3072 (128-bit)."))] = "2048",
           server_1: Annotated[str, typer.Option("--server-1", metavar="HOST:PORT", help=(
               "Where server 1 will listen."))] = "127.0.0.1:8471",
           server_2: Annotated[str, typer.Option("--server-2", metavar="HOST:PORT")] = "127.0.0.1:8472") -> None:
    """Make the keys of the key authority, both servers and the user."""
    with _errors():
        from visagent.tools.private_match.parties import make_parties

        where = _root(folder)
        make_parties(where, _number(bits), (_place(server_1), _place(server_2)))
        typer.echo("Keys made. Four folders, each for another hand: authority/ (everything; keep it offline), "
                   "server-1/, server-2/, user/.")


@private.command("enrol")
def enrol(pictures: Annotated[list[str], typer.Argument(metavar="PICTURE", show_default=False)],
          person: Annotated[str, typer.Option("--person", help="The person's name.")],
          purpose: Annotated[str, typer.Option("--purpose", help="What the templates may be used for.")],
          consent: Annotated[str, typer.Option("--consent", help="Reference to the person's consent.")],
          folder: _Folder = None, way: _Way = "shared", numbers: _Bits = "8", queries: _Queries = 200,
          later: Annotated[bool, typer.Option("--later", help="More people follow: do not publish yet.")] = False,
          as_json: Annotated[bool, typer.Option("--json", help="The finding as JSON.")] = False) -> None:
    """Enrol a person at the key authority, and encrypt the gallery anew for both servers."""
    with _errors():
        from visagent.tools import tool_by_name
        from visagent.tools.private_match.publishing import require_authority
        from visagent.verbs import each, expand, open_models

        require_authority(_root(folder))
        settings = _authority_settings(folder)
        console = open_console()
        wrong = False
        for outcome in each(tool_by_name("enrol"), expand(pictures), settings=settings, models=open_models(settings),
                            arguments={"person": person, "purpose": purpose, "consent": consent}):
            _show(console, outcome.finding, "enrol", outcome.inputs, as_json)
            wrong |= outcome.finding.state is not State.answered
        if not wrong and not later:
            _published(folder, settings, way, numbers, queries, quiet=as_json)
        raise typer.Exit(1 if wrong else 0)


@private.command("forget")
def forget(person: Annotated[str, typer.Option("--person", help="The person's name.")], folder: _Folder = None,
           way: _Way = "shared", numbers: _Bits = "8", queries: _Queries = 200) -> None:
    """Forget a person at the key authority, and encrypt the gallery anew without them."""
    with _errors():
        from visagent.tools import tool_by_name
        from visagent.tools.private_match.publishing import require_authority
        from visagent.verbs import each, open_models

        require_authority(_root(folder))
        settings = _authority_settings(folder)
        console = open_console()
        wrong = False
        for outcome in each(tool_by_name("forget"), [], settings=settings, models=open_models(settings),
                            arguments={"person": person}):
            _show(console, outcome.finding, "forget", outcome.inputs, False)
            wrong |= outcome.finding.state is not State.answered
        if wrong:
            raise typer.Exit(1)
        _published(folder, settings, way, numbers, queries)
        typer.echo("Old copies of server-1/, server-2/ and user/ still hold the person: have them deleted.")


@private.command("publish")
def publish(folder: _Folder = None, way: _Way = "shared", numbers: _Bits = "8", queries: _Queries = 200,
            gallery: Annotated[str | None, typer.Option("--gallery", metavar="FOLDER_OR_URL", help=(
                "Take everybody of this visagent gallery instead of the authority's own."))] = None,
            collection: Annotated[str | None, typer.Option("--collection", metavar="NAME")] = None) -> None:
    """Encrypt the people enrolled for both servers, with fresh random numbers for queries."""
    with _errors():
        settings = _authority_settings(folder) if gallery is None else \
            load_settings({"gallery": gallery, "collection": collection})
        _published(folder, settings, way, numbers, queries)


@private.command("serve")
def serve(party: Annotated[str | None, typer.Option("--party", metavar="1|2", help=(
              "Which server to run; both, as two processes, if left out."))] = None,
          folder: _Folder = None, cores: _Cores = 1,
          while_stdin: Annotated[bool, typer.Option("--while-stdin", hidden=True)] = False) -> None:
    """Run a server until it is told to end (Ctrl-C)."""
    with _errors():
        if party is not None:
            _serve_one(_part(folder, f"server-{_number(party)}"), cores, while_stdin)
        else:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _interrupt)
            from visagent.tools.private_match.local import LocalServers

            with LocalServers(_root(folder), cores) as servers:
                typer.echo("Both servers listen (Ctrl-C ends them).")
                sys.stdout.flush()
                servers.wait()


@private.command("identify")
def identify(pictures: Annotated[list[str], typer.Argument(metavar="PICTURE", show_default=False)],
             folder: _Folder = None,
             start: Annotated[bool, typer.Option("--start", help=(
                 "Start both servers here for this command, to try it out."))] = False,
             face: Annotated[int | None, typer.Option("--face", help="Which face, counted from the left.")] = None,
             require_live: Annotated[bool, typer.Option("--require-live/--no-require-live", help=(
                 "Screen for presentation attacks first."))] = True,
             as_json: Annotated[bool, typer.Option("--json", help="JSON Lines.")] = False, cores: _Cores = 1) -> None:
    """Say who is in a picture, without showing any server the face."""
    with _errors():
        from visagent.tools import tool_by_name
        from visagent.tools.private_match.local import LocalServers
        from visagent.verbs import each, expand, open_models

        settings = load_settings({"private": _part(folder, "user")})
        arguments = {"require_live": require_live, **({} if face is None else {"face": face})}
        names = expand(pictures)
        console = open_console()
        wrong = False
        with LocalServers(_root(folder), cores) if start else nullcontext(), _bars(as_json) as progress:
            for outcome in each(tool_by_name("private_identify"), names, settings=settings,
                                models=open_models(settings), arguments=arguments, progress=progress):
                _show(console, outcome.finding, "private_identify", outcome.inputs, as_json)
                wrong |= outcome.finding.state is State.not_possible
        raise typer.Exit(1 if wrong else 0)


def _show(console: Console, finding: object, tool: str, inputs: tuple[str, ...], as_json: bool) -> None:
    from visagent.evidence import Finding

    assert isinstance(finding, Finding)
    if as_json:
        typer.echo(json.dumps({"input": list(inputs), **finding.model_dump(mode="json")}, ensure_ascii=False))
    else:
        show_finding(console, finding, title=f"{' and '.join(map(clean, inputs))}: {tool}", summary=True)


def _close_at_end_of_input(server: Server) -> None:
    sys.stdin.read()
    server.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _serve_one(folder: Path, cores: int, while_stdin: bool) -> None:
    from visagent.tools.private_match.local import READY
    from visagent.tools.private_match.server import Server

    server = Server(folder, cores)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.close())
    if while_stdin:
        threading.Thread(target=_close_at_end_of_input, args=(server,), daemon=True).start()
    records = server.holdings.terms.records
    typer.echo(f"{server.role} {READY} {server.place.host}:{server.place.port}; {records:,} "
               f"{'person' if records == 1 else 'people'}, {server.holdings.terms.way} (Ctrl-C ends it)")
    sys.stdout.flush()
    server.serve()


def _published(folder: Path | None, settings: Settings, way: Literal["shared", "packed", "reference"], numbers: str,
               queries: int, *, quiet: bool = False) -> None:
    from visagent.tools.private_match.publishing import publish_gallery

    with _bars(quiet) as progress:
        terms = publish_gallery(_root(folder), settings, way=way, bits=_number(numbers), queries=queries,
                                progress=progress)
    if terms is None:
        complain("Nobody is enrolled: the servers' folders here are emptied.")
    elif not quiet:
        typer.echo(_made(terms, queries))


@contextmanager
def _bars(quiet: bool) -> Iterator[Watch]:
    """A bar for whatever takes long, on a terminal that a person looks at."""
    from rich.progress import Progress, TaskID

    with Progress(console=open_console(), transient=True, disable=quiet or not sys.stderr.isatty()) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        yield progress


def _made(terms: Terms, queries: int) -> str:
    people = "1 person" if terms.records == 1 else f"{terms.records:,} people"
    lasts = "" if terms.way == "reference" else f", good for {queries:,} questions"
    return (f"{people} encrypted for both servers ({terms.way}){lasts}. If the servers run elsewhere, copy server-1/, "
            "server-2/ and user/ there.")


def _authority_settings(folder: Path | None) -> Settings:
    return load_settings({"gallery": str(_part(folder, "authority") / "gallery")})


def _root(folder: Path | None) -> Path:
    return folder or platformdirs.user_data_path("visagent", appauthor=False) / "private"


def _part(folder: Path | None, name: str) -> Path:
    """The folder of one party: inside the given one, or the given one itself where it was copied alone."""
    whole = _root(folder)
    return whole if not (whole / name).is_dir() and (whole / "key.json").is_file() else whole / name


def _place(text: str) -> Place:
    from pydantic import ValidationError

    from visagent.tools.private_match.parties import Place

    host, _, port = text.rpartition(":")
    try:
        return Place(host=host.strip("[]"), port=int(port))
    except (ValueError, ValidationError):
        raise typer.BadParameter(f"write a server's place as HOST:PORT, not {text!r}") from None


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


@contextmanager
def _errors() -> Iterator[None]:
    """A `VisagentError` ends the command with one line on stderr and status 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except VisagentError as error:
        complain(str(error))
        raise typer.Exit(1) from None


