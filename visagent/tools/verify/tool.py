"""The tool `verify`: do two pictures show the same person?

The distance of dlib's descriptors decides, with a band around the threshold in which both answers would often be
wrong: there the answer is "unsure". The distances come from `calibration.json`.
"""

from __future__ import annotations

from visagent.evidence import Direction, Finding, ModelIdentity, Score
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.tools.verify.calibration import Calibration, load_calibration
from visagent.vision.descriptor import describe, descriptor_distance, load_descriptor_network


class VerifyInput(ToolInput):
    """Which two faces. Both may be in one picture, if their numbers are given."""

    image_a: ImageId
    image_b: ImageId
    face_a: FaceNumber = None
    face_b: FaceNumber = None


def run_verify(request: VerifyInput, context: ToolContext) -> Finding:
    """Compare two faces. Raises UnknownPicture, WeightsError."""
    images = tuple(dict.fromkeys((request.image_a, request.image_b)))
    chosen: list[ChosenFace] = []
    for image, number in ((request.image_a, request.face_a), (request.image_b, request.face_b)):
        face = choose_face(image, number, context, "verify")
        if isinstance(face, Finding):
            return face.model_copy(update={"images": images})
        chosen.append(face)
    one, other = chosen
    network = context.models.get(load_descriptor_network)
    distance = descriptor_distance(*(describe(face.picture.rgb, face.face, network) for face in chosen))
    calibration = context.models.get(load_calibration)
    answer = _answer(distance, calibration)
    score = Score(name="descriptor distance", value=distance, direction=Direction.LOWER,
                  threshold=calibration.threshold, threshold_source=calibration.source)
    return Finding(
        tool="verify", answer=answer, summary=_summary(answer, distance, one, other, calibration), images=images,
        scores=(score,), regions=(one.region("face a"), other.region("face b")),
        model=ModelIdentity(id=calibration.model, digest=calibration.model_digest), caveats=_caveats(one, other),
    )


def _answer(distance: float, calibration: Calibration) -> str:
    if distance <= calibration.same_up_to:
        return "same"
    return "different" if distance > calibration.different_over else "unsure"


def _summary(answer: str, distance: float, one: ChosenFace, other: ChosenFace, calibration: Calibration) -> str:
    faces = f"{one.name} in {one.image_id} and {other.name} in {other.image_id}"
    band = f"{calibration.same_up_to:.3f} to {calibration.different_over:.3f}"
    if answer == "same":
        return (f"Same person: {faces} have a descriptor distance of {distance:.3f}, not over "
                f"{calibration.same_up_to:.3f}.")
    if answer == "different":
        return (f"Different people: {faces} have a descriptor distance of {distance:.3f}, over "
                f"{calibration.different_over:.3f}.")
    return (f"Unsure: {faces} have a descriptor distance of {distance:.3f}; from {band} pictures of one person and of "
            "two look alike to this model.")


def _caveats(one: ChosenFace, other: ChosenFace) -> tuple[str, ...]:
    caveats: list[str] = []
    if one.picture.digest == other.picture.digest:
        if one.number == other.number:
            caveats.append("Both are the same face of the same picture: this says nothing about two pictures.")
        else:
            caveats.append("Both faces are in the same picture.")
    caveats.append("Close relatives, children and people unlike those in the calibration data are confused more "
                   "often; a match is not proof of identity.")
    return tuple(caveats)


VERIFY = Tool(
    name="verify",
    description="Says whether two faces, in two pictures or in one, are the same person: same, different or unsure.",
    input_model=VerifyInput,
    run=run_verify,
)
