"""The pictures of a drift report, each a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from visagent.tools.drift.changepoints import Step, daily_means
from visagent.tools.drift.components import Components, Estimate
from visagent.tools.drift.scores import ScoreTable, sessions_of
from visagent.tools.drift.series import ErrorRate, allan_deviation, variogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#777777"
MOST_LINES = 60
"""People drawn one by one; more become a smear."""


def _figure(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def spaghetti(table: ScoreTable, estimate: Estimate, threshold: float | None) -> bytes:
    """Day means of each person over the years since the first day, and everybody's drift."""
    sessions = sessions_of(table)
    figure, axes = _figure("Day means of each person", "years since the person's first day", "score")
    people = np.unique(sessions.person)
    for person in people[:: max(1, len(people) // MOST_LINES)]:
        rows = sessions.person == person
        axes.plot(sessions.time[rows], sessions.mean[rows], color=BLUE, alpha=0.25, linewidth=0.8)
    time = np.array([0.0, float(sessions.time.max())])
    axes.plot(time, estimate.components.level + estimate.components.drift * time, color=ORANGE, linewidth=2.5,
              label="everybody's drift")
    if threshold is not None:
        axes.axhline(threshold, color=GRAY, linestyle="--", label="threshold")
    axes.legend(fontsize=8, loc="best")
    return _png(figure)


def components_bars(moments: Estimate, mixed: Components | None) -> bytes:
    """Standard deviations with their intervals."""
    figure, axes = _figure("What scores vary by (standard deviation, 95 % interval)", "", "score")
    names = ["person", "person x day", "calendar day", "residual", "day-to-day", "whole period"]
    values = moments.components.values()
    shown = [name for name in names if np.isfinite(values[name])]
    heights = np.array([values[name] for name in shown])
    ends = np.array([moments.intervals[name] for name in shown])
    colours = [ORANGE if name == "whole period" else GREEN if name == "day-to-day" else BLUE for name in shown]
    axes.bar(shown, heights, color=colours, alpha=0.8, width=0.6)
    axes.errorbar(shown, heights, yerr=np.abs(ends.T - heights), fmt="none", ecolor="black", capsize=4)
    if mixed is not None:
        other = mixed.values()
        axes.plot(shown, [other[name] for name in shown], "D", color="black", markersize=5, label="mixed model (REML)")
        axes.legend(fontsize=8)
    axes.tick_params(axis="x", labelrotation=12)
    return _png(figure)


def variogram_plot(table: ScoreTable, estimate: Estimate) -> bytes:
    """Half squared differences of a person's day means by lag: flat is day noise, rising is ageing."""
    found = variogram(sessions_of(table), estimate.components.residual)
    figure, axes = _figure("Variogram: how much two days of a person differ", "days between", "half mean squared "
                                                                                            "difference")
    axes.plot(found.lag, found.gamma, "o-", color=BLUE)
    axes.axhline(estimate.components.day_to_day ** 2, color=GRAY, linestyle="--", label="day-to-day variance")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return _png(figure)


def allan_plot(table: ScoreTable) -> bytes:
    """Allan deviation of day means."""
    windows, values = allan_deviation(sessions_of(table))
    figure, axes = _figure("Allan deviation: averaging over visits", "visits averaged", "deviation")
    axes.loglog(windows, values, "o-", color=BLUE, label="measured")
    if len(values):
        expected = values[0] / np.sqrt(np.array(windows))
        axes.loglog(windows, expected, color=GRAY, linestyle="--", label="day noise only")
    axes.legend(fontsize=8)
    return _png(figure)


def caterpillar(estimate: Estimate) -> bytes:
    """Each person's own drift with its 95 % interval, sorted."""
    order = np.argsort(estimate.slopes[:, 0])
    slope, error = estimate.slopes[order].T
    figure, axes = _figure("Each person's own drift per year", "people, sorted", "score per year")
    place = np.arange(len(slope))
    axes.vlines(place, slope - 1.96 * error, slope + 1.96 * error, color=BLUE, alpha=0.4, linewidth=1)
    axes.plot(place, slope, ".", color=BLUE, markersize=3)
    axes.axhline(estimate.components.drift, color=ORANGE, linewidth=2)
    axes.axhline(0, color="black", linewidth=0.8)
    return _png(figure)


def device_days(table: ScoreTable, steps: Sequence[Step]) -> bytes:
    """Daily means of each device, people's levels taken out, with the steps that are alarms."""
    from matplotlib.dates import date2num

    figure, axes = _figure("Daily means by device", "", "score less the person's mean")
    for number, name in enumerate(table.devices[:6]):
        days, values, _ = daily_means(table, table.device == number)
        moments = np.asarray(days.astype("datetime64[D]"))
        (line,) = axes.plot(moments, values, ".", markersize=4, alpha=0.6, label=name or "all")
        for step in steps:
            if step.device == (name or "all") and step.is_alarm:
                day = float(date2num(step.day))
                axes.axvline(day, color=line.get_color(), label=f"step {step.shift:+.4f} on {step.day}")
    figure.autofmt_xdate()
    axes.legend(fontsize=8)
    return _png(figure)


def error_plot(rates: Sequence[ErrorRate]) -> bytes:
    """FNMR at the threshold over time."""
    figure, axes = _figure("Missed at the threshold (FNMR)", "years since the person's first day", "FNMR")
    middle = np.array([(rate.from_years + rate.to_years) / 2 for rate in rates])
    values = np.array([rate.fnmr for rate in rates])
    ends = np.array([(rate.fnmr - rate.low, rate.high - rate.fnmr) for rate in rates]).T
    axes.errorbar(middle, values, yerr=np.maximum(ends, 0), fmt="o-", color=BLUE, capsize=4)
    axes.set_ylim(bottom=0)
    return _png(figure)
