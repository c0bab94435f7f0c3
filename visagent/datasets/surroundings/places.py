"""Where people stand: walls, rooms, shelves, foliage, lights, press walls; with straight lines that enclose nobody."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

from visagent.datasets.surroundings.canvas import SIDE, Pixels, add_light, blend, colour, flat, ink, noise, soften

Place = Callable[[np.random.Generator], Pixels]
_WORDS = ("NEWS", "abc", "FESTIVAL", "Hotel", "24", "GALA", "open", "TECH", "Live", "city", "MUSEUM", "awards", "W")


def place(rng: np.random.Generator, share: str) -> Pixels:
    """A background, uint8 `[S, S, 3]`: one of the places of a share, with or without clutter.

    Args:
        rng: Source of all randomness.
        share: "train" or "held out": which kinds of place.
    """
    kinds = PLACES[share]
    picture = kinds[str(rng.choice(list(kinds)))](rng)
    return clutter(picture, rng) if rng.random() < 0.5 else picture


def clutter(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A few things anywhere: boards, bars, lines, discs, writing."""
    for _ in range(int(rng.integers(1, 7))):
        shade, kind = ink(colour(rng)), rng.random()
        x, y = (float(value) for value in rng.uniform(-0.1, 1.1, 2) * SIDE)
        if kind < 0.45:
            size = np.exp(rng.normal(3.4, 0.8, 2)).clip(4, 200)
            angle = rng.normal(0, 4) if rng.random() < 0.75 else rng.uniform(0, 90)
            corners = cv2.boxPoints(((x, y), (float(size[0]), float(size[1])), float(angle))).astype(np.int32)
            if rng.random() < 0.7:
                cv2.fillPoly(picture, [corners], shade, cv2.LINE_AA)
            if rng.random() < 0.5:
                cv2.polylines(picture, [corners], True, ink(colour(rng)), int(rng.integers(1, 7)), cv2.LINE_AA)
        elif kind < 0.65:
            vertical = rng.random() < 0.6
            end = (x + rng.normal(0, 6), y + rng.uniform(60, 300)) if vertical else (x + rng.uniform(60, 300), y)
            cv2.line(picture, (int(x), int(y - 50)), (int(end[0]), int(end[1])), shade, int(rng.integers(1, 14)),
                     cv2.LINE_AA)
        elif kind < 0.8:
            cv2.circle(picture, (int(x), int(y)), int(rng.uniform(3, 40)), shade,
                       -1 if rng.random() < 0.6 else int(rng.integers(1, 6)), cv2.LINE_AA)
        else:
            _write(picture, rng, x, y, shade)
    return picture


def _write(picture: Pixels, rng: np.random.Generator, x: float, y: float, shade: tuple[float, float, float]) -> None:
    size = float(np.exp(rng.normal(0, 0.7)))
    cv2.putText(picture, str(rng.choice(_WORDS)), (int(x), int(y)), int(rng.integers(0, 8)), size, shade,
                int(max(1, size * rng.uniform(1, 5))), cv2.LINE_AA)


def _wall(rng: np.random.Generator) -> Pixels:
    rows, columns = np.mgrid[-0.5:0.5:SIDE * 1j, -0.5:0.5:SIDE * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(angle) * columns + np.sin(angle) * rows) * rng.uniform(0, 90)
    return add_light(add_light(flat(colour(rng)), np.asarray(slope, np.float32)), noise(rng, 2) * rng.uniform(0, 6))


def _studio(rng: np.random.Generator) -> Pixels:
    """White, black or one colour, as portraits on websites have it."""
    kind = rng.random()
    shade = np.full(3, rng.uniform(235, 255)) if kind < 0.45 else np.full(3, rng.uniform(0, 20))
    return flat(colour(rng) if kind > 0.65 else shade)


def _lights(rng: np.random.Generator) -> Pixels:
    picture = flat(colour(rng, 0, 110))
    for _ in range(int(rng.integers(8, 60))):
        x, y = (int(value) for value in rng.uniform(0, SIDE, 2))
        cv2.circle(picture, (x, y), int(rng.uniform(2, 18)), ink(colour(rng, 60, 255)), -1, cv2.LINE_AA)
    return soften(picture, rng.uniform(0.5, 7))


