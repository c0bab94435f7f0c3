"""Random numbers that belong together, dealt to the two servers before a query: why it is fast and nothing leaks.

The key authority deals, each server holds its part, and neither part alone says anything. Server 2's part is grown
from a seed of 32 bytes; server 1's is grown from another, but for the few numbers that must fit to server 2's: these
*corrections* are stored. Every number is used once. (Beaver, Crypto 1991; the seeds are the usual pseudorandom
correlation of a trusted dealer.)
"""

from __future__ import annotations

import os
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from visagent.errors import BadMessage

SEED_BYTES: Final = 32

Words: TypeAlias = NDArray[np.uint32]
"""Additive shares modulo 2^32: the shares of both servers add up to the number."""
Bits: TypeAlias = NDArray[np.uint8]
"""Shares of bits, eight comparisons in a byte: the shares of both servers are added bit by bit (exclusive or)."""


def new_seed() -> bytes:
    """A seed from the system's random numbers."""
    return os.urandom(SEED_BYTES)


class Stream:
    """Random numbers grown from a seed: AES-256 in counter mode.

    Args:
        seed: 32 bytes, used for one stream only.
    """

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        self._keystream = Cipher(AES(seed), CTR(bytes(16))).encryptor()

    def bits(self, *shape: int) -> Bits:
        """Random bytes of this shape."""
        count = int(np.prod(shape))
        return np.frombuffer(self._keystream.update(bytes(count)), np.uint8).reshape(shape)

    def words(self, *shape: int) -> Words:
        """Random numbers of 32 bits of this shape."""
        count = int(np.prod(shape))
        return np.frombuffer(self._keystream.update(bytes(4 * count)), "<u4").reshape(shape)


class Source(Protocol):
    """One server's part of the dealt random numbers, in the order in which a query uses them."""

    def products(self, *shape: int) -> tuple[Bits, Bits, Bits]:
        """Shares of random bits a, b, and of a AND b."""
        ...

    def choices(self, count: int, columns: int) -> tuple[Bits, Words, Words, Words]:
        """Shares of a random bit r for each of `count` rows, as bits and as numbers `[count]`; of a random row m
        `[count, columns]`; and of r m."""
        ...

    def products_with(self, matrix: Words) -> tuple[Words, Words]:
        """Shares of a random vector a `[D]`, and of the products Y a `[N]` with the gallery Y `[N, D]`.

        Only the dealer knows the whole gallery; to a server the argument is its share, of which the shape counts.
        """
        ...


class SecondSource:
    """Server 2's part: everything is grown from its seed."""

    def __init__(self, seed: bytes) -> None:
        self._stream = Stream(seed)

    def products(self, *shape: int) -> tuple[Bits, Bits, Bits]:
        return self._stream.bits(*shape), self._stream.bits(*shape), self._stream.bits(*shape)

    def choices(self, count: int, columns: int) -> tuple[Bits, Words, Words, Words]:
        return (self._stream.bits(-(-count // 8)), self._stream.words(count), self._stream.words(count, columns),
                self._stream.words(count, columns))

    def products_with(self, matrix: Words) -> tuple[Words, Words]:
        rows, columns = matrix.shape
        return self._stream.words(columns), self._stream.words(rows)


class FirstSource:
    """Server 1's part: grown from its seed, and the corrections.

    Args:
        seed: Server 1's.
        corrections: From the dealer.
    """

    def __init__(self, seed: bytes, corrections: bytes) -> None:
        self._stream = Stream(seed)
        self._corrections = memoryview(corrections)
        self._at = 0

    def products(self, *shape: int) -> tuple[Bits, Bits, Bits]:
        one, other = self._stream.bits(*shape), self._stream.bits(*shape)
        return one, other, np.frombuffer(self._correction(int(np.prod(shape))), np.uint8).reshape(shape)

    def choices(self, count: int, columns: int) -> tuple[Bits, Words, Words, Words]:
        bit, row = self._stream.bits(-(-count // 8)), self._stream.words(count, columns)
        return bit, self._words(count), row, self._words(count, columns)

    def products_with(self, matrix: Words) -> tuple[Words, Words]:
        rows, columns = matrix.shape
        return self._stream.words(columns), self._words(rows)

    def _words(self, *shape: int) -> Words:
        return np.frombuffer(self._correction(4 * int(np.prod(shape))), "<u4").reshape(shape)

    def _correction(self, size: int) -> memoryview:
        part = self._corrections[self._at:self._at + size]
        if len(part) != size:
            raise BadMessage("The random numbers dealt for this query end too early; deal new ones with "
                             "`visagent private deal`.")
        self._at += size
        return part


class Dealer:
    """The key authority's side: walks through what a query will ask for, and collects server 1's corrections.

    Args:
        first_seed: Server 1's seed.
        second_seed: Server 2's seed.
    """

    def __init__(self, first_seed: bytes, second_seed: bytes) -> None:
        self._first = Stream(first_seed)
        self._second = SecondSource(second_seed)
        self._corrections: list[bytes] = []

    @property
    def corrections(self) -> bytes:
        """What server 1 must be given beside its seed."""
        return b"".join(self._corrections)

    def products(self, *shape: int) -> None:
        one, other = self._first.bits(*shape), self._first.bits(*shape)
        mine, yours, product = self._second.products(*shape)
        self._keep(((one ^ mine) & (other ^ yours)) ^ product)

    def choices(self, count: int, columns: int) -> None:
        bit, row = self._first.bits(-(-count // 8)), self._first.words(count, columns)
        other_bit, number, other_row, product = self._second.choices(count, columns)
        whole = unpack_bits(bit ^ other_bit, count)
        self._keep(whole - number)
        self._keep(whole[:, None] * (row + other_row) - product)

    def products_with(self, matrix: Words) -> None:
        vector = self._first.words(matrix.shape[1])
        other, product = self._second.products_with(matrix)
        self._keep(matrix @ (vector + other) - product)

    def _keep(self, values: NDArray[np.uint8] | Words) -> None:
        self._corrections.append(values.tobytes())


def pack_bits(bits: NDArray[np.bool_]) -> Bits:
    """Bits along the last axis, eight in a byte, the first lowest."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack_bits(packed: Bits, count: int) -> Words:
    """The first `count` bits of the last axis as numbers 0 and 1."""
    return np.unpackbits(packed, axis=-1, count=count, bitorder="little").astype(np.uint32)
