"""What shows a picture: phones, tablets, notebooks, prints, cards, pages. A plane with a window and what frames it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surroundings.canvas import (
    SIDE,
    UNIT,
    Pixels,
    add_light,
    blend,
    colour,
    flat,
    ink,
    noise,
    polygon,
)

PAD: Final = 48
"""How far a carrier's plane reaches over the canvas of its content, in pixels on each side."""
Window = tuple[float, float, float, float]
Frame = Literal["dark", "light", "any"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """A kind of screen or sheet.

    Attributes:
        name: What it is.
        screen: A screen; else a sheet.
        aspect: Least and most height over width of its window when held upright.
        frame: Least and most width of the frame, of the window's shorter side.
        uneven: Chance that the frame is wider on one or two sides (a chin, a caption, a keyboard).
        round: Most radius of its corners, of the shorter side.
        shade: Of the frame.
        flips: Whether it is also held lying.
    """

    name: str
    screen: bool
    aspect: tuple[float, float]
    frame: tuple[float, float]
    uneven: float
    round: float
    shade: Frame
    flips: bool


CARRIERS: Mapping[str, tuple[Carrier, ...]] = MappingProxyType({
    "train": (
        Carrier("phone", True, (1.4, 2.2), (0.01, 0.12), 0.3, 0.16, "dark", True),
        Carrier("tablet", True, (1.2, 1.6), (0.04, 0.16), 0.3, 0.08, "any", True),
        Carrier("notebook", True, (0.55, 0.75), (0.01, 0.1), 0.8, 0.04, "any", False),
        Carrier("print", False, (0.6, 1.6), (0.0, 0.16), 0.3, 0.0, "light", True),
        Carrier("photo", False, (0.65, 1.5), (0.0, 0.05), 0.1, 0.02, "light", True),
        Carrier("card", False, (1.0, 1.5), (0.05, 0.5), 0.9, 0.08, "any", False),
        Carrier("page", False, (0.6, 1.7), (0.0, 0.6), 0.8, 0.0, "light", True),
    ),
    "held out": (
        Carrier("monitor", True, (0.5, 0.8), (0.02, 0.09), 0.5, 0.0, "dark", True),
        Carrier("old phone", True, (1.3, 1.7), (0.1, 0.35), 0.9, 0.3, "any", False),
        Carrier("instant photo", False, (0.9, 1.1), (0.05, 0.12), 1.0, 0.0, "light", False),
        Carrier("poster", False, (1.2, 1.5), (0.0, 0.03), 0.3, 0.0, "any", True),
    ),
})
"""Kinds of carrier; those held out are in no training scene."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A carrier seen straight on.

    Attributes:
        rgb: uint8 `[P, P, 3]`, `P = SIDE + 2 * PAD`; the content's pixel (x, y) lies at (x + PAD, y + PAD).
        cover: Where the carrier is, uint8 `[P, P]`.
        window: Corners of what it shows, `[4, 2]` in pixels of the plane.
    """

    rgb: Pixels
    cover: Pixels
    window: NDArray[np.float64]


def draw_window(carrier: Carrier, rng: np.random.Generator) -> Window:
    """How far what is shown reaches from the face's centre: left, up, right, down, in units."""
    aspect = rng.uniform(*carrier.aspect)
    if carrier.flips and rng.random() < 0.4:
        aspect = 1 / aspect
    short = float(np.exp(rng.uniform(np.log(1.25), np.log(4.2))))
    wide, high = (short, short * aspect) if aspect > 1 else (short / aspect, short)
    left, up = wide * rng.uniform(0.35, 0.65), high * rng.uniform(0.28, 0.58)
    most = (SIDE / 2 + PAD - 8) / UNIT
    left, up, right, down = (float(np.clip(value, 0.58, most)) for value in (left, up, wide - left, high - up))
    return left, up, right, down


def any_window(rng: np.random.Generator, low: Window, high: Window) -> Window:
    """A window that need not show a face, each reach drawn between two bounds, in units."""
    left, up, right, down = (float(value) for value in rng.uniform(low, high))
    return left, up, right, down


def carry(content: Pixels, window: Window, carrier: Carrier, rng: np.random.Generator) -> Plane:
    """Show the window's part of a canvas on a carrier.

    Args:
        content: uint8 `[S, S, 3]`; the window is measured from its centre.
        window: From `draw_window`.
        carrier: The kind.
        rng: Draws frame, corners, tones, shine and what else is printed or shown.
    """
    side, middle = SIDE + 2 * PAD, SIDE / 2 + PAD
    shown = _lit(content, rng) if carrier.screen else _printed(content, rng)
    rgb = np.asarray(cv2.copyMakeBorder(shown, PAD, PAD, PAD, PAD, cv2.BORDER_REFLECT_101), np.uint8)
    x1, y1, x2, y2 = (middle + sign * reach * UNIT for sign, reach in zip((-1, -1, 1, 1), window, strict=True))
    short = min(x2 - x1, y2 - y1)
    frame = np.full(4, rng.uniform(*carrier.frame) * short)
    if rng.random() < carrier.uneven:
        for number in rng.choice(4, int(rng.integers(1, 3)), replace=False):
            frame[number] += rng.uniform(0.02, 0.45) * short
    radius = rng.uniform(0, carrier.round) * short
    body = _rounded((x1 - frame[0], y1 - frame[1], x2 + frame[2], y2 + frame[3]), radius)
    inner = _rounded((x1, y1, x2, y2), max(0.0, radius - frame.min()))
    shade = _frame_shade(carrier.shade, rng)
    base = np.clip(shade + (noise(rng, 60, side) * rng.uniform(0, 8))[..., None], 0, 255).astype(np.uint8)
    if carrier.screen:
        _interface(rgb, (x1, y1, x2, y2), rng)
        if rng.random() < 0.4:
            thick = int(rng.integers(1, 5))
            cv2.polylines(base, [body.astype(np.int32)], True, ink(colour(rng)), thick, cv2.LINE_AA)
        if rng.random() < 0.3:
            lens = int((x1 + x2) / 2), int(y1 - frame[1] / 2)
            cv2.circle(base, lens, int(max(1, frame[1] * 0.2)), (60, 60, 70), -1)
    elif frame.max() > 14:
        _lines_of_text(base, (x1, y1, x2, y2), frame, rng)
    base = blend(base, rgb, polygon(inner, side))
    if rng.random() < 0.45:
        base = _shine(base, rng)
    cover = polygon(body, side)
    if not carrier.screen and rng.random() < 0.45:
        base, cover = _bowed(base, rng, cover)
    return Plane(base, cover, np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]))


