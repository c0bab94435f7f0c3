"""What scores vary by: people, days, calendar days, captures, and time; by moments, with intervals over people.

The model, for person p on day d at time t (years since that person's first day), capture c:

    s = mu + beta t + u_p + v_p t + c_day + w_pd + e_pdc

u between people, v each person's own drift, c days that lift or lower everybody, w a person's day, e within a day.
Moments and degrees of freedom: within days first, then the residuals of a least-squares fit of a line for each person
and a level for each calendar day, then the slopes (DerSimonian and Laird 1986). `mixed.py` fits the same by REML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.errors import AnalysisError
from visagent.tools.drift.scores import Floats, ScoreTable, Sessions, sessions_of

LEAST_DAYS: Final = 3
"""Days of a person; with fewer there is no residual about a line."""
LEAST_PEOPLE: Final = 5
LEAST_SHARED: Final = 20
"""Calendar days on which two people or more came; with fewer, days of everybody cannot be told from days of one."""
ROUNDS: Final = 200
RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations, in units of the score.

    Attributes:
        person: Between people.
        person_day: A person's day.
        calendar_day: Of days that move everybody; None if too few people shared days to tell.
        residual: Within a day.
        slope: Of people's own drift, per year.
        drift: Population drift, per year.
        level: Mean at a person's first day.
        years: Length of the whole period.
    """

    person: float
    person_day: float
    calendar_day: float | None
    residual: float
    slope: float
    drift: float
    level: float
    years: float

    @property
    def day_to_day(self) -> float:
        """Standard deviation between days, a person's and everybody's."""
        return float(np.hypot(self.person_day, self.calendar_day or 0.0))

    @property
    def whole_period(self) -> float:
        """Root mean square of a random person's drift over the whole period: T sqrt(beta^2 + s_v^2)."""
        return self.years * float(np.hypot(self.drift, self.slope))

    @property
    def ratio(self) -> float:
        """Day-to-day over whole-period; over 1 as the BEZ study found. Infinite without any drift."""
        return self.day_to_day / self.whole_period if self.whole_period > 0 else float("inf")

    def values(self) -> dict[str, float]:
        """All numbers by name."""
        return {"person": self.person, "person x day": self.person_day,
                "calendar day": self.calendar_day if self.calendar_day is not None else float("nan"),
                "residual": self.residual, "slope": self.slope, "drift": self.drift, "day-to-day": self.day_to_day,
                "whole period": self.whole_period, "ratio": self.ratio}


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Components with 95 % intervals by resampling people.

    Attributes:
        components: By moments.
        intervals: Lower and upper end by the names of `Components.values`.
        people: With enough days.
        sessions: Of these people.
        captures: Of these people.
        calendar: Level of each calendar day that was taken out: day to level; empty if there is none.
        slopes: Drift of each person per year, and its standard error, `[people, 2]`.
        names: Pseudonyms of these people.
    """

    components: Components
    intervals: dict[str, tuple[float, float]]
    people: int
    sessions: int
    captures: int
    calendar: dict[int, float]
    slopes: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _PerPerson:
    """What the moments need of each person, `[people]` each."""

    captures: Floats
    days: Floats
    within: Floats
    residual: Floats
    freedom: Floats
    inverse_count: Floats
    slope: Floats
    spread: Floats
    mean: Floats
    middle: Floats

    def take(self, rows: NDArray[np.int64]) -> _PerPerson:
        return _PerPerson(*(getattr(self, name)[rows] for name in self.__slots__))


def estimate_components(table: ScoreTable, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Estimate all components.

    Raises:
        AnalysisError: Fewer than five people with three days, or no time passes.
    """
    sessions, names = _with_enough_days(table)
    if len(names) < LEAST_PEOPLE:
        raise AnalysisError(f"Telling days from drift needs at least {LEAST_PEOPLE} people with scores of "
                            f"{LEAST_DAYS} days or more; there are {len(names)}.")
    years = float(sessions.day.max() - sessions.day.min()) / 365.25
    calendar, calendar_variance = _calendar(sessions)
    adjusted = sessions.mean - np.array([calendar.get(int(day), 0.0) for day in sessions.day])
    people = _per_person(sessions, adjusted, len(names), len(calendar))
    found = _moments(people, calendar_variance, years)
    draw = np.random.default_rng(seed)
    spread: dict[str, list[float]] = {name: [] for name in found.values()}
    for _ in range(resamples):
        rows = draw.integers(0, len(names), len(names))
        for name, value in _moments(people.take(rows), calendar_variance, years).values().items():
            spread[name].append(value)
    intervals = {name: _interval(values) for name, values in spread.items()}
    between = found.person_day ** 2 + found.residual ** 2 * people.inverse_count
    errors = np.sqrt(between / people.spread)
    return Estimate(found, intervals, len(names), len(sessions.mean), int(sessions.count.sum()), calendar,
                    np.stack([people.slope, errors], axis=1), names)


def _with_enough_days(table: ScoreTable) -> tuple[Sessions, tuple[str, ...]]:
    sessions = sessions_of(table)
    days = np.bincount(sessions.person, minlength=len(table.people))
    enough = np.flatnonzero(days >= LEAST_DAYS)
    rows = np.isin(sessions.person, enough)
    place = np.full(len(table.people), -1)
    place[enough] = np.arange(len(enough))
    kept = Sessions(place[sessions.person[rows]], sessions.day[rows], sessions.time[rows], sessions.mean[rows],
                    sessions.count[rows], sessions.within[rows])
    return kept, tuple(table.people[number] for number in enough)


