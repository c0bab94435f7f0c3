"""Make a calibration: thresholds on one half of the people, their error rates on the other half.

    visagent calibrate lfw.parquet --out calibration.json

A rate is set only where at least 30 errors are expected on the development half (`RULE_OF_30`); for smaller ones a
generalised Pareto distribution is fitted to the highest scores, and what comes from it is marked as extrapolated.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

import visagent
from visagent.datasets.embedding_table import EmbeddingTable
from visagent.errors import AnalysisError
from visagent.evaluation.comparisons import Comparisons, compare_all
from visagent.tools.recognition.calibration import (
    RULE_OF_30,
    Calibration,
    GroupRates,
    Half,
    OperatingPoint,
    Rate,
    Tail,
    stretched,
)

TARGETS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DIFFERENT_FNMR: Final = 1e-2
LARGEST_RATE: Final = 0.2
STEPS_PER_DECADE: Final = 8
TAIL_SHARE: Final = 1e-3
TAIL_LEAST: Final = 100
RESAMPLES: Final = 1000
LEAST_GROUP: Final = 50
"""People of a group that is reported on its own; fewer say too little."""


def calibrate(table: EmbeddingTable, *, data: str, command: str, pictures: int | None = None,
              failures_to_enrol: int = 0, leave_out: Collection[tuple[str, str]] = (), seed: int = 0,
              resamples: int = RESAMPLES) -> Calibration:
    """Calibrate an encoder on labelled embeddings.

    Args:
        table: With the encoder's contract.
        data: What the data are, in words.
        command: What a person types to get the same.
        pictures: Pictures that the table was made of; as many as its rows if None.
        failures_to_enrol: Pictures without a usable face.
        leave_out: Pairs of names that are known to be one person.
        seed: Which people are in which half, and of the resampling.
        resamples: Of people, for the intervals.

    Raises:
        AnalysisError: No contract, or too few people or pictures for the largest rate.
    """
    if table.contract is None:
        raise AnalysisError("The table does not say which encoder made it; calibrate from pictures, or from a table "
                            "written by `visagent embed`.")
    development, test = (compare_all(half, leave_out=leave_out) for half in split_people(table, seed))
    curve = _curve(development)
    drawn, drawn_test = development.resampled(seed, resamples), test.resampled(seed + 1, resamples)
    points = []
    for target in TARGETS:
        if target * development.non_mated_count >= RULE_OF_30:
            threshold = development.threshold_at_fmr(target)
            low, high = percentile_interval(development.thresholds_resampled(target, drawn))
            points.append(OperatingPoint(
                target_fmr=target, threshold=_rounded(threshold), low=_rounded(low), high=_rounded(high),
                fmr=fmr_rate(test, threshold, drawn_test), fnmr=fnmr_rate(test, threshold, drawn_test)))
    if not points:
        raise AnalysisError(f"The set has {development.non_mated_count:,} non-mated comparisons in the half that sets "
                            f"thresholds; a false-match rate of {TARGETS[0]:g} needs {RULE_OF_30 / TARGETS[0]:,.0f}.")
    different = float(np.quantile(development.mated, DIFFERENT_FNMR, method="lower"))
    different = min(different, points[0].threshold)
    total = len(table) + failures_to_enrol if pictures is None else pictures
    return Calibration(
        contract=table.contract, data=data, command=command, date=datetime.date.today().isoformat(),
        version=visagent.__version__,
        protocol="identity-disjoint halves: thresholds on one, error rates on the other; all pairs, non-mated ones "
                 "within a group; inclusive thresholds; 95 % intervals by resampling people (two-way)"
                 + (f"; {len(leave_out)} pairs of names that are one person each are not compared" if leave_out
                    else ""),
        identities=len(np.unique(table.identities)), pictures=total,
        failure_to_enrol=_wilson(failures_to_enrol, total),
        development=_half(development), test=_half(test), points=tuple(points), curve=curve,
        tail=_fit_tail(development), different_below=_rounded(different),
        wrongly_different=fnmr_rate(test, different, drawn_test), eer=_eer(test, drawn_test),
        groups=_groups(split_people(table, seed)[1], points, leave_out, seed, resamples))


def split_people(table: EmbeddingTable, seed: int) -> tuple[EmbeddingTable, EmbeddingTable]:
    """Two halves of a table without a person in common."""
    people = np.unique(table.identities)
    first = set(np.random.default_rng(seed).permutation(people)[: len(people) // 2].tolist())
    flags = np.array([identity in first for identity in table.identities.tolist()])
    return table.take(flags), table.take(~flags)


def fmr_rate(comparisons: Comparisons, threshold: float, drawn: NDArray[np.float64]) -> Rate:
    """False-match rate at a threshold with its interval."""
    low, high = percentile_interval(comparisons.fmr_resampled(threshold, drawn))
    return Rate(rate=comparisons.fmr(threshold), low=low, high=high, errors=comparisons.fmr_errors(threshold),
                comparisons=comparisons.non_mated_count)


def fnmr_rate(comparisons: Comparisons, threshold: float, drawn: NDArray[np.float64]) -> Rate:
    """False non-match rate at a threshold with its interval."""
    low, high = percentile_interval(comparisons.fnmr_resampled(threshold, drawn))
    missed = int((comparisons.mated < np.float32(threshold)).sum())
    return Rate(rate=missed / len(comparisons.mated), low=low, high=high, errors=missed,
                comparisons=len(comparisons.mated))


def equal_error_rate(comparisons: Comparisons) -> tuple[float, float]:
    """EER and its threshold: where the step functions of FMR and FNMR cross, by a straight line between two scores."""
    thresholds = np.unique(comparisons.mated)
    missed = np.searchsorted(np.sort(comparisons.mated), thresholds, "left") / len(comparisons.mated)
    usable = thresholds > comparisons.floor
    thresholds, missed = thresholds[usable], missed[usable]
    alarms = np.searchsorted(-comparisons.non_mated, -thresholds, "right") / comparisons.non_mated_count
    gap = missed - alarms
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float(missed[0] + alarms[0]) / 2, float(thresholds[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return (float(missed[after - 1] + share * (missed[after] - missed[after - 1])),
            float(thresholds[after - 1] + share * (thresholds[after] - thresholds[after - 1])))


def _eer(comparisons: Comparisons, drawn: NDArray[np.float64]) -> Rate:
    """The EER; its interval is that of the FNMR at its threshold, averaged with the FMR's."""
    rate, threshold = equal_error_rate(comparisons)
    both = (comparisons.fmr_resampled(threshold, drawn) + comparisons.fnmr_resampled(threshold, drawn)) / 2
    low, high = percentile_interval(both)
    return Rate(rate=rate, low=low, high=high, errors=int((comparisons.mated < np.float32(threshold)).sum()),
                comparisons=len(comparisons.mated))


