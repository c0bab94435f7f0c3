"""SAVP maps equal scikit-image's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.feature import hog, local_binary_pattern

from visagent.vision.crop import resize
from visagent.vision.savp import hog_glyphs, savp_maps, uniform_lbp


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (100, 100), (128, 150)])
def test_the_hog_picture_is_that_of_skimage(astronaut: np.ndarray, size: tuple[int, int]) -> None:
    gray = np.asarray(cv2.cvtColor(resize(astronaut, size[1], size[0]), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    cell = size[0] // 16
    expected = hog(gray, orientations=8, pixels_per_cell=(cell, cell), cells_per_block=(1, 1), visualize=True)[1]
    assert np.abs(hog_glyphs(gray) - expected).max() < 1e-3


@pytest.mark.parametrize("size", [17, 64, 128])
def test_the_lbp_codes_are_those_of_skimage(astronaut: np.ndarray, size: int) -> None:
    gray = np.asarray(cv2.cvtColor(resize(astronaut, size, size), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    expected = local_binary_pattern(gray, 8, 1, "uniform")
    assert (uniform_lbp(gray) != expected).mean() < 1e-3
    plain = np.full((32, 32), 77, np.uint8)
    assert np.array_equal(uniform_lbp(plain), local_binary_pattern(plain, 8, 1, "uniform"))


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
