"""What live people wear on their skin every day: make-up as most people use it, freckles and moles.

A detector that has only seen bare skin live takes lipstick for a printed mouth and a soft cheek for silicone.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.composing import ellipse, face_outline, polygon
from visagent.datasets.attacks.presentation import Landmarks
from visagent.datasets.surfaces import LUMA, SCENE_SIDE, Scene


def everyday_make_up(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Some of: lipstick, lined and shaded eyes, blush, powder. The face stays its own, unlike in `skin.make_up`.

    Args:
        scene: A live face, float32 `[S, S, 3]`.
        landmarks: Its 68 points in pixels of the scene.
        rng: Source of all randomness.
    """
    worn = rng.random(5)
    if worn[0] < 0.5:
        scene = _powdered(scene, landmarks, rng)
    if worn[1] < 0.75:
        scene = _lipstick(scene, landmarks, rng)
    if worn[2] < 0.5:
        scene = _eyes(scene, landmarks, rng)
    if worn[3] < 0.4:
        scene = _blush(scene, landmarks, rng)
    if worn[4] < 0.4:
        scene = _brows(scene, landmarks, rng)
    return scene


def freckles(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Up to thirty small brown spots, or one to three moles; arguments as for `everyday_make_up`."""
    few = rng.random() < 0.5
    count, most = (int(rng.integers(1, 4)), 4.0) if few else (int(rng.integers(8, 31)), 1.8)
    low, high = landmarks.min(0), landmarks.max(0)
    spots: NDArray[np.float32] = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    for x, y in rng.uniform(low, high, (count, 2)):
        cv2.circle(spots, (round(x * 8), round(y * 8)), round(rng.uniform(0.8, most) * 8),
                   float(rng.uniform(0.3, 1.0)), -1, cv2.LINE_AA, 3)
    depth = cv2.GaussianBlur(spots, (0, 0), 0.8)[..., None] * np.float32(rng.uniform(0.2, 0.6))
    return np.asarray(scene * (1 - depth * np.array([0.75, 1.0, 1.15])), np.float32)


def soft_skin(scene: Scene, rng: np.random.Generator, cover: NDArray[np.float32] | float = 1.0) -> Scene:
    """A phone's portrait filter, or powder where the cover is, 0 to 1: softer skin, all else as it was."""
    soft = cv2.bilateralFilter(scene, 7, rng.uniform(12, 30), rng.uniform(2, 4))
    return np.asarray(scene + cover * rng.uniform(0.4, 0.9) * (soft - scene), np.float32)


def _powdered(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Finer skin, on the face alone; pores and wrinkles stay to be seen."""
    face = cv2.GaussianBlur(polygon(face_outline(landmarks, rng))[..., 0], (0, 0), 5)[..., None]
    return soft_skin(scene, rng, np.asarray(face, np.float32))


def _lipstick(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """From a trace to a full red, within the lips; what lies between them and their shading stay."""
    outer, inner = polygon(landmarks[48:60]), polygon(landmarks[60:68])
    lips = cv2.GaussianBlur((outer * (1 - inner))[..., 0], (0, 0), rng.uniform(0.8, 2.0))[..., None]
    colour = np.array([rng.uniform(120, 215), rng.uniform(20, 120), rng.uniform(35, 130)])
    light = (scene @ LUMA)[..., None]
    shading = np.clip(light / max(float(light[outer > 0.5].mean()), 1.0), 0.3, 1.8)
    cover = lips * np.float32(rng.uniform(0.15, 0.7))
    out = scene * (1 - cover) + colour * shading * cover
    if rng.random() < 0.3:  # gloss
        place = landmarks[57] * 0.7 + landmarks[66] * 0.3 + rng.normal(0, 2, 2)
        size = np.ptp(landmarks[48:60], axis=0) * rng.uniform([0.05, 0.02], [0.2, 0.08]) + 1
        out = out + cv2.GaussianBlur(ellipse(place, size)[..., 0], (0, 0), 1.2)[..., None] * rng.uniform(15, 70)
    return np.asarray(out, np.float32)


def _eyes(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Lashes and a line along the lid, with or without a soft shadow above."""
    strength, thick = np.float32(rng.uniform(0.2, 0.65)), int(rng.integers(1, 3))
    shadow = np.array([1.0, rng.uniform(0.7, 0.95), rng.uniform(0.6, 1.0)]) * rng.uniform(50, 150)
    shaded = np.float32(rng.uniform(0.08, 0.35) if rng.random() < 0.6 else 0.0)
    for eye, upper in ((landmarks[36:42], landmarks[36:40]), (landmarks[42:48], landmarks[42:46])):
        size = np.ptp(eye, axis=0) * [0.65, 0.9] + [2, 4]
        lid = cv2.GaussianBlur(ellipse(eye.mean(0) - [0, size[1] * 0.5], size)[..., 0], (0, 0), 4)[..., None]
        cover = lid * shaded * (1 - polygon(eye))
        scene = scene * (1 - cover) + shadow * cover
        line: NDArray[np.float32] = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
        cv2.polylines(line, [np.round(upper * 8).astype(np.int32)], False, 1.0, thick, cv2.LINE_AA, 3)
        scene = scene * (1 - strength * cv2.GaussianBlur(line, (0, 0), 0.7)[..., None])
    return np.asarray(scene, np.float32)


def _blush(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    size = np.ptp(landmarks, axis=0) * rng.uniform(0.09, 0.16)
    cheeks = (landmarks[[2, 36, 48]].mean(0), landmarks[[14, 45, 54]].mean(0))
    rose = np.maximum(ellipse(cheeks[0], size), ellipse(cheeks[1], size))[..., 0]
    tone = np.array([rng.uniform(5, 20), -rng.uniform(0, 14), -rng.uniform(0, 10)])
    return np.asarray(scene + cv2.GaussianBlur(rose, (0, 0), float(size[0]) * 0.5)[..., None] * tone, np.float32)


def _brows(scene: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Brows filled in where they grow."""
    drawn: NDArray[np.float32] = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    for brow in (landmarks[17:22], landmarks[22:27]):
        points, thick = np.round(brow * 8).astype(np.int32), int(rng.integers(3, 7))
        cv2.polylines(drawn, [points], False, 1.0, thick, cv2.LINE_AA, 3)
    cover = cv2.GaussianBlur(drawn, (0, 0), 2.0)[..., None] * np.float32(rng.uniform(0.1, 0.4))
    return np.asarray(scene * (1 - cover), np.float32)
