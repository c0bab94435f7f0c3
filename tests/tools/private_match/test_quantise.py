"""Faces as whole numbers: no number too large, and a threshold that says of integers what it says of floats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from visagent.tools.private_match.quantise import SCALES, Quantiser

BITS = st.sampled_from(sorted(SCALES))
DIMENSIONS = st.sampled_from([1, 2, 7, 128, 512])


def unit(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dimension))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("bits", "greatest"), [(8, 127), (10, 511)])
def test_the_greatest_number_has_its_bits(bits: int, greatest: int) -> None:
    quantiser = Quantiser(128, bits)
    assert quantiser.greatest == greatest
    assert quantiser.scale == SCALES[bits]
    ends = quantiser(np.array([[1, -1, 0, 0.99999]], np.float32))
    assert ends.tolist() == [[greatest, -greatest, 0, greatest]]


def test_eight_bits_unless_said_otherwise() -> None:
    assert Quantiser(128) == Quantiser(128, 8)


@given(BITS, arrays(np.float32, (3, 5), elements=st.floats(-1, 1, width=32)))
def test_numbers_are_rounded_multiples_cut_at_the_greatest(bits: int, embeddings: np.ndarray) -> None:
    quantiser = Quantiser(5, bits)
    found = quantiser(embeddings)
    assert found.dtype == np.int64
    assert found.shape == embeddings.shape
    for number, value in zip(found.ravel().tolist(), embeddings.ravel().tolist(), strict=True):
        exact = Fraction(value) * quantiser.scale
        cut = max(Fraction(-quantiser.greatest), min(Fraction(quantiser.greatest), exact))
        assert abs(number - cut) <= Fraction(1, 2)
    assert np.array_equal(quantiser(-embeddings), -found)
    assert np.array_equal(quantiser(embeddings[1]), found[1])  # one embedding is as good as many


@given(BITS, DIMENSIONS, st.data())
def test_no_squared_distance_has_more_bits(bits: int, dimension: int, data: st.DataObject) -> None:
    quantiser = Quantiser(dimension, bits)
    one, other = (quantiser(data.draw(arrays(np.float32, dimension, elements=st.floats(-1, 1, width=32))))
                  for _ in range(2))
    assert int(((one - other) ** 2).sum()) < 1 << quantiser.distance_bits


@given(BITS, DIMENSIONS)
def test_the_bits_are_not_more_than_needed(bits: int, dimension: int) -> None:
    quantiser = Quantiser(dimension, bits)
    ones = np.ones(dimension, np.float32)
    farthest = int(((quantiser(ones) - quantiser(-ones)) ** 2).sum())
    assert 1 << (quantiser.distance_bits - 1) <= farthest < 1 << quantiser.distance_bits


def test_distances_and_their_differences_fit_the_shares() -> None:
    """Differences of distances have a sign bit more, and shares have 32 bits."""
    assert Quantiser(128, 8).distance_bits == 23
    assert Quantiser(512, 10).distance_bits == 29
    assert all(Quantiser(512, bits).distance_bits + 1 <= 32 for bits in SCALES)


@given(BITS, st.integers(0, 2**18))
def test_on_the_grid_the_threshold_is_exact(bits: int, squared: int) -> None:
    """A similarity that is a whole squared distance: that distance still counts, and the next one does not."""
    quantiser = Quantiser(128, bits)
    step = 2 * quantiser.scale ** 2
    assert quantiser.squared_threshold(1 - squared / step) == squared
    assert quantiser.squared_threshold(1 - (squared + 0.5) / step) == squared
    assert quantiser.squared_threshold(1 - (squared + 0.875) / step) == squared


@given(BITS, st.floats(0.25, 1, width=32))
def test_integers_are_accepted_as_floats_are(bits: int, similarity: float) -> None:
    """d^2 <= t holds of integers where 1 - d^2 / (2 scale^2) >= similarity holds of fractions."""
    quantiser = Quantiser(128, bits)
    threshold = quantiser.squared_threshold(similarity)
    for squared in (threshold - 1, threshold, threshold + 1):
        near = 1 - Fraction(squared, 2 * quantiser.scale ** 2) >= Fraction(similarity)
        assert (squared <= threshold) == near


@given(BITS, st.floats(-1, 1), st.floats(-1, 1))
def test_a_stricter_similarity_is_a_smaller_distance(bits: int, one: float, other: float) -> None:
    quantiser = Quantiser(128, bits)
    low, high = sorted([one, other])
    assert quantiser.squared_threshold(low) >= quantiser.squared_threshold(high) >= 0
    assert type(quantiser.squared_threshold(low)) is int


@pytest.mark.parametrize("bits", sorted(SCALES))
@pytest.mark.parametrize("dimension", [128, 512])
def test_the_threshold_fits_the_comparison(bits: int, dimension: int) -> None:
    """`nearest` wants it under 2^distance_bits."""
    quantiser = Quantiser(dimension, bits)
    assert quantiser.squared_threshold(1) == 0
    assert quantiser.squared_threshold(-1) < 1 << quantiser.distance_bits


@pytest.mark.parametrize("dimension", [128, 512])
@pytest.mark.parametrize("bits", sorted(SCALES))
def test_similarities_come_back_nearly(bits: int, dimension: int) -> None:
    """Where nothing is cut: d^2 of the whole numbers stands for the cosine; rounding adds up to about 0.6 / scale."""
    quantiser = Quantiser(dimension, bits)
    embeddings = unit(200, dimension)
    small = embeddings[np.abs(embeddings).max(axis=1) < quantiser.greatest / quantiser.scale]
    assert len(small) >= 20
    whole = quantiser(small)
    squared = ((whole[:, None] - whole[None]) ** 2).sum(-1)
    cosines = small.astype(np.float64) @ small.T
    assert np.abs(1 - squared / (2 * quantiser.scale ** 2) - cosines).max() < 4 / quantiser.scale


def test_faces_decide_as_by_cosine_but_near_the_threshold() -> None:
    rng = np.random.default_rng(1)
    one = unit(4000, 512, seed=2)
    noise = rng.standard_normal(one.shape) * rng.uniform(0, 0.06, (4000, 1))
    other = one + noise
    other = (other / np.linalg.norm(other, axis=1, keepdims=True)).astype(np.float32)
    cosines = (one.astype(np.float64) * other).sum(1)
    quantiser = Quantiser(512, 10)
    squared = ((quantiser(one) - quantiser(other)) ** 2).sum(1)
    accepted = squared <= quantiser.squared_threshold(0.7)
    clear = np.abs(cosines - 0.7) > 0.005
    assert 500 < accepted.sum() < 3500
    assert np.array_equal(accepted[clear], cosines[clear] >= 0.7)
