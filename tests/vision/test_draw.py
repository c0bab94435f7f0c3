"""Drawn evidence: boxes where they belong, labels inside the picture and off each other, any size readable."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.evidence import Box, Region
from visagent.vision.draw import COLOURS, annotate, side_by_side


def region(x1: float, y1: float, x2: float, y2: float, label: str = "face 1") -> Region:
    return Region(label=label, image="image_1", box=Box(x1=x1, y1=y1, x2=x2, y2=y2))


def test_the_box_is_drawn_on_its_edges_and_the_input_stays() -> None:
    rgb = np.full((600, 800, 3), 128, np.uint8)
    drawn = annotate(rgb, [region(200, 200, 400, 500)])
    assert (rgb == 128).all()
    assert drawn.shape == rgb.shape
    assert tuple(drawn[350, 200]) == COLOURS[0]
    assert tuple(drawn[499, 300]) == COLOURS[0]
    assert (drawn[300:400, 250:350] == 128).all()


def test_small_pictures_are_enlarged_so_that_labels_can_be_read() -> None:
    drawn = annotate(np.full((48, 48, 3), 128, np.uint8), [region(10, 10, 30, 30)])
    assert drawn.shape == (480, 480, 3)
    assert tuple(drawn[200, 101]) == COLOURS[0]


@pytest.mark.parametrize("box", [(0, 0, 800, 600), (0, 0, 40, 40), (760, 560, 800, 600), (-50, -50, 900, 700)])
def test_labels_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    bare = annotate(np.full((600, 800, 3), 128, np.uint8), [region(*box)], captions=[""])
    labelled = annotate(np.full((600, 800, 3), 128, np.uint8), [region(*box)], captions=["print attack"])
    changed = np.argwhere((bare != labelled).any(axis=2))
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    assert bottom - top >= 14
    assert 60 < right - left < 790


def test_regions_differ_in_colour() -> None:
    rgb = np.full((600, 800, 3), 128, np.uint8)
    drawn = annotate(rgb, [region(100, 100, 200, 200), region(400, 100, 500, 200, "face 2")])
    assert tuple(drawn[150, 100]) != tuple(drawn[150, 400])


def test_every_region_needs_a_caption() -> None:
    with pytest.raises(ValueError, match="caption"):
        annotate(np.zeros((99, 99, 3), np.uint8), [region(1, 1, 9, 9)], captions=[])


def test_two_pictures_stand_side_by_side_at_one_height() -> None:
    pair = side_by_side(np.zeros((100, 50, 3), np.uint8), np.zeros((200, 80, 3), np.uint8), gap=10)
    assert pair.shape == (200, 100 + 10 + 80, 3)
    assert (pair[:, 100:110] == 255).all()
