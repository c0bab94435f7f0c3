"""Windows over a clip, and which of its movements are finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visagent.tools.micro_expression.movement import Movement
from visagent.tools.micro_expression.spotting import STEP_SECONDS, Curve, read_curve, spot, windows_of
from visagent.vision.micro_expression import EMOTIONS, FIVE, INTERVAL_SECONDS, NONE, THREE, class_of, grouped


@settings(max_examples=60, deadline=None)
@given(rate=st.floats(20, 240), length=st.floats(0.6, 4), jitter=st.floats(0, 0.3), seed=st.integers(0, 99))
def test_windows_are_of_the_same_times_at_any_frame_rate(rate: float, length: float, jitter: float, seed: int) -> None:
    count = max(8, int(length * rate))
    seconds = np.arange(count) / rate + np.random.default_rng(seed).uniform(-jitter, jitter, count) / rate / 2
    seconds = np.sort(seconds - seconds.min())
    chosen, middles = windows_of(seconds)
    if seconds[-1] < 7 * INTERVAL_SECONDS:
        assert len(chosen) == count // 8
        return
    wanted = middles[:, None] + INTERVAL_SECONDS * (np.arange(8) - 3.5)
    assert np.abs(seconds[chosen] - wanted).max() <= np.diff(seconds).max() / 2 + 1e-9
    assert (np.diff(chosen, axis=1) >= 0).all() and chosen.min() >= 0 and chosen.max() < count
    np.testing.assert_allclose(np.diff(middles), STEP_SECONDS)


def test_a_clip_cut_to_one_expression_is_sampled_as_the_paper_does() -> None:
    chosen, _ = windows_of(np.arange(60) / 200)
    assert chosen.tolist() == [[j + 7 * i for i in range(8)] for j in range(7)]


def curve(scores: list[float]) -> Curve:
    probabilities = np.zeros((len(scores), NONE + 1), np.float32)
    probabilities[:, NONE] = 1 - np.array(scores)
    probabilities[:, 1] = scores
    return Curve(np.arange(len(scores)) / 30, probabilities)


def movement(apex: float, explained: float, pixels: float = 1.0, around_eyes: float = 0.0) -> Movement:
    return Movement(apex - 0.1, apex, apex + 0.15, explained, np.full((32, 32, 2), pixels, np.float32), around_eyes)


def test_a_find_is_strong_apart_from_others_and_seen_by_the_network() -> None:
    scores = [0.1] * 90
    scores[10:13], scores[50:53] = [0.9] * 3, [0.6] * 3
    seen = curve(scores)
    moved = [movement(0.36, 0.4), movement(0.55, 0.5), movement(1.7, 0.3), movement(2.4, 0.9)]
    assert [found.apex for found in spot(moved, seen, probability=0.5, explained=0.2)] == [0.36, 1.7], \
        "the second and the last are not seen as one"
    closer = [movement(0.36, 0.4), movement(0.33, 0.5)]
    assert [found.apex for found in spot(closer, seen, probability=0.3, explained=0.2)] == [0.33], "one is enough"
    assert [found.apex for found in spot(moved, seen, probability=0.5, explained=0.35)] == [0.36]
    assert spot(moved, curve([]), probability=0.0, explained=0.0) == [], "nothing is said where nothing was seen"
    assert spot([movement(1.7, 0.3, 0.05)], seen, probability=0.5, explained=0.2) == [], "hardly any motion"
    assert spot([movement(1.7, 0.3, around_eyes=0.3)], seen, probability=0.5, explained=0.2) == [], "a blink"
    slow = replace(movement(1.7, 0.3), onset=1.3, offset=2.0)
    assert not slow.is_brief and spot([slow], seen, probability=0.5, explained=0.2) == [], "slower than one"
    (found,) = spot(moved[2:3], seen, probability=0.5, explained=0.2)
    assert found.score == pytest.approx(0.6) and found.emotion == EMOTIONS[1]


def test_neighbouring_windows_are_averaged() -> None:
    def look(crops: NDArray[np.uint8], windows: NDArray[np.int64]) -> NDArray[np.float32]:
        said = np.full((len(windows), NONE + 1), 0.1 / NONE, np.float32)
        said[:, NONE] = 0.9
        said[10] = 0.9 / NONE
        said[10, NONE] = 0.1
        return said

    seconds = np.arange(200) / 100
    found = read_curve(np.zeros((200, 128, 128), np.uint8), seconds, look)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)
    assert found.score[10] < 0.9 and found.score[9] > 0.1 and found.score[20] == pytest.approx(0.1)


def test_the_coarser_classes_are_sums_of_the_emotions() -> None:
    said = np.array([[0.1, 0.2, 0.1, 0.05, 0.05, 0.0, 0.1, 0.0, 0.4]])
    np.testing.assert_allclose(grouped(said, "3"), [[0.2 / 0.6, 0.1 / 0.6, 0.3 / 0.6]])
    np.testing.assert_allclose(grouped(said, "5").sum(), 1)
    for grouping, classes in (("3", THREE), ("5", FIVE)):
        assert sorted(name for names in classes.values() for name in names) == sorted(EMOTIONS)
        assert all(class_of(name, grouping) in classes for name in EMOTIONS)  # type: ignore[arg-type]
    assert class_of("contempt", "3") == "negative" and class_of("contempt", "5") == "others"
