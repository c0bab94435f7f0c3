"""What scenes are put together from: drawn once, used many times, since drawing is what takes long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from visagent.datasets.surroundings.canvas import MIDDLE, Layer, Pixels, add_light, lay, noise, soften
from visagent.datasets.surroundings.carriers import CARRIERS, Carrier
from visagent.datasets.surroundings.people import Head, figure_of, moved
from visagent.datasets.surroundings.places import place

Share = Literal["train", "held out"]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """People, places and carriers.

    Attributes:
        figures: People, cut out.
        places: Backgrounds, uint8 `[S, S, 3]`.
        carriers: Kinds of screen and sheet.
    """

    figures: Sequence[Layer]
    places: Sequence[Pixels]
    carriers: Sequence[Carrier]

    def somewhere(self, rng: np.random.Generator) -> Pixels:
        """A background of its own: mirrored, in or out of focus, lit."""
        picture = self.places[int(rng.integers(len(self.places)))]
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        picture = soften(picture, rng.exponential(2.5)) if rng.random() < 0.5 else picture
        if rng.random() < 0.6:
            return add_light(picture, noise(rng, rng.uniform(60, 200)) * np.float32(rng.uniform(3, 22)))
        return np.ascontiguousarray(picture).copy()

    def add_somebody(self, canvas: Pixels, rng: np.random.Generator, *, centre: tuple[float, float] = MIDDLE,
                     scale: float = 1.0) -> Pixels:
        """A person before what is on the canvas, which is drawn over; the face's middle at `centre`, in pixels."""
        figure = self.figures[int(rng.integers(len(self.figures)))]
        return lay(canvas, moved(figure, centre=centre, scale=scale, tilt=float(rng.normal(0, 5)),
                                 mirror=bool(rng.random() < 0.5)))

    def something(self, rng: np.random.Generator) -> Carrier:
        """A kind of screen or sheet."""
        return self.carriers[int(rng.integers(len(self.carriers)))]


def set_stage(heads: Sequence[Head], rng: np.random.Generator, *, share: Share = "train", people: int = 300,
              places: int = 200) -> Stage:
    """Draw what scenes are put together from.

    Args:
        heads: To draw people with.
        rng: Source of all randomness.
        share: Which kinds of place and carrier.
        people: How many to draw.
        places: How many to draw.
    """
    chosen = rng.integers(len(heads), size=people)
    return Stage([figure_of(heads[int(index)], rng) for index in chosen], [place(rng, share) for _ in range(places)],
                 CARRIERS[share])
