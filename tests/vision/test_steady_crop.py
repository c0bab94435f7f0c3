"""MOL's crop, and that a face which moves stays where it is in its crops."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.vision.micro_expression import SIDE
from visagent.vision.steady_crop import ALIGNED_SIDE, crop_placing, cut, placed, placings

Points = NDArray[np.float64]


@pytest.fixture
def face() -> Points:
    """68 points of a face of 100 pixels between the eyes, whose middle is at (300, 250)."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-80, 80, (68, 2))
    points[36:42], points[42:48] = [-50, -30], [50, -30]
    points[30], points[48], points[54] = [0, 20], [-30, 60], [30, 60]
    return points + np.array([300, 250])


def turned(points: Points, angle: float, scale: float, shift: tuple[float, float]) -> Points:
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - points.mean(0)) @ matrix.T + points.mean(0) + shift


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (0.3, 0.7), (-0.6, 1.8)])
def test_the_crop_is_mols(face: Points, angle: float, scale: float) -> None:
    points = placed(turned(face, angle, scale, (40, -20)), crop_placing(turned(face, angle, scale, (40, -20))))
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    assert left[1] == pytest.approx(right[1]) and right[0] > left[0]
    box = np.stack([left, right, points[30], points[48], points[54]])
    middle = (box.min(0) + box.max(0)) / 2
    np.testing.assert_allclose(middle, (SIDE - 1) / 2)
    # 2.5 times the larger side of the box are 144 pixels, from the first to the last.
    assert (box.max(0) - box.min(0)).max() == pytest.approx((ALIGNED_SIDE - 1) / 2.5)


def test_what_is_cut_is_what_the_placing_says() -> None:
    y, x = np.mgrid[:400, :500]
    gray = np.clip(20 + 0.25 * x + 0.2 * y, 0, 255).astype(np.uint8)
    placing = np.array([[0.8, 0.1, -60.0], [-0.1, 0.8, -20.0]])
    crop = cut(gray, placing).astype(float)
    back = np.linalg.inv(np.vstack([placing, [0, 0, 1]]))[:2]
    for cx, cy in ((20, 30), (64, 64), (100, 90)):
        px, py = placed(np.array([cx, cy], float), back)
        assert crop[cy, cx] == pytest.approx(20 + 0.25 * px + 0.2 * py, abs=1.0)


def test_a_head_that_drifts_stands_still_and_an_expression_does_not(face: Points) -> None:
    rng = np.random.default_rng(1)
    seconds = np.arange(300) / 100
    clips = []
    for t in seconds:
        points = face.copy()
        points[[48, 54]] += [[-6 * (1 < t < 1.4), -6 * (1 < t < 1.4)], [6 * (1 < t < 1.4), -6 * (1 < t < 1.4)]]
        moved = turned(points, 0.05 * np.sin(t), 1 + 0.05 * np.sin(0.7 * t), (30 * np.sin(0.8 * t), 10 * np.cos(t)))
        clips.append(moved + rng.normal(0, 0.5, (68, 2)))
    landmarks = np.stack(clips)
    seen = np.stack([placed(points, placing) for points, placing in zip(landmarks, placings(landmarks, 100),
                                                                        strict=True)])
    quiet = np.ones(300, bool)
    quiet[95:145] = False
    quiet[:40] = quiet[-40:] = False  # the smoothing lags where the clip begins and ends
    steady = seen[quiet][:, [27, 30, 36, 45]]
    assert np.abs(steady.mean(0) - np.median(seen[:, [27, 30, 36, 45]], 0)).max() < 0.5
    assert steady.std(0).max() < 1.0, "half a pixel of trembling, and what is left of 30 pixels of drift"
    smile = seen[110:130, 48].mean(0) - seen[quiet, 48].mean(0)
    scale = float(np.hypot(*crop_placing(face)[0, :2]))
    np.testing.assert_allclose(smile, [-6 * scale, -6 * scale], atol=0.6)


def test_trembling_landmarks_do_not_shake_the_crop(face: Points) -> None:
    rng = np.random.default_rng(2)
    landmarks = face + rng.normal(0, 1.0, (300, 68, 2))
    where = placings(landmarks, 100)
    centre = np.stack([placed(face.mean(0), placing) for placing in where])
    assert np.diff(centre, axis=0).std() < 0.02