def _frame_shade(wanted: Frame, rng: np.random.Generator) -> NDArray[np.float64]:
    drawn = rng.random()
    if wanted == "dark":
        return colour(rng, 0, 45) if drawn < 0.8 else colour(rng, 40, 255)
    if wanted == "light":
        white = np.clip(rng.uniform(175, 255) + rng.normal(0, 6, 3), 0, 255)
        return white if drawn < 0.85 else colour(rng)
    return colour(rng, 0, 45) if drawn < 0.4 else np.full(3, rng.uniform(190, 250)) if drawn < 0.65 else colour(rng)


def _rounded(box: Window, radius: float) -> NDArray[np.float64]:
    """Outline of a rectangle with round corners, `[20, 2]`."""
    x1, y1, x2, y2 = box
    turn = np.linspace(0, np.pi / 2, 5)
    parts = []
    for number, (x, y) in enumerate(((x2, y2), (x1, y2), (x1, y1), (x2, y1))):
        angle = turn + number * np.pi / 2
        inward = np.array([-np.sign(np.cos(angle[2])), -np.sign(np.sin(angle[2]))]) * radius
        parts.append(np.array([x, y]) + inward + radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    return np.concatenate(parts)


def _lit(content: Pixels, rng: np.random.Generator) -> Pixels:
    """The tones of a display: its curve, its white, the light of its black."""
    light = (content.astype(np.float32) / 255) ** rng.uniform(0.6, 1.3)
    light = light * rng.uniform([0.85, 0.92, 0.95], [1.05, 1.08, 1.2]) * rng.uniform(0.8, 1.3)
    return np.clip(255 * (light + rng.uniform(0, 0.09)), 0, 255).astype(np.uint8)


def _printed(content: Pixels, rng: np.random.Generator) -> Pixels:
    """The tones of ink on paper: less colour, no deep black, no more white than the paper."""
    scene = content.astype(np.float32)
    gray = scene.mean(2, keepdims=True)
    colourful = 0.0 if rng.random() < 0.1 else rng.uniform(0.55, 1.1)
    black, white = rng.uniform(5, 60), rng.uniform(200, 255)
    inked = black + (gray + (scene - gray) * colourful) / 255 * (white - black)
    return np.asarray(np.clip(inked * rng.normal(1, 0.04, 3), 0, 255), np.uint8)


def _interface(rgb: NDArray[np.uint8], box: Window, rng: np.random.Generator) -> None:
    """Bars, buttons and lines of writing that programs put around or over a picture."""
    x1, y1, x2, y2 = (int(value) for value in box)
    if rng.random() < 0.25:  # the picture does not fill the screen
        shade, depth = ink(colour(rng, 0, 30) if rng.random() < 0.7 else colour(rng, 220, 255)), rng.uniform(0.03, 0.2)
        if rng.random() < 0.6:
            high = int((y2 - y1) * depth)
            cv2.rectangle(rgb, (x1, y1), (x2, y1 + high), shade, -1)
            cv2.rectangle(rgb, (x1, y2 - high), (x2, y2), shade, -1)
        else:
            wide = int((x2 - x1) * depth)
            cv2.rectangle(rgb, (x1, y1), (x1 + wide, y2), shade, -1)
            cv2.rectangle(rgb, (x2 - wide, y1), (x2, y2), shade, -1)
    if rng.random() < 0.3:
        shade = ink(colour(rng, 150, 255))
        for step in range(int(rng.integers(2, 7))):
            at = (int(x1 + (x2 - x1) * (0.1 + 0.13 * step)), int(y2 - (y2 - y1) * 0.05))
            cv2.circle(rgb, at, int(rng.uniform(2, 5)), shade, -1, cv2.LINE_AA)


def _lines_of_text(base: Pixels, box: Window, frame: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Writing on the wide sides of a sheet's frame."""
    if rng.random() < 0.3:
        return
    x1, y1, x2, y2 = box
    thick, step, shade = int(rng.integers(1, 4)), rng.uniform(5, 10), ink(colour(rng, 0, 120))
    areas = ((x1 - frame[0], y1, x1, y2), (x1, y1 - frame[1], x2, y1), (x2, y1, x2 + frame[2], y2),
             (x1, y2, x2, y2 + frame[3]))
    for area, width in zip(areas, frame, strict=True):
        if width < 14:
            continue
        for y in np.arange(area[1] + step, area[3] - 2, step):
            end = area[2] - 4 - rng.uniform(0, 0.4) * (area[2] - area[0])
            cv2.line(base, (int(area[0] + 4), int(y)), (int(end), int(y)), shade, thick)


def _shine(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """A lamp, a window or a veil of light on glass or gloss."""
    side = rgb.shape[0]
    kind = rng.random()
    if kind < 0.4:
        light = np.clip(noise(rng, rng.uniform(60, 160), side), 0, None) * rng.uniform(10, 50)
    else:
        x, y = rng.uniform(0.25, 0.75, 2) * side
        size = rng.uniform(4, 20) if kind < 0.7 else rng.uniform(15, 60)
        corners = cv2.boxPoints(((float(x), float(y)), (float(size), float(size * rng.uniform(0.5, 3))),
                                 float(rng.uniform(0, 90))))
        spot = polygon(corners.astype(np.float64), side)
        light = cv2.GaussianBlur(spot, (0, 0), rng.uniform(1, 8)).astype(np.float32) / 255 * rng.uniform(40, 230)
    return add_light(rgb, np.asarray(light, np.float32))


def _bowed(rgb: Pixels, rng: np.random.Generator, cover: Pixels) -> tuple[Pixels, Pixels]:
    """A sheet that does not lie flat: its straight edges bend, and light runs over it."""
    side = rgb.shape[0]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    upright = rng.random() < 0.5
    along = columns if upright else rows
    bow = np.sin(along / side * np.pi * rng.uniform(0.8, 2.2) + rng.uniform(0, 3)).astype(np.float32)
    shift = bow * np.float32(rng.uniform(2, 11))
    maps = (columns, rows + shift) if upright else (columns + shift, rows)
    bent = cv2.remap(rgb, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = np.asarray(cv2.remap(cover, maps[0], maps[1], cv2.INTER_LINEAR), np.uint8)
    return add_light(np.asarray(bent, np.uint8), bow * np.float32(rng.normal(0, 14))), cover


def plain_plane(rng: np.random.Generator) -> Pixels:
    """A dark or light canvas: a switched-off screen, an empty sheet."""
    return flat(colour(rng, 0, 40) if rng.random() < 0.6 else colour(rng, 180, 255))
