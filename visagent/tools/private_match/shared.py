"""The fastest way: the gallery is cut into additive shares once, and so is every query.

Each server holds one share of every template modulo 2^32, uniformly random for itself. With a query x in shares, and a
dealt random vector a of which the products Y a with the gallery are dealt in shares too, the servers open x - a, which
is as random, and have shares of Y x = Y (x - a) + Y a after one multiplication in the clear (Beaver, Crypto 1991, with
the fixed side of the product known to the dealer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.randomness import Dealer, Source, Stream, Words, new_seed
from visagent.tools.private_match.tournament import deal_tournament, nearest

IDENTITY_WORDS = 4
"""Words of 32 bits that an identity takes."""


@dataclass(frozen=True, eq=False)
class SharedGallery:
    """One server's shares.

    Attributes:
        templates: `[N, D]`.
        lengths: Of the squared lengths `[N]`.
        identities: `[N, 4]`.
    """

    templates: Words
    lengths: Words
    identities: Words

    def __len__(self) -> int:
        return len(self.templates)


def as_words(values: NDArray[np.int64]) -> Words:
    """Whole numbers modulo 2^32."""
    return (values & 0xFFFFFFFF).astype(np.uint32)


def split(values: Words) -> tuple[Words, Words]:
    """Two shares, the first from the system's random numbers."""
    first = Stream(new_seed()).words(*values.shape)
    return first, values - first


def share_query(vector: NDArray[np.int64]) -> tuple[bytes, bytes]:
    """What each server is sent of a query `[D]`: a seed that stands for its share, and the other share.

    The last number of a share is of the vector's squared length.
    """
    seed = new_seed()
    whole = as_words(np.append(vector, vector @ vector))
    return seed, (whole - Stream(seed).words(len(whole))).astype("<u4").tobytes()


def search_shared(gallery: SharedGallery, query: bytes, threshold: int, distance_bits: int, party: int, source: Source,
                  exchange: Exchange, said: Callable[[str], None] = lambda step: None) -> Words:
    """Shares `[4]` of the identity of the nearest template, or of zeros if it is too far.

    Args:
        gallery: This server's shares.
        query: What the user sent: of `share_query` the first for party 1, the second for party 2.
        threshold: The greatest squared distance that is near enough.
        distance_bits: Every squared distance is under 2 to this.
        party: 1 or 2.
        source: Dealt random numbers.
        exchange: The line to the other server.
        said: Told what is being done.
    """
    columns = gallery.templates.shape[1]
    share = Stream(query).words(columns + 1) if party == 1 else np.frombuffer(query, "<u4")
    said("distances")
    hidden, products = source.products_with(gallery.templates)
    mine = share[:-1] - hidden
    opened = mine + np.frombuffer(exchange(mine.tobytes()), "<u4")
    inner = gallery.templates @ opened + products
    distances = gallery.lengths + share[-1] - 2 * inner
    said("comparisons")
    return nearest(distances, gallery.identities, threshold, distance_bits, party, source, exchange)


def deal_shared(templates: Words, distance_bits: int, dealer: Dealer) -> None:
    """What `search_shared` will ask for, with the whole gallery's templates `[N, D]`."""
    dealer.products_with(templates)
    deal_tournament(len(templates), IDENTITY_WORDS, distance_bits, dealer)
