"""People as far as a portrait shows them: a real head on a drawn neck, shoulders and clothes, with drawn hair.

Heads are cut out of tight pictures by the chin's landmarks and an ellipse over the brow. All measures are in units:
sides of the box of the face.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.sources import FACE_BOXES, FacePicture
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.datasets.surroundings.canvas import MIDDLE, SIDE, UNIT, Layer, Pixels, blend, colour, noise, polygon

HEAD_SIDE: Final = 80
Points: TypeAlias = NDArray[np.float64]
Part: TypeAlias = tuple[Pixels | NDArray[np.float64], Pixels]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A cut-out head.

    Attributes:
        rgb: uint8 `[80, 80, 3]`.
        cover: How far each pixel belongs to the head, uint8 `[80, 80]`, 0 to 255.
        box: The box of the face, fractions of the picture.
        skin: Mean colour of the cheeks, RGB.
    """

    rgb: Pixels
    cover: Pixels
    box: tuple[float, float, float, float]
    skin: NDArray[np.float64]


def head_of(picture: FacePicture, landmarks: NDArray[np.float32]) -> Head:
    """Cut a head out of an aligned crop.

    Args:
        picture: From `visagent.datasets.sources`.
        landmarks: Its 68 points in pixels of a scene (`visagent.datasets.spoof_views.landmarks_of`).
    """
    rgb = np.asarray(cv2.resize(picture.rgb, (HEAD_SIDE, HEAD_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    points = landmarks * (HEAD_SIDE / SCENE_SIDE)
    chin = points[:17]
    middle, half = chin[[0, 16]].mean(0), float(np.linalg.norm(chin[0] - chin[16])) / 2
    turn = np.linspace(0, np.pi, 16)[1:-1]
    brow = np.stack([middle[0] + half * np.cos(turn), middle[1] - 1.25 * half * np.sin(turn)], 1)
    outline = np.concatenate([chin, brow])
    outline = outline.mean(0) + (outline - outline.mean(0)) * 1.05
    soft = cv2.GaussianBlur(polygon(outline, HEAD_SIDE), (0, 0), 2.0)
    fade = np.clip(np.arange(HEAD_SIDE) / 7, 0, 1)
    inside = np.minimum(fade, fade[::-1])
    cover = np.asarray(soft * inside[None, :] * fade[:, None], np.uint8)
    cheeks = rgb[int(HEAD_SIDE * 0.52):int(HEAD_SIDE * 0.66), int(HEAD_SIDE * 0.28):int(HEAD_SIDE * 0.68)]
    return Head(rgb, cover, FACE_BOXES[picture.source],
                np.median(cheeks.reshape(-1, 3), 0).astype(np.float64))


def figure_of(head: Head, rng: np.random.Generator) -> Layer:
    """A drawn person with this head, cut out: the box of the face is in the middle of the canvas, `UNIT` wide.

    Args:
        head: Whose.
        rng: Draws build, hair and clothes.
    """
    canvas: Pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    cover: NDArray[Any] = np.zeros((SIDE, SIDE), np.uint8)
    for layer, part in _parts(head, rng):
        canvas = blend(canvas, layer, part)
        cover = cv2.add(cover, cv2.multiply(255 - cover, part, scale=1 / 255))
    return Layer(canvas, np.asarray(cover, np.uint8))


def moved(figure: Layer, *, centre: tuple[float, float], scale: float, tilt: float = 0.0, mirror: bool = False
          ) -> Layer:
    """A figure with its face elsewhere.

    Args:
        figure: From `figure_of`.
        centre: Where the middle of the face's box goes, in pixels.
        scale: Of the figure.
        tilt: In degrees.
        mirror: Left and right exchanged.
    """
    # What reaches the canvas's lower edge, the body, goes on below it.
    matrix = np.asarray(cv2.getRotationMatrix2D(MIDDLE, tilt, scale), np.float64)
    matrix[:, 2] += np.asarray(centre) - SIDE / 2
    if mirror:
        matrix = matrix @ np.array([[-1.0, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]])
    rgb, cover = (cv2.warpAffine(one, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
                  for one in (figure.rgb, figure.cover))
    return Layer(np.asarray(rgb, np.uint8), np.asarray(cover, np.uint8))


def _parts(head: Head, rng: np.random.Generator) -> Iterator[Part]:
    """What a person is drawn of, from the back to the front."""
    tilt, shade = rng.normal(0, 0.1), _hair_colour(rng)
    long_hair, hairy = rng.random() < 0.4, rng.random() < 0.85
    if hairy and long_hair and rng.random() < 0.6:
        yield _hair(rng, shade, _place(_long_hair(rng), tilt))
        hairy = rng.random() < 0.8
    yield from _body(rng, head)
    if hairy:
        shape = _long_hair(rng) if long_hair and rng.random() < 0.7 else _short_hair(rng)
        yield _hair(rng, shade, _place(shape, tilt))
    x1, y1, x2, y2 = (fraction * HEAD_SIDE for fraction in head.box)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5]])
    matrix = cv2.getAffineTransform(np.array([[x1, y1], [x2, y1], [x2, y2]], np.float32),
                                    _place(corners, tilt).astype(np.float32))
    rgb = cv2.warpAffine(head.rgb, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(head.cover, matrix, (SIDE, SIDE))
    yield np.asarray(rgb, np.uint8), np.asarray(cover, np.uint8)
    if hairy and rng.random() < 0.15:
        yield _hair(rng, shade, _place(_fringe(rng), tilt))


def _place(points: Points, tilt: float = 0.0) -> Points:
    """Points in units from the face's middle, turned, in pixels."""
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return np.asarray(SIDE / 2 + UNIT * (points @ turn), np.float64)


def _body(rng: np.random.Generator, head: Head) -> Iterator[Part]:
    neck, drop = rng.uniform(0.22, 0.34), rng.uniform(0.62, 0.85)
    broad, slope = rng.uniform(0.95, 1.6), rng.uniform(0.15, 0.5)
    skin = np.clip(head.skin * rng.uniform(0.75, 1.0), 0, 255)
    yield (skin, polygon(_place(np.array(
        [[-neck, 0.3], [neck, 0.3], [neck * 1.3, drop + 0.3], [-neck * 1.3, drop + 0.3]]))))
    half = np.array([[neck * 1.1, drop], [broad * 0.6, drop + slope * 0.45], [broad * 0.9, drop + slope * 0.8],
                     [broad, drop + slope * 1.3], [broad * rng.uniform(0.95, 1.25), 6.0]])
    outline = np.concatenate([half, half[::-1] * [-1, 1]])
    cover = polygon(_place(outline))
    bare = rng.random() < 0.2
    yield (_cloth(rng) if not bare else _shaded(rng, skin), cover)
    if bare:
        top = drop + slope + rng.uniform(0.1, 0.6)
        yield (_cloth(rng), polygon(_place(np.array([[-9, top], [9, top], [9, 9], [-9, 9]]))) & cover)
        return
    kind = rng.random()
    if kind < 0.3:  # a neckline
        deep = drop + rng.uniform(0.1, 0.7)
        yield (skin, polygon(_place(np.array(
            [[-neck * 1.15, drop - 0.1], [neck * 1.15, drop - 0.1], [rng.normal(0, 0.05), deep]]))))
    elif kind < 0.6:  # jacket, shirt, perhaps a tie
        yield (colour(rng, 120, 255), polygon(_place(np.array(
            [[-neck * 1.3, drop - 0.12], [neck * 1.3, drop - 0.12], [neck * 0.6, 2.2], [-neck * 0.6, 2.2]]))))
        if rng.random() < 0.6:
            wide = rng.uniform(0.06, 0.12)
            yield (colour(rng), polygon(_place(np.array(
                [[-wide, drop], [wide, drop], [wide * 1.6, 2.5], [-wide * 1.6, 2.5]]))))
    elif kind < 0.75:  # a collar or a scarf
        high = rng.uniform(0.05, 0.3)
        yield (_cloth(rng), polygon(_place(np.array(
            [[-neck * 1.5, drop - high], [neck * 1.5, drop - high], [neck * 1.8, drop + 0.15],
             [-neck * 1.8, drop + 0.15]]))))


def _cloth(rng: np.random.Generator) -> Pixels:
    """Plain, striped, checked or dotted, with folds; the colours of clothes, black most often."""
    first = colour(rng, 5, 60) if rng.random() < 0.4 else colour(rng)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    angle, period = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]), rng.uniform(4, 24)
    along, across = np.cos(angle) * columns + np.sin(angle) * rows, np.cos(angle) * rows - np.sin(angle) * columns
    kind = rng.random()
    if kind < 0.55:
        share = np.zeros((SIDE, SIDE), np.float32)
    elif kind < 0.75:
        share = (along % period < period * rng.uniform(0.2, 0.7)).astype(np.float32)
    elif kind < 0.9:
        wide = period * rng.uniform(0.2, 0.6)
        share = ((along % period < wide).astype(np.float32) + (across % period < wide)) / 2
    else:
        share = np.clip(np.abs(noise(rng, period)) - 0.3, 0, 1)
    second = colour(rng)
    base = first + (second - first) * share[..., None]
    folds = noise(rng, rng.uniform(12, 50)) * rng.uniform(2, 16)
    return np.clip(base + folds[..., None], 0, 255).astype(np.uint8)


