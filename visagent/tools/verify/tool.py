"""The tool `verify`: do two pictures show the same person?

The similarity of their embeddings decides: "same" from the threshold at the wanted false-match rate on, "different"
under the similarity that 99 % of same-person pairs reach, "unsure" between. The thresholds come from the encoder's
calibration (`visagent.tools.recognition.calibration`).
"""

from __future__ import annotations

from visagent.evidence import Artifact, ArtifactKind, Finding, Score
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.recognition.access import calibration_of, encoder_of, identity_of
from visagent.tools.recognition.calibration import Calibration, OperatingPoint, Threshold
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.vision.align import align_face
from visagent.vision.crop import ByteImage
from visagent.vision.draw import side_by_side
from visagent.vision.encoder import Encoder, similarity_of


class VerifyInput(ToolInput):
    """Which two faces. Both may be in one picture, if their numbers are given."""

    image_a: ImageId
    image_b: ImageId
    face_a: FaceNumber = None
    face_b: FaceNumber = None


def run_verify(request: VerifyInput, context: ToolContext) -> Finding:
    """Compare two faces. Raises UnknownPicture, WeightsError, CalibrationError."""
    images = tuple(dict.fromkeys((request.image_a, request.image_b)))
    chosen: list[ChosenFace] = []
    for image, number in ((request.image_a, request.face_a), (request.image_b, request.face_b)):
        face = choose_face(image, number, context, "verify")
        if isinstance(face, Finding):
            return face.model_copy(update={"images": images})
        chosen.append(face)
    one, other = chosen
    encoder, calibration = encoder_of(context), calibration_of(context)
    chip, other_chip = (align_face(face.picture.rgb, face.face, encoder.template) for face in chosen)
    similarity = similarity_of(encoder.encode([chip])[0], encoder.encode([other_chip])[0])
    same = calibration.at_fmr(context.settings.wanted_fmr)
    different = min(calibration.different_below, same.value)
    answer = "same" if similarity >= same.value else "different" if similarity < different else "unsure"
    score = Score(name="similarity", value=similarity, threshold=same.value,
                  threshold_source=_source(same, calibration), model=str(encoder.contract))
    return Finding(
        tool="verify", answer=answer, summary=_summary(answer, similarity, one, other, same.value, different),
        images=images, scores=(score,), regions=(one.region("face a"), other.region("face b")),
        artifacts=(_compared(one, other, side_by_side(chip, other_chip), encoder, context),) if context.draws else (),
        model=identity_of(encoder.contract), caveats=_caveats(one, other))


def _source(same: Threshold, calibration: Calibration) -> str:
    """Rate, data and date, and what the other half of the people measured where there is such a point."""
    text = (f"false-match rate {same.fmr:.2g} on one half of the people of: {calibration.data} "
            f"({calibration.development.non_mated:,} comparisons, {calibration.date})")
    if same.extrapolated:
        return f"{text}; no data supports a rate as small: extrapolated by a generalised Pareto tail"
    point = _measured(same, calibration)
    if point is None:
        return text
    return f"{text}; on the other half FMR {point.fmr}, FNMR {point.fnmr}, 95 % intervals by resampling people"


def _measured(same: Threshold, calibration: Calibration) -> OperatingPoint | None:
    return next((point for point in calibration.points if abs(point.target_fmr / same.fmr - 1) < 1e-6), None)


def _summary(answer: str, similarity: float, one: ChosenFace, other: ChosenFace, same: float, different: float) -> str:
    faces = f"{one.name} in {one.image_id} and {other.name} in {other.image_id}"
    if answer == "same":
        return f"Same person: {faces} have a similarity of {similarity:.3f}, not under {same:.3f}."
    if answer == "different":
        return f"Different people: {faces} have a similarity of {similarity:.3f}, under {different:.3f}."
    return (f"Unsure: {faces} have a similarity of {similarity:.3f}; from {different:.3f} to {same:.3f} pictures of "
            "one person and of two look alike to this model.")


def _compared(one: ChosenFace, other: ChosenFace, chips: ByteImage, encoder: Encoder, context: ToolContext
              ) -> Artifact:
    """The very pixels that were compared, side by side."""
    size = encoder.template.size
    return context.keep(chips, ArtifactKind.picture, (
        f"What {encoder.contract.model} compared: left {one.name} in {one.image_id}, right {other.name} in "
        f"{other.image_id}, each turned and scaled to {size} x {size} pixels so that its features lie where all "
        "faces' do."))


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
