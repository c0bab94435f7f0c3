"""The tool `identify`: who is this? Each face of a picture against the gallery.

The threshold is derived from the gallery's size: with N templates, N strangers have a chance to look alike, so what is
enough for one comparison is not enough for a search (`Calibration.for_search`). Between the threshold at the wanted
false-positive rate and that at ten times the rate the answer is "unsure", and so it is where two people pass. A face
that is called a spoof is not compared at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from visagent.evidence import Finding, Region, Score, State, abstain, not_possible
from visagent.gallery.index import Match
from visagent.gallery.records import MAX_NAME, Sighting
from visagent.tools.contract import STRIPPED, ImageId, Tool, ToolContext, ToolInput
from visagent.tools.identify.assignment import Candidate, assign
from visagent.tools.identify.wording import CAVEATS, Decision, decide, summarise, threshold_source
from visagent.tools.recognition.access import calibration_of, encoder_of, gallery_of, identity_of, record
from visagent.tools.recognition.calibration import Threshold
from visagent.tools.recognition.liveness import SCREENED, Screening, screen
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face, find_faces, limits_of, numbered_regions
from visagent.vision.encoder import embed_faces
from visagent.vision.quality import measure_quality

if TYPE_CHECKING:
    from visagent.gallery import Gallery

REVIEW = 10.0
"""The answer is "unsure" down to the threshold at this many times the wanted false-positive rate."""
LARGEST_REVIEW_RATE = 0.5


class IdentifyInput(ToolInput):
    """Which picture, and who is meant."""

    image: ImageId
    face: FaceNumber = None
    person: Annotated[str | None, STRIPPED, Field(min_length=1, max_length=MAX_NAME, description=(
        "Compare with this enrolled person only (\"is this Ada?\"); leave out to search everybody."))] = None
    require_live: Annotated[bool, Field(description=(
        "Screen for presentation attacks first, and refuse a face that is called a spoof."))] = True


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where a face is named, and from where it may be somebody."""

    accept: Threshold
    review: Threshold
    templates: int
    claimed: bool


def run_identify(request: IdentifyInput, context: ToolContext) -> Finding:
    """Identify the faces of a picture. Raises UnknownPicture, WeightsError, GalleryError, CalibrationError."""
    context.pictures.get(request.image)  # unknown pictures are said before anything else
    gallery = gallery_of(context)
    index = gallery.index()
    claimed = None if request.person is None else gallery.person(request.person)
    if not len(index):
        return not_possible("identify", "nobody is enrolled in the gallery; enrol people first.",
                            images=(request.image,))
    chosen = _faces(request, context)
    if isinstance(chosen, Finding):
        return chosen
    fit = [face for face in chosen if isinstance(face, ChosenFace)]
    screenings = [screen(face, context) if request.require_live else None for face in fit]
    shown = [(face, screening) for face, screening in zip(fit, screenings, strict=True)
             if screening is None or screening.verdict != "spoof"]
    thresholds = _thresholds(context, len(index) if claimed is None else claimed.samples, claimed is not None)
    candidates: dict[int, Candidate] = {}
    if shown:
        picture = context.pictures.get(request.image)
        embeddings = embed_faces(picture.rgb, [face.face for face, _ in shown], encoder_of(context))
        matches = index.search(embeddings, len(shown) + 1, among=None if claimed is None else claimed.id)
        for (face, _), candidate in zip(shown, assign(matches, thresholds.review.value), strict=True):
            candidates[face.number] = candidate
    parts = []
    screened = {face.number: screening for face, screening in zip(fit, screenings, strict=True)}
    for one in chosen:
        if isinstance(one, Finding):
            parts.append(one)
        else:
            parts.append(_judge(one, screened[one.number], candidates.get(one.number), thresholds, gallery, context))
    return parts[0] if len(parts) == 1 else _together(request.image, parts)


def _faces(request: IdentifyInput, context: ToolContext) -> Finding | list[ChosenFace | Finding]:
    """The faces to judge; one that is not good enough is a finding already."""
    faces = find_faces(request.image, context)
    if request.face is not None or len(faces) < 2:
        one = choose_face(request.image, request.face, context, "identify")
        return one if isinstance(one, Finding) else [one]
    picture, regions = context.pictures.get(request.image), numbered_regions(request.image, faces)
    found: list[ChosenFace | Finding] = []
    for number, face in enumerate(faces, 1):
        chosen = ChosenFace(request.image, picture, face, number, len(faces), measure_quality(picture.rgb, face))
        shortcomings = chosen.quality.shortcomings(limits_of("identify"))
        found.append(abstain("identify", f"{chosen.name} is not good enough: {'; '.join(shortcomings)}.",
                             images=(request.image,), regions=(regions[number - 1],)) if shortcomings else chosen)
    return found


def _thresholds(context: ToolContext, templates: int, claimed: bool) -> Thresholds:
    calibration, settings = calibration_of(context), context.settings
    wanted = settings.wanted_fmr if claimed else settings.wanted_fpir
    return Thresholds(calibration.for_search(max(1, templates), wanted),
                      calibration.for_search(max(1, templates), min(LARGEST_REVIEW_RATE, REVIEW * wanted)),
                      templates, claimed)


