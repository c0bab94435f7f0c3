"""The product of many powers, b_1^e_1 b_2^e_2 ... modulo a number, far faster than power by power."""

from __future__ import annotations

from collections.abc import Sequence

from gmpy2 import mpz


def multi_power(bases: Sequence[mpz], exponents: Sequence[int | mpz], modulus: mpz, window: int | None = None) -> mpz:
    """Product of `bases[i] ** exponents[i]` modulo a number, exponents not negative.

    The bucket method (Pippenger, SIAM J. Comput. 1980): exponents are cut into digits; for each place of the digits,
    bases with the same digit are multiplied first, and the products raised to their digits by running products. It
    touches memory by the exponents, so these must be masked values that may be known here.

    Args:
        bases: Numbers modulo `modulus`.
        exponents: As many.
        modulus: Of all products.
        window: Bits of a digit; by default what needs the fewest multiplications.
    """
    longest = max((int(exponent).bit_length() for exponent in exponents), default=0)
    width = window or _best_window(len(bases), longest)
    mask = (1 << width) - 1
    total = mpz(1)
    for place in reversed(range(0, longest, width)):
        if total != 1:
            for _ in range(width):
                total = total * total % modulus
        buckets: dict[int, mpz] = {}
        for base, exponent in zip(bases, exponents, strict=True):
            digit = int(exponent >> place) & mask
            if digit:
                known = buckets.get(digit)
                buckets[digit] = base if known is None else known * base % modulus
        total = total * _weighted(buckets, modulus) % modulus
    return total


def _weighted(buckets: dict[int, mpz], modulus: mpz) -> mpz:
    """Product of `buckets[d] ** d`: the highest bucket enters d times, by products of running products."""
    running = product = mpz(1)
    for digit in range(max(buckets, default=0), 0, -1):
        if digit in buckets:
            running = running * buckets[digit] % modulus
        product = product * running % modulus
    return product


def _best_window(bases: int, bits: int) -> int:
    return min(range(1, 13), key=lambda width: -(-bits // width) * (bases + 2 ** (width + 1)))
