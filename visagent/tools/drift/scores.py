"""Mated scores over time: the table that drift is told from. No pictures, no names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import AnalysisError

Floats = NDArray[np.float64]
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Mated scores, one per capture.

    Attributes:
        person: Pseudonym of each capture's person, as number `[N]`.
        people: The pseudonyms.
        day: Calendar day as days since 1970-01-01, whole numbers `[N]`.
        score: Similarity, higher is more alike `[N]`.
        device: Device as number `[N]`.
        devices: Their names.
    """

    person: NDArray[np.int64]
    people: tuple[str, ...]
    day: NDArray[np.int64]
    score: Floats
    device: NDArray[np.int64]
    devices: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.score)

    @property
    def years(self) -> float:
        """Length of the whole period."""
        return float(self.day.max() - self.day.min()) / DAYS_PER_YEAR


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """Means of each person on each day.

    Attributes:
        person: As number `[S]`.
        day: Days since 1970-01-01 `[S]`.
        time: Years since the person's first day `[S]`.
        mean: Of the scores `[S]`.
        count: Captures `[S]`.
        within: Sum of squared differences of the captures from their mean `[S]`.
    """

    person: NDArray[np.int64]
    day: NDArray[np.int64]
    time: Floats
    mean: Floats
    count: Floats
    within: Floats


def make_scores(people: Iterable[str], moments: Iterable[datetime], scores: Iterable[float],
                devices: Iterable[str] | None = None) -> ScoreTable:
    """A table of captures. Raises AnalysisError for none, or a score that is not finite."""
    names = list(people)
    values = np.asarray(list(scores), np.float64)
    if not len(values) or len(values) != len(names):
        raise AnalysisError("There are no scores to analyse.")
    if not np.isfinite(values).all():
        raise AnalysisError("A score is not a finite number; leave that row out.")
    days = np.array([moment.date().toordinal() - datetime(1970, 1, 1).toordinal() for moment in moments], np.int64)
    found, person = np.unique(np.asarray(names, np.str_), return_inverse=True)
    kinds, device = np.unique(np.asarray(list(devices) if devices is not None else [""] * len(values), np.str_),
                              return_inverse=True)
    return ScoreTable(person.astype(np.int64), tuple(found.tolist()), days, values, device.astype(np.int64),
                      tuple(kinds.tolist()))


def read_scores(file: Path, *, distances: bool = False) -> ScoreTable:
    """Read a CSV or parquet file with columns `person`, `time`, `score`, and maybe `device`.

    Args:
        file: Times are dates or moments in ISO 8601.
        distances: The scores are distances: their sign is changed, so that higher is more alike.

    Raises:
        AnalysisError: It cannot be read, or a column is missing or holds something else.
    """
    import pandas as pd

    try:
        frame: Any = pd.read_parquet(file) if file.suffix.lower() == ".parquet" else pd.read_csv(
            file, dtype={"person": str, "device": str}, keep_default_na=False)
    except Exception:  # pandas raises dozens of kinds on a file that is none of its
        raise AnalysisError("The scores cannot be read; they must be a CSV with a heading, or a parquet file.") \
            from None
    missing = {"person", "time", "score"} - set(frame.columns)
    if missing:
        raise AnalysisError(f"The scores have no column {' and '.join(sorted(missing))}; there are "
                            f"{', '.join(map(str, frame.columns[:12]))}.")
    try:
        moments = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
        scores = frame["score"].to_numpy(dtype=np.float64)
    except (ValueError, TypeError):
        raise AnalysisError("The column 'time' must hold dates as 2026-11-27, and 'score' numbers.") from None
    devices = [str(name) for name in frame["device"]] if "device" in frame.columns else None
    return make_scores([str(name) for name in frame["person"]], moments.dt.to_pydatetime(),
                       -scores if distances else scores, devices)


def write_scores(table: ScoreTable, file: Path) -> None:
    """Write a table as CSV, for `read_scores`."""
    import pandas as pd

    pd.DataFrame({
        "person": np.asarray(table.people)[table.person],
        "time": pd.to_datetime(table.day, unit="D").strftime("%Y-%m-%d"),
        "device": np.asarray(table.devices)[table.device],
        "score": np.round(table.score, 6),
    }).to_csv(file, index=False)


def sessions_of(table: ScoreTable) -> Sessions:
    """Means by person and day."""
    order = np.lexsort((table.day, table.person))
    person, day, score = table.person[order], table.day[order], table.score[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(person) != 0) | (np.diff(day) != 0)])
    count = np.diff(np.r_[starts, len(person)]).astype(np.float64)
    mean = np.add.reduceat(score, starts) / count
    within = np.add.reduceat((score - np.repeat(mean, count.astype(int))) ** 2, starts)
    who, when = person[starts], day[starts]
    first = np.full(len(table.people), np.iinfo(np.int64).max)
    np.minimum.at(first, who, when)
    return Sessions(who, when, (when - first[who]) / DAYS_PER_YEAR, mean, count, within)
