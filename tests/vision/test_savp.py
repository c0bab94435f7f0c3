"""SAVP maps equal scikit-image's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import hog, local_binary_pattern

from visagent.vision.crop import resize
from visagent.vision.savp import hog_glyphs, savp_maps, uniform_lbp


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (100, 100), (128, 150), (384, 384)])
def test_the_hog_picture_is_that_of_skimage(astronaut: np.ndarray, size: tuple[int, int]) -> None:
    gray = np.asarray(cv2.cvtColor(resize(astronaut, size[1], size[0]), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    cell = size[0] // 16
    expected = hog(gray, orientations=8, pixels_per_cell=(cell, cell), cells_per_block=(1, 1), visualize=True)[1]
    assert np.abs(hog_glyphs(gray) - expected).max() < 1e-4


@pytest.mark.parametrize("size", [17, 64, 128, 384])
def test_the_lbp_codes_are_those_of_skimage(astronaut: np.ndarray, size: int) -> None:
    gray = np.asarray(cv2.cvtColor(resize(astronaut, size, size), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    expected = local_binary_pattern(gray, 8, 1, "uniform")
    assert (uniform_lbp(gray) != expected).mean() < 1e-3
    plain = np.full((32, 32), 77, np.uint8)
    assert np.array_equal(uniform_lbp(plain), local_binary_pattern(plain, 8, 1, "uniform"))


@given(st.integers(0, 2**32), st.integers(16, 40), st.integers(16, 40), st.sampled_from([1, 3, 30, 255]))
def test_the_lbp_codes_are_those_of_the_formula_without_rounding(
    seed: int, height: int, width: int, brightest: int
) -> None:
    """A bilinear neighbour at distance 1 is as bright as the centre if D + (sqrt(2) - 1) S >= 0: squares decide."""
    gray = np.random.default_rng(seed).integers(0, brightest + 1, (height, width)).astype(np.uint8)
    padded = np.pad(gray, 1).astype(int)

    def above(down: int, right: int) -> np.ndarray:
        return padded[1 + down:1 + down + height, 1 + right:1 + right + width] - padded[1:-1, 1:-1]

    ring = []
    for down, right in ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)):
        sides = (above(down, 0) + above(0, right)) * abs(down * right)
        rest = above(down, right) - sides  # rest + sqrt(2) * sides >= 0, in whole numbers
        larger = rest**2 >= 2 * sides**2
        ring.append(np.where(sides >= 0, (rest >= 0) | ~larger, (rest > 0) & larger))
    runs = sum((one != other).astype(int) for one, other in zip(ring, ring[1:] + ring[:1], strict=True))
    assert np.array_equal(uniform_lbp(gray), np.where(runs <= 2, sum(one.astype(int) for one in ring), 9))


@given(st.integers(0, 2**32), st.integers(32, 70), st.integers(32, 70), st.sampled_from([1, 3, 255]),
       st.sampled_from([6, 8, 9]))
def test_the_hog_picture_of_any_picture_is_that_of_skimage(
    seed: int, height: int, width: int, brightest: int, orientations: int
) -> None:
    gray = np.random.default_rng(seed).integers(0, brightest + 1, (height, width)).astype(np.uint8)
    cell = min(gray.shape) // 16
    expected = hog(gray, orientations=orientations, pixels_per_cell=(cell, cell), cells_per_block=(1, 1),
                   visualize=True)[1]
    assert np.abs(hog_glyphs(gray, orientations) - expected).max() < 1e-4


def test_the_maps_are_gray_hog_lbp_over_the_whole_range(astronaut: np.ndarray) -> None:
    maps = savp_maps(astronaut[:256, :256])
    assert maps.shape == (256, 256, 3)
    assert maps.dtype == np.uint8
    assert np.array_equal(maps[..., 0], cv2.cvtColor(np.ascontiguousarray(astronaut[:256, :256]), cv2.COLOR_RGB2GRAY))
    assert maps[..., 1].max() == 255
    assert maps[..., 2].max() == 255
    assert savp_maps(np.zeros((16, 16, 3), np.uint8))[..., 1].max() == 0


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="16 pixels"):
        savp_maps(np.zeros((8, 8, 3), np.uint8))
