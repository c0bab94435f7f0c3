"""The tool `private_identify`: who is this, without any server seeing the face or the gallery?

The face is found, screened and embedded here; two servers of which neither can read anything search an encrypted
gallery, and only here is their answer put together (`visagent.tools.private_match`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from visagent.evidence import Finding, abstain, not_possible
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import encoder_of, identity_of, record
from visagent.tools.recognition.liveness import SCREENED, Screening, screen
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.vision.encoder import embed_faces

if TYPE_CHECKING:
    from visagent.tools.private_match.client import PrivateGallery
    from visagent.tools.private_match.parties import Terms

DECISION_ONLY: Final = ("The servers tell who is nearest if near enough, and nothing else: there is no score to show, "
                        "and none that could be used to grope for somebody's template.")
FEW_LEFT: Final = 20
"""Questions under which a finding says that random numbers run out."""
NOT_PROOF: Final = ("A match is not proof of identity: relatives, look-alikes and people unlike those in the "
                    "calibration data are confused more often.")


class PrivateIdentifyInput(ToolInput):
    """Which face of which picture."""

    image: ImageId
    face: FaceNumber = None
    require_live: Annotated[bool, Field(description=(
        "Screen for presentation attacks first, and refuse a face that is called a spoof."))] = True


def run_private_identify(request: PrivateIdentifyInput, context: ToolContext) -> Finding:
    """Identify one face. Raises UnknownPicture, WeightsError, PrivateMatchError, GalleryError, AuditError."""
    folder = context.settings.private
    if folder is None:
        context.pictures.get(request.image)
        return not_possible("private_identify", "no private gallery is set; name the user's folder of one with the "
                                                "setting `private` (VISAGENT_PRIVATE).", images=(request.image,))
    chosen = choose_face(request.image, request.face, context, "identify")
    if isinstance(chosen, Finding):
        return chosen.model_copy(update={"tool": "private_identify"})
    screening = screen(chosen, context) if request.require_live else None
    if screening is not None and screening.verdict == "spoof":
        record(context, "private_identify", (request.image,), face=chosen.number, decision="refused",
               reason=screening.reason)
        return abstain("private_identify", f"{chosen.name} in {chosen.image_id} was not compared with the private "
                                           f"gallery: it is called a spoof ({screening.reason}).",
                       images=(chosen.image_id,), regions=(chosen.region(),), scores=screening.scores,
                       caveats=(SCREENED,))
    gallery = _open(context)
    encoder = encoder_of(context)
    embedding = embed_faces(chosen.picture.rgb, [chosen.face], encoder)[0]
    name = gallery.identify(embedding, encoder.contract, lambda done, of: context.progress("comparing", done, of))
    record(context, "private_identify", (request.image,), face=chosen.number, found=name is not None,
           people=gallery.terms.records, threshold=gallery.terms.similarity, generation=gallery.terms.generation)
    finding = _finding(chosen, name, gallery.terms, screening, context)
    if gallery.left is None or gallery.left >= FEW_LEFT:
        return finding
    runs_out = (f"The random numbers of the private gallery are good for {gallery.left} more questions; its owner can "
                "deal new ones.")
    return finding.model_copy(update={"caveats": (*finding.caveats, runs_out)})


def _open(context: ToolContext) -> PrivateGallery:
    # Not kept between calls: a gallery made anew meanwhile is then read anew, and no line stays open.
    from visagent.tools.private_match.client import PrivateGallery

    assert context.settings.private is not None
    return PrivateGallery(context.settings.private)


def _finding(chosen: ChosenFace, name: str | None, terms: Terms, screening: Screening | None, context: ToolContext
             ) -> Finding:
    where = f"{'The face' if chosen.count == 1 else f'Face {chosen.number}'} at {chosen.face.box} in {chosen.image_id}"
    people = "1 person" if terms.records == 1 else f"{terms.records:,} people"
    rule = f"a similarity of {terms.similarity:.3f} counts"
    unsure = name is not None and screening is not None and screening.verdict != "live"
    if name is None:
        answer, summary = "unknown", f"{where} is nobody of the private gallery's {people} ({rule})."
    elif unsure:
        assert screening is not None
        answer, summary = "unsure", f'{where} may be "{name}", unsure: {screening.reason}.'
    else:
        answer, summary = name, f'{where} is "{name}", the nearest of {people} in the private gallery ({rule}).'
    return Finding(
        tool="private_identify", answer=answer, images=(chosen.image_id,),
        summary=f"{summary} Neither server saw the face or the gallery.",
        scores=screening.scores if screening else (), witnesses=screening.witnesses if screening else (),
        regions=(chosen.region(answer if name and not unsure else "face"),),
        model=identity_of(encoder_of(context).contract),
        caveats=(*((SCREENED,) if screening else ()), DECISION_ONLY, f"Threshold: {terms.threshold_source}.",
                 NOT_PROOF))


PRIVATE_IDENTIFY = Tool(
    name="private_identify",
    description="Says who is in a picture by a gallery that two servers search without seeing the face or the "
                "gallery. Answers a name, unknown or unsure.",
    input_model=PrivateIdentifyInput,
    run=run_private_identify,
    needs_setting="private",
)
