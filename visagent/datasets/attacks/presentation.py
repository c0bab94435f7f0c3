"""What stands before the camera: the attack types, the clues that give them away, and one presentation of a face.

Types follow FaceShield's taxonomy (its fact sheet, section 6). Every presentation carries its type, the box of the
attacked area, where it can be given the mask, and the list of clues that are really in it, so that reasons can be
checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surfaces import SCENE_SIDE, Scene

ATTACK_TYPES = (
    "print",
    "replay",
    "paper mask",
    "rigid mask",
    "glasses",
    "partial eye",
    "partial mouth",
    "flexible mask",
    "fakehead",
    "makeup",
    "tattoo",
)
"""FaceShield's eleven. The first seven are also what the layered renderer draws and what older weights know."""

LOCALISED = ("glasses", "partial eye", "partial mouth", "tattoo")
"""Types that cover only a part of the face; the others cover the whole face."""

CLUES = (
    "halftone dots",
    "paper grain",
    "a fold in the paper",
    "glossy reflection",
    "bent paper",
    "a paper edge",
    "moire pattern",
    "screen pixel grid",
    "brightness bands",
    "glare on a screen",
    "a screen edge",
    "a cut edge",
    "eye holes",
    "no skin texture",
    "plastic shine",
    "seams at eyes and mouth",
    "opaque lenses",
    "a thick paper frame",
    "eyes that do not match",
    "a mouth that does not match",
    "a hand that holds it",
    "washed-out colours",
    "rubber folds",
    "an edge at the neck",
    "painted eyes",
    "moulded hair",
    "painted contours",
    "drawn brows",
    "ink lines on the skin",
    "an ink pattern",
)
"""Everything that may give a simulated attack away; the first twenty are the layered renderer's."""

Landmarks: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Presentation:
    """What stands before the camera.

    Attributes:
        scene: float32 `[S, S, 3]`, 0 to 255.
        attack: One of `ATTACK_TYPES`, or None for a live face.
        box: The attacked area `(x1, y1, x2, y2)` in pixels of the scene; None for a live face.
        clues: What gives the attack away, sorted.
        mask: Share of each pixel that is attacked, float32 `[S, S]`, 0 to 1; None for a live face, and from the
            layered renderer.
    """

    scene: Scene
    attack: str | None
    box: tuple[float, float, float, float] | None
    clues: tuple[str, ...]
    mask: NDArray[np.float32] | None


def scene_of(rgb: NDArray[np.uint8]) -> Scene:
    """A square picture as a scene of the simulator's side."""
    shrink = rgb.shape[0] > SCENE_SIDE
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (SCENE_SIDE, SCENE_SIDE), interpolation=method), np.float32)
