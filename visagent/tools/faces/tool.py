"""The tool `faces`: how many faces, where, and is the picture good enough?

A picture without a face is answered with "0", not abstained from: counting is possible, and none is a count. A caveat
then says that the detector can miss faces.
"""

from __future__ import annotations

from visagent.evidence import Finding, ModelIdentity, Score
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.subject import LIMITS, find_faces, limits_of, numbered_regions
from visagent.vision.detect import Face
from visagent.vision.quality import FaceQuality, measure_quality

SPELLED_OUT = 10
"""Faces described one by one in the summary; a model or a person reads no longer list. All are in the regions."""
DETECTOR_MODEL = "dlib_frontal_hog_with_mmod"


class FacesInput(ToolInput):
    """Which picture."""

    image: ImageId


def run_faces(request: FacesInput, context: ToolContext) -> Finding:
    """Count the faces of a picture, and judge each. Raises UnknownPicture, WeightsError."""
    faces = find_faces(request.image, context)
    rgb = context.pictures.get(request.image).rgb
    if not faces:
        return Finding(tool="faces", answer="0", summary=f"No face was found in {request.image}.",
                       images=(request.image,), scores=(Score(name="faces", value=0),),
                       model=ModelIdentity(id=DETECTOR_MODEL),
                       caveats=("Faces under about 40 pixels in a picture of 1000, seen from the side or mostly "
                                "covered can be missed.",))
    unfit = [_unfit_for(measure_quality(rgb, face)) for face in faces]
    parts = [f"{_count(len(faces))} in {request.image}."]
    for number, (face, lacks) in enumerate(zip(faces, unfit, strict=True), 1):
        if number <= SPELLED_OUT:
            parts.append(_describe(number, len(faces), face, lacks))
    if len(faces) > SPELLED_OUT:
        good = sum(not lacks for lacks in unfit)
        parts.append(f"The other {len(faces) - SPELLED_OUT} are in the regions, numbered from left to right. "
                     f"{good} of all {len(faces)} are good enough for all tools.")
    widest = max(face.width for face in faces)
    return Finding(
        tool="faces", answer=str(len(faces)), summary=" ".join(parts), images=(request.image,),
        scores=(Score(name="faces", value=len(faces)), Score(name="width of the widest face in pixels", value=widest)),
        regions=numbered_regions(request.image, faces), model=ModelIdentity(id=DETECTOR_MODEL),
        caveats=("A face's score is the detector's margin: 0 is its threshold, clear faces have 1 to 3.",))


def _count(number: int) -> str:
    return "1 face" if number == 1 else f"{number} faces"


def _unfit_for(quality: FaceQuality) -> dict[str, tuple[str, ...]]:
    """The tools that would abstain, and why."""
    lacks = {tool: quality.shortcomings(limits_of(tool)) for tool in LIMITS}
    return {tool: reasons for tool, reasons in lacks.items() if reasons}


def _describe(number: int, count: int, face: Face, unfit: dict[str, tuple[str, ...]]) -> str:
    """One sentence: "Face 1 (left) at [10, 20, 110, 120], 100 px wide, good enough for all tools."."""
    side = "" if count == 1 else " (left)" if number == 1 else " (right)" if number == count else ""
    text = f"Face {number}{side} at {face.box}, {face.width:.0f} px wide"
    if not unfit:
        return f"{text}, good enough for all tools."
    if len(unfit) == len(LIMITS):
        # The most lenient tool's reasons hold for all; the first clause of each other tool would repeat them.
        reasons = min(unfit.values(), key=len)
        return f"{text}, not good enough for any tool: {'; '.join(reasons)}."
    reasons = tuple(dict.fromkeys(reason for found in unfit.values() for reason in found))
    return f"{text}, not good enough for {' and '.join(unfit)}: {'; '.join(reasons)}."


FACES = Tool(
    name="faces",
    description="Counts the faces in a picture, says where they are, and whether each is big, sharp, bright and "
                "frontal enough for the other tools.",
    input_model=FacesInput,
    run=run_faces,
)
