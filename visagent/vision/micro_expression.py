"""What a micro-expression network looks at, and what it names: eight emotions, or none, and the coarser classes of the
literature that they belong to. Apart from the network, so that nothing else needs torch for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

FRAMES: Final = 8
SIDE: Final = 128
"""Pixels."""
LANDMARKS: Final = 68
INTERVAL_SECONDS: Final = 1 / 15
"""Between two frames of a window. Eight of them span half a second, the longest micro-expression; the paper spreads
its eight frames over a clip that was cut to one expression, which nobody has done for a clip that is searched."""

EMOTIONS: Final = ("happiness", "surprise", "disgust", "repression", "anger", "contempt", "fear", "sadness")
"""What CASME II and SAMM name, without "others"."""
NONE: Final = len(EMOTIONS)
"""The class without a micro-expression, after these."""

Grouping = Literal["3", "5"]

THREE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "surprise": ("surprise",),
    "positive": ("happiness",),
    "negative": ("disgust", "repression", "anger", "contempt", "fear", "sadness"),
})
"""The classes of MEGC 2019, in the order of the released code."""
FIVE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "surprise": ("surprise",),
    "happiness": ("happiness",),
    "disgust": ("disgust",),
    "repression": ("repression",),
    "others": ("anger", "contempt", "fear", "sadness"),
})
"""The classes of CASME II, in the order of the released code."""
GROUPINGS: Final[Mapping[Grouping, Mapping[str, tuple[str, ...]]]] = MappingProxyType({"3": THREE, "5": FIVE})


def grouped(probabilities: NDArray[np.floating], grouping: Grouping) -> NDArray[np.floating]:
    """Probabilities of the coarser classes, `[..., K]`, of those of the emotions and none, `[..., 9]`.

    They sum to 1: what was given to none is left out.
    """
    sums = np.stack([probabilities[..., [EMOTIONS.index(name) for name in names]].sum(-1)
                     for names in GROUPINGS[grouping].values()], -1)
    return np.asarray(sums / np.maximum(sums.sum(-1, keepdims=True), 1e-9))


def class_of(emotion: str, grouping: Grouping) -> str:
    """The coarser class of an emotion."""
    return next(name for name, emotions in GROUPINGS[grouping].items() if emotion in emotions)
