"""DET curves: how a score's two error rates trade against each other, on normal-deviate axes (Martin et al. 1997).

    python -m visagent.evaluation.det --scores scores.csv --out det.svg

For presentation attacks the axes are APCER (of the worst attack type at each threshold, as ISO/IEC 30107-3 asks, or of
all types pooled) and BPCER; for comparison of faces they are FNMR and FMR. Rates of 0 and 1 lie at infinity on such
axes: the drawing ends somewhere, the data do not. The plot is written as SVG or PNG, the data as CSV.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visagent.errors import VisagentError, run_command
from visagent.evaluation.attack_errors import Flags, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (1e-5, 1e-4, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Rates that are marked on an axis as far as it goes."""
Ends = tuple[float, float]
ENDS: Ends = (0.001, 0.999)
"""Where an axis begins and ends unless another is asked for."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which most colour-blind people tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class DetCurve:
    """Error rates at every threshold, from the lowest to infinity; a score is accepted from the threshold on.

    Attributes:
        thresholds: float64 `[T]`, ascending: every score once, then infinity.
        missed: Share of the positives below the threshold, 0 to 1, `[T]`: APCER where positives are attacks, FNMR
            where they are mated comparisons.
        false_alarms: Share of the negatives from the threshold on: BPCER, FMR.
    """

    thresholds: NDArray[np.float64]
    missed: NDArray[np.float64]
    false_alarms: NDArray[np.float64]

    def at(self, threshold: float) -> tuple[float, float]:
        """Both rates at a threshold: missed, false alarms."""
        place = min(int(np.searchsorted(self.thresholds, threshold, "left")), len(self.thresholds) - 1)
        return float(self.missed[place]), float(self.false_alarms[place])

    @property
    def equal_error_rate(self) -> float:
        """Where both rates are equal, by a straight line between the two thresholds around it (D-EER, EER)."""
        gap = self.missed - self.false_alarms
        after = int(np.argmax(gap >= 0))
        if after == 0:
            return float(self.missed[0] + self.false_alarms[0]) / 2
        share = -gap[after - 1] / (gap[after] - gap[after - 1])
        return float(self.missed[after - 1] + share * (self.missed[after] - self.missed[after - 1]))


def det_curve(scores: Scores, is_positive: Flags) -> DetCurve:
    """The curve of a score that is higher for positives.

    Args:
        scores: `[N]`, finite.
        is_positive: `[N]`: attacks, or mated comparisons (give similarities, or distances with the sign changed).

    Raises:
        ValueError: One class only, or a score that is not finite.
    """
    return worst_type_curve(scores, ["positive" if flag else None for flag in is_positive])


def worst_type_curve(scores: Scores, truth: Sequence[str | None]) -> DetCurve:
    """The curve whose APCER is that of the attack type missed most at each threshold.

    Args:
        scores: Attack scores `[N]`, finite.
        truth: The attack type of each, None for a live face.

    Raises:
        ValueError: One class only, or a score that is not finite.
    """
    if not np.isfinite(scores).all():
        raise ValueError("every score must be finite")
    kinds = np.array([kind or "" for kind in truth])
    live = np.sort(scores[kinds == ""])
    if len(live) in (0, len(scores)):
        raise ValueError("a DET curve needs both classes")
    thresholds = np.append(np.unique(scores.astype(np.float64)), np.inf)
    missed = np.max([np.searchsorted(np.sort(scores[kinds == kind]), thresholds, "left") / (kinds == kind).sum()
                     for kind in sorted(set(kinds) - {""})], axis=0)
    false_alarms = 1 - np.searchsorted(live, thresholds, "left") / len(live)
    return DetCurve(thresholds, missed, false_alarms)


def write_det(path: Path, curves: Mapping[str, DetCurve], *, points: Mapping[str, float] | None = None,
              axes: tuple[str, str] = ("APCER", "BPCER"), title: str = "DET", across: Ends = ENDS, up: Ends = ENDS
              ) -> None:
    """Draw curves, and write their data beside the drawing with the ending `.csv`.

    Args:
        path: Ends in .svg or .png.
        curves: The curves by name, at most six.
        points: The operating threshold of a curve by its name; it is marked on the curve.
        axes: What is missed (across) and what is a false alarm (up).
        title: Above the drawing.
        across: Rates at which the first axis begins and ends.
        up: Likewise of the second.

    Raises:
        VisagentError: Another ending, or more curves than there are colours.
    """
    if path.suffix not in (".svg", ".png"):
        raise VisagentError(f"A DET plot is written as .svg or .png, not as {path.suffix or 'a file without ending'}.")
    if len(curves) > len(COLOURS):
        raise VisagentError(f"A DET plot has at most {len(COLOURS)} curves; draw the others apart.")
    figure, plot = _empty(axes, title, across, up)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        label = f"{name}: EER {curve.equal_error_rate:.1%}"
        if points is not None and name in points:
            missed, alarms = curve.at(points[name])
            plot.plot(deviate(missed, across), deviate(alarms, up), "o", color=colour, clip_on=False)
            label += f"; in use: {axes[0]} {missed:.1%}, {axes[1]} {alarms:.1%}"
        plot.plot(deviate(curve.missed, across), deviate(curve.false_alarms, up), color=colour, label=label)
    plot.legend(loc="upper right", fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["curve", "threshold", axes[0], axes[1]])
        for name, curve in curves.items():
            table.writerows([name, *map(float, row)] for row in
                            zip(curve.thresholds, curve.missed, curve.false_alarms, strict=True))


def _empty(axes: tuple[str, str], title: str, across: Ends, up: Ends) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.6), dpi=110, layout="constrained")
    plot = figure.subplots()
    plot.set(xlabel=f"{axes[0]} (%)", ylabel=f"{axes[1]} (%)", title=title, xlim=deviate(across, across),
             ylim=deviate(up, up))
    for axis, ends in ((plot.xaxis, across), (plot.yaxis, up)):
        ticks = [tick for tick in TICKS if ends[0] <= tick <= ends[1]]
        axis.set_ticks(list(deviate(ticks, ends)), [f"{100 * tick:g}" for tick in ticks], fontsize="small")
    plot.grid(color="0.88")
    shared = max(across[0], up[0]), min(across[1], up[1])
    both = deviate(shared, shared)
    plot.plot(both, both, color="0.88")
    return figure, plot


def deviate(rates: ArrayLike, ends: Ends = ENDS) -> NDArray[np.float64]:
    """Normal deviates of rates, each clipped to the ends of an axis."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(rates, *ends)), np.float64)


