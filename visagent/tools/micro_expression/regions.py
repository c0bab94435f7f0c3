"""Which parts of a face moved, and where to, in words: from the flow between two crops, at the landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["left", "right", "middle"]

_HALVES: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[float, float]]]] = {
    "inner brow": ((20, 21), (22, 23), (0.0, 0.0)),
    "outer brow": ((17, 18), (25, 26), (0.0, 0.0)),
    "upper eyelid": ((37, 38), (43, 44), (0.0, 0.0)),
    "cheek": ((40, 41), (46, 47), (0.1, 0.4)),
    "nostril": ((31,), (35,), (0.0, 0.0)),
    "mouth corner": ((48,), (54,), (0.0, 0.0)),
}
"""Parts that a face has twice: marks of the picture's left and right, and an offset outwards and down, in distances
between the eyes."""
_SINGLE: Final[dict[str, tuple[int, ...]]] = {"upper lip": (50, 51, 52), "lower lip": (56, 57, 58), "chin": (7, 8, 9)}
REACH: Final = 0.09
"""Radius of a part, in distances between the eyes."""
LEAST_PIXELS: Final = 0.15
LEAST_SHARE: Final = 0.4
"""Of the strongest part's motion; parts that move less are not named."""
MOST_NAMED: Final = 4
_SLANT: Final = 0.4
"""A direction is named beside another if the motion has this share of it."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How one part moved.

    Attributes:
        part: "inner brow", "chin" ...
        side: Of the picture.
        right: Pixels of the crop to the picture's right.
        down: Pixels downwards.
        place: Its middle in the crop, (x, y).
        reach: Its radius in pixels.
    """

    part: str
    side: Side
    right: float
    down: float
    place: tuple[float, float]
    reach: float

    @property
    def pixels(self) -> float:
        """How far."""
        return float(np.hypot(self.right, self.down))

    @property
    def name(self) -> str:
        """The part with its side: "left inner brow"."""
        return self.part if self.side == "middle" else f"{self.side} {self.part}"

    @property
    def direction(self) -> str:
        """Where to: "up", "outwards and down" ..."""
        words = []
        if abs(self.down) >= _SLANT * self.pixels:
            words.append("down" if self.down > 0 else "up")
        if abs(self.right) >= _SLANT * self.pixels:
            if self.side == "middle":
                words.insert(0, "to the right" if self.right > 0 else "to the left")
            else:
                outwards = (self.right > 0) == (self.side == "right")
                words.insert(0, "outwards" if outwards else "inwards")
        return " and ".join(words)


def motions(flow: NDArray[np.floating], landmarks: NDArray[np.floating]) -> list[Motion]:
    """How all parts moved.

    Args:
        flow: `[H, W, 2]` as (x, y) in pixels of the crop.
        landmarks: 68 points in its pixels, `[68, 2]`.
    """
    left_eye, right_eye = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    eyes = float(np.linalg.norm(left_eye - right_eye))
    found = []
    for part, (left, right, (outward, down)) in _HALVES.items():
        sides: tuple[tuple[Side, tuple[int, ...], int], ...] = (("left", left, -1), ("right", right, 1))
        for side, marks, sign in sides:
            place = landmarks[list(marks)].mean(0) + eyes * np.array([sign * outward, down])
            found.append(_motion(flow, part, side, place, REACH * eyes))
    found += [_motion(flow, part, "middle", landmarks[list(marks)].mean(0), REACH * eyes)
              for part, marks in _SINGLE.items()]
    return found


def _motion(flow: NDArray[np.floating], part: str, side: Side, place: NDArray[np.floating], reach: float) -> Motion:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = (x - place[0]) ** 2 + (y - place[1]) ** 2 <= reach**2
    right, down = flow[inside].mean(0) if inside.any() else (0.0, 0.0)
    return Motion(part, side, float(right), float(down), (float(place[0]), float(place[1])), reach)


def strongest(found: list[Motion]) -> list[Motion]:
    """The parts worth naming, the strongest first."""
    order = sorted(found, key=lambda motion: -motion.pixels)
    least = max(LEAST_PIXELS, LEAST_SHARE * order[0].pixels)
    return [motion for motion in order if motion.pixels >= least][:MOST_NAMED]


def in_words(found: list[Motion]) -> str:
    """The motions as a phrase: "both inner brows up by 0.8 and 0.7 pixels, chin down by 0.4"."""
    phrases, told = [], set()
    for motion in found:
        if motion.name in told:
            continue
        twin = next((other for other in found if other.part == motion.part and other.side != motion.side
                     and other.direction == motion.direction), None)
        told.add(motion.name)
        if twin is None or motion.side == "middle":
            phrases.append(f"{motion.name} {motion.direction} by {motion.pixels:.1f}")
        else:
            told.add(twin.name)
            phrases.append(f"both {motion.part}s {motion.direction} by {motion.pixels:.1f} and {twin.pixels:.1f}")
    return ", ".join(phrases)
