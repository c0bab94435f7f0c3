"""Moiré from two grids: a display's pixels seen through a camera's.

Nothing here draws fringes. A display's pixel is a periodic pattern, so it is a sum of cosines over the picture; a
camera takes that sum at the places of its own photosites, red and blue ones at every second place only. What is finer
than the photosites comes out as slow coloured waves by itself (Nyquist's aliasing), bent as the display is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cell:
    """The repeating cell of a display's pixels: rectangles of light of one colour each.

    Attributes:
        lights: For red, green and blue, `(centre x, centre y, width, height)` of each light in shares of the cell.
    """

    lights: tuple[tuple[tuple[float, float, float, float], ...], ...]

    def harmonic(self, across: int, down: int) -> NDArray[np.complex128]:
        """Fourier coefficient of each colour's light at this harmonic, complex `[3]`, relative to its mean."""
        values = []
        for colour in self.lights:
            whole = sum(width * height for _, _, width, height in colour)
            value = sum(
                width
                * height
                * np.sinc(across * width)
                * np.sinc(down * height)
                * np.exp(-2j * np.pi * (across * x + down * y))
                for x, y, width, height in colour
            )
            values.append(value / whole)
        return np.array(values)


STRIPES = Cell(tuple((((number + 0.5) / 3, 0.5, 0.26, 0.82),) for number in range(3)))
"""The usual LCD: three upright stripes."""
LYING_STRIPES = Cell(tuple(((0.5, (number + 0.5) / 3, 0.82, 0.26),) for number in range(3)))
"""The same display held on its side."""
DIAMOND = Cell(
    (
        ((0.25, 0.25, 0.3, 0.3), (0.75, 0.75, 0.3, 0.3)),
        ((0.25, 0.75, 0.2, 0.2), (0.75, 0.25, 0.2, 0.2), (0.0, 0.5, 0.2, 0.2), (0.5, 0.0, 0.2, 0.2)),
        ((0.75, 0.25, 0.3, 0.3), (0.25, 0.75, 0.3, 0.3)),
    )
)
"""A phone's OLED: twice as many green lights as red or blue ones, in diagonal rows."""
DELTA = Cell(
    (
        ((0.17, 0.25, 0.24, 0.4), (0.67, 0.75, 0.24, 0.4)),
        ((0.5, 0.25, 0.24, 0.4), (0.0, 0.75, 0.24, 0.4)),
        ((0.83, 0.25, 0.24, 0.4), (0.33, 0.75, 0.24, 0.4)),
    )
)
"""Televisions and projectors: rows set off against each other."""
LED_WALL = Cell(tuple(((0.5 + shift, 0.5, 0.18, 0.3),) for shift in (-0.12, 0.0, 0.12)))
"""Small lamps with dark between them."""

_ORDERS = tuple(
    (across, down)
    for across in range(4)
    for down in range(-3, 4)
    if 0 < across**2 + down**2 <= 9 and (across > 0 or down > 0)
)


def light_on_photosites(cell: Cell, across: Field, down: Field, *, pitch: float, blur: float) -> Field:
    """How bright each colour of an even display is on the camera's photosites, float32 `[C, C, 3]` around 1.

    Args:
        cell: The display's repeating cell.
        across: Where each photosite looks, in cells of the display along its rows, float32 `[C, C]`, C even.
        down: The same along its columns.
        pitch: Photosites per cell, about; tells how much of a harmonic the lens and the photosite's own width leave.
        blur: Spread of the lens's blur in photosites.
    """
    seen = np.ones((*across.shape, 3), np.float32)
    for order in _ORDERS:
        frequency = np.hypot(*order) / pitch
        photosite = np.sinc(order[0] / pitch) * np.sinc(order[1] / pitch)
        left = float(np.exp(-2 * (np.pi * blur * frequency) ** 2) * photosite)
        weights = 2 * left * cell.harmonic(*order)
        if np.abs(weights).max() < 0.004:
            continue
        phase = np.float32(2 * np.pi) * (np.float32(order[0]) * across + np.float32(order[1]) * down)
        cosine, sine = np.cos(phase), np.sin(phase)
        for colour, weight in enumerate(weights):
            seen[..., colour] += np.float32(weight.real) * cosine - np.float32(weight.imag) * sine
    return seen


def mosaic(light: Field) -> Field:
    """What a colour filter mosaic (RGGB) makes of the light on `[C, C, 3]` photosites, filled in bilinearly."""
    side = light.shape[0]
    out = np.empty_like(light)
    for colour, (row, column) in ((0, (0, 0)), (2, (1, 1))):
        small = np.ascontiguousarray(light[row::2, column::2, colour])
        # Photosite (row, column) of every second: its centre is off by a quarter of the coarse step.
        shift = np.array([[0.5, 0, -column / 2], [0, 0.5, -row / 2]], np.float32)
        out[..., colour] = cv2.warpAffine(
            small, shift, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
    green = light[..., 1]
    around = cv2.filter2D(green, -1, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4)
    rows, columns = np.ogrid[0:side, 0:side]
    out[..., 1] = np.where((rows + columns) % 2 == 1, green, around)
    return out
