"""Aligned crops of a face that moves: the face stays where it is, and only its skin moves.

MOL's crop: the eyes level, the box of eye centres, nose tip and mouth corners in the middle, 2.5 times its larger
side reduced to 144 pixels, of which the middle 128 are seen. The released code aligns each frame by its own landmarks,
whose trembling of half a pixel is as large as a micro-expression. Here the place of the crop is of the whole clip, and
each frame is brought to it by the marks that no expression moves, smoothed over time.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visagent.vision.align import similarity
from visagent.vision.micro_expression import SIDE

Points: TypeAlias = NDArray[np.float64]

ALIGNED_SIDE: Final = 144
BOX_SIDES: Final = 2.5
"""Side of the crop in larger sides of the box of eyes, nose tip and mouth corners."""
STEADY_MARKS: Final = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""Bridge and base of the nose, corners of the eyes."""
SMOOTH_SECONDS: Final = 0.15
"""Deviation of the Gaussian over time: heads move slower, landmarks tremble faster."""


def crop_placing(landmarks: Points, side: int = SIDE) -> Points:
    """The affine map from pixels of a picture to those of MOL's crop, float64 `[2, 3]`.

    Args:
        landmarks: 68 points in pixels of the picture, `[68, 2]`.
        side: Of the crop, in the middle of the 144 pixels; larger ones show more.
    """
    points = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]])
    across = points[1] - points[0]
    angle = float(np.arctan2(across[1], across[0]))
    level = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = points @ level.T
    low, high = turned.min(0), turned.max(0)
    scale = (ALIGNED_SIDE - 1) / (BOX_SIDES * float((high - low).max()))
    linear = scale * level
    shift = (side - 1) / 2 - scale * (low + high) / 2
    return np.hstack([linear, shift[:, None]])


def placings(landmarks: Points, frames_per_second: float, side: int = SIDE) -> Points:
    """The affine map of each frame of a clip to its crop, float64 `[T, 2, 3]`.

    Args:
        landmarks: Of each frame, `[T, 68, 2]`.
        frames_per_second: Of the clip.
        side: Of the crops.
    """
    from scipy.ndimage import gaussian_filter1d

    steady = gaussian_filter1d(landmarks[:, list(STEADY_MARKS)], SMOOTH_SECONDS * frames_per_second, 0, mode="nearest")
    typical = np.median(landmarks, 0)
    crop = np.vstack([crop_placing(typical, side), [0, 0, 1]])
    target = np.median(steady, 0)
    return np.stack([(crop @ np.vstack([similarity(points, target), [0, 0, 1]]))[:2] for points in steady])


def cut(frame: NDArray[np.uint8], placing: Points, side: int = SIDE) -> NDArray[np.uint8]:
    """The crop of a gray frame, uint8 `[side, side]`; what lies outside the frame repeats its edge."""
    import cv2

    found: Any = cv2.warpAffine(frame, placing, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.uint8)


def placed(points: Points, placing: Points) -> Points:
    """Points `[..., 2]` under an affine map `[2, 3]`."""
    return points @ placing[:, :2].T + placing[:, 2]
