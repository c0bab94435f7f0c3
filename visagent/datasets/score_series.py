"""Made-up mated scores over months with known components, to try drift reports on. No person is behind them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """Who comes when, and what the scores vary by.

    Attributes:
        people: Participants.
        days: Visits of each.
        captures: Of a visit.
        years: Length of the study; everybody begins within its first tenth.
        level: Mean score on the first day.
        person: Standard deviation between people.
        person_day: Of a person's day.
        calendar_day: Of days that move everybody.
        residual: Within a day.
        drift: Population drift per year.
        slope: Standard deviation of people's own drift per year.
        missed: Share of visits that do not take place.
        device_shift: What the second device adds from the middle of the study on; 0 for a single device.
        lab_days: Days on which visits take place: so many people share each.
    """

    people: int = 200
    days: int = 20
    captures: int = 4
    years: float = 2.5
    level: float = 0.95
    person: float = 0.015
    person_day: float = 0.012
    calendar_day: float = 0.004
    residual: float = 0.008
    drift: float = -0.001
    slope: float = 0.001
    missed: float = 0.1
    device_shift: float = 0.0
    lab_days: int = 150


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Drawn captures: person, day since 1970-01-01, score, device; `[N]` each."""

    person: np.ndarray[tuple[int], np.dtype[np.int64]]
    day: np.ndarray[tuple[int], np.dtype[np.int64]]
    score: np.ndarray[tuple[int], np.dtype[np.float64]]
    device: np.ndarray[tuple[int], np.dtype[np.int64]]


def draw_series(plan: SeriesPlan, seed: int = 0, first_day: int = 19_000) -> Series:
    """Draw a study by its plan; the same seed gives the same scores."""
    draw = np.random.default_rng(seed)
    length = round(365.25 * plan.years)
    lab = np.sort(draw.choice(length, min(plan.lab_days, length), replace=False))
    levels = draw.normal(0, plan.calendar_day, len(lab))
    person: list[int] = []
    day: list[int] = []
    score: list[float] = []
    device: list[int] = []
    for number in range(plan.people):
        begins = int(draw.integers(0, max(1, len(lab) // 10)))
        visits = np.sort(draw.choice(np.arange(begins, len(lab)), min(plan.days, len(lab) - begins), replace=False))
        visits = visits[draw.random(len(visits)) >= plan.missed]
        if not len(visits):
            continue
        level, slope = plan.level + draw.normal(0, plan.person), plan.drift + draw.normal(0, plan.slope)
        for visit in visits:
            years = (lab[visit] - lab[visits[0]]) / 365.25
            which = int(draw.integers(0, 2)) if plan.device_shift else 0
            shift = plan.device_shift if which and lab[visit] > 365.25 * plan.years / 2 else 0.0
            mean = level + slope * years + levels[visit] + draw.normal(0, plan.person_day) + shift
            person += [number] * plan.captures
            day += [first_day + int(lab[visit])] * plan.captures
            score += (mean + draw.normal(0, plan.residual, plan.captures)).tolist()
            device += [which] * plan.captures
    return Series(np.array(person), np.array(day), np.array(score), np.array(device))
