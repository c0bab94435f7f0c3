"""Spoof-aware visual perception (SAVP): three maps that show texture instead of colour.

After FaceShield: gray values, a picture of the histogram of oriented gradients (HOG; Dalal and Triggs 2005), and local
binary patterns (LBP; Ojala et al. 2002), as the red, green and blue of one picture. A vision-language model takes it
as a second picture beside the photo. The paper prints no parameters; the HOG ones were fitted to its figure.
"""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np

from visagent.vision.crop import ByteImage

ORIENTATIONS = 8
CELLS = 16
"""HOG cells along the shorter side of the picture."""
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

_NEIGHBOURS = 8
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""The neighbours in order around the centre: down, right."""
_STEPS = 511
"""Values that the difference of two bytes can have."""


def savp_maps(rgb: ByteImage) -> ByteImage:
    """The maps (gray, HOG, LBP) of a picture, uint8 `[H, W, 3]`.

    Args:
        rgb: uint8 `[H, W, 3]`, at least 16 pixels a side.

    Raises:
        ValueError: Another shape or type, or smaller.
    """
    import cv2

    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or min(rgb.shape[:2]) < CELLS:
        raise ValueError(f"a picture is uint8 [H, W, 3] and at least {CELLS} pixels a side")
    gray = np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    glyphs = hog_glyphs(gray)
    top = float(glyphs.max())
    hog = cv2.convertScaleAbs(glyphs, alpha=255.0 / top if top > 0 else 0.0)
    lbp = cv2.LUT(_neighbour_bits(gray), np.rint(_uniform_codes() * (255.0 / (_NEIGHBOURS + 1))).astype(np.uint8))
    return np.asarray(cv2.merge([gray, hog, lbp]), dtype=np.uint8)


def hog_glyphs(gray: ByteImage, orientations: int = ORIENTATIONS) -> Floats:
    """The HOG picture: in every cell a line per orientation, as bright as the edges along it are strong.

    The same as `skimage.feature.hog(..., visualize=True)`. Cells are squares of a 16th of the shorter side; rows and
    columns left over at the lower and right edge stay 0.

    Args:
        gray: uint8 `[H, W]`.
        orientations: Bins over 180 degrees.

    Returns:
        float64 `[H, W]`, not scaled.
    """
    side = max(1, min(gray.shape) // CELLS)
    rows, columns = gray.shape[0] // side, gray.shape[1] // side
    values = gray.astype(np.int32)
    # Both differences in one number, so that one look in a table answers for a pixel; at the edges there are none.
    place = np.full(gray.shape, _STEPS // 2 * (_STEPS + 1), np.int32)
    place[:, 1:-1] += values[:, 2:]
    place[:, 1:-1] -= values[:, :-2]
    values *= _STEPS
    place[1:-1] += values[2:]
    place[1:-1] -= values[:-2]
    place = place[:rows * side, :columns * side].astype(np.intp)
    bins, magnitudes = _gradient_tables(orientations)
    bars = bins.take(place)
    bars += _first_bars(rows, columns, side, orientations)
    sums = np.bincount(bars.ravel(), magnitudes.take(place).ravel(), rows * columns * orientations)
    histogram = sums.reshape(rows * columns, orientations) / side ** 2
    # [rows, 1, columns, bins] @ [side, bins, side]: written in the order in which the pixels lie.
    drawn = histogram.reshape(rows, 1, columns, orientations) @ _glyph_lines(side, orientations)
    picture = np.zeros(gray.shape)
    picture[:rows * side, :columns * side] = drawn.reshape(rows * side, columns * side)
    return picture


def uniform_lbp(gray: ByteImage) -> ByteImage:
    """Local binary patterns of 8 neighbours at distance 1, rotation-invariant and uniform: codes 0 to 9.

    The same as `skimage.feature.local_binary_pattern(gray, 8, 1, "uniform")`: diagonal neighbours are interpolated,
    and outside the picture there is 0. A code is the number of neighbours at least as bright as the centre, or 9 if
    these are in more than one run.

    Args:
        gray: uint8 `[H, W]`.
    """
    import cv2

    return np.asarray(cv2.LUT(_neighbour_bits(gray), _uniform_codes()), dtype=np.uint8)


def _neighbour_bits(gray: ByteImage) -> ByteImage:
    """For each pixel a bit per neighbour, in order around it: 1 where it is at least as bright as the centre."""
    import cv2

    padded = cv2.copyMakeBorder(gray, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=[0])
    height, width = gray.shape
    level = np.zeros(gray.shape, np.int16)
    bits = np.zeros(gray.shape, np.uint8)
    for number, (down, right) in enumerate(_RING):
        if down == 0 or right == 0:
            brighter = cv2.compare(padded[1 + down:, 1 + right:][:height, :width], gray, cv2.CMP_GE)
        else:
            # A diagonal neighbour lies between four pixels: with a = sqrt(2) - 1 it is as bright as the centre if
            # corner - centre + a * (side + side - 2 * centre) >= 0. In whole numbers, 408 / 985 for a: of all
            # fractions with so small a denominator none is nearer, so the sign is right for every picture of bytes.
            kernel = np.zeros((3, 3), np.float32)
            kernel[1 + down, 1 + right] = 985
            kernel[1 + down, 1] = kernel[1, 1 + right] = 408
            kernel[1, 1] = -kernel.sum()
            between = cv2.filter2D(gray, cv2.CV_16S, kernel, borderType=cv2.BORDER_CONSTANT)
            brighter = cv2.compare(between, level, cv2.CMP_GE)
        bits |= np.asarray(brighter, dtype=np.uint8) & np.uint8(1 << number)
    return bits


@functools.lru_cache(maxsize=1)
def _uniform_codes() -> ByteImage:
    """The code of each pattern of `_neighbour_bits`, `[256]`: its number of ones, or 9 if they are in several runs."""
    ring = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    changes = (ring != np.roll(ring, 1, axis=1)).sum(1)
    return np.where(changes <= 2, ring.sum(1), _NEIGHBOURS + 1).astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _gradient_tables(orientations: int) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Floats]:
    """Bin and magnitude of every gradient of a picture of bytes, each `[511 * 511]`: rows are dy, columns dx."""
    steps = np.arange(_STEPS) - _STEPS // 2
    dy, dx = steps[:, None].astype(np.float64), steps[None, :].astype(np.float64)
    # In double precision: directions of whole pixels often lie on a border of two bins.
    angle = np.rad2deg(np.arctan2(dy, dx)) % 180
    bins = np.minimum((angle / (180 / orientations)).astype(np.int64), orientations - 1)
    return bins.ravel(), np.hypot(dy, dx).ravel()


@functools.lru_cache(maxsize=8)
def _first_bars(rows: int, columns: int, side: int, orientations: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where the histogram of each pixel's cell begins; cells go row by row."""
    cells = np.arange(rows * side)[:, None] // side * columns + np.arange(columns * side)[None, :] // side
    return (cells * orientations).astype(np.int64)


@functools.lru_cache(maxsize=16)
def _glyph_lines(side: int, orientations: int) -> Floats:
    """For each orientation the line drawn in a cell, across the gradient: `[side, orientations, side]`."""
    from skimage.draw import line

    lines = np.zeros((side, orientations, side))
    radius, centre = max(0, side // 2 - 1), side // 2
    for index, angle in enumerate(np.pi * (np.arange(orientations) + 0.5) / orientations):
        down, right = radius * np.cos(angle), radius * np.sin(angle)
        ends = int(centre - down), int(centre + right), int(centre + down), int(centre - right)
        lines[:, index][line(*ends)] = 1.0  # type: ignore[no-untyped-call]
    return lines
