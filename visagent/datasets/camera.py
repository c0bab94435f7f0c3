"""The camera that every training picture goes through, live or attack alike.

A simulated attack is useless if the processing around it gives it away: sharper, darker, greyer or smaller pictures
than the live ones are learned instead of the attack. So one camera takes all of them, and it *normalises* what must
not be a clue: exposure and colour cast are drawn independently of the scene (as automatic exposure and white balance
do), and size, focus, noise and compression come from the same distributions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.vision.crop import VIEW_DETAIL, VIEW_SIDE

Pixels = NDArray[np.uint8]
Scene: TypeAlias = NDArray[Any]
"""float32 `[S, S, 3]`, 0 to 255; OpenCV's stubs do not keep the type of the pixels."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Shot:
    """What the camera delivers.

    Attributes:
        rgb: uint8 `[size, size, 3]`.
        box: Where the box of the scene went, `(x1, y1, x2, y2)` in pixels of `rgb`, clipped; None if it had none.
    """

    rgb: Pixels
    box: tuple[float, float, float, float] | None


def take(
    scene: Scene,
    rng: np.random.Generator,
    *,
    size: int,
    box: tuple[float, float, float, float] | None = None,
    gray: bool = False,
) -> Shot:
    """Photograph a scene.

    Args:
        scene: float32 `[S, S, 3]`, 0 to 255, RGB; a square view of one face.
        rng: Source of all randomness: the same state gives the same picture.
        size: Side of the picture in pixels.
        box: A box in pixels of the scene to carry along.
        gray: Take a monochrome picture (for sources that are monochrome themselves).
    """
    scene, box = _point_the_camera(scene, box, rng)
    side = int(rng.uniform(110, 280))
    picture = cv2.resize(scene, (side, side), interpolation=cv2.INTER_AREA)
    picture = _lens(picture, rng)
    picture = _expose(picture, rng, monochrome=gray or rng.random() < 0.2)
    picture = _sensor(picture, rng)
    pixels = _compress(picture, _quality(rng))
    shrink = side > size
    resized = cv2.resize(
        pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    )
    pixels = _focus_and_store(np.asarray(resized, np.float32), rng)
    if box is not None:
        factor = size / scene.shape[0]
        x1, y1, x2, y2 = (float(np.clip(value * factor, 0, size)) for value in box)
        box = (x1, y1, x2, y2)
    return Shot(pixels, box)


def _point_the_camera(
    scene: Scene, box: tuple[float, float, float, float] | None, rng: np.random.Generator
) -> tuple[Scene, tuple[float, float, float, float] | None]:
    """Small rotation, zoom, shift and keystone; half of the pictures are mirrored."""
    side = scene.shape[0]
    centre, angle, zoom = side / 2, rng.normal(0, 4), rng.uniform(0.94, 1.18)
    affine = np.vstack([cv2.getRotationMatrix2D((centre, centre), angle, zoom), [0, 0, 1]])
    affine[:2, 2] += rng.normal(0, 0.025 * side, 2)
    keystone = np.eye(3)
    keystone[2, :2] = rng.normal(0, 0.00008, 2) * 256 / side
    mirror = np.diag([-1.0, 1, 1]) if rng.random() < 0.5 else np.eye(3)
    mirror[0, 2] = side - 1 if mirror[0, 0] < 0 else 0
    matrix = keystone @ affine @ mirror
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_REFLECT_101
    turned = cv2.warpPerspective(scene, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
    if box is None:
        return turned.astype(np.float32), None
    x1, y1, x2, y2 = box
    corners = cv2.perspectiveTransform(np.array([[[x1, y1], [x2, y1], [x2, y2], [x1, y2]]], np.float64), matrix)[0]
    low, high = np.clip(corners.min(0), 0, side), np.clip(corners.max(0), 0, side)
    return turned.astype(np.float32), (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _lens(picture: Scene, rng: np.random.Generator) -> Scene:
    kind = rng.random()
    if kind < 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.1))
    elif kind < 0.45:
        length = int(rng.integers(3, 7))
        kernel: Scene = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1 / length
        turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), rng.uniform(0, 180), 1)
        kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
        picture = cv2.filter2D(picture, -1, kernel / np.float32(max(float(kernel.sum()), 1e-3)))
    elif kind < 0.75:
        soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 1.8))
        picture = picture + rng.uniform(0.2, 1.3) * (picture - soft)
    if rng.random() < 0.25:
        picture = picture * _vignette(picture.shape[0], rng)[..., None]
    return np.asarray(picture, np.float32)


def _vignette(side: int, rng: np.random.Generator) -> Scene:
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    x0, y0 = rng.uniform(-0.5, 0.5, 2)
    radius = (axis[None, :] - x0) ** 2 + (axis[:, None] - y0) ** 2
    return np.asarray(1 - rng.uniform(0.05, 0.3) * np.minimum(radius, 2), np.float32)


