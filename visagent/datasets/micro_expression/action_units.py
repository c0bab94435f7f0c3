"""How a face's landmarks pull the skin in each action unit, and which action units make an emotion.

The simulator moves single photos by these: a few pulls for each action unit of FACS (Ekman and Friesen, 1978), each at
a place given by landmarks, in a direction of the face's own axes, and fading with distance. Sizes relate the pulls
of one unit to each other; how many pixels the strongest moves is chosen by the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

COMBINATIONS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "happiness": ((12,), (6, 12), (12, 25), (6, 12, 25)),
    "surprise": ((1, 2), (1, 2, 5), (1, 2, 25), (1, 2, 5, 26), (2,)),
    "disgust": ((9,), (4, 9), (4, 7, 9), (10,), (4, 7, 10)),
    "repression": ((15,), (17,), (15, 17), (14,), (23, 24)),
    "anger": ((4,), (4, 7), (4, 23), (4, 5, 7), (4, 7, 24)),
    "contempt": ((14,),),
    "fear": ((1, 4, 20), (1, 2, 4, 20), (20, 25), (1, 4, 5)),
    "sadness": ((1, 15), (1, 4, 15), (1, 4), (1, 17)),
}
"""Action units of each emotion, in the ways it shows (after EMFACS and the codings of CASME II and SAMM)."""
ONE_SIDED = ("contempt",)
"""Emotions that show on one side of the face."""


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull at a place of the face.

    Attributes:
        marks: 68-point marks whose mean is the place; of the picture's left half, or of the middle.
        outward: How far towards the side; negative is towards the middle. For marks of the middle: 0.
        up: How far up; negative is down.
        reach: Distance at which the pull has faded to 0.6, in distances between the eyes.
        offset: From the marks to the place, as (outward, up) in distances between the eyes.
        central: Whether it lies in the middle; else there is its mirror image, too.
    """

    marks: tuple[int, ...]
    outward: float = 0.0
    up: float = 0.0
    reach: float = 0.22
    offset: tuple[float, float] = (0.0, 0.0)
    central: bool = False


_MOUTH_CORNER, _CHEEK, _NOSTRIL = (48,), (40, 41), (31,)

PULLS: Mapping[int, tuple[Pull, ...]] = {
    1: (Pull((20, 21), up=1.0, reach=0.25), Pull((20, 21), up=0.5, reach=0.3, offset=(0.0, 0.35))),
    2: (Pull((17, 18), up=1.0, reach=0.28), Pull((18, 19), up=0.7, reach=0.28, offset=(0.0, 0.3))),
    4: (Pull((20, 21), outward=-0.6, up=-0.8), Pull((18, 19), up=-0.6), Pull((27,), up=-0.4, central=True)),
    5: (Pull((37, 38), up=0.8, reach=0.11),),
    6: (Pull(_CHEEK, up=0.9, reach=0.25, offset=(0.1, -0.35)), Pull((36,), outward=-0.5, up=-0.2, reach=0.15)),
    7: (Pull((40, 41), up=0.8, reach=0.12), Pull((37, 38), up=-0.4, reach=0.1)),
    9: (Pull(_NOSTRIL, up=0.9, reach=0.18), Pull((28, 29), up=0.5, reach=0.18, central=True),
        Pull((21,), outward=-0.3, up=-0.5, reach=0.18)),
    10: (Pull((49, 50), up=0.9, reach=0.16), Pull((51,), up=0.6, reach=0.15, central=True),
         Pull(_NOSTRIL, up=0.4, reach=0.15)),
    12: (Pull(_MOUTH_CORNER, outward=0.7, up=0.8, reach=0.24), Pull(_CHEEK, up=0.3, reach=0.25, offset=(0.1, -0.4))),
    14: (Pull(_MOUTH_CORNER, outward=0.8, up=0.1, reach=0.16),
         Pull(_MOUTH_CORNER, outward=-0.5, reach=0.14, offset=(0.25, 0.0))),
    15: (Pull(_MOUTH_CORNER, outward=0.2, up=-0.9, reach=0.22),),
    17: (Pull((8, 57), up=0.9, reach=0.25, central=True), Pull((57,), up=0.6, reach=0.18, central=True)),
    20: (Pull(_MOUTH_CORNER, outward=1.0, up=-0.25, reach=0.24),),
    23: (Pull(_MOUTH_CORNER, outward=-0.5, reach=0.16), Pull((51,), up=-0.4, reach=0.14, central=True),
         Pull((57,), up=0.4, reach=0.14, central=True)),
    24: (Pull((51,), up=-0.6, reach=0.18, central=True), Pull((57,), up=0.7, reach=0.18, central=True)),
    25: (Pull((57, 66), up=-0.8, reach=0.17, central=True), Pull((51, 62), up=0.2, reach=0.14, central=True)),
    26: (Pull((8,), up=-0.9, reach=0.35, central=True), Pull((57,), up=-0.8, reach=0.25, central=True)),
    45: (Pull((37, 38), up=-1.0, reach=0.09), Pull((40, 41), up=0.15, reach=0.09)),
}
"""The pulls of each action unit; 45 is a blink."""

UNITS = tuple(PULLS)
"""The action units, in the order of the columns of `PullTable`."""

MIRRORED = (16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 27, 28,
            29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59,
            58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65)
"""The mark of a face that each mark becomes in its mirror image."""


@dataclass(frozen=True, slots=True)
class PullTable:
    """All pulls of all action units, as arrays over J pulls.

    Attributes:
        places: Weights of the 68 marks, float32 `[J, 68]`; each row sums to 1.
        offsets: From there, float32 `[J, 2]` as (right, down) of an upright face, in distances between the eyes.
        moves: float32 `[J, 2]`, likewise.
        reaches: float32 `[J]`, in distances between the eyes.
        units: Which of `UNITS` each belongs to, int64 `[J]`.
        sides: 0 for the picture's left, 1 for its right, 2 for the middle, int64 `[J]`.
    """

    places: NDArray[np.float32]
    offsets: NDArray[np.float32]
    moves: NDArray[np.float32]
    reaches: NDArray[np.float32]
    units: NDArray[np.int64]
    sides: NDArray[np.int64]


@cache
def pull_table() -> PullTable:
    """`PULLS` with the mirror images, as arrays."""
    rows = []
    for number, unit in enumerate(UNITS):
        for pull in PULLS[unit]:
            rows += [(number, pull, side) for side in ((2,) if pull.central else (0, 1))]
    places = np.zeros((len(rows), 68), np.float32)
    offsets, moves = np.zeros((2, len(rows), 2), np.float32)
    for row, (_, pull, side) in enumerate(rows):
        marks = [MIRRORED[mark] for mark in pull.marks] if side == 1 else list(pull.marks)
        places[row, marks] = 1 / len(marks)
        right = (-1.0, 1.0, 0.0)[side]  # outward on this side, as a direction of the picture
        offsets[row] = right * pull.offset[0], -pull.offset[1]
        moves[row] = right * pull.outward, -pull.up
    return PullTable(places, offsets, moves, np.array([pull.reach for _, pull, _ in rows], np.float32),
                     np.array([number for number, _, _ in rows]), np.array([side for _, _, side in rows]))
