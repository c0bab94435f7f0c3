"""Brief movements: their times and places, and what is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from visagent.tools.micro_expression.movement import (
    AROUND_SECONDS,
    dense_flow,
    envelope_of,
    movements,
    skin_mask,
    strongest_movements,
    without_head,
)

Crops = NDArray[np.uint8]


@pytest.fixture(scope="module")
def texture() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    coarse = cv2.GaussianBlur(rng.uniform(0, 255, (128, 128)).astype(np.float32), (0, 0), 2.0)
    return np.asarray((coarse - coarse.mean()) * (40 / coarse.std()) + 128, np.float32)


@pytest.fixture(scope="module")
def landmarks() -> NDArray[np.float64]:
    points = np.full((68, 2), 64.0)
    points[36:42], points[42:48], points[27:36] = (36, 40), (92, 40), (64, 62)
    return points


def film(texture: NDArray[np.float32], seconds: NDArray[np.float64], *, place: tuple[int, int] = (45, 95),
         pixels: float = 2.0, onset: float = 0.9, apex: float = 1.05, offset: float = 1.3, drift: float = 0.0,
         slow: float = 0.0, blink: float = 0.0, noise: float = 1.5, width: float = 12, seed: int = 1) -> Crops:
    """A texture in which a spot moves up between onset and offset, an eye blinks meanwhile, the whole of it drifts,
    and a spot moves slowly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128].astype(np.float32)
    bump = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * width**2))
    lid = np.exp(-((x - 36) ** 2 + (y - 44) ** 2) / (2 * 9**2))
    other = np.exp(-((x - 80) ** 2 + (y - 95) ** 2) / (2 * 14**2))
    frames = []
    for t in seconds:
        amount = pixels * envelope_of((onset, apex, apex + 0.02, offset), np.array([t]))[0]
        moved_x = x + drift * np.sin(0.8 * t) + slow * t * other
        amount_of_lid = blink * envelope_of((0.8, 0.9, 0.92, 1.05), np.array([t]))[0]
        moved_y = y + amount * bump + amount_of_lid * lid + drift * np.cos(0.6 * t)
        seen = cv2.remap(texture, moved_x.astype(np.float32), moved_y.astype(np.float32), cv2.INTER_CUBIC)
        frames.append(np.clip(seen + rng.normal(0, noise, (128, 128)), 0, 255).astype(np.uint8))
    return np.stack(frames)


@pytest.mark.parametrize("rate", [30, 60, 100])
@pytest.mark.parametrize("drift", [0.0, 2.0])
def test_the_strongest_movement_has_its_times_and_its_place(
        texture: NDArray[np.float32], landmarks: NDArray[np.float64], rate: int, drift: float) -> None:
    seconds = np.arange(int(2.2 * rate)) / rate
    crops = film(texture, seconds, drift=drift)
    found = max(movements(crops, seconds, np.repeat(landmarks[None], len(crops), 0)), key=lambda one: one.explained)
    assert found.onset == pytest.approx(0.9, abs=0.06) and found.offset == pytest.approx(1.3, abs=0.06)
    assert found.apex == pytest.approx(1.06, abs=0.06)
    row, column = np.unravel_index(np.linalg.norm(found.field, axis=2).argmax(), (32, 32))
    assert abs(4 * column - 45) <= 12 and abs(4 * row - 95) <= 12
    assert found.field[row, column, 1] < -0.8 and found.flow.shape == (128, 128, 2)


def test_stronger_movements_are_stronger(texture: NDArray[np.float32], landmarks: NDArray[np.float64]) -> None:
    seconds = np.arange(120) / 60
    strengths = []
    for pixels in (0.0, 0.7, 2.0):
        crops = film(texture, seconds, pixels=pixels)
        found = movements(crops, seconds, np.repeat(landmarks[None], len(crops), 0))
        strengths.append(max(one.explained for one in found))
    assert strengths[0] < strengths[1] < strengths[2] and strengths[2] > 2 * strengths[0]


def test_what_moves_slowly_or_with_the_head_is_none(texture: NDArray[np.float32], landmarks: NDArray[np.float64]
                                                    ) -> None:
    seconds = np.arange(120) / 60
    marks = np.repeat(landmarks[None], len(seconds), 0)

    def strongest(**settings: float) -> float:
        return max(one.explained for one in movements(film(texture, seconds, **settings), seconds, marks))

    brief = strongest(pixels=1.5)
    assert strongest(pixels=0.0, drift=3.0) < brief / 2
    assert strongest(pixels=0.0, slow=1.5) < brief / 2