def _calendar(sessions: Sessions) -> tuple[dict[int, float], float | None]:
    """Level of each calendar day, shrunk by its own uncertainty, and the variance of the levels; ({}, None) if too few
    days are shared.

    Levels and people's lines are fitted together by least squares, in turns until they stand still. What of the levels
    is a line in calendar time cannot be told from everybody's drift, and is left to the drift.
    """
    days, day = np.unique(sessions.day, return_inverse=True)
    visits = np.bincount(day).astype(np.float64)
    if (visits >= 2).sum() < LEAST_SHARED:
        return {}, None
    level = np.zeros(len(days))
    for _ in range(ROUNDS):
        rest = sessions.mean - _lines(sessions, sessions.mean - level[day])
        fresh = np.bincount(day, rest) / visits
        fresh -= _line(days.astype(np.float64), fresh, visits)
        moved = float(np.abs(fresh - level).max())
        level = fresh
        if moved < 1e-9:
            break
    left = sessions.mean - level[day] - _lines(sessions, sessions.mean - level[day])
    people = int(sessions.person.max()) + 1
    freedom = max(1, len(left) - 2 * people - len(days) + 2)
    noise = float((left ** 2).sum()) / freedom
    weights = visits >= 2
    variance = max(0.0, float(np.average(level[weights] ** 2 - noise / visits[weights], weights=visits[weights])))
    shrunk = level * variance / (variance + noise / visits) if variance else level * 0
    return {int(number): float(value) for number, value in zip(days, shrunk, strict=True)}, variance


def _lines(sessions: Sessions, values: Floats) -> Floats:
    """Each person's least-squares line through values, at the sessions."""
    count = np.bincount(sessions.person).astype(np.float64)
    time = np.bincount(sessions.person, sessions.time) / count
    mean = np.bincount(sessions.person, values) / count
    centred = sessions.time - time[sessions.person]
    spread = np.bincount(sessions.person, centred ** 2)
    slope = np.bincount(sessions.person, centred * values) / np.maximum(spread, 1e-12)
    return mean[sessions.person] + slope[sessions.person] * centred


def _line(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Weighted least-squares line of y over x, at x."""
    centre = np.average(x, weights=weights)
    centred = x - centre
    spread = np.average(centred ** 2, weights=weights)
    slope = np.average(centred * y, weights=weights) / spread if spread > 0 else 0.0
    return np.asarray(np.average(y, weights=weights) + slope * centred)


def _per_person(sessions: Sessions, adjusted: Floats, people: int, levels: int) -> _PerPerson:
    who = sessions.person
    days = np.bincount(who, minlength=people).astype(np.float64)
    captures = np.bincount(who, sessions.count, people)
    inverse = np.bincount(who, 1 / sessions.count, people) / days
    time, mean = np.bincount(who, sessions.time, people) / days, np.bincount(who, adjusted, people) / days
    centred = sessions.time - time[who]
    spread = np.bincount(who, centred ** 2, people)
    if not (spread > 0).all():
        raise AnalysisError("All scores of a person are of the same day; drift needs time to pass.")
    slope = np.bincount(who, centred * adjusted, people) / spread
    left = adjusted - mean[who] - slope[who] * centred
    # Each calendar level that was fitted takes a degree of freedom from somebody: from all in equal shares.
    freedom = (days - 2) * max(0.05, 1 - max(0, levels - 2) / float((days - 2).sum()))
    within, residual = np.bincount(who, sessions.within, people), np.bincount(who, left ** 2, people)
    return _PerPerson(*(np.asarray(value, np.float64) for value in (
        captures, days, within, residual, freedom, inverse, slope, spread, mean - slope * time, time)))


def _moments(people: _PerPerson, calendar_variance: float | None, years: float) -> Components:
    count = len(people.days)
    captures_freedom = float(people.captures.sum() - people.days.sum())
    within = float(people.within.sum()) / captures_freedom if captures_freedom > 0 else 0.0
    day = max(0.0, float((people.residual - people.freedom * within * people.inverse_count).sum())
              / max(float(people.freedom.sum()), 1e-12))
    noise = (day + within * people.inverse_count) / people.spread
    slope_variance, drift = _random_slopes(people.slope, np.maximum(noise, 1e-18), count)
    # The intercept's own error: the mean's and the slope's, carried back to the first day.
    error = (day + within * people.inverse_count) * (1 / people.days + people.middle ** 2 / people.spread)
    person = max(0.0, float(people.mean.var(ddof=1) - error.mean()))
    return Components(person=person ** 0.5, person_day=day ** 0.5,
                      calendar_day=None if calendar_variance is None else calendar_variance ** 0.5,
                      residual=within ** 0.5, slope=slope_variance ** 0.5, drift=drift,
                      level=float(people.mean.mean()), years=years)


def _random_slopes(slopes: Floats, noise: Floats, count: int) -> tuple[float, float]:
    """Variance of the true slopes and their mean, by DerSimonian and Laird's method."""
    weights = 1 / noise
    centre = float((weights * slopes).sum() / weights.sum())
    scatter = float((weights * (slopes - centre) ** 2).sum())
    scale = float(weights.sum() - (weights ** 2).sum() / weights.sum())
    variance = max(0.0, (scatter - (count - 1)) / scale) if scale > 0 else 0.0
    weights = 1 / (noise + variance)
    return variance, float((weights * slopes).sum() / weights.sum())


def _interval(values: list[float]) -> tuple[float, float]:
    finite = np.array(values)
    if np.isnan(finite).all():
        return float("nan"), float("nan")
    low, high = np.quantile(finite, (0.025, 0.975), method="lower")
    return float(low), float(high)
