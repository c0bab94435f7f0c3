"""Films: the same each time, and nothing moves but when it is said to."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from visagent.datasets.micro_expression.films import APART_SECONDS, SIDE, Film, encode, make_film

Faces = tuple[NDArray[np.uint8], NDArray[np.float32]]


@pytest.fixture
def portrait(face68: torch.Tensor) -> Faces:
    """A photo with hard edges everywhere, and landmarks on it."""
    blocks = np.random.default_rng(2).integers(40, 215, (32, 32))
    return np.kron(blocks, np.ones((5, 5))).astype(np.uint8), face68.numpy() + 16


def film(portrait: Faces, seed: int, **settings: object) -> Film:
    return make_film(*portrait, seed, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_events_are_in_order_apart_and_brief(portrait: Faces, seed: int) -> None:
    events = film(portrait, seed, events=3).events
    assert len(events) == 3
    for before, after in pairwise(events):
        assert after.onset - before.offset >= APART_SECONDS - 1e-6
    for event in events:
        assert 0.5 <= event.onset < event.apex < event.offset <= 9.5 + 1e-6
        assert event.offset - event.onset <= 0.5 + 1e-6 and 0.5 <= event.amplitude <= 3.0


def test_too_many_for_its_length_are_refused(portrait: Faces) -> None:
    with pytest.raises(ValueError, match="too short"):
        film(portrait, 1, events=3, seconds=2.0)


def test_without_distractors_it_moves_at_its_events_only(portrait: Faces) -> None:
    made = film(portrait, 5, seconds=3.0, events=1, amplitudes=(2.9, 3.0), distracts=False)
    (event,) = made.events
    seconds = np.arange(90) / 30
    frames = np.stack(list(made.frames(30))).astype(np.float32)
    frames = frames - frames.mean((1, 2), keepdims=True)  # the light changes
    away = np.abs(frames - frames[0]).mean((1, 2))
    during = (seconds > event.onset + 0.05) & (seconds < event.offset - 0.05)
    outside = (seconds < event.onset) | (seconds > event.offset)
    assert frames.shape == (90, SIDE, SIDE)
    assert away[during].max() > 1.5 * away[outside].max()


def test_a_seed_gives_one_film_and_one_file(portrait: Faces) -> None:
    first, other = (film(portrait, seed, seconds=3.0, events=1) for seed in (7, 8))
    files = {encode(first, 60) for _ in range(3)}
    assert len(files) == 1 and encode(other, 60) not in files
    with av.open(BytesIO(files.pop())) as opened:
        shown = list(opened.decode(video=0))
    assert len(shown) == 180 and shown[0].width == SIDE
    assert np.abs(shown[40].to_ndarray(format="gray").astype(int) - list(first.frames(60))[40]).mean() < 4
