"""Time the SAVP maps against scikit-image on the same picture, side by side.

    python benchmarks/savp.py
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
from visagent.vision.savp import savp_maps

ROUNDS = 15


def milliseconds(work: Callable[[], object]) -> float:
    """Median processor time of one call, which other processes do not move."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def by_skimage(rgb: np.ndarray) -> np.ndarray:
    """The same three maps by scikit-image, not scaled."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    cell = min(gray.shape) // 16
    glyphs = hog(gray, orientations=8, pixels_per_cell=(cell, cell), cells_per_block=(1, 1), visualize=True)[1]
    return np.dstack([gray, glyphs, local_binary_pattern(gray, 8, 1, "uniform")])


def main() -> None:
    """Print one line per size."""
    print("| side | scikit-image, ms | visagent, ms | ratio |\n|---|---|---|---|")
    for side in (128, 224, 384):
        rgb = resize(astronaut(), side, side)
        theirs, ours = milliseconds(lambda rgb=rgb: by_skimage(rgb)), milliseconds(lambda rgb=rgb: savp_maps(rgb))
        print(f"| {side} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} |")


if __name__ == "__main__":
    main()
