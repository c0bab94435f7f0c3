"""`visagent gallery ...` and `visagent audit ...`: what a person does with the gallery beside the tools' own verbs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visagent.cli.options import complain, plain_help
from visagent.errors import GalleryError, VisagentError
from visagent.settings import Settings, load_settings
from visagent.terminal import clean

if TYPE_CHECKING:
    from visagent.gallery import Gallery
    from visagent.vision.encoder import EmbeddingContract

_EXAMPLES = """
Examples:

\b
  visagent enrol ada1.jpg ada2.jpg ada3.jpg --person "Ada Lovelace" \\
    --purpose "door of lab 3" --consent "form of 2026-11-12"
  visagent identify door.jpg
  visagent gallery list
  visagent gallery show "Ada Lovelace" > ada.json      (all that is stored of her, for her)
  visagent gallery export copy.visagent                (asks for a passphrase)
  visagent forget --person "Ada Lovelace"

The gallery lives in your data folder, or where the setting "gallery" says (VISAGENT_GALLERY): a folder, or
postgresql://user@host/name. docs/recognition.md tells more.
"""

gallery = typer.Typer(help="Look after the people enrolled: list, rename, merge, copy, re-encode.",
                      no_args_is_help=True, rich_markup_mode=None, epilog=plain_help(_EXAMPLES))
audit = typer.Typer(help="The trail of who did what with the gallery.", no_args_is_help=True, rich_markup_mode=None)

_Where = Annotated[str | None, typer.Option("--gallery", metavar="FOLDER_OR_URL", help="Another gallery.")]
_Collection = Annotated[str | None, typer.Option("--collection", metavar="NAME", help="Another set of people.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
_Passphrase = Annotated[Path | None, typer.Option("--passphrase-file", metavar="FILE", help=(
    "Read the passphrase from the first line of a file instead of asking."))]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


@gallery.command("list")
def list_people(where: _Where = None, collection: _Collection = None, as_json: _Json = False) -> None:
    """List who is enrolled."""
    def work(settings: Settings) -> None:
        from visagent.gallery.records import samples_in_words

        with open_own_gallery(settings) as found:
            people = found.people()
            _record(settings, found, "people", decision="listed", count=len(people))
            for person in people:
                if as_json:
                    typer.echo(json.dumps({"name": person.card.name, "samples": person.samples,
                                           "sightings": person.sightings, "purpose": person.card.purpose,
                                           "consent": person.card.consent, "created": person.created.isoformat(),
                                           "expires": person.expires and person.expires.isoformat()},
                                          ensure_ascii=False))
                else:
                    until = f", until {person.expires.date()}" if person.expires else ""
                    held = samples_in_words(person.samples)
                    typer.echo(f"{clean(person.card.name)}  {held} since {person.created.date()}"
                               f"{until}  {clean(person.card.purpose)} ({clean(person.card.consent)})")
            if not people and not as_json:
                typer.echo("Nobody is enrolled.")

    _run(work, where, collection)


@gallery.command("show")
def show(name: _Name, where: _Where = None, collection: _Collection = None) -> None:
    """Print all that is stored of one person as JSON, templates and small picture included: for that person."""
    def work(settings: Settings) -> None:
        from visagent.gallery.copies import subject_report

        with open_own_gallery(settings) as found:
            report = subject_report(found, name)
            _record(settings, found, "people", decision="told", person=found.person(name).id)
            typer.echo(json.dumps(report, ensure_ascii=False, indent=2))

    _run(work, where, collection)


@gallery.command("rename")
def rename(name: _Name, new_name: Annotated[str, typer.Argument(metavar="NEW_NAME")], where: _Where = None,
           collection: _Collection = None) -> None:
    """Give a person another name."""
    def work(settings: Settings) -> None:
        with open_own_gallery(settings) as found:
            found.rename(name, new_name)
            _record(settings, found, "rename", person=found.person(new_name).id)
            typer.echo(f"{clean(name)} is now {clean(new_name)}.")

    _run(work, where, collection)


@gallery.command("merge")
def merge(name: _Name, into: Annotated[str, typer.Argument(metavar="INTO")], where: _Where = None,
          collection: _Collection = None, yes: _Yes = False) -> None:
    """Move everything of one person to another: both are the same person."""
    def work(settings: Settings) -> None:
        from visagent.gallery.records import samples_in_words

        with open_own_gallery(settings) as found:
            gone = found.person(name).id
            unlike = _unlike(settings, found.contract, found.similarity(name, into))
            if unlike and yes:
                complain(unlike)
            _confirm(f"{unlike} Move all of {clean(name)} to {clean(into)}? This cannot be taken back.".strip(), yes)
            found.merge(name, into)
            _record(settings, found, "merge", person=found.person(into).id, gone=gone)
            typer.echo(f"{clean(into)} now has {samples_in_words(found.person(into).samples)}.")

    _run(work, where, collection)


@gallery.command("drop-thumbnail")
def drop_thumbnail(name: _Name, where: _Where = None, collection: _Collection = None) -> None:
    """Remove the small picture of a person; templates and scores stay."""
    def work(settings: Settings) -> None:
        with open_own_gallery(settings) as found:
            removed = found.drop_thumbnail(name)
            _record(settings, found, "drop-thumbnail", person=found.person(name).id,
                    decision="removed" if removed else "none kept")
            typer.echo(f"The small picture of {clean(name)} is removed. Copies made before still hold it." if removed
                       else f"No picture of {clean(name)} is kept.")

    _run(work, where, collection)


@gallery.command("export")
def export(file: Annotated[Path, typer.Argument(metavar="FILE")], passphrase_file: _Passphrase = None,
           where: _Where = None, collection: _Collection = None) -> None:
    """Write everybody to an encrypted file, to keep or to move."""
    def work(settings: Settings) -> None:
        typer.echo(export_own_gallery(settings, file, passphrase_file))

    _run(work, where, collection)


@gallery.command("import")
def import_(file: Annotated[Path, typer.Argument(metavar="FILE")], passphrase_file: _Passphrase = None,
            where: _Where = None, collection: _Collection = None) -> None:
    """Add everybody of an exported file; what is there already stays."""
    def work(settings: Settings) -> None:
        from visagent.gallery.copies import import_gallery
        from visagent.gallery.records import samples_in_words

        with open_own_gallery(settings) as found:
            people, samples = import_gallery(found, file, _passphrase(passphrase_file, twice=False))
            _record(settings, found, "import", people=people, samples=samples)
            typer.echo(f"{'1 person' if people == 1 else f'{people} people'} and {samples_in_words(samples)} added.")

    _run(work, where, collection)


@gallery.command("re-encode")
def re_encode(module: Annotated[Path, typer.Option("--module", metavar="FOLDER", help="From `fairness train`.")],
              into: Annotated[str, typer.Option("--into", metavar="COLLECTION", help="New set of people.")],
              where: _Where = None, collection: _Collection = None) -> None:
    """Copy everybody to a new collection with templates changed by a fairness module."""
    def work(settings: Settings) -> None:
        from visagent.gallery import Gallery
        from visagent.gallery.copies import reencode
        from visagent.tools.recognition.access import location_of
        from visagent.vision.fairness_module import load_fairness_module

        changed = load_fairness_module(module)
        with open_own_gallery(settings) as found, \
                Gallery(location_of(settings), changed.changed_contract, collection=into) as target:
            count = reencode(found, target, changed)
            _record(settings, found, "re-encode", count=count)
            typer.echo(f"{count} people re-encoded into {clean(into)}. Use it with VISAGENT_COLLECTION={clean(into)}, "
                       "VISAGENT_FAIRNESS_MODULE, and a calibration made with the module.")

    _run(work, where, collection)


@gallery.command("rotate-key")
def rotate_key(where: _Where = None, yes: _Yes = False) -> None:
    """Make a new master key and destroy the old one: backups of the database become worthless."""
    def work(settings: Settings) -> None:
        from visagent.gallery.rotation import rotate_master_key
        from visagent.tools.recognition.access import location_of

        _confirm("Make a new master key? Copies of the database made before can then not be read by anybody.", yes)
        count = rotate_master_key(location_of(settings))
        with open_own_gallery(settings) as found:
            _record(settings, found, "rotate-key", count=count)
        typer.echo(f"{count} people have keys wrapped anew.")

    _run(work, where, None)


@audit.command("verify")
def verify_trail(where: _Where = None, collection: _Collection = None) -> None:
    """Check that no entry of the trail was changed, moved or taken out."""
    def work(settings: Settings) -> None:
        with open_own_gallery(settings) as found:
            typer.echo(f"{found.audit.verify()} entries, none changed, moved or missing.")

    _run(work, where, collection)


@audit.command("show")
def show_trail(where: _Where = None, collection: _Collection = None,
               last: Annotated[int, typer.Option("--last", help="Newest entries.")] = 20) -> None:
    """Print the newest entries as JSON Lines."""
    def work(settings: Settings) -> None:
        from collections import deque

        with open_own_gallery(settings) as found:
            for entry in deque(found.audit.entries(), maxlen=max(1, last)):
                typer.echo(json.dumps(entry, ensure_ascii=False))

    _run(work, where, collection)


def _run(work: Callable[[Settings], None], where: str | None, collection: str | None) -> None:
    """Run with the settings of the person; a `VisagentError` ends with one line on stderr and status 1."""
    try:
        work(load_settings({"gallery": where, "collection": collection}))
    except VisagentError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def open_own_gallery(settings: Settings) -> Gallery:
    """The gallery of the settings. Raises GalleryError, WeightsError."""
    from visagent.tools.recognition.access import location_of, open_gallery
    from visagent.vision.encoder import open_encoder

    contract = open_encoder(settings.encoder, settings.fairness_module).contract
    return open_gallery(location_of(settings), contract, settings.collection, settings.retention_days)


def export_own_gallery(settings: Settings, file: Path, passphrase_file: Path | None = None) -> str:
    """Write everybody to an encrypted file, and say so; asks for a passphrase if no file has it.

    Raises:
        GalleryError: The file is there already or cannot be written, or nobody is there to give a passphrase.
    """
    from visagent.gallery.copies import export_gallery

    with open_own_gallery(settings) as found:
        count = export_gallery(found, file, _passphrase(passphrase_file, twice=True))
        _record(settings, found, "export", count=count)
    return f"{count} people exported. Whoever has the file and the passphrase has their templates and small pictures."


def _unlike(settings: Settings, contract: EmbeddingContract, similarity: float) -> str:
    """A sentence if two people do not look like one: whoever is compared with the mean of both is then missed."""
    from visagent.errors import CalibrationError
    from visagent.tools.recognition.calibration import open_calibration

    try:
        least = open_calibration(contract, settings.calibration).different_below
    except CalibrationError:
        return ""
    return "" if similarity >= least else \
        f"They do not look like one person: similarity {similarity:.3f}, different people under {least:.3f}."


def _record(settings: Settings, found: Gallery, act: str, **facts: object) -> None:
    found.audit.write(act, {"collection": settings.collection, "by": "command line", **facts})


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise GalleryError("This needs your word: say --yes.")
    if not typer.confirm(question):
        raise GalleryError("Nothing was done.")


def _passphrase(file: Path | None, *, twice: bool) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError):
            raise GalleryError("The passphrase file cannot be read, or its first line is empty.") from None
    if not sys.stdin.isatty():
        raise GalleryError("Give the passphrase with --passphrase-file: nobody is there to ask.")
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=twice))
