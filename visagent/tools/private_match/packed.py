"""The way for a gallery that stays under Paillier's encryption: many records in one ciphertext.

A block holds, for each of the D numbers of a template, one ciphertext with that number of K records side by side
(times -2), and one with their squared lengths. A query x reaches the servers as r and x + r. Each raises the block's D
ciphertexts to its own numbers; the quotient of both products holds -2 x y of K records at once. Masked, opened by both
servers together, the distances become shares, which `tournament` compares without a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.messages import read_ciphertexts, write_ciphertexts
from visagent.tools.private_match.packing import Slots
from visagent.tools.private_match.paillier import PublicKey
from visagent.tools.private_match.randomness import Source, Stream, Words, new_seed
from visagent.tools.private_match.threshold_key import KeyShare, combine
from visagent.tools.private_match.tournament import nearest
from visagent.tools.private_match.workers import Workers

STATISTICAL: Final = 40
"""Bits by which masks are longer than what they hide: the chance that one tells anything is under 2^-40."""


@dataclass(frozen=True, eq=False)
class PackedGallery:
    """What both servers hold alike, but for their shares of the identities.

    Attributes:
        blocks: Per block the D ciphertexts of the numbers times -2.
        lengths: Per block the ciphertext of the squared lengths.
        identities: Shares `[N, 4]`.
    """

    blocks: Sequence[Sequence[mpz]]
    lengths: Sequence[mpz]
    identities: Words

    def __len__(self) -> int:
        return len(self.identities)


def slots_for(key_bits: int, distance_bits: int) -> Slots:
    """Slots in which a distance, made positive, and its mask have room."""
    return Slots.within(key_bits, distance_bits + STATISTICAL + 1)


def encrypt_blocks(templates: NDArray[np.int64], distance_bits: int, public: PublicKey,
                   progress: Callable[[int], None] = lambda done: None) -> list[list[mpz]]:
    """Blocks of a gallery `[N, D]`: D ciphertexts of numbers, then one of the squared lengths.

    Args:
        templates: Whole numbers.
        distance_bits: Every squared distance is under 2 to this.
        public: The key.
        progress: Told how many records are done.
    """
    slots = slots_for(public.bits, distance_bits)
    blocks = []
    for start in range(0, len(templates), slots.count):
        some = templates[start:start + slots.count]
        lengths = [int(row @ row) for row in some]
        columns = [public.encrypt(slots.pack([-2 * int(value) for value in column])) for column in some.T]
        blocks.append([*columns, public.encrypt(slots.pack(lengths))])
        progress(start + len(some))
    return blocks


def mask_query(vector: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """What each server is sent of a query `[D]`: a seed that stands for the masks, and the masked numbers.

    With each goes a share of the vector's squared length.
    """
    seed = new_seed()
    masks, length = _masks(seed, len(vector))
    masked = (vector + masks).astype("<u8").tobytes()
    rest = np.uint32(int(vector @ vector) - int(length) & 0xFFFFFFFF)
    return seed, masked + rest.astype("<u4").tobytes()


def _masks(seed: bytes, dimension: int) -> tuple[NDArray[np.int64], np.uint32]:
    """Uniform over 2^48, moved up so that a masked number is never negative; and a share of the length.

    Numbers of 8 bits are hidden to 2^-40, those of 10 bits to 2^-38.
    """
    words = Stream(seed).words(2 * dimension + 1).astype(np.int64)
    low, high = words[:dimension], words[dimension:-1] & 0xFFFF
    return (high << 32) + low + (1 << 10), np.uint32(words[-1])


def search_packed(gallery: PackedGallery, query: bytes, threshold: int, distance_bits: int, share: KeyShare,
                  source: Source, exchange: Exchange, workers: Workers,
                  said: Callable[[str], None] = lambda step: None) -> Words:
    """Shares `[4]` of the identity of the nearest template, or of zeros if it is too far.

    Args:
        gallery: The encrypted gallery.
        query: What the user sent: of `mask_query` the first for party 1, the second for party 2.
        threshold: The greatest squared distance that is near enough.
        distance_bits: Every squared distance is under 2 to this.
        share: This server's half of the key.
        source: Dealt random numbers.
        exchange: The line to the other server.
        workers: For work on all cores.
        said: Told what is being done.
    """
    dimension = len(gallery.blocks[0])
    if share.party == 1:
        exponents, length = _masks(query, dimension)
    else:
        exponents, length = np.frombuffer(query[:-4], "<u8").astype(np.int64), np.frombuffer(query[-4:], "<u4")[0]
    said("distances")
    distances = _distance_shares(gallery, exponents, distance_bits, share, exchange, workers) + length
    said("comparisons")
    return nearest(distances, gallery.identities, threshold, distance_bits, share.party, source, exchange)


def _distance_shares(gallery: PackedGallery, exponents: NDArray[np.int64], distance_bits: int, share: KeyShare,
                     exchange: Exchange, workers: Workers) -> Words:
    """Shares `[N]` of |y|^2 - 2 x y.

    Each server finishes half of the blocks, so that both have work all the time: it takes the other's product, masks,
    and decrypts its part; the other completes the decryption and has the masked distances as its shares.
    """
    public, slots = share.public, slots_for(share.public.bits, distance_bits)
    number = len(gallery.blocks)
    half = (number + 1) // 2
    mine, theirs = (range(half), range(half, number)) if share.party == 1 else (range(half, number), range(half))
    powers = workers.multi_powers(gallery.blocks, [int(exponent) for exponent in exponents], public.square)
    sent = write_ciphertexts([public.add(powers[block], public.mask()) for block in theirs], public)
    other = read_ciphertexts(exchange(sent, len(mine) * public.ciphertext_bytes), len(mine), public)
    hidden, shares = [], np.empty((number, slots.count), np.uint32)
    for place, block in enumerate(mine):
        masked, plain = (other[place], powers[block]) if share.party == 1 else (powers[block], other[place])
        inner = public.subtract(masked, plain)  # the powers of x + r over those of r
        masks, values = _slot_masks(slots, distance_bits)
        hidden.append(public.add(public.add(inner, gallery.lengths[block]), public.encrypt(values)))
        shares[block] = 0 - masks
    parts = share.partials(hidden, workers.threads)
    answer = exchange(write_ciphertexts([*hidden, *parts], public), 2 * len(theirs) * public.ciphertext_bytes)
    got = read_ciphertexts(answer, 2 * len(theirs), public)
    opened = share.partials(got[:len(theirs)], workers.threads)
    for block, one, other_part in zip(theirs, opened, got[len(theirs):], strict=True):
        values = slots.unpack(combine(public, one, other_part) % public.n, slots.count)
        shares[block] = np.array([value & 0xFFFFFFFF for value in values], np.uint32)
    return shares.reshape(-1)[:len(gallery)]


def _slot_masks(slots: Slots, distance_bits: int) -> tuple[Words, mpz]:
    """A mask for each slot, modulo 2^32 and packed: uniform over 2^(bits + 40), moved up to cover negative values."""
    bits = distance_bits + STATISTICAL
    words = Stream(new_seed()).words(slots.count, 3).astype(object)
    numbers = [int(a) | int(b) << 32 | int(c) << 64 for a, b, c in words]
    numbers = [(value & (1 << bits) - 1) + (1 << distance_bits) for value in numbers]
    return np.array([value & 0xFFFFFFFF for value in numbers], np.uint32), slots.pack(numbers)
