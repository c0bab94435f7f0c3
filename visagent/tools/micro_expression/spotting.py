"""Where in a clip the micro-expressions are: brief movements of the skin in which MOL sees one.

The motion says when something rose and fell (`movement.py`); MOL, which looks at half a second around every moment,
says whether it is an expression, and which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.tools.micro_expression.movement import Movement
from visagent.vision.micro_expression import EMOTIONS, FRAMES, INTERVAL_SECONDS, NONE

Crops = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
Look = Callable[[Crops, NDArray[np.int64]], Probabilities]
"""Frames `[T, 128, 128]` and windows over them `[N, 8]` to probabilities of the emotions and none, `[N, 9]`."""

STEP_SECONDS: Final = INTERVAL_SECONDS
"""Between two windows."""
SMOOTH_WINDOWS: Final = 3
"""Neighbouring windows whose log-probabilities are averaged."""
APART_SECONDS: Final = 0.5
"""Two expressions closer than this are one."""
LEAST_PIXELS: Final = 0.1
"""Of the crop: what moves less is the trembling of the flow."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What MOL says over time.

    Attributes:
        seconds: Middles of the windows, `[N]`.
        probabilities: Of the emotions and none, smoothed, `[N, 9]`.
    """

    seconds: NDArray[np.float64]
    probabilities: Probabilities

    @property
    def score(self) -> NDArray[np.float32]:
        """Probability of a micro-expression, `[N]`."""
        return 1 - self.probabilities[:, NONE]

    def at(self, seconds: float) -> Probabilities | None:
        """Of the window around a moment, `[9]`; None where nothing is said near it."""
        if not len(self.seconds):
            return None
        nearest = int(np.abs(self.seconds - seconds).argmin())
        far = abs(float(self.seconds[nearest]) - seconds) > APART_SECONDS
        return None if far else np.asarray(self.probabilities[nearest])

    def without(self, windows: NDArray[np.bool_]) -> Curve:
        """The curve without these windows, `[N]`."""
        return Curve(self.seconds[~windows], self.probabilities[~windows])


@dataclass(frozen=True, slots=True, eq=False)
class Spotted:
    """One find.

    Attributes:
        movement: When and how the skin moved.
        score: MOL's probability of a micro-expression in the half second around it.
        probabilities: Of the emotions and none there, `[9]`.
    """

    movement: Movement
    score: float
    probabilities: Probabilities

    @property
    def onset(self) -> float:
        """Seconds."""
        return self.movement.onset

    @property
    def apex(self) -> float:
        """Seconds."""
        return self.movement.apex

    @property
    def offset(self) -> float:
        """Seconds."""
        return self.movement.offset

    @property
    def emotion(self) -> str:
        """The likeliest of the eight."""
        return EMOTIONS[int(self.probabilities[:NONE].argmax())]


def windows_of(seconds: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The frames of all windows: their numbers `[N, 8]`, and the windows' middles in seconds `[N]`.

    A frame is the one that is nearest in time, so that clips of any frame rate give the same windows. A clip that is
    shorter than a window was cut to one expression: its windows are the paper's, eight frames spread over all of it.

    Args:
        seconds: When each frame is shown, `[T]` with T of at least 8.
    """
    half = INTERVAL_SECONDS * (FRAMES - 1) / 2
    if seconds[-1] - seconds[0] < 2 * half:
        stride = len(seconds) // FRAMES
        spread = np.arange(stride)[:, None] + stride * np.arange(FRAMES)
        return spread, np.full(stride, (seconds[0] + seconds[-1]) / 2)
    middles = np.arange(seconds[0] + half, seconds[-1] - half + 1e-6, STEP_SECONDS)
    wanted = middles[:, None] + INTERVAL_SECONDS * (np.arange(FRAMES) - (FRAMES - 1) / 2)
    after = np.clip(np.searchsorted(seconds, wanted), 1, len(seconds) - 1)
    before_is_nearer = wanted - seconds[after - 1] < seconds[after] - wanted
    return np.where(before_is_nearer, after - 1, after), middles


def read_curve(crops: Crops, seconds: NDArray[np.float64], look: Look) -> Curve:
    """What MOL says over a clip.

    Args:
        crops: Aligned frames `[T, 128, 128]`.
        seconds: When each is shown, `[T]`.
        look: The network.
    """
    chosen, middles = windows_of(seconds)
    logs = np.log(np.maximum(look(crops, chosen), 1e-9))
    kernel = np.ones(min(SMOOTH_WINDOWS, len(logs)))
    weights = np.convolve(np.ones(len(logs)), kernel, "same")
    smooth = np.stack([np.convolve(column, kernel, "same") for column in logs.T], 1) / weights[:, None]
    likely = np.exp(smooth)
    return Curve(middles, (likely / likely.sum(1, keepdims=True)).astype(np.float32))


def spot(found: Iterable[Movement], curve: Curve, *, probability: float, explained: float) -> list[Spotted]:
    """The movements that are micro-expressions, in order: brief, strong, apart, no blink, and seen as one by MOL.

    Args:
        found: Of one stretch of a clip.
        curve: What MOL says over it.
        probability: Least of `Spotted.score`.
        explained: Least of `Movement.explained`.
    """
    kept: list[Spotted] = []
    for movement in sorted(found, key=lambda movement: -movement.explained):
        if movement.explained < explained or movement.pixels < LEAST_PIXELS or movement.is_blink \
                or not movement.is_brief or any(abs(movement.apex - other.apex) < APART_SECONDS for other in kept):
            continue
        seen = curve.at((movement.onset + movement.offset) / 2)
        if seen is not None and 1 - float(seen[NONE]) >= probability:
            kept.append(Spotted(movement, 1 - float(seen[NONE]), seen))
    return sorted(kept, key=lambda spotted: spotted.onset)
