"""Powers of one number, many times: a table of its powers turns an exponentiation into a few dozen multiplications."""

from __future__ import annotations

from typing import Final

from gmpy2 import mpz

WINDOW: Final = 8
"""Bits of the exponent that one look into the table covers: exponents are read byte by byte."""


class FixedBase:
    """Powers of a base modulo a number, from a table `[exponent bytes][256]` (Brickell, Gordon, McCurley and Wilson,
    Eurocrypt 1992).

    The table is read at places that depend on the exponent, so an attacker who shares the processor's cache might
    learn something of it. It is used for the random numbers of fresh encryptions, never for keys.

    Args:
        base: The number.
        modulus: Of all powers.
        exponent_bits: Longest exponent; the table has 32 times as many entries as that.
    """

    def __init__(self, base: mpz, modulus: mpz, exponent_bits: int) -> None:
        self._modulus = modulus
        self._bytes = -(-exponent_bits // WINDOW)
        self._rows: list[list[mpz]] = []
        for _ in range(self._bytes):
            row = [mpz(1)]
            for _ in range((1 << WINDOW) - 1):
                row.append(row[-1] * base % modulus)
            self._rows.append(row)
            base = row[-1] * base % modulus

    def power(self, exponent: bytes) -> mpz:
        """The base to an exponent, given as bytes, the least first; as many as the table was made for at most."""
        product = mpz(1)
        for row, digit in zip(self._rows, exponent, strict=False):
            product = product * row[digit] % self._modulus
        return product

    @property
    def exponent_bytes(self) -> int:
        """Bytes of the longest exponent."""
        return self._bytes
