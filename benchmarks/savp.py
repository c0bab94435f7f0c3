"""Time the SAVP maps against scikit-image on the same picture, side by side, and compare what they draw.

    python benchmarks/savp.py

Both run on one core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from skimage.data import astronaut
from skimage.feature import hog, local_binary_pattern

from visagent.vision.crop import resize
from visagent.vision.savp import hog_glyphs, savp_maps, uniform_lbp

ROUNDS = 25


def milliseconds(work: Callable[[], object]) -> float:
    """Median processor time of one call, which other processes do not move."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def skimage_hog(gray: np.ndarray) -> np.ndarray:
    """scikit-image's HOG picture with the parameters of SAVP."""
    cell = min(gray.shape) // 16
    return hog(gray, orientations=8, pixels_per_cell=(cell, cell), cells_per_block=(1, 1), visualize=True)[1]


def skimage_lbp(gray: np.ndarray) -> np.ndarray:
    """scikit-image's LBP codes with the parameters of SAVP."""
    return local_binary_pattern(gray, 8, 1, "uniform")


def main() -> None:
    """Print a line per size and map, and one for all three."""
    cv2.setNumThreads(1)
    print("| side | maps | scikit-image, ms | visagent, ms | ratio | difference |\n|---|---|---|---|---|---|")
    for side in (128, 192, 224, 384):
        rgb = resize(astronaut(), side, side)
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        glyphs = np.abs(hog_glyphs(gray) - skimage_hog(gray)).max()
        codes = (uniform_lbp(gray) != skimage_lbp(gray)).mean()
        rows = [
            ("HOG", lambda g=gray: skimage_hog(g), lambda g=gray: hog_glyphs(g), f"{glyphs:.0e} at most"),
            ("LBP", lambda g=gray: skimage_lbp(g), lambda g=gray: uniform_lbp(g), f"{codes:.3%} of codes"),
            ("all three", lambda g=gray: (skimage_hog(g), skimage_lbp(g)), lambda p=rgb: savp_maps(p), ""),
        ]
        for maps, theirs, ours, difference in rows:
            slow, fast = milliseconds(theirs), milliseconds(ours)
            print(f"| {side} | {maps} | {slow:.1f} | {fast:.2f} | {slow / fast:.0f} | {difference} |")


if __name__ == "__main__":
    main()