def read_scores(path: Path) -> tuple[NDArray[np.float64], list[str | None]]:
    """Scores and truths of a CSV file with the columns `score` and `label` (an attack type, or "live").

    Raises:
        VisagentError: Other columns, or a score that is no finite number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        scores = np.array([float(row["score"]) for row in rows])
        labels = [None if row["label"] == "live" else row["label"] for row in rows]
    except (OSError, KeyError, TypeError, ValueError):
        raise VisagentError(f"{path.name!r} is no CSV file with the columns score, a number, and label.") from None
    if not np.isfinite(scores).all():
        raise VisagentError(f"{path.name!r} has a score that is not finite; leave such lines out and say how many.")
    return scores, labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scores", type=Path, required=True, help="CSV with the columns score and label")
    parser.add_argument("--out", type=Path, required=True, help="the plot, .svg or .png; its data go beside it")
    parser.add_argument("--threshold", type=float, default=None, help="the operating point to mark")
    options = parser.parse_args(arguments)
    scores, labels = read_scores(options.scores)
    if len({label is None for label in labels}) < 2:
        raise VisagentError(f"{options.scores.name!r} needs attacks and live faces.")
    curves = {"worst type": worst_type_curve(scores, labels),
              "types pooled": det_curve(scores, np.array([label is not None for label in labels]))}
    points = {} if options.threshold is None else dict.fromkeys(curves, options.threshold)
    write_det(options.out, curves, points=points)
    for name, curve in curves.items():
        print(f"{name}: EER {curve.equal_error_rate:.4f}")


if __name__ == "__main__":
    run_command(main)