def test_what_a_movement_explains_is_the_same_at_any_frame_rate(texture: NDArray[np.float32],
                                                                landmarks: NDArray[np.float64]) -> None:
    explained = []
    for rate in (30, 60, 120):
        seconds = np.arange(int(2.2 * rate)) / rate
        crops = film(texture, seconds, drift=1.0)
        found = movements(crops, seconds, np.repeat(landmarks[None], len(crops), 0))
        explained.append(max(one.explained for one in found))
    assert 0 < max(explained) < 1 and max(explained) - min(explained) < 0.1, explained


@pytest.mark.parametrize(("offset", "brief"), [(1.2, True), (1.4, True), (1.65, False), (1.75, False)])
def test_a_slower_movement_is_not_cut_short(texture: NDArray[np.float32], landmarks: NDArray[np.float64],
                                            offset: float, brief: bool) -> None:
    """It began at 0.9 s."""
    seconds = np.arange(160) / 60
    crops = film(texture, seconds, apex=0.9 + 0.4 * (offset - 0.9), offset=offset)
    found = movements(crops, seconds, np.repeat(landmarks[None], len(crops), 0))
    assert max(found, key=lambda one: one.explained).is_brief == brief


def test_a_movement_behind_a_stronger_one_is_found_too(texture: NDArray[np.float32], landmarks: NDArray[np.float64]
                                                       ) -> None:
    seconds = np.arange(176) / 80
    crops = film(texture, seconds, blink=8.0)
    found = list(movements(crops, seconds, np.repeat(landmarks[None], len(crops), 0)))
    assert any(one.is_blink for one in found)
    assert any(not one.is_blink and abs(one.onset - 0.9) < 0.1 and abs(one.offset - 1.3) < 0.1 for one in found)


def test_eyes_have_no_say(texture: NDArray[np.float32], landmarks: NDArray[np.float64]) -> None:
    mask = skin_mask(landmarks)
    assert mask[10, 9] == 0 and mask[10, 22] == 0 and mask[16, 16] == 1 and mask[0, 0] == 0
    seconds = np.arange(120) / 60
    blink = film(texture, seconds, place=(36, 40), width=5, pixels=5.0)
    smile = film(texture, seconds)
    marks = np.repeat(landmarks[None], len(seconds), 0)
    pixels = [max(one.pixels for one in movements(crops, seconds, marks)) for crops in (blink, smile)]
    assert pixels[0] < pixels[1] / 2, "a lid of five pixels beside two of skin"


def test_what_the_eyelids_do_is_a_blink(texture: NDArray[np.float32], landmarks: NDArray[np.float64]) -> None:
    seconds = np.arange(160) / 80
    for place, width, is_blink in (((36, 44), 9, True), ((45, 95), 12, False), ((64, 75), 16, False)):
        crops = film(texture, seconds, place=place, width=width, pixels=3.0)
        found = movements(crops, seconds, np.repeat(landmarks[None], 160, 0))
        strongest = max(found, key=lambda one: one.explained)
        assert strongest.is_blink == is_blink, strongest.around_eyes


def test_too_few_frames_give_nothing(landmarks: NDArray[np.float64]) -> None:
    crops = np.zeros((4, 128, 128), np.uint8)
    assert list(strongest_movements(crops, np.array([-0.1, 0.0, 0.1, 0.2]), np.repeat(landmarks[None], 4, 0))) == []
    assert list(movements(crops, np.arange(4) / 30, np.repeat(landmarks[None], 4, 0))) == []
    still = np.full((60, 128, 128), 99, np.uint8)
    found = list(movements(still, np.arange(60) / 30, np.repeat(landmarks[None], 60, 0)))
    assert all(np.isfinite(one.explained) for one in found)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.integers(0, 99))
def test_the_head_leaves_nothing_and_the_skin_stays(motion: list[float], seed: int) -> None:
    y, x = np.mgrid[:32, :32] * 4 + 1.5
    a, b, c, d, e, f = motion
    head = np.stack([a + (b * x + c * y) / 64, d + (e * x + f * y) / 64], -1)[None].astype(np.float32)
    assert np.abs(without_head(head)).max() < 1e-3
    skin = np.zeros((1, 32, 32, 2), np.float32)
    skin[0, 20:23, 8:11] = 1.0
    np.testing.assert_allclose(without_head(head + skin), without_head(skin), atol=1e-3)


def test_dense_flow_knows_which_way(texture: NDArray[np.float32]) -> None:
    crop = np.clip(texture, 0, 255).astype(np.uint8)
    flow = dense_flow(crop, np.roll(crop, 2, 1))
    assert np.median(flow[..., 0]) == pytest.approx(2, abs=0.2) and abs(np.median(flow[..., 1])) < 0.2
    assert AROUND_SECONDS == 0.7
