"""The pictures of an answer: the apex with arrows and landmarks, and the timeline of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from visagent.tools.micro_expression.movement import Movement
from visagent.tools.micro_expression.reader import OperatingPoint
from visagent.tools.micro_expression.spotting import Curve, Spotted
from visagent.vision.crop import ByteImage
from visagent.vision.micro_expression import Grouping, grouped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE, BLUE, GRAY = "#d55e00", "#0072b2", "#777777"
ARROWS_EVERY: Final = 6
"""Pixels of the crop between two arrows."""
LEAST_SHARE: Final = 0.25
"""Of the strongest motion; smaller ones get no arrow."""


def draw_apex(crop: NDArray[np.uint8], landmarks: NDArray[np.floating], flow: NDArray[np.floating], title: str
              ) -> ByteImage:
    """The crop at the apex, enlarged, with the motion since the onset as arrows and the landmarks as dots.

    Args:
        crop: uint8 `[128, 128]`.
        landmarks: `[68, 2]` in its pixels.
        flow: `[128, 128, 2]` as (x, y) in its pixels.
        title: What it shows.
    """
    figure = _figure((5.4, 5.6))
    axes = figure.subplots()
    axes.imshow(crop, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
    axes.set_xlim(-0.5, crop.shape[1] - 0.5)
    axes.set_ylim(crop.shape[0] - 0.5, -0.5)
    axes.scatter(landmarks[:, 0], landmarks[:, 1], s=6, color=BLUE, linewidths=0)
    places = np.arange(ARROWS_EVERY // 2, crop.shape[0], ARROWS_EVERY)
    x, y = (grid.ravel() for grid in np.meshgrid(places, places))
    moved = flow[y, x]
    size = np.linalg.norm(moved, axis=1)
    strong = size >= LEAST_SHARE * size.max()
    longest = max(float(size.max()), 1e-6)
    axes.quiver(x[strong], y[strong], moved[strong, 0], moved[strong, 1], color=ORANGE, angles="xy",
                scale_units="xy", scale=longest / (1.8 * ARROWS_EVERY), width=0.006)
    axes.set_title(f"{title}\nlongest arrow: {longest:.1f} pixels of the crop", fontsize=9, loc="left")
    axes.set_axis_off()
    return _pixels(figure)


def draw_timeline(curves: Sequence[Curve], moved: Sequence[Movement], found: Sequence[Spotted], point: OperatingPoint,
                  grouping: Grouping, unseen: Sequence[tuple[float, float]], length: float) -> ByteImage:
    """The probability and the brief movements over the clip, and the finds, which are over the threshold in both.

    Args:
        curves: Of each stretch.
        moved: The movements, of which the brief ones are shown.
        found: The micro-expressions.
        point: The thresholds.
        grouping: Whose classes are named.
        unseen: Times that could not be judged.
        length: Of the clip, seconds.
    """
    from visagent.vision.micro_expression import GROUPINGS

    figure = _figure((7.6, 4.6))
    axes, below = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    for curve in curves:
        axes.plot(curve.seconds, curve.score, color=BLUE, linewidth=1.6, label="probability of a micro-expression")
    brief = [one for one in moved if one.is_brief]
    for is_blink, label, fill, edge in ((False, "share of the motion that a brief movement explains", BLUE, "none"),
                                        (True, "that a blink does", "none", GRAY)):
        kind = [one for one in brief if one.is_blink == is_blink]
        if kind:
            below.scatter([one.apex for one in kind], [one.explained for one in kind], s=10, facecolors=fill,
                          edgecolors=edge, label=label)
    for part, threshold in ((axes, point.threshold), (below, point.explained)):
        part.axhline(threshold, color=GRAY, linestyle="--", linewidth=1, label="thresholds")
        for start, end in unseen:
            part.axvspan(start, end, color=GRAY, alpha=0.25, linewidth=0, label="not judged")
        for spotted in found:
            part.axvspan(spotted.onset, spotted.offset, color=ORANGE, alpha=0.25, linewidth=0)
            part.axvline(spotted.apex, color=ORANGE, linewidth=1.5)
        part.spines[["top", "right"]].set_visible(False)
    names = tuple(GROUPINGS[grouping])
    for spotted in found:
        name = names[int(grouped(spotted.probabilities, grouping).argmax())]
        axes.annotate(name, (spotted.apex, 1.02), ha="center", va="bottom", fontsize=9, color=ORANGE)
    shown = [handle for part in (axes, below) for handle in zip(*part.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in shown}
    figure.legend(handles.values(), handles.keys(), fontsize=8, loc="outside upper left", ncols=4, frameon=False)
    axes.set_xlim(0, max(length, 0.1))
    axes.set_ylim(0, 1.12)
    below.set_ylim(0, 1.05)
    below.set_xlabel("seconds")
    return _pixels(figure)


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure: Figure) -> ByteImage:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
