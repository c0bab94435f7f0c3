"""The nearest record, and whether it is near enough: a tournament of shared distances.

Each round pairs what is left, compares, and carries the nearer one on with its identity. Both servers hold only shares
throughout, so neither learns who won a round, nor by how much.
"""

from __future__ import annotations

import numpy as np

from visagent.tools.private_match.comparison import Exchange, choose, deal_signs, is_negative, rounds
from visagent.tools.private_match.randomness import Dealer, Source, Words


def nearest(distances: Words, identities: Words, threshold: int, distance_bits: int, party: int, source: Source,
            exchange: Exchange) -> Words:
    """Shares of the identity of the nearest record, or of zeros if even that one is farther than the threshold.

    Of records equally near the first one is taken.

    Args:
        distances: This server's shares `[n]` of the distances, n at least 1.
        identities: Its shares `[n, words]` of identities that are not all zeros.
        threshold: The greatest distance that is near enough; no secret.
        distance_bits: Every distance is under 2 to this, as is the threshold.
        party: 1 or 2.
        source: Dealt random numbers, as `deal_tournament` prepared them.
        exchange: The line to the other server.
    """
    width = distance_bits + 1
    left = np.concatenate([distances[:, None], identities], axis=1)
    while len(left) > 1:
        pairs = len(left) // 2
        one, other = left[0:2 * pairs:2], left[1:2 * pairs:2]
        nearer = is_negative(other[:, 0] - one[:, 0], width, party, source, exchange)
        won = one + choose(nearer, other - one, party, source, exchange)
        left = np.concatenate([won, left[2 * pairs:]])
    public = np.uint32(threshold if party == 1 else 0)
    beyond = is_negative(public - left[:, 0], width, party, source, exchange)
    found: Words = (left[:, 1:] - choose(beyond, left[:, 1:], party, source, exchange))[0]
    return found


def deal_tournament(records: int, words: int, distance_bits: int, dealer: Dealer) -> None:
    """What `nearest` will ask for, of so many records with identities of so many words."""
    width = distance_bits + 1
    while records > 1:
        pairs = records // 2
        deal_signs(pairs, width, dealer)
        dealer.choices(pairs, 1 + words)
        records -= pairs
    deal_signs(1, width, dealer)
    dealer.choices(1, words)


def exchanges(records: int, distance_bits: int) -> int:
    """How often the two servers exchange in a tournament of so many records."""
    levels = (records - 1).bit_length() + 1
    return levels * (rounds(distance_bits + 1) + 1)
