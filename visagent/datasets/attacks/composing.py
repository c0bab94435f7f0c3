"""Shapes on a scene, and one flat thing laid over another: what both renderers compose attacks with."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.presentation import Landmarks
from visagent.datasets.surfaces import SCENE_SIDE, Scene


def lay_over(under: Scene, over: Scene, mask: NDArray[np.float32], rng: np.random.Generator) -> Scene:
    """Put a flat thing over the scene: it throws a small shadow, and may show a pale cut."""
    dx, dy, spread = rng.normal(0, 3), rng.uniform(0, 5), rng.uniform(1.5, 6)
    cast = cv2.GaussianBlur(
        cv2.warpAffine(mask[..., 0], np.array([[1, 0, dx], [0, 1, dy]]), (SCENE_SIDE, SCENE_SIDE)), (0, 0), spread
    )
    under = under * (1 - rng.uniform(0.15, 0.6) * cast)[..., None]
    out = under * (1 - mask) + over * mask
    if rng.random() < 0.5:
        width = rng.uniform(0.8, 2.0)
        rim = np.clip(mask[..., 0] - cv2.GaussianBlur(mask[..., 0], (0, 0), width), 0, 1) * 2
        out = out + (rim * rng.uniform(20, 90))[..., None]
    return np.asarray(out, np.float32)


def face_outline(landmarks: Landmarks, rng: np.random.Generator) -> Landmarks:
    """Jaw line and a forehead arc above the brows."""
    brows = landmarks[17:27][::-1].copy()
    height = np.ptp(landmarks[:, 1])
    brows[:, 1] -= height * rng.uniform(0.08, 0.28)
    centre = landmarks.mean(0)
    outline = np.concatenate([landmarks[:17], brows])
    return np.asarray(centre + (outline - centre) * rng.uniform(0.9, 1.02), np.float32)


def bounds(points: Landmarks, margin: float) -> tuple[float, float, float, float]:
    """The box of some points, grown by a share of its size on every side and kept in the scene."""
    low, high = points.min(0), points.max(0)
    grow = margin * (high - low)
    x1, y1 = np.clip(low - grow, 0, SCENE_SIDE - 2)
    x2, y2 = np.clip(high + grow, 2, SCENE_SIDE)
    return float(x1), float(y1), float(x2), float(y2)


def polygon(points: Landmarks) -> NDArray[np.float32]:
    """1 inside the outline, softly 0 outside; `[S, S, 1]`, as the other shapes."""
    mask = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0, lineType=cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.8), np.float32)[..., None]


def ellipse(centre: NDArray[np.floating], half: NDArray[np.floating]) -> NDArray[np.float32]:
    """An upright ellipse of these half axes, in pixels."""
    y, x = np.ogrid[0:SCENE_SIDE, 0:SCENE_SIDE]
    radius = np.sqrt(((x - centre[0]) / max(half[0], 1)) ** 2 + ((y - centre[1]) / max(half[1], 1)) ** 2)
    return np.asarray(np.clip((1 - radius) * min(half) + 0.5, 0, 1), np.float32)[..., None]


def rectangle(centre: NDArray[np.floating], half: NDArray[np.floating]) -> NDArray[np.float32]:
    """An upright rectangle of these half sides, in pixels."""
    y, x = np.ogrid[0:SCENE_SIDE, 0:SCENE_SIDE]
    inside = np.minimum(half[0] - np.abs(x - centre[0]), half[1] - np.abs(y - centre[1]))
    return np.asarray(np.clip(inside + 0.5, 0, 1), np.float32)[..., None]
