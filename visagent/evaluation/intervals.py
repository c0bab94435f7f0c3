"""Intervals of shares: how far a count can be trusted.

All take the trials as independent. Several views of one person are not, so the intervals of such sets are too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054
"""Normal quantile of a two-sided interval at 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of trials with its Wilson interval at 95 %.

    Attributes:
        hits: Trials that count.
        trials: All trials; with none there is no value, and every property is NaN.
    """

    hits: int
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.trials:
            raise ValueError("a share needs 0 <= hits <= trials")

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.hits / self.trials if self.trials else math.nan

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return wilson_interval(self.hits, self.trials)[0] if self.trials else math.nan

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return wilson_interval(self.hits, self.trials)[1] if self.trials else math.nan

    def __str__(self) -> str:
        return f"{self.hits}/{self.trials} = {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that is no share of trials, with its interval at 95 %; `trials` stand behind it."""

    value: float
    low: float
    high: float
    trials: int


def half_total(first: Share, second: Share) -> Estimate:
    """The mean of two error rates (HTER), with the interval that follows from both Wilson intervals.

    The distances of the limits from the rates are added in quadrature (MOVER, Zou and Donner, Statistics in Medicine
    2008, which Newcombe used for differences). Raises ValueError if one of the two has no trials.
    """
    for share in (first, second):
        _check(share.hits, share.trials)
    value = (first.value + second.value) / 2
    below = math.hypot(first.value - first.low, second.value - second.low) / 2
    above = math.hypot(first.high - first.value, second.high - second.value) / 2
    return Estimate(value, max(0.0, value - below), min(1.0, value + above), first.trials + second.trials)


def wilson_interval(hits: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share, `(low, high)` in 0..1 (Wilson 1927). Raises ValueError without trials."""
    _check(hits, trials)
    share = hits / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the bound is the end itself, which rounding may miss.
    return (0.0 if hits == 0 else max(0.0, centre - half)), (1.0 if hits == trials else min(1.0, centre + half))


def clopper_pearson_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934): it never covers less than promised.

    Raises:
        ValueError: No trials, or a confidence outside 0 to 1.
    """
    from scipy.special import betaincinv

    _check(hits, trials)
    if not 0 < confidence < 1:
        raise ValueError("the confidence lies between 0 and 1")
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


def rule_of_three(trials: int, confidence: float = 0.95) -> float:
    """The most an error rate can be when no error was seen in `trials`: about 3 / trials at 95 %.

    Raises:
        ValueError: No trials, or a confidence outside 0 to 1.
    """
    _check(0, trials)
    if not 0 < confidence < 1:
        raise ValueError("the confidence lies between 0 and 1")
    return 1 - math.exp(math.log(1 - confidence) / trials)


def _check(hits: int, trials: int) -> None:
    if trials < 1 or not 0 <= hits <= trials:
        raise ValueError("no trials, no interval: 0 <= hits <= total and total > 0 are needed")
