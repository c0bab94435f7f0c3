"""Which of two shared numbers is smaller, without anybody learning either, their difference, or the answer.

Each server holds a number modulo 2^32, the *share*; both shares add up to the value. The sign of a value is the
highest bit of that sum: the highest bits of the two shares and the carry from below. The carry is worked out on shared
bits by the circuit of a carry-lookahead adder, in about log2 of the width many exchanges (Goldreich, Micali and
Wigderson, STOC 1987, with products dealt as in Beaver, Crypto 1991). All that crosses the wire is masked by dealt bits
that are used once, so it is uniformly random whatever the numbers are: nothing of the gaps between scores leaks,
unlike in the multiplicatively masked comparison of Pura's family.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from visagent.tools.private_match.randomness import Bits, Dealer, Source, Words, pack_bits, unpack_bits


class Exchange(Protocol):
    """The line to the other server: give it bytes, get its own."""

    def __call__(self, mine: bytes, length: int | None = None) -> bytes:
        """Raises ServerUnreachable, BadMessage; the other's bytes are as many as `mine` unless a length is given."""
        ...


def is_negative(share: Words, width: int, party: int, source: Source, exchange: Exchange) -> Bits:
    """Shares of whether each value is negative.

    Args:
        share: This server's shares `[n]` of values between -2^(width-1) and 2^(width-1).
        width: Bits of the values, their sign included, 2 to 32.
        party: 1 or 2.
        source: Dealt random numbers.
        exchange: The line to the other server.

    Returns:
        Shares of bits, eight in a byte `[ceil(n / 8)]`.
    """
    bits = pack_bits((share[None, :] >> np.arange(width, dtype=np.uint32)[:, None] & 1).astype(np.bool_))
    low = bits[:-1]
    nothing = np.zeros_like(low)
    # A carry is made where both servers' bits are 1, and handed on where one of them is.
    made = multiply_bits(*((low, nothing) if party == 1 else (nothing, low)), party, source, exchange)
    handed = low
    while len(made) > 1:
        pairs = len(made) // 2
        lower, upper = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
        products = multiply_bits(np.concatenate([handed[upper], handed[upper]]),
                                 np.concatenate([made[lower], handed[lower]]), party, source, exchange)
        made = np.concatenate([made[upper] ^ products[:pairs], made[2 * pairs:]])
        handed = np.concatenate([products[pairs:], handed[2 * pairs:]])
    sign: Bits = bits[-1] ^ made[0]
    return sign


def multiply_bits(one: Bits, other: Bits, party: int, source: Source, exchange: Exchange) -> Bits:
    """Shares of the products of shared bits, in one exchange."""
    a, b, ab = source.products(*one.shape)
    mine = np.stack([one ^ a, other ^ b])
    opened = mine ^ np.frombuffer(exchange(mine.tobytes()), np.uint8).reshape(mine.shape)
    product: Bits = ab ^ (opened[0] & b) ^ (opened[1] & a)
    return product ^ (opened[0] & opened[1]) if party == 1 else product


def choose(bit: Bits, rows: Words, party: int, source: Source, exchange: Exchange) -> Words:
    """Shares of each row where its bit is 1, and of zeros where it is 0, in one exchange.

    Args:
        bit: Shares of the bits, eight in a byte `[ceil(n / 8)]`.
        rows: Shares `[n, columns]`.
        party: 1 or 2.
        source: Dealt random numbers.
        exchange: The line to the other server.
    """
    count = len(rows)
    random_bit, number, mask, product = source.choices(count, rows.shape[1])
    flips, hidden = bit ^ random_bit, rows - mask
    theirs = exchange(flips.tobytes() + hidden.tobytes())
    flipped = unpack_bits(flips ^ np.frombuffer(theirs[:len(flips)], np.uint8), count)[:, None]
    opened = hidden + np.frombuffer(theirs[len(flips):], "<u4").reshape(rows.shape)
    # bit = flipped + (1 - 2 flipped) r, and row = opened + m; both openings are known to both servers.
    of_random = number[:, None] * opened + product
    chosen: Words = flipped * rows + (1 - 2 * flipped) * of_random
    return chosen


def deal_signs(count: int, width: int, dealer: Dealer) -> None:
    """What `is_negative` will ask for, of `count` values."""
    packed, carries = -(-count // 8), width - 1
    dealer.products(carries, packed)
    while carries > 1:
        pairs = carries // 2
        dealer.products(2 * pairs, packed)
        carries -= pairs


def rounds(width: int) -> int:
    """Exchanges that `is_negative` takes."""
    carries, taken = width - 1, 1
    while carries > 1:
        carries, taken = carries - carries // 2, taken + 1
    return taken
