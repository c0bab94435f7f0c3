"""Printing: a picture separated into four inks, screened, laid on paper, and seen through a lens.

Colours are subtractive: the inks' transmittances multiply (Beer and Lambert; where dots only partly cover, Demichel's
mixture follows by itself, because every point of the fine raster either has ink or not). The fine raster is what a
press resolves, several points to a pixel of the scene; what the camera's pixel sees is its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.recapture import sheet
from visagent.datasets.surfaces import SCENE_SIDE, Scene, smooth_noise

Raster = NDArray[np.float32]
_FINE = 3
"""Points of the raster to a pixel of the scene, each way."""


@dataclass(frozen=True, slots=True)
class Printer:
    """A way to print.

    Attributes:
        name: What it is.
        screen: "clustered" dots on a grid that grow with the tone, "scattered" drops of one size, or "continuous".
        lines: Least and most lines of dots (or drops) across a face view.
        gain: Least and most growth of the dots on the paper, in points of the raster.
        banding: Chance that the print head leaves stripes.
    """

    name: str
    screen: Literal["clustered", "scattered", "continuous"]
    lines: tuple[float, float]
    gain: tuple[float, float]
    banding: float


@dataclass(frozen=True, slots=True)
class Stock:
    """What is printed on.

    Attributes:
        name: What it is.
        white: Least and most reflectance of the bare paper, 0 to 1.
        black: Least and most reflectance where all inks lie.
        gloss: Least and most shine, 0 (matt) to 1.
        grain: Least and most strength of the fibres, in gray values.
    """

    name: str
    white: tuple[float, float]
    black: tuple[float, float]
    gloss: tuple[float, float]
    grain: tuple[float, float]


PRINTERS: Mapping[str, tuple[Printer, ...]] = {
    "train": (
        Printer("laser", "clustered", (55, 150), (0.3, 1.0), 0.25),
        Printer("offset magazine", "clustered", (75, 190), (0.2, 0.8), 0.0),
        Printer("inkjet", "scattered", (150, 430), (0.4, 1.2), 0.35),
        Printer("photo lab", "continuous", (200, 300), (0.5, 1.0), 0.0),
    ),
    "held out": (
        Printer("newspaper", "clustered", (45, 85), (0.8, 1.5), 0.1),
        Printer("worn inkjet", "scattered", (110, 240), (0.8, 1.6), 0.9),
        Printer("dye sublimation", "continuous", (200, 300), (1.0, 1.8), 0.5),
    ),
}
STOCKS: Mapping[str, tuple[Stock, ...]] = {
    "train": (
        Stock("copy paper", (0.78, 0.92), (0.1, 0.2), (0.0, 0.08), (2.5, 7)),
        Stock("coated paper", (0.82, 0.95), (0.05, 0.12), (0.1, 0.5), (0.5, 2)),
        Stock("glossy photo paper", (0.88, 0.97), (0.02, 0.06), (0.5, 1.0), (0.0, 0.8)),
    ),
    "held out": (
        Stock("newsprint", (0.6, 0.74), (0.18, 0.3), (0.0, 0.0), (4, 10)),
        Stock("canvas", (0.8, 0.9), (0.08, 0.16), (0.0, 0.15), (6, 14)),
        Stock("laminated card", (0.85, 0.95), (0.04, 0.1), (0.6, 1.0), (0.5, 2)),
    ),
}
_SCREEN_ANGLES = np.deg2rad([15, 75, 0, 45])
_INKS = np.array([[0.04, 0.72, 0.88], [0.86, 0.12, 0.55], [0.97, 0.90, 0.10], [0.07, 0.07, 0.08]], np.float32)
"""Transmittance of solid cyan, magenta, yellow and black for red, green and blue."""


def print_scene(
    scene: Scene, rng: np.random.Generator, clues: set[str], *, printer: Printer, stock: Stock, flat: bool = False
) -> Scene:
    """The scene printed and lit.

    Args:
        scene: float32 `[S, S, 3]`, 0 to 255.
        rng: Source of all randomness.
        clues: What can be seen of it is added here.
        printer: How it is printed.
        stock: What on.
        flat: Leave the sheet flat (it is glued to something).
    """
    inks = separate(scene, rng)
    # Toner runs low, settings save ink: what is printed is often paler than what was there.
    density = rng.uniform(0.72, 1.0) if rng.random() < 0.6 else 1.0
    white = np.array([1.0, rng.normal(0.995, 0.006), rng.normal(0.985, 0.03)]) * rng.uniform(*stock.white)
    black = rng.uniform(*stock.black)
    lines = rng.uniform(*printer.lines)
    dots = screen(inks * density, printer, lines, rng)
    light = _through(dots, rng)
    printed = 255 * (black + light * (white - black)).astype(np.float32)
    if density < 0.82 or black > 0.15:
        clues.add("washed-out colours")
    if (printer.screen == "clustered" and lines < 120) or (printer.screen == "scattered" and lines < 150):
        clues.add("halftone dots")
    grain = rng.uniform(*stock.grain)
    if grain > 0.3:
        fibres = smooth_noise(rng, rng.uniform(1.2, 2.6)) * grain + smooth_noise(rng, 9) * grain * 0.5
        if stock.name == "canvas":
            fibres = fibres + _weave(rng) * grain
        printed = printed + fibres[..., None]
        if grain > 3.5:
            clues.add("paper grain")
    if rng.random() < printer.banding:
        stripes = cv2.resize(
            rng.normal(0, 1, (int(rng.integers(12, 70)), 1)).astype(np.float32), (SCENE_SIDE, SCENE_SIDE)
        )
        printed = printed + (stripes if rng.random() < 0.7 else stripes.T)[..., None] * rng.uniform(2, 7)
    return np.asarray(printed if flat else _as_sheet(printed, rng, clues, stock), np.float32)


def _as_sheet(printed: Scene, rng: np.random.Generator, clues: set[str], stock: Stock) -> Scene:
    heights = smooth_noise(rng, 120) * rng.uniform(0.5, 4)
    drawn = rng.random(3)
    if drawn[0] < 0.4:
        heights = heights + sheet.bent(rng)
        clues.add("bent paper")
    if drawn[1] < 0.28:
        heights = heights + sheet.folded(rng)
        clues.add("a fold in the paper")
    elif drawn[1] < 0.4 and stock.gloss[1] < 0.5:
        heights = heights + sheet.crumpled(rng)
        clues.add("bent paper")
    gloss = rng.uniform(*stock.gloss) if drawn[2] < 0.75 else 0.0
    lit = sheet.light_up(printed, heights.astype(np.float32), rng, gloss=gloss)
    if gloss > 0.3:
        clues.add("glossy reflection")
    return lit


def separate(scene: Scene, rng: np.random.Generator) -> Raster:
    """How much of each ink a picture asks for, float32 `[S, S, 4]`, 0 to 1: gray component replacement."""
    absorbed = 1 - np.clip(scene, 0, 255) / 255
    common = absorbed.min(-1, keepdims=True)
    black = common * rng.uniform(0.35, 0.95)
    colours = (absorbed - black) / np.maximum(1 - black, 0.05)
    return np.asarray(np.clip(np.concatenate([colours, black], -1), 0, 1), np.float32)


def screen(inks: Raster, printer: Printer, lines: float, rng: np.random.Generator) -> Raster:
    """Where ink lies on the fine raster, float32 `[F, F, 4]`, 0 to 1; its mean over a dot is the tone asked for."""
    side = SCENE_SIDE * _FINE
    fine = cv2.resize(inks, (side, side), interpolation=cv2.INTER_LINEAR)
    if printer.screen == "continuous":
        return np.asarray(cv2.GaussianBlur(fine, (0, 0), rng.uniform(*printer.gain) * _FINE / 2), np.float32)
    if printer.screen == "clustered":
        rows, columns = (
            axis.astype(np.float32) * np.float32(2 * np.pi * lines / side) for axis in np.mgrid[0:side, 0:side]
        )
        turn = rng.uniform(0, np.pi / 2)
        thresholds = []
        for angle in _SCREEN_ANGLES + turn:
            cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            wave = np.cos(cosine * columns + sine * rows) + np.cos(cosine * rows - sine * columns)
            # The sum of two cosines is not evenly spread: its rank is (about), so that a dot covers what is asked.
            thresholds.append(_spread_evenly(wave / 2))
        threshold = np.stack(thresholds, -1)
        softness = np.float32(0.06)
    else:
        drop = max(1.0, side / lines / 2)
        small = max(8, round(side / drop))
        drops = rng.random((small, small, 4), np.float32)
        threshold = np.asarray(cv2.resize(drops, (side, side), interpolation=cv2.INTER_NEAREST), np.float32)
        softness = np.float32(0.03)
    dots = np.clip((fine - threshold) / softness + 0.5, 0, 1)
    return np.asarray(cv2.GaussianBlur(dots, (0, 0), rng.uniform(*printer.gain)), np.float32)


def _spread_evenly(wave: Raster) -> Raster:
    """The share of a raster's values that lie below each: -1 to 1 becomes 0 to 1, evenly spread."""
    counts, edges = np.histogram(wave[::3, ::3], 256, (-1, 1))
    return np.asarray(np.interp(wave, edges[1:], np.cumsum(counts) / counts.sum()), np.float32)


def _through(dots: Raster, rng: np.random.Generator) -> Raster:
    """The light that comes back through the inks, `[S, S, 3]`, 0 to 1: transmittances multiply, point by point."""
    tinted = np.clip(_INKS * rng.normal(1, 0.05, _INKS.shape), 0.02, 0.99).astype(np.float32)
    light = np.ones((*dots.shape[:2], 3), np.float32)
    for number, ink in enumerate(tinted):
        light *= 1 - dots[..., number, None] * (1 - ink)
    return np.asarray(cv2.resize(light, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _weave(rng: np.random.Generator) -> NDArray[np.float32]:
    step = rng.uniform(3.5, 7)
    rows, columns = np.mgrid[0:SCENE_SIDE, 0:SCENE_SIDE] * (2 * np.pi / step)
    return np.asarray(
        np.sin(rows) * np.sign(np.sin(columns / 2)) + np.sin(columns) * np.sign(np.sin(rows / 2)), np.float32
    )
