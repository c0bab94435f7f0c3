"""The tool `forget`: remove a person's templates and scores, and destroy the key that would open copies of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from visagent.evidence import Finding, Score
from visagent.gallery.records import MAX_NAME, clean_name, samples_in_words
from visagent.tools.contract import STRIPPED, Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import gallery_of, identity_of, record

COPIES = ("Copies made before (exports, backups of the gallery with its master key) still hold the person; a new "
          "master key makes backups of the database worthless (visagent gallery rotate-key).")
STILL_READ = "Another process was reading: the erased bytes leave the disk when it is done."


class ForgetInput(ToolInput):
    """Who."""

    person: Annotated[str, STRIPPED, Field(min_length=1, max_length=MAX_NAME, description="The person's name.")]


def run_forget(request: ForgetInput, context: ToolContext) -> Finding:
    """Forget a person. Raises UnknownPerson, GalleryError, WeightsError, AuditError."""
    gallery = gallery_of(context)
    name = gallery.person(request.person).card.name
    record(context, "forget", decision="asked", person=gallery.person(name).id)
    gone = gallery.forget(name)
    record(context, "forget", decision="forgotten", person=gone.person, samples=gone.samples)
    return Finding(
        tool="forget", answer="forgotten",
        summary=f'Forgot "{clean_name(name)}": {samples_in_words(gone.samples)} and '
                f"{gone.sightings} mated score{'' if gone.sightings == 1 else 's'} were removed.",
        scores=(Score(name="samples removed", value=gone.samples),
                Score(name="mated scores removed", value=gone.sightings)),
        model=identity_of(gallery.contract),
        caveats=(COPIES, *(() if gone.erased else (STILL_READ,))))


FORGET = Tool(
    name="forget",
    description="Removes a person from the gallery for good: samples, scores, and the key to them.",
    input_model=ForgetInput,
    run=run_forget,
    writes=True,
)
