"""What leader and helper of the reference protocols agree on: sizes of masks and slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visagent.tools.private_match.packing import Slots

SIGMA: Final = 128
"""Bits by which a mask is longer than what it hides: what the helper sees is within 2^-128 of uniform."""
IDENTITY_BITS: Final = 128


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bits of what a search handles.

    Attributes:
        key_bits: Of N.
        dimension: Numbers in a template.
        number_bits: Of each, its sign included.
        distance_bits: Every squared distance is under 2 to this.
    """

    key_bits: int
    dimension: int
    number_bits: int
    distance_bits: int

    @property
    def offset(self) -> int:
        """Added to a difference of two numbers to make it positive."""
        return 1 << (self.number_bits + 1)

    @property
    def differences(self) -> Slots:
        """Slots for masked differences of two numbers."""
        return Slots.within(self.key_bits, SIGMA + 2)

    @property
    def comparisons(self) -> Slots:
        """Slots for masked differences of two distances, each made positive by 2^(width - 1)."""
        return Slots.within(self.key_bits, SIGMA + self.distance_bits + 3)