def _curve(development: Comparisons) -> tuple[tuple[float, float], ...]:
    smallest = RULE_OF_30 / development.non_mated_count
    largest = min(LARGEST_RATE, 0.9 * len(development.non_mated) / development.non_mated_count)
    if smallest >= largest:
        raise AnalysisError(f"The set has {development.non_mated_count:,} non-mated comparisons in the half that sets "
                            f"thresholds; at least {RULE_OF_30 / LARGEST_RATE:,.0f} are needed.")
    steps = max(2, round(STEPS_PER_DECADE * float(np.log10(largest / smallest))))
    rates = np.geomspace(largest, smallest, steps)
    thresholds = np.maximum.accumulate([development.threshold_at_fmr(float(rate)) for rate in rates])
    return tuple((float(f"{rate:.6g}"), _rounded(float(value)))
                 for rate, value in zip(rates, thresholds, strict=True))


def _fit_tail(development: Comparisons) -> Tail:
    """Peaks over threshold: a generalised Pareto distribution of the highest scores (Pickands 1975).

    Fitted to -log(1 - score): no score is greater than 1, and so no threshold from the tail is either.
    """
    from scipy.stats import genpareto

    count = min(max(TAIL_LEAST, round(TAIL_SHARE * development.non_mated_count)), len(development.non_mated) // 2)
    if count < 10:
        raise AnalysisError("There are too few non-mated comparisons to fit the highest of them.")
    above = float(development.non_mated[count])
    highest = stretched(development.non_mated[:count].astype(np.float64))
    shape, _, scale = genpareto.fit(highest - stretched(above), floc=0)
    return Tail(above=_rounded(above), share=count / development.non_mated_count, shape=float(f"{shape:.6g}"),
                scale=float(f"{scale:.6g}"))


def _groups(test: EmbeddingTable, points: list[OperatingPoint], leave_out: Collection[tuple[str, str]], seed: int,
            resamples: int) -> tuple[GroupRates, ...]:
    found = []
    for group in sorted(set(test.groups.tolist()) - {""}):
        part = test.take(test.groups == group)
        if len(np.unique(part.identities)) < LEAST_GROUP:
            continue
        comparisons = compare_all(part, leave_out=leave_out)
        drawn = comparisons.resampled(seed + 2, resamples)
        for point in points:
            found.append(GroupRates(
                group=group, identities=len(comparisons.people), pictures=len(part), target_fmr=point.target_fmr,
                fmr=fmr_rate(comparisons, point.threshold, drawn),
                fnmr=fnmr_rate(comparisons, point.threshold, drawn)))
    return tuple(found)


def _half(comparisons: Comparisons) -> Half:
    return Half(identities=len(comparisons.people), pictures=int(comparisons.counts.sum()),
                mated=len(comparisons.mated), non_mated=comparisons.non_mated_count)


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of resampled values: their 2.5 and 97.5 percentiles."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _wilson(errors: int, trials: int) -> Rate:
    from visagent.evaluation.intervals import wilson_interval

    low, high = wilson_interval(errors, trials)
    return Rate(rate=errors / trials, low=low, high=high, errors=errors, comparisons=trials)


def _rounded(value: float) -> float:
    """Up to six digits: rounding down could let a tie in."""
    return float(np.ceil(value * 1e6) / 1e6)
