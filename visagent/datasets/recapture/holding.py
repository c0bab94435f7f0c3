"""Fingers at the border of a picture: they hold sheets and displays, and they also lean on live faces."""

from __future__ import annotations

import cv2
import numpy as np

from visagent.datasets.surfaces import SCENE_SIDE, Scene, smooth_noise


def add_fingers(scene: Scene, rng: np.random.Generator) -> Scene:
    """One to four finger tips that reach in from one side, with rounded shading and a soft shadow."""
    side = int(rng.integers(4))
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, 5))
    width, reach = rng.uniform(13, 24), rng.uniform(18, 55)
    start = rng.uniform(0.15, 0.75) * SCENE_SIDE
    skin = np.array([rng.uniform(120, 235), 0, 0])
    skin[1] = skin[0] * rng.uniform(0.68, 0.84)
    skin[2] = skin[1] * rng.uniform(0.72, 0.92)
    rows, columns = (axis.astype(np.float32) for axis in np.mgrid[0:SCENE_SIDE, 0:SCENE_SIDE])
    for number in range(count):
        place = start + number * width * rng.uniform(2.0, 2.3)
        depth = reach * rng.uniform(0.75, 1.1)
        slant = rng.normal(0, 0.12)
        across = columns - place - slant * rows
        # Distance from the finger's axis, which ends `depth` pixels from the border.
        beyond = np.maximum(rows - depth, 0)
        distance = np.hypot(across, beyond) / width
        inside = np.clip((1 - distance) * width + 0.5, 0, 1)
        roundness = np.sqrt(np.clip(1 - distance**2, 0, 1))
        shade = (0.55 + 0.45 * roundness + 0.05 * smooth_noise(rng, 8))[..., None]
        nail = np.clip((0.5 - np.hypot(across / 0.7, rows - depth + width * 0.1) / width) * width, 0, 1)
        finger = skin * shade + (nail * rng.uniform(10, 40) * float(rng.random() < 0.5))[..., None]
        shadow = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), rng.uniform(3, 7)) * rng.uniform(0.2, 0.5)
        cover, shadow, finger = (np.rot90(layer, side) for layer in (inside[..., None], shadow[..., None], finger))
        scene = scene * (1 - shadow) * (1 - cover) + finger * cover
    return np.asarray(scene, np.float32)
