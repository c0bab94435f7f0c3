"""The face view: square, inside the picture where it fits, and exactly reversible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.evidence import Box
from visagent.vision.crop import cut_out, limit_detail, resize, take_view


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.floats(-20, 150)), draw(st.floats(-20, 90))
    return Box(x1=x, y1=y, x2=x + draw(st.floats(1, 120)), y2=y + draw(st.floats(1, 120)))


@given(face=boxes(), other=boxes(), margin=st.floats(1, 3), size=st.none() | st.integers(8, 64),
       turns=st.integers(0, 3))
def test_boxes_come_back_from_a_view_as_they_went_in(face: Box, other: Box, margin: float, size: int | None,
                                                     turns: int) -> None:
    view = take_view(np.zeros((100, 160, 3), np.uint8), face, margin, size, turns=turns)
    back = view.to_picture(view.from_picture(other))
    assert np.allclose((back.x1, back.y1, back.x2, back.y2), (other.x1, other.y1, other.x2, other.y2), atol=1e-6)
    assert view.rgb.shape[0] == view.rgb.shape[1] == (size or view.side)


def test_a_view_shows_the_pixels_it_says_it_shows() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (100, 160, 3), dtype=np.uint8)
    view = take_view(rgb, Box(x1=60, y1=40, x2=80, y2=60), margin=1.5)
    assert (view.left, view.top, view.side) == (55, 35, 30)
    assert np.array_equal(view.rgb, rgb[35:65, 55:85])


@given(face=boxes(), margin=st.floats(1, 3), turns=st.integers(0, 3))
def test_the_place_of_a_view_is_what_it_shows(face: Box, margin: float, turns: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (100, 160, 3), dtype=np.uint8)
    view = take_view(rgb, face, margin, turns=turns)
    assert np.array_equal(np.rot90(view.rgb, -turns), cut_out(rgb, view.place))


def test_what_lies_outside_of_a_picture_repeats_its_edge() -> None:
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(cut_out(rgb, Box(x1=1, y1=1, x2=4, y2=3)), rgb[1:3, 1:4])
    out = cut_out(rgb, Box(x1=-2, y1=3, x2=1, y2=6))
    assert out.shape == (3, 3, 3) and (out == rgb[3, 0]).all()
    assert cut_out(rgb, Box(x1=1.2, y1=1.1, x2=1.4, y2=1.3)).shape == (1, 1, 3), "never empty"


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_view_shows_a_box_where_it_says(turns: int) -> None:
    rgb = np.zeros((100, 160, 3), np.uint8)
    rgb[44:48, 62:72] = 255
    view = take_view(rgb, Box(x1=60, y1=40, x2=80, y2=60), margin=1.5, turns=turns)
    assert np.array_equal(np.rot90(view.rgb, -turns), rgb[35:65, 55:85])
    rows, columns = np.nonzero(view.rgb[..., 0])
    box = view.from_picture(Box(x1=62, y1=44, x2=72, y2=48))
    assert (box.x1, box.y1, box.x2, box.y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_a_view_is_shifted_into_the_picture_rather_than_padded() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (100, 160, 3), dtype=np.uint8)
    view = take_view(rgb, Box(x1=140, y1=0, x2=160, y2=20), margin=1.5)
    assert (view.left, view.top, view.side) == (130, 0, 30)
    assert np.array_equal(view.rgb, rgb[:30, 130:])


def test_too_narrow_a_picture_repeats_its_edges_on_both_sides() -> None:
    rgb = np.zeros((40, 20, 3), np.uint8)
    rgb[:, 0], rgb[:, -1] = 10, 20
    view = take_view(rgb, Box(x1=0, y1=5, x2=20, y2=25), margin=1.5)
    assert view.left == -5
    assert (view.rgb[:, :6] == 10).all()
    assert (view.rgb[:, -6:] == 20).all()


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize(stripes, 96, 96).astype(int)) < 100  # sampling points would give 255
    assert resize(stripes, 256, 256).shape == stripes.shape


def test_detail_beyond_the_limit_is_left_out_and_geometry_stays() -> None:
    """A fine checkerboard becomes gray; a picture with fewer pixels than the limit is not touched."""
    fine = np.kron(np.indices((200, 200)).sum(0) % 2 * 255, np.ones((2, 2))).astype(np.uint8)[..., None].repeat(3, 2)
    box = Box(x1=40, y1=40, x2=360, y2=360)
    sharp, soft = take_view(fine, box, 1.0, 160), take_view(fine, box, 1.0, 160, detail=80)
    assert (soft.left, soft.top, soft.side, soft.rgb.shape) == (sharp.left, sharp.top, sharp.side, sharp.rgb.shape)
    assert soft.rgb.std() < 0.2 * take_view(fine, box, 1.0).rgb.std()
    assert np.array_equal(take_view(fine, box, 1.0, 160, detail=320).rgb, sharp.rgb)


def test_a_square_loses_its_finest_detail_and_keeps_the_rest() -> None:
    """Bars of sixteen pixels stay as they are, of two become gray; the limit of its own size changes nothing."""
    def bars(width: int) -> np.ndarray:
        return (np.indices((192, 192))[1] // width % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)

    wide, narrow = bars(16), bars(2)
    assert limit_detail(narrow, 48).std() < 10 < 100 < limit_detail(wide, 48).std()
    assert limit_detail(wide, 96).shape == wide.shape
    assert np.array_equal(limit_detail(narrow, 192), narrow)


@pytest.mark.parametrize("wrong", [{"margin": 0.0}, {"size": 0}])
def test_a_view_of_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        take_view(np.zeros((9, 9, 3), np.uint8), Box(x1=1, y1=1, x2=5, y2=5), **wrong)