def _foliage(rng: np.random.Generator) -> Pixels:
    first, second = colour(rng, 20, 120), colour(rng, 80, 230)
    if rng.random() < 0.6:
        first, second = np.array([30.0, 60, 25]), np.array([130.0, 170, 80])
        first, second = first * rng.uniform(0.4, 1.4), second * rng.uniform(0.6, 1.3)
    cell = rng.uniform(3, 22)
    share = np.clip(0.5 + 0.35 * noise(rng, cell) + 0.3 * noise(rng, cell * 4), 0, 1)
    return np.asarray(np.clip(first + (second - first) * share[..., None], 0, 255), np.uint8)


def _tiles(rng: np.random.Generator) -> Pixels:
    picture = flat(colour(rng, 60, 250))
    wide, high, joint = rng.uniform(14, 90), rng.uniform(14, 90), ink(colour(rng))
    start = rng.uniform(0, 1, 2)
    for step in range(18):
        x, y = int((step - start[0]) * wide), int((step - start[1]) * high)
        thick = int(rng.integers(1, 4))
        cv2.line(picture, (x, 0), (x, SIDE), joint, thick)
        cv2.line(picture, (0, y), (SIDE, y), joint, thick)
    return _from_the_side(add_light(picture, noise(rng, 30) * 5), rng)


def _shelves(rng: np.random.Generator) -> Pixels:
    picture = flat(colour(rng, 10, 160))
    high, y, board = rng.uniform(30, 80), rng.uniform(-40, 0), ink(colour(rng))
    while y < SIDE:
        x = 0.0
        while x < SIDE and rng.random() < 0.97:
            wide, tall = rng.uniform(4, 26), high * rng.uniform(0.4, 0.95)
            spine = (int(x), int(y + high - tall)), (int(x + wide), int(y + high))
            cv2.rectangle(picture, *spine, ink(colour(rng)), -1)
            x += wide + (rng.uniform(0, 30) if rng.random() < 0.15 else 1)
        cv2.rectangle(picture, (0, int(y + high)), (SIDE, int(y + high + rng.uniform(2, 8))), board, -1)
        y += high + 6
    return _from_the_side(picture, rng)


def _room(rng: np.random.Generator) -> Pixels:
    """Two walls, floor or ceiling, and doors, windows or framed pictures without anybody."""
    picture = flat(colour(rng, 60, 250))
    corner, floor = int(rng.uniform(-0.3, 1.3) * SIDE), int(rng.uniform(0.5, 1.4) * SIDE)
    cv2.rectangle(picture, (corner, -5), (SIDE + 5, SIDE + 5), ink(colour(rng, 50, 250)), -1)
    for _ in range(int(rng.integers(0, 4))):
        x, y, wide, high = rng.uniform([-60, -60, 25, 30], [200, 120, 150, 240])
        box = (int(x), int(y)), (int(x + wide), int(y + high))
        cv2.rectangle(picture, *box, ink(colour(rng)), -1)
        cv2.rectangle(picture, *box, ink(colour(rng)), int(rng.integers(1, 9)))
        if rng.random() < 0.4:
            middle = int(x + wide / 2)
            cv2.line(picture, (middle, int(y)), (middle, int(y + high)), ink(colour(rng)), int(rng.integers(1, 5)))
    cv2.rectangle(picture, (-5, floor), (SIDE + 5, SIDE + 5), ink(colour(rng, 20, 200)), -1)
    return _from_the_side(picture, rng)


def _press_wall(rng: np.random.Generator) -> Pixels:
    picture = flat(colour(rng))
    shade, size = ink(colour(rng)), float(np.exp(rng.normal(-0.1, 0.6)))
    step_x, step_y = rng.uniform(50, 140) * max(size, 0.7), rng.uniform(25, 90) * max(size, 0.7)
    words, font = rng.choice(_WORDS, 3), int(rng.integers(0, 8))
    for row in range(10):
        for column in range(6):
            at = (int(column * step_x - 30 + (row % 2) * step_x / 2), int(row * step_y))
            cv2.putText(picture, str(words[(row + column) % 3]), at, font, size, shade,
                        int(max(1, size * rng.uniform(1.5, 3.5))), cv2.LINE_AA)
    return _from_the_side(picture, rng)


