"""Boxes of every model family, to the pixels of the view and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.agent.boxes import OUTSIDE, BoxSpace, box_space

FAMILIES = ["qwen2_vl", "qwen3_vl", "qwen2_5_vl", "llava", "llava_next", "idefics3"]
sides = st.integers(20, 3000)


@given(st.sampled_from(FAMILIES), sides, sides, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_survives_the_way_to_the_model_and_back(family: str, width: int, height: int,
                                                      corners: list[float]) -> None:
    x1, x2 = sorted((corners[0] * width, corners[2] * width))
    y1, y2 = sorted((corners[1] * height, corners[3] * height))
    space = box_space(family)
    back = space.to_view(space.from_view((x1, y1, x2, y2), width, height), width, height)
    if x2 - x1 < 1e-3 or y2 - y1 < 1e-3:
        return
    assert back == pytest.approx((x1, y1, x2, y2), abs=1e-6 * max(width, height))


@given(st.sampled_from(FAMILIES), sides, sides,
       st.tuples(*[st.floats(-5000, 5000, allow_nan=False)] * 4))
def test_what_comes_back_lies_in_the_view(family: str, width: int, height: int,
                                          box: tuple[float, float, float, float]) -> None:
    back = box_space(family).to_view(box, width, height)
    assert back is None or (0 <= back[0] < back[2] <= width and 0 <= back[1] < back[3] <= height)


@pytest.mark.parametrize(("family", "written", "pixels"), [
    ("qwen3_vl", (100, 200, 500, 1000), (20, 80, 100, 400)),
    ("Qwen/Qwen3-VL-8B-Instruct", (100, 200, 500, 1000), (20, 80, 100, 400)),
    # 200 x 400 becomes 196 x 392 (7 and 14 times 28).
    ("Qwen/Qwen2.5-VL-7B-Instruct", (98, 0, 196, 392), (100, 0, 200, 400)),
    ("llava", (0.1, 0.2, 0.5, 1.0), (20, 80, 100, 400)),
    ("idefics3", (20, 80, 100, 400), (20, 80, 100, 400)),
])
def test_families_mean_different_things(family: str, written: tuple[float, ...], pixels: tuple[float, ...]) -> None:
    assert box_space(family).to_view(written, 200, 400) == pytest.approx(pixels)  # type: ignore[arg-type]


def test_a_models_own_statement_wins_over_its_family() -> None:
    assert box_space("idefics3", box_scale=1000).to_view((0, 0, 500, 500), 200, 400) == (0, 0, 100, 200)


@pytest.mark.parametrize(("width", "height", "expected"), [
    (200, 400, (196, 392)), (14, 14, (56, 56)), (6000, 6000, (3584, 3584)),
])
def test_qwens_resizing_is_reproduced(width: int, height: int, expected: tuple[int, int]) -> None:
    assert box_space("qwen2_5_vl").size(width, height) == expected


def test_words_are_rewritten_with_pixels_of_the_view() -> None:
    space = BoxSpace(scale=1000)
    text = "A screen edge at [100, 200, 500, 1000], glare at <|box_start|>(0,0),(500,500)<|box_end|>."
    look = space.read(text, 200, 400)
    assert look.text == "A screen edge at [20, 80, 100, 400], glare at [0, 0, 100, 200]."
    assert look.boxes == ((20, 80, 100, 400), (0, 0, 100, 200))


def test_a_box_without_area_is_dropped_and_said() -> None:
    look = BoxSpace(scale=1000).read("A cut at [500, 500, 500, 600].", 200, 400)
    assert look.boxes == ()
    assert look.text == f"A cut at {OUTSIDE}."
