"""Spoof-aware visual perception (SAVP): three maps that show texture instead of colour.

After FaceShield: gray values, a picture of the histogram of oriented gradients (HOG; Dalal and Triggs 2005), and local
binary patterns (LBP; Ojala et al. 2002), as the red, green and blue of one picture. A vision-language model takes it
as a second picture beside the photo. The paper prints no parameters; the HOG ones were fitted to its figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from visagent.vision.crop import ByteImage

ORIENTATIONS = 8
CELLS = 16
"""HOG cells along the shorter side of the picture."""
_NEIGHBOURS = 8


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
    hog = np.rint(glyphs * (255.0 / top)) if top > 0 else glyphs
    lbp = np.rint(uniform_lbp(gray) * (255.0 / (_NEIGHBOURS + 1)))
    return np.dstack([gray, hog.astype(np.uint8), lbp.astype(np.uint8)])


def hog_glyphs(gray: ByteImage, orientations: int = ORIENTATIONS) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The HOG picture: in every cell a line per orientation, as bright as the edges along it are strong.

    The same as `skimage.feature.hog(..., visualize=True)`. Cells are squares of a 16th of the shorter side; rows and
    columns left over at the lower and right edge stay 0.

    Args:
        gray: uint8 `[H, W]`.
        orientations: Bins over 180 degrees.

    Returns:
        float64 `[H, W]`, not scaled.
    """
    import cv2

    side = max(1, min(gray.shape) // CELLS)
    rows, columns = gray.shape[0] // side, gray.shape[1] // side
    dx, dy = np.zeros(gray.shape, np.float32), np.zeros(gray.shape, np.float32)
    values = gray.astype(np.float32)
    dx[:, 1:-1] = values[:, 2:] - values[:, :-2]
    dy[1:-1] = values[2:] - values[:-2]
    dx, dy = dx[:rows * side, :columns * side], dy[:rows * side, :columns * side]
    bins = _orientation_bins(dx, dy, orientations)
    magnitude = cv2.magnitude(dx, dy)
    cell = np.arange(rows * side)[:, None] // side * columns + np.arange(columns * side)[None, :] // side
    sums = np.bincount((cell * orientations + bins).ravel(), magnitude.ravel(), rows * columns * orientations)
    histogram = sums.reshape(rows * columns, orientations) / side ** 2
    drawn = (histogram @ _glyph_lines(side, orientations).reshape(orientations, -1)).reshape(rows, columns, side, side)
    picture = np.zeros(gray.shape)
    picture[:rows * side, :columns * side] = drawn.transpose(0, 2, 1, 3).reshape(rows * side, columns * side)
    return picture


def uniform_lbp(gray: ByteImage) -> ByteImage:
    """Local binary patterns of 8 neighbours at distance 1, rotation-invariant and uniform: codes 0 to 9.

    The same as `skimage.feature.local_binary_pattern(gray, 8, 1, "uniform")`: diagonal neighbours are interpolated,
    and outside the picture there is 0. A code is the number of neighbours at least as bright as the centre, or 9 if
    these are in more than one run.

    Args:
        gray: uint8 `[H, W]`.
    """
    height, width = gray.shape
    padded = np.pad(gray, 1).astype(np.float32)

    def shifted(down: int, right: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return padded[1 + down:1 + down + height, 1 + right:1 + right + width]

    # A diagonal neighbour lies between four pixels. Measured from the centre the sum below is 0 exactly where the four
    # are equal, so that plain surfaces are not decided by rounding.
    near = np.float32(1 - np.sqrt(0.5))
    centre = shifted(0, 0)
    bits = []
    for down, right in ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)):
        if down == 0 or right == 0:
            bits.append(shifted(down, right) >= centre)
        else:
            sides = (shifted(down, 0) - centre) + (shifted(0, right) - centre)
            corner = shifted(down, right) - centre
            bits.append(near * sides + (1 - near) * corner >= 0)
    ring = np.stack(bits).view(np.uint8)
    changes = (ring ^ np.roll(ring, 1, axis=0)).sum(0, dtype=np.uint8)
    ones = ring.sum(0, dtype=np.uint8)
    return np.where(changes <= 2, ones, np.uint8(_NEIGHBOURS + 1))


def _orientation_bins(dx: np.ndarray, dy: np.ndarray, orientations: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The bin of each gradient's direction, taken modulo 180 degrees."""
    # In double precision: directions of whole pixels often lie on a border of two bins.
    angle = np.rad2deg(np.arctan2(dy, dx, dtype=np.float64)) % 180
    return np.asarray(np.minimum((angle / (180 / orientations)).astype(np.intp), orientations - 1))


def _glyph_lines(side: int, orientations: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """For each orientation the line drawn in a cell, across the gradient: `[orientations, side, side]`."""
    from skimage.draw import line

    lines = np.zeros((orientations, side, side))
    radius, centre = max(0, side // 2 - 1), side // 2
    for index, angle in enumerate(np.pi * (np.arange(orientations) + 0.5) / orientations):
        down, right = radius * np.cos(angle), radius * np.sin(angle)
        ends = int(centre - down), int(centre + right), int(centre + down), int(centre - right)
        lines[index][line(*ends)] = 1.0  # type: ignore[no-untyped-call]
    return lines
