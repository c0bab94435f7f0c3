"""Faces as small integers: what an embedding becomes before it is shared or encrypted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.vision.encoder import Embeddings

SCALES: Final = {8: 256, 10: 1024}
"""What an embedding of length 1 is multiplied by, for numbers of so many bits. Numbers over the greatest are cut;
of dlib's on LFW none is, whereas at twice the scale 0.7 % are, which lets more strangers pass than it should
(benchmarks/private_match_accuracy.py). Powers of two keep thresholds exact."""


@dataclass(frozen=True, slots=True)
class Quantiser:
    """How embeddings of length 1 become whole numbers, and what that makes of thresholds.

    Attributes:
        dimension: Numbers in an embedding.
        bits: Of a whole number, its sign included.
    """

    dimension: int
    bits: int = 8

    @property
    def scale(self) -> int:
        """What embeddings are multiplied by."""
        return SCALES[self.bits]

    @property
    def greatest(self) -> int:
        """127 for 8 bits; the least is its negative."""
        return (1 << (self.bits - 1)) - 1

    @property
    def distance_bits(self) -> int:
        """Bits of the greatest squared distance there can be."""
        return (self.dimension * (2 * self.greatest) ** 2).bit_length()

    def __call__(self, embeddings: Embeddings) -> NDArray[np.int64]:
        """Whole numbers of the same shape: rounded multiples, cut at the greatest."""
        scaled = np.rint(embeddings.astype(np.float64) * self.scale)
        return np.clip(scaled, -self.greatest, self.greatest).astype(np.int64)

    def squared_threshold(self, similarity: float) -> int:
        """The greatest squared distance that still counts where cosine similarities from `similarity` on count.

        Embeddings have length 1, so d^2 = 2 - 2 cos; whole numbers are `scale` times as long.
        """
        whole = math.floor(self.scale ** 2 * 2 * (1 - similarity))
        return min(max(whole, 0), (1 << self.distance_bits) - 1)
