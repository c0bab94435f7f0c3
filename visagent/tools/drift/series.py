"""Views of the same scores that need no model: successive differences, variogram, Allan deviation, error over time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from visagent.tools.drift.components import Estimate
from visagent.tools.drift.scores import DAYS_PER_YEAR, Floats, ScoreTable, Sessions, sessions_of

LAGS_DAYS: Final = (0.5, 7.5, 30.5, 91.5, 183, 366, 731, 1462)
"""Edges of the variogram's bins: up to a week, a month, a quarter, half a year, one, two and four years."""
WINDOWS: Final = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Variogram:
    """Half the mean squared difference of a person's day means, by how many days lie between.

    Attributes:
        lag: Mean lag of each bin in days.
        gamma: Half mean squared difference; what differs within days is taken out.
        pairs: Pairs of days in each bin.
    """

    lag: Floats
    gamma: Floats
    pairs: Floats


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Share of scores under a fixed threshold in a stretch of time since each person's first day."""

    from_years: float
    to_years: float
    fnmr: float
    low: float
    high: float
    scores: int


def successive_difference_sd(sessions: Sessions, residual: float) -> float:
    """Day-to-day standard deviation from differences of consecutive days: no line is assumed (von Neumann 1941)."""
    same = np.diff(sessions.person) == 0
    squared = np.diff(sessions.mean)[same] ** 2
    noise = residual ** 2 * (1 / sessions.count[:-1] + 1 / sessions.count[1:])[same]
    return float(np.sqrt(max(0.0, float((squared - noise).mean()) / 2)))


def variogram(sessions: Sessions, residual: float) -> Variogram:
    """The empirical variogram of day means within people."""
    lags: list[Floats] = []
    halves: list[Floats] = []
    for person in np.unique(sessions.person):
        rows = np.flatnonzero(sessions.person == person)
        one, other = np.triu_indices(len(rows), 1)
        lags.append((sessions.day[rows][other] - sessions.day[rows][one]).astype(np.float64))
        noise = residual ** 2 * (1 / sessions.count[rows][one] + 1 / sessions.count[rows][other])
        halves.append(((sessions.mean[rows][other] - sessions.mean[rows][one]) ** 2 - noise) / 2)
    lag, half = np.concatenate(lags), np.concatenate(halves)
    bins = np.digitize(lag, LAGS_DAYS)
    there = [number for number in range(1, len(LAGS_DAYS)) if (bins == number).sum() >= 10]
    return Variogram(np.array([lag[bins == number].mean() for number in there]),
                     np.array([half[bins == number].mean() for number in there]),
                     np.array([float((bins == number).sum()) for number in there]))


def allan_deviation(sessions: Sessions) -> tuple[tuple[int, ...], Floats]:
    """Allan deviation of day means over windows of 1, 2, 4 ... visits: falls by day noise, rises by drift."""
    windows, values = [], []
    for window in WINDOWS:
        squared = []
        for person in np.unique(sessions.person):
            means = sessions.mean[sessions.person == person]
            blocks = means[: len(means) // window * window].reshape(-1, window).mean(axis=1)
            squared += (np.diff(blocks) ** 2).tolist()
        if len(squared) >= 10:
            windows.append(window)
            values.append(float(np.sqrt(np.mean(squared) / 2)))
    return tuple(windows), np.array(values)


def error_over_time(table: ScoreTable, threshold: float, *, seed: int = 0, resamples: int = 500
                    ) -> tuple[ErrorRate, ...]:
    """FNMR at a fixed threshold by years since each person's first day; intervals by resampling people."""
    first = np.full(len(table.people), np.iinfo(np.int64).max)
    np.minimum.at(first, table.person, table.day)
    years = (table.day - first[table.person]) / DAYS_PER_YEAR
    longest = float(years.max())
    edges = [0.0, *(edge for edge in (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0) if edge < longest), longest + 1e-9]
    missed = table.score < threshold
    draw = np.random.default_rng(seed)
    drawn = draw.multinomial(len(table.people), np.full(len(table.people), 1 / len(table.people)), resamples)
    found = []
    for low, high in pairwise(edges):
        rows = (years >= low) & (years < high)
        if not rows.any():
            continue
        errors = np.bincount(table.person[rows], missed[rows].astype(np.float64), len(table.people))
        counts = np.bincount(table.person[rows], minlength=len(table.people))
        rates = (drawn @ errors) / np.maximum(drawn @ counts, 1)
        lower, upper = np.quantile(rates, (0.025, 0.975))
        found.append(ErrorRate(low, high, float(missed[rows].mean()), float(lower), float(upper), int(rows.sum())))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Advice:
    """A person who should be enrolled anew.

    Attributes:
        person: Pseudonym.
        slope: The person's own drift per year, shrunk towards everybody's.
        expected: Expected mean score a year after the person's last day.
    """

    person: str
    slope: float
    expected: float


def reenrolment(table: ScoreTable, estimate: Estimate, threshold: float | None) -> tuple[Advice, ...]:
    """Whom to enrol anew: whose expected score a year on comes within a day's variation of the threshold.

    Without a threshold: whose own drift is downward by more than twice its standard error.
    """
    sessions, found = sessions_of(table), []
    parts = estimate.components
    margin = 1.96 * float(np.hypot(parts.day_to_day, parts.residual))
    place = {name: number for number, name in enumerate(table.people)}
    for name, (slope, error) in zip(estimate.names, estimate.slopes, strict=True):
        weight = parts.slope ** 2 / (parts.slope ** 2 + error ** 2) if parts.slope else 0.0
        own = parts.drift + weight * (slope - parts.drift)
        rows = sessions.person == place[name]
        ahead = float(sessions.time[rows].max()) + 1 - float(sessions.time[rows].mean())
        expected = float(sessions.mean[rows].mean()) + own * ahead
        sinks = slope < -2 * error if threshold is None else expected - margin < threshold
        if sinks and own < 0:
            found.append(Advice(name, own, expected))
    return tuple(sorted(found, key=lambda advice: advice.expected))


def smallest_detectable_drift(estimate: Estimate, table: ScoreTable) -> float:
    """Drift per year that a study like this would find with 80 % power at 5 %: 2.8 standard errors."""
    sessions = sessions_of(table)
    parts = estimate.components
    spread = np.mean([sessions.time[sessions.person == person].var() for person in np.unique(sessions.person)])
    days = estimate.sessions / estimate.people
    captures = estimate.captures / estimate.sessions
    variance = (parts.person_day ** 2 + parts.residual ** 2 / captures) / (estimate.people * days * max(spread, 1e-9))
    return 2.8 * float(np.sqrt(variance + parts.slope ** 2 / estimate.people))