def _judge(face: ChosenFace, screening: Screening | None, candidate: Candidate | None, thresholds: Thresholds,
           gallery: Gallery, context: ToolContext) -> Finding:
    contract = gallery.contract
    live_scores = screening.scores if screening else ()
    witnesses = screening.witnesses if screening else ()
    region = face.region("face" if face.count == 1 else face.name)
    caveats = (*((SCREENED,) if screening else ()), *CAVEATS)
    if candidate is None:
        reason = screening.reason if screening else ""
        _receipt(context, face, "refused", None, thresholds, reason)
        return abstain("identify", f"{face.name} in {face.image_id} was not compared with the gallery: it is called a "
                                   f"spoof ({reason}).", images=(face.image_id,), regions=(region,),
                       scores=live_scores, caveats=caveats)
    decision = decide(candidate, screening, thresholds.accept, thresholds.review)
    other = None if candidate.runner_up is None else candidate.runner_up.person
    names = {person: name for person in (candidate.person, other, candidate.taken)
             if person is not None and (name := gallery.name_of(person)) is not None}
    if decision.person is not None and decision.person not in names:  # forgotten while we looked
        decision = Decision("unknown")
    source = threshold_source(thresholds.accept, thresholds.templates, thresholds.claimed, calibration_of(context),
                              context.settings)
    scores = () if candidate.score is None else (Score(
        name="similarity", value=candidate.score, threshold=thresholds.accept.value, threshold_source=source,
        model=str(contract)),)
    _receipt(context, face, decision.answer, decision.person, thresholds, decision.reason)
    _remember(decision.answer, candidate, face, thresholds.claimed, gallery, context)
    answer = names[decision.person] if decision.answer == "known" and decision.person else decision.answer
    return Finding(
        tool="identify", answer=answer, images=(face.image_id,), scores=(*scores, *live_scores),
        summary=summarise(decision, candidate, names, face, thresholds.accept, thresholds.review,
                          thresholds.templates, thresholds.claimed),
        regions=(Region(label=answer if decision.answer == "known" else region.label, image=region.image,
                        box=region.box, score=candidate.score),),
        model=identity_of(contract), witnesses=witnesses,
        caveats=(*caveats, *(("No data supports a false-match rate as small as this gallery's size asks for: the "
                              "threshold is extrapolated.",) if thresholds.accept.extrapolated else ())))


def _receipt(context: ToolContext, face: ChosenFace, decision: str, person: str | None, thresholds: Thresholds,
             reason: str) -> None:
    record(context, "identify", (face.image_id,), face=face.number, decision=decision, person=person,
           threshold=thresholds.accept.value, fmr=thresholds.accept.fmr, templates=thresholds.templates,
           claimed=thresholds.claimed, reason=reason)


def _remember(answer: Literal["known", "unsure", "unknown"], candidate: Candidate, face: ChosenFace, claimed: bool,
              gallery: Gallery, context: ToolContext) -> None:
    """Keep the score for `visagent drift`, where it is of the person: named, or claimed and not clearly another."""
    if not context.settings.keep_scores or candidate.score is None:
        return
    person: Match | str | None = candidate.person if answer == "known" or not claimed else (
        candidate.person or (candidate.runner_up.person if candidate.runner_up else None))
    of_person = answer == "known" or (claimed and candidate.score >= calibration_of(context).different_below)
    if isinstance(person, str) and of_person:
        gallery.add_sighting(person, Sighting(at=datetime.now(UTC), score=candidate.score,
                                              how="claimed" if claimed else "identified",
                                              sharpness=face.quality.sharpness))


def _together(image: str, parts: list[Finding]) -> Finding:
    """One finding for a picture of several faces, with one part for each."""
    said = [f"face {number}: {part.answer or 'no verdict'}" for number, part in enumerate(parts, 1)]
    answered = any(part.state is State.answered for part in parts)
    summary = f"{len(parts)} faces in {image}. " + " ".join(part.summary for part in parts)
    first = next((part for part in parts if part.model is not None), parts[0])
    return Finding(
        tool="identify", state=State.answered if answered else State.abstained,
        answer="; ".join(said) if answered else None,
        reason=None if answered else "none of the faces could be compared with the gallery.", summary=summary,
        images=(image,), regions=tuple(region for part in parts for region in part.regions), model=first.model,
        witnesses=tuple(dict.fromkeys(witness for part in parts for witness in part.witnesses)),
        caveats=tuple(dict.fromkeys(caveat for part in parts for caveat in part.caveats)), parts=tuple(parts))


IDENTIFY = Tool(
    name="identify",
    description="Says who is in a picture: compares each face with the people enrolled in the gallery, or with one of "
                "them by name. Answers a name, unknown or unsure.",
    input_model=IdentifyInput,
    run=run_identify,
)
