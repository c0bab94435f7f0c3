"""Aligned face chips: the similarity (turn, scale, shift) that brings five points of a face to fixed places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from visagent.vision.crop import ByteImage, resize
from visagent.vision.detect import Face

Points: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class ChipTemplate:
    """Where five points lie in a chip.

    Attributes:
        size: Side of the chip in pixels.
        points: (x, y) of each point, in pixels of the chip.
        marks: For each point, the 68-point marks whose mean it is.
    """

    size: int
    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[int, ...], ...]


ARCFACE_112 = ChipTemplate(
    size=112,
    points=((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)),
    marks=(tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
)
"""Eyes, nose tip, mouth corners as in InsightFace's `face_align.py`; for ArcFace and most networks since."""

_DLIB_UNIT = ((0.1205750620789, 0.2137274526848), (0.3340850613712, 0.2290642403242),
              (0.6460604764104, 0.2289674387677), (0.8595674595992, 0.2134981538014),
              (0.4901123135679, 0.6277975316475))
_DLIB_PADDING = 0.25

DLIB_150 = ChipTemplate(
    size=150,
    points=tuple((150 * (_DLIB_PADDING + x) / (2 * _DLIB_PADDING + 1), 150 * (_DLIB_PADDING + y) /
                  (2 * _DLIB_PADDING + 1)) for x, y in _DLIB_UNIT),
    marks=((36,), (39,), (42,), (45,), (33,)),
)
"""Eye corners and nose base as in dlib's `get_face_chip_details` for five points; for dlib's descriptor network."""


def similarity(source: Points, target: Points) -> Points:
    """The similarity without mirroring that brings `source` closest to `target`: least squares, by Umeyama (1991).

    Args:
        source: (x, y) points `[N, 2]`, not all the same.
        target: As many points.

    Returns:
        `[2, 3]`, float64: `target ~ matrix[:, :2] @ source + matrix[:, 2]`.

    Raises:
        ValueError: The shapes differ, or all source points are the same.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError("both need the same number of (x, y) points")
    source_centre, target_centre = source.mean(0), target.mean(0)
    centred = source - source_centre
    spread = float((centred ** 2).sum())
    if spread == 0:
        raise ValueError("the points are all the same")
    # In two dimensions the closest rotation and scale have a closed form: dot and cross products over the spread.
    moved = target - target_centre
    a = float((centred * moved).sum()) / spread
    b = float((centred[:, 0] * moved[:, 1] - centred[:, 1] * moved[:, 0]).sum()) / spread
    turn = np.array([[a, -b], [b, a]])
    return np.hstack([turn, (target_centre - turn @ source_centre)[:, None]])


def align_face(rgb: ByteImage, face: Face, template: ChipTemplate = DLIB_150) -> ByteImage:
    """Cut the chip of a face, uint8 `[size, size, 3]`; what lies outside the picture repeats its edge.

    A face much bigger than the chip is first reduced by area: sampling it directly would alias.
    """
    import cv2

    points = np.stack([face.landmarks68[list(marks)].mean(0) for marks in template.marks]).astype(np.float64)
    matrix = similarity(points, np.array(template.points))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        side = template.size / scale
        cx, cy = points.mean(0)
        left, top = max(0, int(cx - side)), max(0, int(cy - side))
        part = rgb[top:int(cy + side) + 1, left:int(cx + side) + 1]
        width, height = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        # Centres of pixels stay where they are: x -> (x - left + 1/2) * factor - 1/2.
        factors = np.array([width / part.shape[1], height / part.shape[0]])
        points = (points - np.array([left, top]) + 0.5) * factors - 0.5
        rgb = resize(part, width, height)
        matrix = similarity(points, np.array(template.points))
    chip = cv2.warpAffine(rgb, matrix, (template.size, template.size), flags=cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, dtype=np.uint8)
