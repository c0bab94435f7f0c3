"""The tool `enrol`: add a person's pictures to the gallery as templates; the pictures themselves are not kept, but for
one small one of the face if the person chooses so.

Each picture must show one good, live face; all of one enrolment must be of one person; and that person must not be
enrolled under another name already. What fails is said, and the rest is enrolled.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from visagent.errors import UnknownPerson
from visagent.evidence import Finding, Score, abstain, not_possible
from visagent.gallery.records import MAX_NAME, THUMBNAIL_SIDE, NewSample, samples_in_words
from visagent.tools.contract import STRIPPED, ImageId, Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import calibration_of, encoder_of, gallery_of, identity_of, record
from visagent.tools.recognition.liveness import SCREENED, screen
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.vision.crop import take_view
from visagent.vision.encoder import Embeddings, embed_faces, similarity_of

if TYPE_CHECKING:
    from visagent.gallery import Gallery

ADVICE_SAMPLES = 3
"""Fewer samples, and all of one day, are compared with less certainty on other days (the BEZ study, arXiv 2507.06858:
scores differ more between days than over years)."""
THUMBNAIL_MARGIN = 1.6
"""Side of the small picture over the longer side of the face box: hair and chin are in it, and little else."""

KEPT_PICTURE = ("A small picture of the face is kept, encrypted, as long as the templates; visagent gallery "
                "drop-thumbnail removes it alone.")


class EnrolInput(ToolInput):
    """Whose pictures, and what for."""

    images: Annotated[list[ImageId], Field(min_length=1, max_length=20, description=(
        "Pictures of the one person, several if possible, from different days."))]
    person: Annotated[str, STRIPPED, Field(min_length=1, max_length=MAX_NAME, description="The person's name.")]
    purpose: Annotated[str | None, Field(max_length=500, description=(
        "What the templates may be used for; the person who agrees says it."))] = None
    consent: Annotated[str | None, Field(max_length=500, description=(
        "Reference to the person's consent (a form, a date); the person who agrees says it."))] = None
    face: FaceNumber = None
    require_live: Annotated[bool, Field(description=(
        "Screen for presentation attacks first, and leave out a picture that is not called live."))] = True
    allow_alike: Annotated[bool, Field(description=(
        "Enrol although somebody else in the gallery looks the same, such as a twin."))] = False
    keep_thumbnail: Annotated[bool, Field(description=(
        "Keep a small picture of the face, encrypted, to show in the gallery; otherwise none is added."))] = False


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    image_id: str
    face: ChosenFace
    embedding: Embeddings


def run_enrol(request: EnrolInput, context: ToolContext) -> Finding:
    """Enrol. Raises UnknownPicture, WeightsError, GalleryError, CalibrationError, AuditError."""
    images = tuple(dict.fromkeys(request.images))
    for image in images:
        context.pictures.get(image)  # unknown pictures are said before anything else
    if not (request.purpose or "").strip() or not (request.consent or "").strip():
        return not_possible("enrol", "enrolling needs a purpose (what the templates may be used for) and a reference "
                                     "to the person's consent.", images=images)
    gallery = gallery_of(context)
    samples, refused = _usable(request, images, context)
    samples, unlike = _of_one_person(samples, request.person, gallery, calibration_of(context).different_below)
    refused |= unlike
    if not samples:
        record(context, "enrol", images, decision="refused", reason="no usable picture")
        return abstain("enrol", f"nothing was enrolled: {' '.join(refused.values())}", images=images)
    alike = _somebody_else(request.person, samples, gallery, context)
    if alike is not None and not request.allow_alike:
        record(context, "enrol", images, decision="refused", reason="alike", person=alike[2])
        score = Score(name="similarity to somebody enrolled", value=alike[1], threshold=alike[3],
                      threshold_source=alike[4], model=str(gallery.contract))
        return abstain("enrol", f'nothing was enrolled: the face looks like "{alike[0]}", who is enrolled already. If '
                                "they are one person, enrol under that name; if they only look alike, allow it.",
                       images=images, scores=(score,))
    done = gallery.enrol(request.person, [NewSample(sample.embedding, sample.face.picture.digest)
                                          for sample in samples],
                         purpose=request.purpose or "", consent=request.consent or "",
                         thumbnail=_small_picture(samples[0].face) if request.keep_thumbnail else None)
    record(context, "enrol", images, decision="enrolled", person=done.person, samples=done.added,
           thumbnail=request.keep_thumbnail)
    person = gallery.person(request.person)
    return Finding(
        tool="enrol", answer="enrolled", images=images,
        summary=_summary(person.card.name, done.added, done.known, person.samples, refused),
        scores=(Score(name="samples added", value=done.added), Score(name="samples in all", value=person.samples)),
        regions=tuple(sample.face.region("enrolled face") for sample in samples),
        model=identity_of(gallery.contract),
        caveats=(*((SCREENED,) if request.require_live else ()),
                 f"Templates are kept for: {person.card.purpose}. Consent: {person.card.consent}. "
                 + (f"Forgotten by itself on {person.expires.date()}." if person.expires else
                    "Kept until somebody is told to forget the person."),
                 *((KEPT_PICTURE,) if person.has_thumbnail else ()),
                 *((f"{ADVICE_SAMPLES} samples or more, of different days, are recognised more surely.",)
                   if person.samples < ADVICE_SAMPLES else ())))


def _usable(request: EnrolInput, images: tuple[str, ...], context: ToolContext
            ) -> tuple[list[_Sample], dict[str, str]]:
    """The pictures that show one good, live face, and for the others a sentence on why not."""
    samples, refused = [], {}
    for image in images:
        face = choose_face(image, request.face if len(images) == 1 else None, context, "enrol")
        if isinstance(face, Finding):
            refused[image] = face.reason or ""
            continue
        screening = screen(face, context) if request.require_live else None
        if screening is not None and screening.verdict != "live":
            refused[image] = f"{face.name} in {image} was not called live: {screening.reason}."
            continue
        (embedding,) = embed_faces(face.picture.rgb, [face.face], encoder_of(context))
        samples.append(_Sample(image, face, embedding))
    return samples, refused


def _of_one_person(samples: list[_Sample], name: str, gallery: Gallery, least: float
                   ) -> tuple[list[_Sample], dict[str, str]]:
    """Those that look like the person's other pictures: each is compared with all others, the best counts."""
    try:
        (enrolled,) = gallery.everything(name)
        earlier = [sample.embedding for sample in enrolled.samples]
    except UnknownPerson:
        earlier = []
    kept, refused = [], {}
    for sample in samples:
        others = earlier + [other.embedding for other in samples if other is not sample]
        if others and max(similarity_of(sample.embedding, other) for other in others) < least:
            refused[sample.image_id] = f"The face in {sample.image_id} does not look like the other pictures of the " \
                                       "person."
        else:
            kept.append(sample)
    if not earlier and refused and not kept:  # two pictures that are unlike: neither is more right than the other
        return [], refused
    return kept, refused


