"""Dealt random numbers: both parts fit together, either alone says nothing, and what is too short is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from visagent.errors import BadMessage
from visagent.tools.private_match.randomness import (
    SEED_BYTES,
    Dealer,
    FirstSource,
    SecondSource,
    Stream,
    new_seed,
    pack_bits,
    unpack_bits,
)

UNLIKELY = 1e-9
"""Right numbers fail a test of their distribution this seldom."""
SEEDS = st.binary(min_size=SEED_BYTES, max_size=SEED_BYTES)
Ask = Callable[[Any], Any]


def dealt(*asks: Ask, seeds: tuple[bytes, bytes] | None = None) -> tuple[list[Any], list[Any]]:
    """What the two servers get of what they ask for, one after another."""
    first, second = seeds or (new_seed(), new_seed())
    dealer = Dealer(first, second)
    for ask in asks:
        ask(dealer)
    mine, yours = FirstSource(first, dealer.corrections), SecondSource(second)
    return [ask(mine) for ask in asks], [ask(yours) for ask in asks]


def is_uniform(values: np.ndarray) -> bool:
    counts = np.bincount(np.frombuffer(values.tobytes(), np.uint8), minlength=256)
    return bool(chisquare(counts).pvalue > UNLIKELY)


def signs(values: np.ndarray, count: int) -> np.ndarray:
    """Bits `[bits of a value, count]` as -1 and 1, from `[count, ...]`."""
    planes = np.unpackbits(np.frombuffer(values.tobytes(), np.uint8).reshape(count, -1), axis=1).T
    return planes.astype(np.float32) * 2 - 1


def strongest(one: np.ndarray, other: np.ndarray) -> float:
    """Of all pairs of a row here and one there, the greatest correlation, in standard deviations of none."""
    return float(np.abs(one @ other.T).max() / np.sqrt(one.shape[1]))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_products_are_products(shape: list[int]) -> None:
    (mine,), (yours,) = dealt(lambda source: source.products(*shape))
    a, b, product = (one ^ other for one, other in zip(mine, yours, strict=True))
    assert a.shape == b.shape == product.shape == tuple(shape)
    assert product.dtype == np.uint8
    assert np.array_equal(product, a & b)


@given(st.integers(1, 40), st.integers(1, 5))
def test_choices_are_of_one_bit(count: int, columns: int) -> None:
    (mine,), (yours,) = dealt(lambda source: source.choices(count, columns))
    bit = unpack_bits(mine[0] ^ yours[0], count)
    number, row, product = (one + other for one, other in zip(mine[1:], yours[1:], strict=True))
    assert mine[0].shape == yours[0].shape == (-(-count // 8),)
    assert number.shape == (count,)
    assert row.shape == product.shape == (count, columns)
    assert np.array_equal(number, bit)
    assert np.array_equal(product, bit[:, None] * row)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_products_with_a_gallery_are_of_the_whole_gallery(rows: int, columns: int, seed: int) -> None:
    """The dealer knows it, the servers know its shape."""
    gallery = np.random.default_rng(seed).integers(0, 2**32, (rows, columns), np.uint32)
    seeds = new_seed(), new_seed()
    dealer = Dealer(*seeds)
    dealer.products_with(gallery)
    mine = FirstSource(seeds[0], dealer.corrections).products_with(np.zeros_like(gallery))
    yours = SecondSource(seeds[1]).products_with(np.ones_like(gallery))
    vector, product = mine[0] + yours[0], mine[1] + yours[1]
    assert vector.shape == (columns,)
    assert product.shape == (rows,)
    assert np.array_equal(product, gallery @ vector)


@given(st.lists(st.sampled_from("pcg"), max_size=8), SEEDS, SEEDS)
def test_any_sequence_fits_and_uses_up_all_that_was_dealt(order: list[str], first: bytes, second: bytes) -> None:
    gallery = np.arange(12, dtype=np.uint32).reshape(3, 4) + 2**31
    asks: dict[str, Ask] = {"p": lambda source: source.products(3, 5), "c": lambda source: source.choices(11, 2),
                            "g": lambda source: source.products_with(gallery)}
    mine, yours = dealt(*(asks[kind] for kind in order), seeds=(first, second))
    for kind, one, other in zip(order, mine, yours, strict=True):
        if kind == "p":
            assert np.array_equal((one[0] ^ other[0]) & (one[1] ^ other[1]), one[2] ^ other[2])
        elif kind == "c":
            assert np.array_equal((one[1] + other[1])[:, None] * (one[2] + other[2]), one[3] + other[3])
        else:
            assert np.array_equal(gallery @ (one[0] + other[0]), one[1] + other[1])
    dealer = Dealer(first, second)
    for kind in order:
        asks[kind](dealer)
    assert len(dealer.corrections) == sum({"p": 15, "c": 4 * 11 * 3, "g": 4 * 3}[kind] for kind in order)
    if order:
        short = FirstSource(first, dealer.corrections[:-1])
        with pytest.raises(BadMessage, match=r"end too early"):
            for kind in order:
                asks[kind](short)


@pytest.mark.parametrize("ask", [lambda source: source.products(2, 3), lambda source: source.choices(9, 2),
                                 lambda source: source.products_with(np.ones((5, 4), np.uint32))])
def test_corrections_that_end_too_early_are_refused(ask: Ask) -> None:
    seeds = new_seed(), new_seed()
    dealer = Dealer(*seeds)
    ask(dealer)
    whole = dealer.corrections
    for kept in range(len(whole)):
        with pytest.raises(BadMessage, match=r"visagent private deal"):
            ask(FirstSource(seeds[0], whole[:kept]))
    source = FirstSource(seeds[0], whole)
    ask(source)
    with pytest.raises(BadMessage):
        ask(source)


def test_the_second_part_is_its_seed_alone() -> None:
    """Whatever the gallery and server 1's seed are, server 2 holds the same; so it can learn nothing from it."""
    seed = new_seed()

    def part(source: SecondSource, gallery: np.ndarray) -> list[bytes]:
        asked = [*source.products(2, 3), *source.choices(9, 2), *source.products_with(gallery), *source.products(1)]
        return [values.tobytes() for values in asked]

    galleries = [np.full((3, 4), number, np.uint32) for number in (0, 1, 2**32 - 1)]
    parts = [part(SecondSource(seed), gallery) for gallery in galleries]
    assert parts[0] == parts[1] == parts[2]
    assert part(SecondSource(new_seed()), galleries[0]) != parts[0]
    # And it is the one that the dealer reckoned with, next to any seed of server 1.
    for first in (new_seed(), new_seed()):
        mine, yours = dealt(lambda source: source.products(2, 3), lambda source: source.choices(9, 2),
                            seeds=(first, seed))
        assert [values.tobytes() for values in [*yours[0], *yours[1]]] == parts[0][:7]
        assert np.array_equal((mine[0][0] ^ yours[0][0]) & (mine[0][1] ^ yours[0][1]), mine[0][2] ^ yours[0][2])


