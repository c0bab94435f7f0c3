"""Live scenes and attack scenes: the face of all of them lies in the middle of the canvas.

Live scenes hold everything that attacks hold (screens, sheets, frames, fingers, other faces on them), only never
around the face together with what belongs to it: who stands before a screen overlaps its border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surroundings.canvas import MIDDLE, SIDE, UNIT, Pixels, add_light, blend, noise, polygon, soften
from visagent.datasets.surroundings.carriers import PAD, Plane, any_window, carry, draw_window, plain_plane
from visagent.datasets.surroundings.stage import Stage

KINDS: Final = ("live", "screen", "sheet")
"""What a scene can be, in the order of the network's outputs."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A scene about the face in the middle of a canvas.

    Attributes:
        rgb: uint8 `[S, S, 3]`.
        kind: Index into `KINDS`.
        window: Corners of what the screen or sheet shows, `[4, 2]` in pixels of the canvas; None if live.
    """

    rgb: Pixels
    kind: int
    window: NDArray[np.float64] | None


def live_scene(stage: Stage, rng: np.random.Generator) -> Scene:
    """A person in a place, with screens, sheets and other people beside, behind or in hand.

    Args:
        stage: People, places and carriers to draw from.
        rng: Source of all randomness.
    """
    canvas = stage.somewhere(rng)
    drawn = rng.random()
    if drawn < 0.3:
        canvas = _something_behind(canvas, stage, rng)
    if drawn < 0.06 or rng.random() < 0.15:
        canvas = _somebody_beside(canvas, stage, rng)
    canvas = stage.add_somebody(canvas, rng)
    if rng.random() < 0.15:
        canvas = _something_in_hand(canvas, stage, rng)
    elif rng.random() < 0.08:
        canvas = _add_fingers(canvas, rng, _edge_point(rng), rng.uniform(8, 20))
    if rng.random() < 0.4:
        canvas = add_light(canvas, noise(rng, rng.uniform(80, 220)) * rng.uniform(3, 20))
    return Scene(canvas, 0, None)


def attack_scene(stage: Stage, rng: np.random.Generator) -> Scene:
    """A live scene on a screen or sheet, before the place of another one; arguments as for `live_scene`."""
    carrier = stage.something(rng)
    shown = live_scene(stage, rng).rgb
    canvas = stage.somewhere(rng)
    if rng.random() < 0.5:  # who holds it, or stands behind
        where = (float(SIDE / 2 + rng.normal(0, 0.9) * UNIT), float(SIDE / 2 + rng.normal(-0.6, 1.0) * UNIT))
        canvas = stage.add_somebody(canvas, rng, centre=where, scale=float(np.exp(rng.normal(0.1, 0.4))))
    if carrier.screen and rng.random() < 0.5:
        canvas = np.asarray(canvas * rng.uniform(0.25, 1.0), np.uint8)
    plane = carry(shown, draw_window(carrier, rng), carrier, rng)
    matrix = _pose(rng, (0.0, 0.0))
    canvas = _put(canvas, plane, matrix, rng)
    window = cv2.perspectiveTransform(plane.window[None].astype(np.float64), matrix)[0]
    if rng.random() < 0.6:
        canvas = _hold(canvas, window, rng)
    if rng.random() < 0.4:
        canvas = add_light(canvas, noise(rng, rng.uniform(80, 220)) * rng.uniform(3, 20))
    return Scene(canvas, 1 if carrier.screen else 2, np.asarray(window, np.float64))


def _pose(rng: np.random.Generator, offset: tuple[float, float]) -> NDArray[np.float64]:
    """From a carrier's plane to the canvas: its middle goes to the canvas's, moved by an offset in units."""
    middle = SIDE / 2 + PAD
    angle = rng.normal(0, 6) if rng.random() < 0.6 else rng.normal(0, 20)
    matrix = np.vstack([cv2.getRotationMatrix2D((middle, middle), angle, 1.0), [0, 0, 1]])
    matrix[:2, 2] += np.asarray(offset) * UNIT
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = -middle, MIDDLE
    keystone = np.eye(3)
    keystone[2, :2] = rng.normal(0, 0.0007, 2)
    return np.asarray(back @ keystone @ there @ matrix, np.float64)


def _put(canvas: Pixels, plane: Plane, matrix: NDArray[np.float64], rng: np.random.Generator) -> Pixels:
    """Lay a carrier over the canvas, with its shadow."""
    cover = np.asarray(cv2.warpPerspective(plane.cover, matrix, (SIDE, SIDE)), np.uint8)
    if rng.random() < 0.5:
        shift = np.array([[1, 0, rng.normal(0, 4)], [0, 1, rng.uniform(0, 7)]])
        shadow = soften(np.asarray(cv2.warpAffine(cover, shift, (SIDE, SIDE)), np.uint8), rng.uniform(1.5, 9))
        canvas = blend(canvas, np.zeros(3), np.asarray(shadow * rng.uniform(0.1, 0.6), np.uint8))
    layer = cv2.warpPerspective(plane.rgb, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return blend(canvas, np.asarray(layer, np.uint8), cover)


def _something_behind(canvas: Pixels, stage: Stage, rng: np.random.Generator) -> Pixels:
    """A screen, sheet, poster or frame behind the person, who will stand over its border."""
    carrier = stage.something(rng)
    content = stage.somewhere(rng)
    if rng.random() < 0.3:
        content = stage.add_somebody(content, rng)
        offset = (float(rng.choice([-1, 1]) * rng.uniform(1.3, 2.4)), float(rng.normal(-0.2, 0.7)))
        window = any_window(rng, (0.6,) * 4, (1.1,) * 4)
    else:
        offset = (0.0, 0.0)
        window = any_window(rng, (0.3, 0.3, 0.3, 0.1), (2.6, 2.6, 2.6, 1.0))
        if rng.random() < 0.3:
            content = plain_plane(rng)
    return _put(canvas, carry(content, window, carrier, rng), _pose(rng, offset), rng)


def _somebody_beside(canvas: Pixels, stage: Stage, rng: np.random.Generator) -> Pixels:
    where = (float(SIDE / 2 + rng.choice([-1, 1]) * rng.uniform(1.1, 2.4) * UNIT),
             float(SIDE / 2 + rng.normal(0, 0.5) * UNIT))
    return stage.add_somebody(canvas, rng, centre=where, scale=rng.uniform(0.5, 1.2))


def _something_in_hand(canvas: Pixels, stage: Stage, rng: np.random.Generator) -> Pixels:
    """A phone, book or card before the chest or beside the head, held by fingers."""
    carrier = stage.something(rng)
    content = stage.somewhere(rng) if rng.random() < 0.6 else plain_plane(rng)
    if rng.random() < 0.3:
        content = stage.add_somebody(content, rng, scale=0.7)
    window = any_window(rng, (0.25,) * 4, (0.8,) * 4)
    offset = (float(rng.normal(0, 0.9)), float(rng.uniform(1.55, 2.3)))
    if rng.random() < 0.3:
        offset = (float(rng.choice([-1, 1]) * rng.uniform(1.5, 2.2)), float(rng.normal(0.4, 0.6)))
    plane, matrix = carry(content, window, carrier, rng), _pose(rng, offset)
    corners = cv2.perspectiveTransform(plane.window[None].astype(np.float64), matrix)[0]
    return _hold(_put(canvas, plane, matrix, rng), corners, rng)


def _hold(canvas: Pixels, window: NDArray[np.float64], rng: np.random.Generator) -> Pixels:
    """Fingers of one or two hands over the border of a window."""
    for _ in range(1 + int(rng.random() < 0.4)):
        edge, along = int(rng.integers(4)), rng.uniform(0.1, 0.9)
        point = window[edge] * (1 - along) + window[(edge + 1) % 4] * along
        outward = point - window.mean(0)
        size = float(np.linalg.norm(window[0] - window[2])) * rng.uniform(0.03, 0.09)
        canvas = _add_fingers(canvas, rng, (point, outward / (np.linalg.norm(outward) + 1e-6)), max(size, 4.0))
    return canvas


def _edge_point(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point two units from the face, and the direction away from it."""
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), np.sin(angle)])
    return np.asarray(MIDDLE) + away * UNIT * rng.uniform(1.0, 2.0), away


