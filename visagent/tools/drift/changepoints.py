"""A step in the scores of a device: everybody who uses it shifts on one day, which ageing never does.

For each device, the daily mean of all scores (each person's own level and everybody's drift taken out) is fitted with
a step at every possible day; the best step's gain over a straight line is compared with the gains that residuals drawn
anew about the line give (sup-F test by bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np

from visagent.tools.drift.scores import Floats, ScoreTable

EDGE: Final = 0.1
"""Share of a device's days at either end where no step is looked for."""
LEAST_DAYS: Final = 12
RESAMPLES: Final = 499
ALARM: Final = 0.01
"""p-value up to which a step is an alarm: with several devices and monthly looks, 0.05 would cry wolf."""


@dataclass(frozen=True, slots=True)
class Step:
    """A device's best step.

    Attributes:
        device: Its name.
        day: First day after the step.
        shift: Mean after less mean before, in units of the score.
        p_value: Of no step, 0 to 1.
    """

    device: str
    day: date
    shift: float
    p_value: float

    @property
    def is_alarm(self) -> bool:
        """Whether it is more than chance."""
        return self.p_value <= ALARM


def find_steps(table: ScoreTable, *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[Step, ...]:
    """The best step of each device with enough days; see `Step.is_alarm`."""
    draw = np.random.default_rng(seed)
    found = []
    for number, name in enumerate(table.devices):
        rows = table.device == number
        days, values, weights = daily_means(table, rows)
        if len(days) < LEAST_DAYS:
            continue
        gain, place, shift = _best_step(values, weights, days)
        fitted = _line(days, values, weights)
        rest = (values - fitted) * np.sqrt(weights)
        chance = [_best_step(fitted + draw.choice(rest, len(rest)) / np.sqrt(weights), weights, days)[0]
                  for _ in range(resamples)]
        p_value = (1 + sum(other >= gain for other in chance)) / (1 + resamples)
        found.append(Step(name or "all", date(1970, 1, 1) + timedelta(days=int(days[place])), shift, p_value))
    return tuple(found)


def robust_outliers(table: ScoreTable, most: float = 3.5) -> tuple[tuple[str, date, float], ...]:
    """Days on which a person's mean is far from the person's other days: robust z (median, MAD) over 3.5."""
    from visagent.tools.drift.scores import sessions_of

    sessions = sessions_of(table)
    found = []
    for person in np.unique(sessions.person):
        rows = sessions.person == person
        means = sessions.mean[rows]
        if len(means) < 5:
            continue
        middle = np.median(means)
        scale = 1.4826 * np.median(np.abs(means - middle))
        for day, value in zip(sessions.day[rows], (means - middle) / scale if scale > 0 else 0 * means, strict=True):
            if abs(value) > most:
                found.append((table.people[person], date(1970, 1, 1) + timedelta(days=int(day)), float(value)))
    return tuple(sorted(found, key=lambda item: -abs(item[2])))


def daily_means(table: ScoreTable, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[Floats, Floats, Floats]:
    """Days of a device, mean of its scores on each with people's levels taken out, and captures on each."""
    person, score = table.person[rows], table.score[rows]
    count = np.maximum(np.bincount(person, minlength=len(table.people)), 1)
    level = np.bincount(person, score, len(table.people)) / count
    days, place = np.unique(table.day[rows], return_inverse=True)
    weights = np.bincount(place).astype(np.float64)
    return days.astype(np.float64), np.bincount(place, score - level[person]) / weights, weights


def _best_step(values: Floats, weights: Floats, days: Floats) -> tuple[float, int, float]:
    """Greatest gain of a step beside a line over the line alone, its place and size."""
    basis = np.stack([np.ones_like(days), (days - days.mean()) / max(days.std(), 1e-9)], axis=1)
    root = np.sqrt(weights)
    ortho = np.linalg.qr(basis * root[:, None])[0]
    target = values * root
    rest = target - ortho @ (ortho.T @ target)
    edge = max(2, round(EDGE * len(days)))
    places = np.arange(edge, len(days) - edge)
    steps = (np.arange(len(days))[:, None] >= places[None, :]) * root[:, None]
    steps = steps - ortho @ (ortho.T @ steps)
    lengths = (steps ** 2).sum(axis=0)
    products = steps.T @ rest
    gains = products ** 2 / np.maximum(lengths, 1e-18)
    best = int(np.argmax(gains))
    left = max(float((rest ** 2).sum() - gains[best]), 1e-18)
    return float(gains[best] / left), int(places[best]), float(products[best] / max(lengths[best], 1e-18))


def _line(days: Floats, values: Floats, weights: Floats) -> Floats:
    slope, level = np.polyfit(days - days.mean(), values, 1, w=np.sqrt(weights))
    return np.asarray(level + slope * (days - days.mean()))