def _shaded(rng: np.random.Generator, shade: NDArray[np.float64]) -> Pixels:
    return np.clip(shade + (noise(rng, 50) * 8)[..., None], 0, 255).astype(np.uint8)


def _hair_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    tones = np.array([[20, 17, 16], [45, 32, 24], [95, 65, 40], [180, 145, 95], [150, 150, 150], [215, 212, 205],
                      [120, 55, 30]], np.float64)
    tone = tones[rng.choice(7, p=[0.34, 0.22, 0.14, 0.12, 0.08, 0.06, 0.04])]
    return np.asarray(np.clip(tone * rng.uniform(0.7, 1.2), 0, 255), np.float64)


def _hair(rng: np.random.Generator, shade: NDArray[np.float64], outline: Points) -> Part:
    cover = cv2.GaussianBlur(polygon(outline), (0, 0), rng.uniform(0.02, 0.07) * UNIT)
    strands = cv2.resize(rng.standard_normal((12, 90)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    layer = np.clip(shade * (1 + 0.25 * (strands + noise(rng, 40)))[..., None], 0, 255).astype(np.uint8)
    return layer, np.asarray(cover, np.uint8)


def _wavy(points: Points, rng: np.random.Generator) -> Points:
    return np.asarray(points * (1 + rng.normal(0, 0.04, (len(points), 1))), np.float64)


def _short_hair(rng: np.random.Generator) -> Points:
    wide, high = rng.uniform(0.5, 0.66), rng.uniform(0.7, 1.0)
    turn = np.linspace(-0.15, np.pi + 0.15, 18)
    return _wavy(np.stack([wide * np.cos(turn), 0.05 - high * np.sin(turn)], 1), rng)


def _long_hair(rng: np.random.Generator) -> Points:
    wide, high = rng.uniform(0.55, 0.75), rng.uniform(0.75, 1.0)
    turn = np.linspace(0, np.pi, 14)
    cap = np.stack([wide * np.cos(turn), -high * np.sin(turn)], 1)
    down = rng.uniform(0.6, 2.2, 2)
    out = rng.uniform(0.7, 1.35, 2) * wide
    sides = np.array([[-out[0], down[0]], [-out[0] * 0.5, down[0] * 1.02], [-0.4, 0.35], [0.4, 0.35],
                      [out[1] * 0.5, down[1] * 1.02], [out[1], down[1]]])
    return _wavy(np.concatenate([cap, sides]), rng)


def _fringe(rng: np.random.Generator) -> Points:
    wide, low = rng.uniform(0.44, 0.55), rng.uniform(-0.5, -0.3)
    turn = np.linspace(0.1, np.pi - 0.1, 12)
    top = np.stack([wide * np.cos(turn), -0.2 - 0.6 * np.sin(turn)], 1)
    part = rng.uniform(-0.4, 0.4)
    return np.concatenate([top, np.array([[-wide, low + 0.2], [part, low - rng.uniform(0, 0.2)], [wide, low + 0.2]])])
