"""What an attacker has: printers, papers, displays, mask materials. Some are kept back from training.

A detector that only knows the techniques it was trained on is of little use, so every kind of technique has some that
no training picture shows; the test on those tells what carries over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from visagent.datasets.recapture.display import DISPLAYS, Display
from visagent.datasets.recapture.printer import PRINTERS, STOCKS, Printer, Stock


@dataclass(frozen=True, slots=True)
class Material:
    """What a mask, a false head or paint is made of.

    Attributes:
        name: What it is.
        one_colour: Least and most share of the skin's own colours that is lost, 0 to 1.
        smoothing: Least and most width of the skin detail that is lost, in pixels of the scene.
        shine: Least and most strength of its shine, in gray values.
        shine_size: Width of the shine's edge, in gray values: hard surfaces shine in small spots.
        tint: Mean colour it is tinted towards, RGB; None keeps the skin's.
    """

    name: str
    one_colour: tuple[float, float]
    smoothing: tuple[float, float]
    shine: tuple[float, float]
    shine_size: float
    tint: tuple[float, float, float] | None = None


RIGID = (
    Material("resin", (0.3, 0.85), (4, 8), (30, 90), 30),
    Material("plaster", (0.6, 0.95), (4, 9), (0, 12), 40, (205, 200, 192)),
    Material("painted plastic", (0.4, 0.8), (3, 7), (50, 120), 14),
)
RIGID_HELD_OUT = (
    Material("transparent plastic", (0.05, 0.2), (2, 4), (70, 150), 10),
    Material("carved wood", (0.7, 0.95), (3, 6), (10, 40), 30, (150, 105, 70)),
)
FLEXIBLE = (
    Material("silicone", (0.3, 0.7), (3, 6), (8, 45), 55),
    Material("latex", (0.4, 0.85), (3, 7), (0, 25), 60),
)
FLEXIBLE_HELD_OUT = (Material("foam rubber", (0.5, 0.9), (4, 8), (0, 8), 60),)
HEADS = (
    Material("shop mannequin", (0.6, 0.92), (4, 8), (15, 60), 35),
    Material("wax", (0.25, 0.6), (3, 6), (15, 50), 50),
)
HEADS_HELD_OUT = (Material("white display head", (0.85, 0.98), (5, 9), (5, 40), 40, (225, 222, 218)),)


@dataclass(frozen=True, slots=True)
class Techniques:
    """What may be used, by kind."""

    printers: tuple[Printer, ...]
    stocks: tuple[Stock, ...]
    displays: tuple[Display, ...]
    rigid: tuple[Material, ...]
    flexible: tuple[Material, ...]
    heads: tuple[Material, ...]


TRAIN = Techniques(PRINTERS["train"], STOCKS["train"], DISPLAYS["train"], RIGID, FLEXIBLE, HEADS)
HELD_OUT = Techniques(
    PRINTERS["held out"], STOCKS["held out"], DISPLAYS["held out"], RIGID_HELD_OUT, FLEXIBLE_HELD_OUT, HEADS_HELD_OUT
)

Technique = TypeVar("Technique")


def choose(among: Sequence[Technique], rng: np.random.Generator) -> Technique:
    """One of them, each as likely."""
    return among[int(rng.integers(len(among)))]
