"""Many small numbers in one plaintext: slots of equal width, side by side.

A plaintext is sum_j value_j 2^(w j). Sums and multiples of plaintexts are those of all slots at once, as long as every
slot's final value stays within its width; what happens on the way does not matter, since all is exact modulo N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gmpy2 import mpz


@dataclass(frozen=True, slots=True)
class Slots:
    """How numbers are laid side by side.

    Attributes:
        width: Bits of a slot.
        count: Slots in a plaintext.
    """

    width: int
    count: int

    @classmethod
    def within(cls, key_bits: int, width: int) -> Slots:
        """As many slots as a positive plaintext of N of so many bits holds."""
        return cls(width, (key_bits - 2) // width)

    def pack(self, values: Sequence[int]) -> mpz:
        """At most `count` values, each of any sign, as one plaintext. Raises ValueError for more."""
        if len(values) > self.count:
            raise ValueError(f"{len(values)} values do not fit {self.count} slots")
        packed = mpz(0)
        for value in reversed(values):
            packed = (packed << self.width) + value
        return packed

    def unpack(self, packed: int | mpz, count: int) -> list[int]:
        """The first values of a plaintext whose slots are all from 0 to 2^width - 1."""
        whole = mpz(packed)
        mask = (mpz(1) << self.width) - 1
        return [int(whole >> (self.width * slot) & mask) for slot in range(count)]

    def blocks(self, number: int) -> int:
        """Plaintexts for so many values."""
        return -(-number // self.count)
