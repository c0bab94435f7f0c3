"""What scenes are drawn on and with: a square canvas, colours, noise, and layers with soft edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Plane: TypeAlias = NDArray[np.float32]

SIDE: Final = 176
"""Side of a canvas in pixels."""
UNIT: Final = SIDE / 5
"""Side of the box of the face that a scene is about: a wide view of margin 3.2 and what a shifted one needs fit in."""
MIDDLE: Final = (SIDE / 2, SIDE / 2)


def noise(rng: np.random.Generator, cell: float, side: int = SIDE) -> Plane:
    """Smooth noise of about unit spread whose features are `cell` pixels wide, `[side, side]`."""
    count = max(2, int(np.ceil(side / cell))) + 1
    small = rng.standard_normal((count, count), np.float32)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def colour(rng: np.random.Generator, low: float = 0.0, high: float = 255.0) -> NDArray[np.float64]:
    """An RGB colour, 0 to 255: about half of them close to gray, as in rooms."""
    gray = rng.uniform(low, high)
    spread = rng.uniform(0, 14) if rng.random() < 0.5 else rng.uniform(14, 90)
    return np.clip(gray + rng.normal(0, spread, 3), 0, 255)


def flat(shade: NDArray[np.float64]) -> Pixels:
    """A canvas of one colour."""
    return np.broadcast_to(np.asarray(shade, np.uint8), (SIDE, SIDE, 3)).copy()


def ink(shade: NDArray[np.float64]) -> tuple[float, float, float]:
    """A colour as OpenCV's drawing functions take it."""
    return float(shade[0]), float(shade[1]), float(shade[2])


def add_light(picture: Pixels, change: Plane) -> Pixels:
    """The picture with the same number added to all channels, `[S, S]`."""
    return np.asarray(cv2.add(picture, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


def polygon(points: NDArray[np.floating], side: int = SIDE) -> Pixels:
    """Cover of a filled polygon, 0 to 255, uint8 `[side, side]`; points `[N, 2]` as (x, y)."""
    cover = np.zeros((side, side), np.uint8)
    cv2.fillPoly(cover, [np.round(points * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return cover


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Something cut out: colours that are already multiplied by the cover, and the cover; `[S, S, 3]` and `[S, S]`."""

    rgb: Pixels
    cover: Pixels


def blend(canvas: Pixels, layer: Pixels | NDArray[np.float64], cover: Pixels) -> Pixels:
    """The layer (a picture, or one colour) over the canvas where it covers it, 0 to 255; the canvas is drawn over."""
    part = bounds(cover)
    if part is None:
        return canvas
    share = cv2.merge([cover[part].astype(np.float32) * np.float32(1 / 255)] * 3)
    over = np.asarray(layer, np.float32) if layer.ndim == 1 else layer[part].astype(np.float32)
    below = canvas[part].astype(np.float32)
    canvas[part] = (below + (over - below) * share).astype(np.uint8)
    return canvas


def lay(canvas: Pixels, layer: Layer) -> Pixels:
    """A cut-out layer over the canvas, which is drawn over."""
    part = bounds(layer.cover)
    if part is None:
        return canvas
    share = cv2.merge([255 - layer.cover[part]] * 3)
    canvas[part] = cv2.add(cv2.multiply(canvas[part], share, scale=1 / 255), layer.rgb[part])
    return canvas


def bounds(cover: Pixels) -> tuple[slice, slice] | None:
    """The rows and columns in which anything is covered; None if nothing is."""
    x, y, wide, high = cv2.boundingRect(cover)
    return None if wide == 0 or high == 0 else (slice(y, y + high), slice(x, x + wide))


def soften(picture: Pixels, sigma: float) -> Pixels:
    """Out of focus by `sigma` pixels; unchanged below a third of a pixel."""
    if sigma < 0.3:
        return picture
    if sigma < 4:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    high, wide = picture.shape[:2]
    small = cv2.resize(picture, (wide // 4, high // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    return np.asarray(cv2.resize(small, (wide, high), interpolation=cv2.INTER_LINEAR), np.uint8)
