"""Search is exact: equal to brute force, whatever the sizes, samples and ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.gallery import index as index_module
from visagent.gallery.index import TemplateIndex, top_rows
from visagent.vision.encoder import of_length_one


@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 12), st.integers(0, 10**6), st.booleans())
def test_the_best_rows_are_those_of_brute_force(count: int, queries: int, most: int, seed: int, ties: bool) -> None:
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((count, 8)).astype(np.float32)
    if ties:  # whole numbers: equal products in plenty, and exact ones
        vectors = np.round(vectors)
    asked = np.round(draw.standard_normal((queries, 8))).astype(np.float32)
    small = pytest.MonkeyPatch()
    small.setattr(index_module, "BLOCK_ROWS", 32)
    small.setattr(index_module, "BATCH_ROWS", 16)
    try:
        rows, scores = top_rows(vectors, asked, most)
    finally:
        small.undo()
    for query in range(queries):
        products = vectors @ asked[query]
        expected = sorted(range(count), key=lambda row: (-products[row], row))[:most]
        assert scores[query] == pytest.approx(products[expected], abs=1e-5)
        if ties:
            assert rows[query].tolist() == expected


@given(st.integers(0, 10**6))
def test_people_are_ranked_by_the_mean_of_their_templates(seed: int) -> None:
    draw = np.random.default_rng(seed)
    index, truth, added = TemplateIndex(16), {}, []
    for number in range(draw.integers(1, 30)):
        for _ in range(draw.integers(1, 5)):
            value = of_length_one(draw.standard_normal((1, 16)))[0]
            truth.setdefault(f"{number:032d}", []).append(value)
            added.append((len(added), f"{number:032d}", value))
    draw.shuffle(added)
    index.change((), added)
    probe = of_length_one(draw.standard_normal((1, 16)))
    means = {person: np.sum(values, axis=0) for person, values in truth.items()}
    best = sorted(((float(mean @ probe[0] / np.linalg.norm(mean)), person) for person, mean in means.items()),
                  key=lambda item: (-item[0], item[1]))[:5]
    found = index.search(probe, 5)[0]
    assert [match.person for match in found] == [person for _, person in best]
    assert [match.score for match in found] == pytest.approx([score for score, _ in best], abs=1e-5)


def test_an_index_that_grew_and_shrank_equals_one_made_at_once() -> None:
    draw = np.random.default_rng(0)
    everything = [(number, f"p{number % 7}", of_length_one(draw.standard_normal((1, 16)))[0]) for number in range(60)]
    grown, fresh = TemplateIndex(16), TemplateIndex(16)
    for one in everything:
        grown.change((), [one])
    grown.change(list(range(0, 60, 3)), [])
    fresh.change((), [one for one in everything if one[0] % 3])
    probe = of_length_one(draw.standard_normal((4, 16)))
    assert grown.samples == fresh.samples and grown.people == fresh.people
    assert [[(m.person, round(m.score, 5)) for m in found] for found in grown.search(probe)] == \
        [[(m.person, round(m.score, 5)) for m in found] for found in fresh.search(probe)]


def test_a_claim_is_held_against_one_person_only() -> None:
    draw = np.random.default_rng(1)
    values = of_length_one(draw.standard_normal((9, 16)))
    index = TemplateIndex(16)
    index.change((), [(number, f"p{number // 3}", value) for number, value in enumerate(values)])
    probe = of_length_one(draw.standard_normal((2, 16)))
    mean = values[3:6].sum(0)
    for found, one in zip(index.search(probe, among="p1"), probe, strict=True):
        assert [match.person for match in found] == ["p1"]
        assert found[0].score == pytest.approx(float(one @ mean / np.linalg.norm(mean)), abs=1e-5)


def test_an_empty_index_finds_nobody() -> None:
    index = TemplateIndex(16)
    assert index.search(np.ones((2, 16), np.float32)) == [[], []]
    assert index.search(np.ones((1, 16), np.float32), among="nobody") == [[]]