def _panels(rng: np.random.Generator) -> Pixels:
    """Upright and lying boards over each other, each with its own shade and texture."""
    picture = _wall(rng)
    for _ in range(int(rng.integers(2, 9))):
        x, y = rng.uniform(-80, SIDE, 2)
        wide, high = rng.uniform(15, 220, 2)
        cover = np.zeros((SIDE, SIDE), np.uint8)
        cv2.rectangle(cover, (int(x), int(y)), (int(x + wide), int(y + high)), 255, -1)
        layer = _wall(rng) if rng.random() < 0.5 else _foliage(rng)
        picture = blend(picture, layer, soften(cover, rng.uniform(0, 3)))
    return _from_the_side(picture, rng)


def _photograph(rng: np.random.Generator) -> Pixels:
    """A part of a real photograph without people."""
    whole = _photographs()[int(rng.integers(len(_photographs())))]
    side = int(rng.uniform(0.35, 1.0) * min(whole.shape[:2]))
    y, x = (int(rng.integers(0, length - side + 1)) for length in whole.shape[:2])
    part = np.asarray(cv2.resize(whole[y:y + side, x:x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.5:
        part = part[:, ::-1]
    tint = rng.normal(1, 0.12, 3) * rng.uniform(0.5, 1.1)
    return np.clip(part * tint, 0, 255).astype(np.uint8)


@functools.cache
def _photographs() -> tuple[Pixels, ...]:
    """The photographs without people that scikit-image and scikit-learn bring along, none of which is downloaded."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    found = [getattr(data, name)() for name in ("coffee", "chelsea", "rocket", "hubble_deep_field")]
    found += [np.repeat(getattr(data, name)()[..., None], 3, 2) for name in ("gravel", "grass", "coins")]
    found += load_sample_images().images
    small = [cv2.resize(one[..., :3], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA) for one in found]
    return tuple(np.asarray(one, np.uint8) for one in small)


def _blinds(rng: np.random.Generator) -> Pixels:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    along = rows if rng.random() < 0.5 else columns
    period = rng.uniform(5, 30)
    share = (np.clip(np.sin(along * 2 * np.pi / period + rng.uniform(0, 6)) * rng.uniform(1, 5), -1, 1) + 1) / 2
    first, second = colour(rng), colour(rng)
    return np.asarray(np.clip(first + (second - first) * share[..., None], 0, 255), np.uint8)


def _bricks(rng: np.random.Generator) -> Pixels:
    picture, base = flat(colour(rng, 90, 220)), colour(rng, 50, 200)
    wide = rng.uniform(20, 60)
    high = wide / rng.uniform(2, 4)
    for row in range(int(SIDE / high) + 1):
        for column in range(-1, int(SIDE / wide) + 1):
            x, y = (column + 0.5 * (row % 2)) * wide, row * high
            shade = np.clip(base + rng.normal(0, 14), 0, 255)
            cv2.rectangle(picture, (int(x + 1), int(y + 1)), (int(x + wide - 1), int(y + high - 1)), ink(shade), -1)
    return _from_the_side(picture, rng)


def _facade(rng: np.random.Generator) -> Pixels:
    """A house front: rows of windows, from below."""
    picture, pane, frame = flat(colour(rng, 60, 230)), colour(rng, 10, 120), ink(colour(rng, 100, 255))
    wide, high = rng.uniform(24, 60), rng.uniform(30, 80)
    for row in range(int(SIDE / high) + 1):
        for column in range(int(SIDE / wide) + 1):
            box = (int((column + 0.2) * wide), int((row + 0.2) * high)), (int((column + 0.8) * wide),
                                                                       int((row + 0.85) * high))
            cv2.rectangle(picture, *box, ink(np.clip(pane + rng.normal(0, 20), 0, 255)), -1)
            cv2.rectangle(picture, *box, frame, 1 + int(wide > 40))
    return _from_the_side(picture, rng)


def _from_the_side(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """Seen from another angle, about half of the time."""
    if rng.random() < 0.5:
        return picture
    whole = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
    moved = (whole + rng.normal(0, 0.09 * SIDE, (4, 2))).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(whole, moved)
    return np.asarray(cv2.warpPerspective(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101), np.uint8)


PLACES: Mapping[str, Mapping[str, Place]] = MappingProxyType({
    "train": {"wall": _wall, "studio": _studio, "lights": _lights, "foliage": _foliage, "tiles": _tiles,
              "shelves": _shelves, "room": _room, "press wall": _press_wall, "panels": _panels,
              "photograph": _photograph},
    "held out": {"blinds": _blinds, "bricks": _bricks, "house front": _facade},
})
"""Kinds of place; those held out are in no training scene."""
