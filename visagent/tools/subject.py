"""Which face a question is about, and whether it can be judged: the same rule for every tool.

One face, or one that is clearly the biggest, is the subject. Several alike, none, or one of poor quality make the tool
abstain, with the regions that a follow-up question can name: faces are numbered from the picture's left to its right,
beginning with 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from visagent.evidence import Finding, Region, abstain
from visagent.media import Picture
from visagent.tools.contract import ToolContext
from visagent.vision.detect import Face, detect_faces, load_face_detector
from visagent.vision.quality import FaceQuality, QualityLimits, measure_quality

FaceNumber = Annotated[int | None, Field(ge=1, le=1000, description=(
    "Which face, counted from the picture's left to its right, beginning with 1; leave out for the only or clearly "
    "biggest face."))]

DOMINANCE = 2.0
"""A face of at least this many times the area of the next is meant when no number is given: it is about 1.4 times as
wide, so it stands clearly in front."""

_COMPARING = QualityLimits(min_sharpness=0.45, max_yaw=45, max_pitch=35)
LIMITS: Mapping[str, QualityLimits] = MappingProxyType({
    # Texture of paper or screen needs more pixels. A blurred or glaring picture may be the attack itself: the other
    # limits are those below which nothing can be seen.
    "spoof": QualityLimits(min_width_px=60, min_sharpness=0.35),
    # The benchmark's own pictures are 48 pixels wide, with the face about 40.
    "expression": QualityLimits(min_width_px=30),
    # Comparing needs the details that tell people apart, and both eyes.
    "verify": _COMPARING,
    "identify": _COMPARING,
    # A template is compared for years; a poor one is regretted as long.
    "enrol": QualityLimits(min_width_px=80, min_sharpness=0.45, max_yaw=35, max_pitch=30),
})
"""What each tool needs of a face; other tools need the defaults."""


@dataclass(frozen=True, slots=True)
class ChosenFace:
    """The face that a question is about.

    Attributes:
        image_id: Id of the picture.
        picture: The picture.
        face: The face, in pixels of the picture.
        number: Its number from the left, beginning with 1.
        count: Faces in the picture.
        quality: Its measures.
    """

    image_id: str
    picture: Picture
    face: Face
    number: int
    count: int
    quality: FaceQuality

    @property
    def name(self) -> str:
        """How to speak of it: "the face", or "face 2 of 3"."""
        return "the face" if self.count == 1 else f"face {self.number} of {self.count}"

    def region(self, label: str = "face", score: float | None = None) -> Region:
        """The face's box as evidence."""
        return Region(label=label, image=self.image_id, box=self.face.box, score=score)


def find_faces(image_id: str, context: ToolContext) -> tuple[Face, ...]:
    """The faces of a picture from left to right: face number n is `find_faces(...)[n - 1]`.

    Raises:
        UnknownPicture: No picture of this id.
        WeightsError: The detector is missing or altered.
    """
    rgb = context.pictures.get(image_id).rgb
    faces = detect_faces(rgb, context.models.get(load_face_detector))
    return tuple(sorted(faces, key=lambda face: face.box.x1 + face.box.x2))


def numbered_regions(image_id: str, faces: tuple[Face, ...]) -> tuple[Region, ...]:
    """A region for each face, labelled "face 1", "face 2" in the order given."""
    return tuple(Region(label=f"face {number}", image=image_id, box=face.box, score=face.confidence)
                 for number, face in enumerate(faces, 1))


def choose_face(image_id: str, face_number: int | None, context: ToolContext, tool: str) -> ChosenFace | Finding:
    """The face that a tool shall judge, or why it must abstain.

    Args:
        image_id: Id of the picture.
        face_number: Number from the left, beginning with 1; None for the only or the clearly biggest face.
        context: Where pictures and models are.
        tool: Name of the tool; it chooses the quality limits, and abstains.

    Returns:
        The face; or a finding that abstains because there is no face, no such face, no dominant one, or poor quality.

    Raises:
        UnknownPicture: No picture of this id.
        WeightsError: The detector is missing or altered.
    """
    picture = context.pictures.get(image_id)
    faces = find_faces(image_id, context)
    regions = numbered_regions(image_id, faces)
    if not faces:
        return abstain(tool, f"no face was found in {image_id}.", images=(image_id,))
    count = f"{len(faces)} faces" if len(faces) > 1 else "one face"
    if face_number is not None and face_number > len(faces):
        return abstain(tool, f"{image_id} has {count}, so there is no face {face_number}; faces are counted from the "
                             "left, beginning with 1.", images=(image_id,), regions=regions)
    number = face_number or _dominant(faces)
    if number is None:
        return abstain(tool, f"{image_id} has {count} and none is clearly the biggest; say which one is meant by its "
                             f"number, from 1 (left) to {len(faces)} (right).", images=(image_id,), regions=regions)
    face = faces[number - 1]
    chosen = ChosenFace(image_id, picture, face, number, len(faces), measure_quality(picture.rgb, face))
    shortcomings = chosen.quality.shortcomings(limits_of(tool))
    if shortcomings:
        return abstain(tool, f"{chosen.name} in {image_id} is not good enough: {'; '.join(shortcomings)}.",
                       images=(image_id,), regions=(regions[number - 1],))
    return chosen


def limits_of(tool: str) -> QualityLimits:
    """What a tool needs of a face."""
    return LIMITS.get(tool, QualityLimits())


def _dominant(faces: tuple[Face, ...]) -> int | None:
    by_area = sorted(range(len(faces)), key=lambda index: -faces[index].area)
    if len(faces) > 1 and faces[by_area[0]].area < DOMINANCE * faces[by_area[1]].area:
        return None
    return by_area[0] + 1