def _somebody_else(name: str, samples: list[_Sample], gallery: Gallery, context: ToolContext
                   ) -> tuple[str, float, str, float, str] | None:
    """Somebody enrolled under another name who looks the same: name, similarity, id, threshold, its source."""
    import numpy as np

    index = gallery.index()
    if not len(index):
        return None
    threshold = calibration_of(context).for_search(len(index), context.settings.wanted_fpir)
    try:
        own = gallery.person(name).id
    except UnknownPerson:
        own = ""
    found = [match for matches in index.search(np.stack([sample.embedding for sample in samples]), 2)
             for match in matches if match.person != own and match.score >= threshold.value]
    if not found:
        return None
    best = max(found, key=lambda match: match.score)
    return (gallery.name_of(best.person) or "somebody", best.score, best.person, threshold.value,
            f"false-positive identification rate {context.settings.wanted_fpir:.1%} with {len(index):,} templates")


def _small_picture(chosen: ChosenFace) -> bytes:
    """The face upright with a little around it, as a JPEG without metadata."""
    from PIL import Image

    view = take_view(chosen.picture.rgb, chosen.face.box, margin=THUMBNAIL_MARGIN, size=THUMBNAIL_SIDE,
                     turns=chosen.face.turns)
    file = BytesIO()
    Image.fromarray(view.rgb).save(file, "JPEG", quality=80)
    return file.getvalue()


def _summary(name: str, added: int, known: int, total: int, refused: dict[str, str]) -> str:
    parts = [f'Enrolled "{name}": {samples_in_words(added)} added, {total} in all.']
    if known:
        parts.append(f"{samples_in_words(known)} had been enrolled before.")
    if refused:
        parts.append("Left out: " + " ".join(refused.values()))
    return " ".join(parts)


ENROL = Tool(
    name="enrol",
    description="Adds a person to the gallery under a name, from one or several pictures of that person, so that "
                "identify can name the person later.",
    input_model=EnrolInput,
    run=run_enrol,
    writes=True,
    left_to_person=("purpose", "consent", "allow_alike", "keep_thumbnail"),
)
