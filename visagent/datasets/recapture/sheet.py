"""A sheet of paper as a surface: folds, bends and crumples as heights, and the light that falls on them.

The surface is a height field. Its slopes shade the print (Lambert) and shine where the sheet is glossy (Blinn and
Phong), and its heights shift what is printed, as a camera near by sees it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surfaces import SCENE_SIDE, Scene, smooth_noise

Heights = NDArray[np.float32]
_ROWS, _COLUMNS = (axis.astype(np.float32) for axis in np.mgrid[0:SCENE_SIDE, 0:SCENE_SIDE])


def bent(rng: np.random.Generator) -> Heights:
    """A sheet bowed about one axis, in pixels of height, `[S, S]`."""
    angle = rng.normal(0 if rng.random() < 0.6 else np.pi / 2, 0.2)
    along = (np.cos(angle) * _COLUMNS + np.sin(angle) * _ROWS) / SCENE_SIDE
    bow = np.cos((along - rng.uniform(0.3, 0.7)) * np.pi * rng.uniform(0.7, 1.8))
    return np.asarray(bow * rng.uniform(10, 34) * rng.choice([-1, 1]), np.float32)


def folded(rng: np.random.Generator) -> Heights:
    """One fold, or two across each other: a ridge with flat sides."""
    heights = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    first = rng.uniform(0, np.pi)
    for number in range(int(rng.integers(1, 3))):
        angle = first + number * np.pi / 2 + rng.normal(0, 0.04)
        distance = (
            np.cos(angle) * (_COLUMNS - SCENE_SIDE / 2)
            + np.sin(angle) * (_ROWS - SCENE_SIDE / 2)
            - rng.uniform(-0.3, 0.3) * SCENE_SIDE
        )
        width = rng.uniform(1.0, 4.0)
        ridge = np.sqrt(distance**2 + width**2)
        heights += np.asarray(ridge * rng.uniform(0.12, 0.45) * rng.choice([-1, 1]), np.float32)
    return heights


def crumpled(rng: np.random.Generator) -> Heights:
    """Many creases: the ridges of noise, at two sizes."""
    cell = rng.uniform(30, 70)
    coarse, fine = np.abs(smooth_noise(rng, cell)), np.abs(smooth_noise(rng, cell / 3))
    return np.asarray(-(coarse * cell * 0.12 + fine * cell * 0.03) * rng.uniform(0.3, 0.9), np.float32)


def light_up(scene: Scene, heights: Heights, rng: np.random.Generator, *, gloss: float) -> Scene:
    """The print on this surface under one lamp.

    Args:
        scene: What is printed, float32 `[S, S, 3]`.
        heights: Of the surface in pixels, `[S, S]`; higher is nearer to the camera.
        rng: Draws lamp and point of view.
        gloss: Strength of the shine, 0 (matt) to 1 (photo paper).
    """
    slope_down, slope_across = np.gradient(heights)
    normals = np.stack([-slope_across, -slope_down, np.ones_like(heights)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    turn, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 1.1)
    lamp = np.array([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)], np.float32)
    shade = np.clip(normals @ lamp, 0, None) / lamp[2]
    ambient = rng.uniform(0.25, 0.6)
    lens = rng.normal(0, 0.12, 2)
    moved = cv2.remap(
        scene,
        _COLUMNS + (heights * lens[0]).astype(np.float32),
        _ROWS + (heights * lens[1]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    lit = moved * (ambient + (1 - ambient) * shade)[..., None]
    if gloss > 0:
        # The camera is near: its direction, and so the mirror direction, changes over the sheet.
        away = np.stack(
            [
                (SCENE_SIDE / 2 - _COLUMNS) / SCENE_SIDE,
                (SCENE_SIDE / 2 - _ROWS) / SCENE_SIDE,
                np.full_like(_ROWS, rng.uniform(1.2, 2.5)),
            ],
            -1,
        )
        away /= np.linalg.norm(away, axis=-1, keepdims=True)
        # A lamp whose mirror image lies somewhere on the sheet.
        spot = np.append(rng.uniform(-0.45, 0.45, 2), rng.uniform(1.2, 2.5))
        toward = np.array([spot[0], spot[1], spot[2]]) / np.linalg.norm(spot)
        half = away + toward
        half /= np.linalg.norm(half, axis=-1, keepdims=True)
        shine = np.clip((normals * half).sum(-1), 0, 1) ** rng.uniform(60, 500)
        lit = lit + (shine * gloss * rng.uniform(90, 230))[..., None] * rng.normal(1, 0.03, 3)
    return np.asarray(lit, np.float32)