def test_each_part_alone_looks_uniform() -> None:
    gallery = np.zeros((20_000, 1), np.uint32)  # the worst case: all products are zero
    for part in dealt(lambda source: source.products(40_000), lambda source: source.choices(20_000, 2),
                      lambda source: source.products_with(gallery),
                      lambda source: source.products_with(np.zeros((1, 20_000), np.uint32))):
        for values in (*part[0], *part[1], part[2][1], part[3][0]):
            assert is_uniform(values)
    seeds = new_seed(), new_seed()
    dealer = Dealer(*seeds)
    dealer.products(40_000)
    dealer.choices(20_000, 2)
    dealer.products_with(gallery)
    assert is_uniform(np.frombuffer(dealer.corrections, np.uint8))


def test_neither_part_says_anything_of_the_whole() -> None:
    """No bit of one server's numbers goes along with one of the secrets; 8 standard deviations are one in 10^15."""
    count = 1 << 15
    mine, yours = dealt(lambda source: source.products(count), lambda source: source.choices(count, 1))
    bits = [one ^ other for one, other in zip(mine[0], yours[0], strict=True)]
    chosen = unpack_bits(mine[1][0] ^ yours[1][0], count)
    secrets = np.concatenate([*(signs(values, count) for values in bits), chosen[None].astype(np.float32) * 2 - 1,
                              signs(mine[1][2] + yours[1][2], count)])
    for products, (bit, *words) in (mine, yours):
        held = np.concatenate([*(signs(values, count) for values in (*products, *words)),
                               unpack_bits(bit, count)[None].astype(np.float32) * 2 - 1])
        assert strongest(held, secrets) < 8
        # Within a part every two bits are unrelated, also those beside each other: no number serves twice.
        assert strongest(held[:, 1:], held[:, :-1]) < 8
        together = np.abs(held @ held.T) / np.sqrt(count)
        np.fill_diagonal(together, 0)
        assert together.max() < 8


def test_a_stream_is_aes_in_counter_mode() -> None:
    """So that a dealer and a server of two versions grow the same: AES-256 of zero under the zero key."""
    assert Stream(bytes(32)).bits(16).tobytes().hex() == "dc95c078a2408989ad48a21492842087"


def test_a_stream_goes_on_where_it_was_left() -> None:
    seed = new_seed()
    whole, stepwise = Stream(seed).bits(101), Stream(seed)
    parts = [stepwise.bits(3), stepwise.words(2, 2), stepwise.bits(2, 2), stepwise.words(1), stepwise.bits(0),
             stepwise.bits(74)]
    assert b"".join(part.tobytes() for part in parts) == whole.tobytes()
    assert parts[1].shape == (2, 2)
    assert parts[1].dtype == np.uint32
    assert len({Stream(new_seed()).bits(16).tobytes() for _ in range(100)}) == 100


def test_seeds_are_fresh() -> None:
    seeds = {new_seed() for _ in range(1000)}
    assert len(seeds) == 1000
    assert {len(seed) for seed in seeds} == {SEED_BYTES} == {32}
    assert is_uniform(np.frombuffer(b"".join(seeds), np.uint8))


@given(st.integers(1, 70), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_bits_are_packed_eight_to_a_byte(count: int, rows: int, seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, (rows, count), np.uint32)
    packed = pack_bits(bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (rows, -(-count // 8))
    assert np.array_equal(unpack_bits(packed, count), bits)
    assert unpack_bits(packed, count).dtype == np.uint32
    assert np.array_equal(pack_bits(bits.astype(np.bool_)), packed)
    assert packed[0, 0] & 1 == bits[0, 0]  # the first is the lowest