def _expose(picture: Scene, rng: np.random.Generator, *, monochrome: bool) -> Scene:
    """Automatic exposure, contrast and white balance: mean, spread and cast are drawn, whatever the scene was."""
    luma = picture @ LUMA
    mean, spread = float(luma.mean()), float(luma.std()) + 1e-3
    picture = (picture - mean) * (rng.uniform(34, 66) / spread) + rng.normal(122, 22)
    if monochrome:
        gray: Scene = (picture @ LUMA)[..., None]
        tint: Scene = rng.normal(0, 4, 3) if rng.random() < 0.15 else np.zeros(3)
        return np.asarray(gray + tint, np.float32)
    cast = picture.mean((0, 1)) - picture.mean()
    drawn = np.array([rng.normal(14, 11), rng.normal(-3, 4), 0], np.float32)
    drawn[2] = -drawn[0] - drawn[1]
    return np.asarray(picture - cast + drawn, np.float32)


def _focus_and_store(picture: Scene, rng: np.random.Generator) -> Pixels:
    """Compress a view after bringing its sharpness to a drawn value, whatever the scene was.

    Dots and grids make attacks sharper than skin. A soft view is sharpened or gets grain until it is as sharp as the
    draw, a sharp one is defocused; one in twenty is left alone. Neither may move the contrast, and compression takes
    more from grain than from edges: so both wishes are corrected by what came of them.
    """
    quality = _quality(rng)
    if rng.random() < 0.05:
        return _compress(picture, quality)
    sharpness = wish = float(np.exp(rng.normal(4.1, 0.8)))
    contrast, gain = _contrast(np.clip(picture, 0, 255)), 1.0
    grainy = float(rng.beta(0.6, 1.8))
    grain: Scene = rng.standard_normal((*picture.shape[:2], 1), np.float32)
    for _ in range(3):
        focused = _focus(picture, wish / gain**2, grain, grainy)
        pixels = _compress((focused - focused.mean()) * gain + focused.mean(), quality)
        stored = pixels.astype(np.float32)
        wish *= float(np.clip(sharpness / (float(_edges(stored).var()) + 1e-3), 0.3, 3.0))
        gain *= float(np.clip(contrast / (_contrast(stored) + 1e-3), 0.7, 1.4))
    return pixels


def _contrast(picture: Scene) -> float:
    return float((picture @ LUMA).std())


def _focus(picture: Scene, target: float, grain: Scene, grainy: float) -> Scene:
    """The view with a sharpness of `target`, or as close as can be; `grainy` is how much of a gain may be grain."""
    sharpness = float(_edges(picture).var())
    if sharpness < target:
        picture = picture + _step_to(sharpness + grainy * (target - sharpness), picture, grain) * grain
        detail = picture - cv2.GaussianBlur(picture, (0, 0), 1.5)
        return np.asarray(picture + min(_step_to(target, picture, detail), 12.0) * detail, np.float32)
    for sigma in (0.8, 1.2, 1.8, 2.6):
        soft = cv2.GaussianBlur(picture, (0, 0), sigma)
        if float(_edges(soft).var()) <= target:
            return np.asarray(soft + _step_to(target, soft, picture - soft) * (picture - soft), np.float32)
    return np.asarray(soft, np.float32)


def _step_to(target: float, picture: Scene, change: Scene) -> float:
    """How much of a change makes the picture's sharpness `target`: the root of a quadratic, 0 if it has none.

    Sharpness is the variance of a linear filter's answer, so it is a quadratic function of the amount.
    """
    now, added = _edges(picture), _edges(np.broadcast_to(change, picture.shape))
    square, cross, rest = float(added.var()), float(np.mean((now - now.mean()) * (added - added.mean()))), now.var()
    inside = cross**2 + square * (target - float(rest))
    return (float(np.sqrt(inside)) - cross) / square if inside > 0 and square > 1e-6 else 0.0


def _edges(picture: Scene) -> Scene:
    """Laplacian of the gray view at the detail that the spoof judges see; its variance is the sharpness."""
    gray = np.ascontiguousarray(picture) @ LUMA
    detail = VIEW_DETAIL * gray.shape[0] // VIEW_SIDE
    small = cv2.resize(gray, (detail, detail), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.Laplacian(cv2.resize(small, gray.shape, interpolation=cv2.INTER_CUBIC), cv2.CV_32F))


def _sensor(picture: Scene, rng: np.random.Generator) -> Scene:
    amount = rng.exponential(3.0)
    noise = rng.standard_normal((*picture.shape[:2], 1), np.float32) * amount
    if rng.random() < 0.5:
        noise = noise + rng.standard_normal(picture.shape, np.float32) * (0.5 * amount)
    return np.asarray(picture + noise, np.float32)


def _quality(rng: np.random.Generator) -> int:
    return int(rng.uniform(35, 97))


def _compress(picture: Scene, quality: int) -> Pixels:
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    # OpenCV's codec speaks BGR: chroma subsampling would otherwise blur the wrong channels.
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
