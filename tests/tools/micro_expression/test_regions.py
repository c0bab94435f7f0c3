"""Which part moved where, in words."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.tools.micro_expression.regions import in_words, motions, strongest

Points = NDArray[np.float64]


@pytest.fixture
def landmarks() -> Points:
    """Points at which each part has a place of its own."""
    points = np.full((68, 2), 64.0)
    for (x, y), marks in {(30, 30): (17, 18), (45, 30): (20, 21), (83, 30): (22, 23), (98, 30): (25, 26),
                          (37, 42): (37, 38, 36, 39, 40, 41), (91, 42): (43, 44, 42, 45, 46, 47), (55, 75): (31,),
                          (73, 75): (35,), (48, 95): (48,), (80, 95): (54,), (64, 90): (50, 51, 52),
                          (64, 100): (56, 57, 58), (64, 122): (7, 8, 9)}.items():
        points[list(marks)] = x, y
    return points


def flow_at(*places: tuple[int, int, float, float]) -> NDArray[np.float32]:
    flow = np.zeros((128, 128, 2), np.float32)
    for x, y, dx, dy in places:
        flow[y - 7:y + 8, x - 7:x + 8] = dx, dy
    return flow


def words(flow: NDArray[np.float32], landmarks: Points) -> str:
    return in_words(strongest(motions(flow, landmarks)))


def test_both_brows_that_rise_are_named_together(landmarks: Points) -> None:
    assert words(flow_at((45, 30, 0, -0.8), (83, 30, 0, -0.7)), landmarks) == "both inner brows up by 0.8 and 0.7"


def test_corners_that_go_apart_go_outwards(landmarks: Points) -> None:
    assert words(flow_at((48, 95, -1, -1), (80, 95, 1, -1)), landmarks) == \
        "both mouth corners outwards and up by 1.4 and 1.4"


def test_one_side_is_named_alone_and_the_middle_without_a_side(landmarks: Points) -> None:
    assert words(flow_at((80, 95, -0.6, 0)), landmarks) == "right mouth corner inwards by 0.6"
    assert words(flow_at((64, 122, 0, 1), (64, 100, 0.5, 0)), landmarks) == \
        "chin down by 1.0, lower lip to the right by 0.5"


def test_what_hardly_moves_is_not_named(landmarks: Points) -> None:
    assert words(flow_at((45, 30, 0, -0.1)), landmarks) == ""
    assert words(flow_at((45, 30, 0, -2.0), (64, 122, 0, 0.5)), landmarks) == "left inner brow up by 2.0"


def test_parts_outside_the_crop_do_not_move(landmarks: Points) -> None:
    landmarks[[7, 8, 9]] = 64, 500
    assert all(np.isfinite(motion.pixels) for motion in motions(flow_at((64, 100, 0, 1)), landmarks))
