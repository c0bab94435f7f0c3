"""How well boxes lie on what they point at."""

from __future__ import annotations

from collections.abc import Sequence

from visagent.evaluation.intervals import Share

BoxCorners = tuple[float, float, float, float]


def box_iou(first: BoxCorners, second: BoxCorners) -> float:
    """Intersection over union of two boxes `(x1, y1, x2, y2)`, 0 to 1. Raises ValueError for one without an area."""
    for x1, y1, x2, y2 in (first, second):
        if not (x1 < x2 and y1 < y2):
            raise ValueError("a box needs x1 < x2 and y1 < y2")
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return min(1.0, width * height / (sum(areas) - width * height))


def share_located(truth: Sequence[BoxCorners], said: Sequence[BoxCorners | None], iou: float) -> Share:
    """The share of boxes found with at least this overlap.

    With one box per picture and no confidence, this is the AP@40 (0.4) and AP@50 (0.5) of the literature.

    Args:
        truth: The right box of each picture.
        said: The box named, None if there is none: a miss.
        iou: The least intersection over union, 0 to 1.
    """
    hits = sum(named is not None and box_iou(right, named) >= iou for right, named in zip(truth, said, strict=True))
    return Share(hits, len(truth))
