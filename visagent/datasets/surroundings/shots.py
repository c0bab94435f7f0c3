"""One camera for live and attack scenes, and the wide view of the face in the picture that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surroundings.canvas import SIDE, UNIT, Pixels, colour, polygon
from visagent.datasets.surroundings.scenes import Scene
from visagent.evidence import Box
from visagent.vision.crop import WIDE_MARGIN, WIDE_SIDE, View, take_view

WIDE_GRID: Final = 12
"""Cells of the mask along a side of a wide view."""
LEAST_OUTSIDE: Final = 0.06
"""Share of the seen part of an attack's view that must lie outside of the window: less cannot give it away."""


@dataclass(frozen=True, slots=True, eq=False)
class WideShot:
    """A wide view for training or testing.

    Attributes:
        rgb: uint8 `[size, size, 3]`.
        mask: Share of each cell that lies inside the window, float32 `[12, 12]`, 0 to 1; zeros if live.
        padded: Share of the view that lies outside of the picture, 0 to 1.
    """

    rgb: Pixels
    mask: NDArray[np.float32]
    padded: float


def wide_shot(scene: Scene, rng: np.random.Generator, *, margin: float = WIDE_MARGIN, size: int = WIDE_SIDE
              ) -> WideShot | None:
    """Photograph a scene and take the wide view of its face.

    Args:
        scene: Live or attack.
        rng: Source of all randomness.
        margin: Side of the view over the longer side of the face's box.
        size: Side of the view in pixels.

    Returns:
        None for an attack whose border is not in view: nothing tells it from a live scene.
    """
    matrix = _point_the_camera(rng)
    picture = np.asarray(
        cv2.warpPerspective(scene.rgb, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101), np.uint8)
    middle = cv2.perspectiveTransform(np.array([[[SIDE / 2, SIDE / 2]]], np.float64), matrix)[0, 0]
    face = UNIT * float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    left, top, right, bottom = _cut(middle, rng)
    picture = picture[top:bottom, left:right]
    picture, offset = _framed(picture, rng)
    scale = rng.uniform(0.55, 1.0) if rng.random() < 0.5 else 1.0
    picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    centre = (middle - [left, top] + offset + rng.normal(0, 0.05, 2) * face) * scale
    half = face * scale * float(np.clip(rng.normal(1, 0.07), 0.8, 1.25)) / 2
    box = Box(x1=centre[0] - half, y1=centre[1] - half, x2=centre[0] + half, y2=centre[1] + half)
    view = take_view(_developed(picture, rng), box, margin=margin, size=size)
    seen = seen_part(view, picture.shape[1], picture.shape[0])
    padded = 1 - float(seen.mean())
    mask = np.zeros((WIDE_GRID, WIDE_GRID), np.float32)
    if scene.window is not None:
        window = cv2.perspectiveTransform(scene.window[None], matrix)[0] - [left, top] + offset
        inside = polygon((window * scale - [view.left, view.top]) * view.scale, size).astype(np.float32) / 255
        if float(((1 - inside) * seen).sum()) < LEAST_OUTSIDE * float(seen.sum()):
            return None
        mask = np.asarray(cv2.resize(inside * seen, (WIDE_GRID, WIDE_GRID), interpolation=cv2.INTER_AREA), np.float32)
    return WideShot(view.rgb, mask, padded)


def seen_part(view: View, width: int, height: int) -> NDArray[np.float32]:
    """1 where a view shows the picture, 0 where it is padded; float32 `[size, size]`."""
    size = view.rgb.shape[0]
    places = (np.arange(size) + 0.5) / view.scale
    columns = (places + view.left >= 0) & (places + view.left < width)
    rows = (places + view.top >= 0) & (places + view.top < height)
    return (rows[:, None] & columns[None, :]).astype(np.float32)


def _point_the_camera(rng: np.random.Generator) -> NDArray[np.float64]:
    """Tilt, zoom, keystone; one in ten at any angle; half mirrored."""
    middle = SIDE / 2
    angle = rng.uniform(0, 360) if rng.random() < 0.1 else rng.normal(0, 5)
    matrix = np.vstack([cv2.getRotationMatrix2D((middle, middle), angle, rng.uniform(0.92, 1.2)), [0, 0, 1]])
    if rng.random() < 0.5:
        matrix = np.array([[-1.0, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    return np.asarray(matrix, np.float64)


def _cut(middle: NDArray[np.float64], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The picture's edges: often far away, often close to the face on some sides."""
    reach = np.full(4, float(SIDE))
    if rng.random() < 0.75:
        close = rng.random(4) < 0.6
        reach[close] = rng.uniform(0.62, 2.3, int(close.sum())) * UNIT
    low = np.maximum(middle - reach[:2], 0).astype(int)
    high = np.minimum(middle + reach[2:], SIDE).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _framed(picture: Pixels, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.float64]]:
    """Bars or a border of one colour, as programs add them to live and attack pictures alike; how far it moved."""
    if rng.random() > 0.06:
        return picture, np.zeros(2)
    wide, high = (int(value) for value in rng.uniform(3, 40, 2))
    kind = rng.random()
    wide, high = (0, high) if kind < 0.4 else (wide, 0) if kind < 0.7 else (wide, wide)
    shade = colour(rng, 0, 8) if rng.random() < 0.5 else np.full(3, rng.uniform(245, 255))
    framed = cv2.copyMakeBorder(picture, high, high, wide, wide, cv2.BORDER_CONSTANT,
                                value=[float(value) for value in shade])
    return np.asarray(framed, np.uint8), np.array([wide, high], np.float64)


def _developed(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Focus, exposure, white balance, grain and compression, drawn independently of the scene."""
    light: NDArray[Any] = picture.astype(np.float32)
    kind = rng.random()
    if kind < 0.35:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.3, 1.2))
    elif kind < 0.6:
        light = light + rng.uniform(0.2, 1.0) * (light - cv2.GaussianBlur(light, (0, 0), 1.2))
    if rng.random() < 0.7:
        mean, spread = float(light.mean()), float(light.std()) + 1e-3
        light = (light - mean) * (rng.uniform(40, 78) / spread) + rng.normal(122, 26)
    else:
        light = light * rng.normal(1, 0.1)
    light = light + rng.normal(0, 9, 3) if rng.random() < 0.8 else light.mean(2, keepdims=True).repeat(3, 2)
    light = light + rng.standard_normal((*light.shape[:2], 1), np.float32) * rng.exponential(3.0)
    pixels = np.clip(light, 0, 255).astype(np.uint8)
    data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(35, 97))])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
