"""Drawn evidence: boxes where they belong, labels inside the picture and off each other, any size readable."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.evidence import Box, Region
from visagent.vision.draw import COLOURS, LAYER_OPACITY, annotate, as_layer, lay_over, side_by_side


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


def test_a_gray_mask_takes_the_colours_of_heat_and_hides_nothing_where_it_is_black() -> None:
    mask = np.repeat(np.array([[0, 60, 255]], np.uint8)[..., None], 3, axis=2)
    layer = as_layer(mask)
    assert layer.shape == (1, 3, 4) and layer.dtype == np.uint8
    assert layer[0, :, 3].tolist() == [0, round(60 * LAYER_OPACITY), round(255 * LAYER_OPACITY)]
    weak, strong = layer[0, 1, :3].astype(int), layer[0, 2, :3].astype(int)
    assert strong.sum() > weak.sum() and np.ptp(weak) > 20, "brighter, and coloured"


def test_a_coloured_mask_keeps_its_colours_and_its_strength_becomes_opacity() -> None:
    layer = as_layer(np.array([[[0, 85, 34], [200, 0, 0], [0, 0, 0]]], np.uint8))
    assert layer[0, :, :3].tolist() == [[0, 255, 102], [255, 0, 0], [0, 0, 0]]
    assert layer[0, :, 3].tolist() == [round(85 * LAYER_OPACITY), round(200 * LAYER_OPACITY), 0]


def test_a_mask_is_laid_on_its_place_and_nowhere_else() -> None:
    rgb = np.full((60, 80, 3), 100, np.uint8)
    over = lay_over(rgb, np.full((12, 12, 3), 255, np.uint8), Box(x1=20, y1=10, x2=50, y2=40))
    inside = np.zeros((60, 80), bool)
    inside[10:40, 20:50] = True
    assert (rgb == 100).all() and (over[~inside] == 100).all() and (over[inside] != 100).any(axis=1).all()
    unseen = lay_over(rgb, np.zeros((12, 12, 3), np.uint8), Box(x1=20, y1=10, x2=50, y2=40))
    assert np.array_equal(unseen, rgb)
    assert (lay_over(rgb, np.full((12, 12, 3), 255, np.uint8)) != 100).any(axis=2).all(), "all of it"


@pytest.mark.parametrize("box", [(-10, -5, 20, 25), (70, 50, 100, 80), (-10, -10, 90, 70), (90, 0, 99, 9)])
def test_a_mask_may_reach_out_of_the_picture(box: tuple[float, float, float, float]) -> None:
    x1, y1, x2, y2 = box
    mask = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    mask[:, : mask.shape[1] // 2] = 255
    over = lay_over(np.full((60, 80, 3), 100, np.uint8), mask, Box(x1=x1, y1=y1, x2=x2, y2=y2))
    changed = (over != 100).any(axis=2)
    expected = np.zeros((60, 80), bool)
    expected[max(0, y1):max(0, y2), max(0, x1):max(0, x1 + mask.shape[1] // 2)] = True
    assert np.array_equal(changed, expected)
