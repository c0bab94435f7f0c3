"""The tool `people`: who is enrolled, since when, for what, on whose word. No template is shown, and no picture."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from visagent.evidence import Finding, Score
from visagent.gallery.records import MAX_NAME, PersonRecord, samples_in_words
from visagent.tools.contract import STRIPPED, Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import gallery_of, identity_of, record

SPELLED_OUT = 50
"""People named in the summary; the rest is counted, and `visagent gallery list` names all."""


class PeopleInput(ToolInput):
    """Everybody, or one person."""

    person: Annotated[str | None, STRIPPED, Field(min_length=1, max_length=MAX_NAME, description=(
        "Tell all that is stored of this person; leave out for a list of everybody."))] = None


def run_people(request: PeopleInput, context: ToolContext) -> Finding:
    """List people. Raises GalleryError, WeightsError, AuditError."""
    gallery = gallery_of(context)
    if request.person is not None:
        found = gallery.person(request.person)
        record(context, "people", decision="told", person=found.id)
        return Finding(tool="people", answer=found.card.name, summary=_all_about(found),
                       scores=(Score(name="samples", value=found.samples),
                               Score(name="mated scores kept", value=found.sightings)),
                       model=identity_of(gallery.contract))
    people = gallery.people()
    record(context, "people", decision="listed", count=len(people))
    return Finding(tool="people", answer=str(len(people)), summary=_list(people),
                   scores=(Score(name="people", value=len(people)),
                           Score(name="samples", value=sum(person.samples for person in people))),
                   model=identity_of(gallery.contract))


def _all_about(person: PersonRecord) -> str:
    card = person.card
    until = f", until {person.expires.date()}" if person.expires else ""
    picture = "and a small picture" if person.has_thumbnail else "and no picture"
    since = f"{person.created.date()}{until}"
    return (f'"{card.name}" is enrolled with {samples_in_words(person.samples)} since {since}. Purpose: '
            f"{card.purpose}. Consent: {card.consent}. {person.sightings} mated scores are kept, {picture}.")


def _list(people: tuple[PersonRecord, ...]) -> str:
    if not people:
        return "Nobody is enrolled."
    count = "1 person is enrolled" if len(people) == 1 else f"{len(people)} people are enrolled"
    named = ", ".join(f'"{person.card.name}" ({person.samples})' for person in people[:SPELLED_OUT])
    more = f" and {len(people) - SPELLED_OUT} more" if len(people) > SPELLED_OUT else ""
    return f"{count}, with samples: {named}{more}."


PEOPLE = Tool(
    name="people",
    description="Lists who is enrolled in the gallery, or tells what is stored of one person.",
    input_model=PeopleInput,
    run=run_people,
    discloses=True,
)
