"""Searching on shares and on packed ciphertexts: both servers in two threads, the answer that of plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from visagent.tools.private_match.names import new_identity
from visagent.tools.private_match.packed import PackedGallery, encrypt_blocks, mask_query, search_packed
from visagent.tools.private_match.paillier import SecretKey
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.randomness import Dealer, Source, Words
from visagent.tools.private_match.shared import (
    SharedGallery,
    as_words,
    deal_shared,
    search_shared,
    share_query,
    split,
)
from visagent.tools.private_match.threshold_key import split_key
from visagent.tools.private_match.tournament import deal_tournament
from visagent.tools.private_match.workers import Workers


class Plain:
    """A gallery in plain numbers, and what a search of it must answer."""

    def __init__(self, records: int, quantiser: Quantiser, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.quantiser = quantiser
        self.templates = rng.integers(-quantiser.greatest, quantiser.greatest + 1, (records, quantiser.dimension))
        self.identities = np.frombuffer(b"".join(new_identity() for _ in range(records)), "<u4").reshape(records, 4)
        near = self.templates[rng.integers(records)] + rng.integers(-3, 4, quantiser.dimension)
        self.query = np.clip(near, -quantiser.greatest, quantiser.greatest)
        self.distances = ((self.templates - self.query) ** 2).sum(axis=1)

    def answer(self, threshold: int) -> Words:
        best = int(self.distances.argmin())
        return self.identities[best] * np.uint32(self.distances[best] <= threshold)

    @property
    def thresholds(self) -> tuple[int, int, int]:
        """At the nearest distance, one under it, and the greatest there can be."""
        least = int(self.distances.min())
        return least, max(0, least - 1), (1 << self.quantiser.distance_bits) - 1


def search_on_shares(plain: Plain, threshold: int, servers: Any) -> Words:
    whole = as_words(np.concatenate([plain.templates, (plain.templates ** 2).sum(axis=1)[:, None]], axis=1))
    galleries = [SharedGallery(rows[:, :-1].copy(), rows[:, -1].copy(), ids)
                 for rows, ids in zip(split(whole), split(plain.identities), strict=True)]
    parts, bits = share_query(plain.query), plain.quantiser.distance_bits

    def deal(dealer: Dealer) -> None:
        deal_shared(as_words(plain.templates), bits, dealer)

    def task(party: int, source: Source, exchange: Any) -> Words:
        return search_shared(galleries[party - 1], parts[party - 1], threshold, bits, party, source, exchange)

    done = servers(deal, task)
    total: Words = done.first + done.second
    return total


@pytest.mark.parametrize("quantiser", [Quantiser(128), Quantiser(512), Quantiser(128, 10), Quantiser(2)], ids=str)
@pytest.mark.parametrize("records", [1, 2, 7, 200])
def test_shares_answer_as_plain_numbers_do(records: int, quantiser: Quantiser, servers: Any) -> None:
    plain = Plain(records, quantiser, records)
    for threshold in plain.thresholds:
        assert (search_on_shares(plain, threshold, servers) == plain.answer(threshold)).all()


@pytest.mark.parametrize(("records", "bits"), [(1, 8), (31, 8), (33, 8), (32, 10)])
def test_packed_ciphertexts_answer_as_plain_numbers_do(records: int, bits: int, servers: Any, key: SecretKey) -> None:
    plain = Plain(records, Quantiser(24, bits), records)
    width = plain.quantiser.distance_bits
    blocks = encrypt_blocks(plain.templates, width, key.public)
    galleries = [PackedGallery([block[:-1] for block in blocks], [block[-1] for block in blocks], ids)
                 for ids in split(plain.identities)]
    halves = split_key(key)
    for threshold in plain.thresholds:
        parts = mask_query(plain.query)

        def task(party: int, source: Source, exchange: Any, threshold: int = threshold,
                 parts: tuple[bytes, bytes] = parts) -> Words:
            with Workers() as workers:
                return search_packed(galleries[party - 1], parts[party - 1], threshold, width, halves[party - 1],
                                     source, exchange, workers)

        done = servers(lambda dealer: deal_tournament(records, 4, width, dealer), task)
        assert (done.first + done.second == plain.answer(threshold)).all()


def test_several_cores_answer_the_same(key: SecretKey) -> None:
    from visagent.tools.private_match.multi_power import multi_power

    blocks = [key.public.encrypt_all(range(5)) for _ in range(6)]
    exponents = [3, 0, 2**48, 17, 1]
    with Workers(2) as workers:
        assert workers.multi_powers(blocks, exponents, key.public.square) == [
            multi_power(block, exponents, key.public.square) for block in blocks]


@pytest.mark.parametrize("message", [share_query, mask_query], ids=["shared", "packed"])
def test_two_messages_of_one_query_have_nothing_in_common(message: Any) -> None:
    vector = np.full(128, 127)
    (seed, masked), (other_seed, other_masked) = message(vector), message(vector)
    assert seed != other_seed
    same = np.frombuffer(masked, "<u4") == np.frombuffer(other_masked, "<u4")
    assert same.mean() < 0.4, "the high words of masked numbers are small, the others random"
    assert not same[:64:2].any()