def _add_fingers(canvas: Pixels, rng: np.random.Generator, where: tuple[NDArray[np.float64], NDArray[np.float64]],
                 wide: float) -> Pixels:
    """One to four fingers with a part of the hand, that come from outside to a point."""
    point, away = where
    beside = np.array([-away[1], away[0]])
    base = rng.uniform(110, 235)
    skin = np.array([base, base * rng.uniform(0.68, 0.86), base * rng.uniform(0.5, 0.76)])
    cover = np.zeros((SIDE, SIDE), np.uint8)
    count, lean = int(rng.integers(1, 5)), rng.normal(0, 0.3)
    long = wide * rng.uniform(2.0, 4.5)
    for number in range(count):
        tip = point + beside * (number - count / 2) * wide * 1.08 - away * wide * rng.uniform(0.2, 1.4)
        root = tip + (away + beside * lean) * long
        cv2.line(cover, tuple(int(value) for value in tip), tuple(int(value) for value in root), 255,
                 max(2, int(wide)), cv2.LINE_AA)
    if rng.random() < 0.7:
        palm = point + (away + beside * lean) * (long + wide)
        size = (float(wide * max(count, 2) * 1.3), float(wide * rng.uniform(2.5, 6)))
        angle = float(np.degrees(np.arctan2(beside[1], beside[0])))
        corners = cv2.boxPoints(((float(palm[0]), float(palm[1])), size, angle))
        cover = np.maximum(cover, polygon(corners.astype(np.float64)))
    edge = cv2.GaussianBlur(cover, (0, 0), max(1.0, wide / 5)).astype(np.float32)[..., None] / 255
    layer = np.clip(skin * (0.45 + 0.6 * edge) + (noise(rng, 14) * 5)[..., None], 0, 255).astype(np.uint8)
    return blend(canvas, layer, cover)
