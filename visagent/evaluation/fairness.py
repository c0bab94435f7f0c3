"""Does a matcher treat groups alike? Error rates of each group at one threshold for all, and what they add up to.

For group a, both people of a pair in it: FAR_a(t) = share of impostor pairs with a score >= t, FRR_a(t) = share of
genuine pairs with a score < t. From these (Conti and Clemencon, arXiv 2504.19370; ISO/IEC 19795-10; de Freitas Pereira
and Marcel 2021; Howard et al. 2022):

- BFAR, BFRR: greatest over least rate; 1 is perfectly fair. Biased upward: so their values under shuffled group labels
  are given beside;
- greatest over geometric mean; Gini coefficient with the k/(k-1) correction; GARBE, the mean of both Ginis;
- FDR = 1 - (greatest difference of FAR + greatest difference of FRR) / 2; 1 is perfectly fair.

Which threshold is part of the number: "global", at a FAR over all impostor pairs within and across groups; or "worst",
at which the group with the most false accepts has that FAR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.embedding_table import EmbeddingTable
from visagent.errors import AnalysisError
from visagent.evaluation.comparisons import Comparisons, compare_all

Floats = NDArray[np.float64]
ThresholdRule = Literal["global", "worst"]

RULE_OF_30: Final = 30
SMALL_GROUP: Final = 50
"""People under which a group is reported but marked: too few to say much."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupedComparisons:
    """All comparisons of a labelled set, with the group of each person.

    Attributes:
        all: Of everybody with everybody, across groups too.
        groups: Names of the groups.
        group: Group of each person of `all.people`, as number.
        dropped: People whose pictures disagree about the group, or have none: they are left out.
    """

    all: Comparisons
    groups: tuple[str, ...]
    group: NDArray[np.int64]
    dropped: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """People of each group."""
        return tuple(np.bincount(self.group, minlength=len(self.groups)).tolist())


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval by resampling people; None where the value is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g}-{self.high:.3g})"


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group at the threshold."""

    group: str
    people: int
    genuine: int
    impostor: int
    far: Interval
    frr: Interval

    @property
    def is_small(self) -> bool:
        """Whether it has too few people to say much."""
        return self.people < SMALL_GROUP


@dataclass(frozen=True, slots=True)
class FairnessReport:
    """Fairness at one FAR.

    Attributes:
        alpha: The FAR that the threshold is set to.
        rule: On which pairs.
        threshold: Similarities from here on are accepted.
        far: Over all impostor pairs.
        frr: Over all genuine pairs.
        rows: Each group.
        measures: By name, each with its interval.
        by_chance: The same measures where group labels are shuffled among people: 2.5 %, median and 97.5 %.
        supported: Whether every group has at least 30 expected impostor errors at `alpha`.
        unseen: A group without a single error of a kind, whose ratio is therefore a lower bound.
    """

    alpha: float
    rule: ThresholdRule
    threshold: float
    far: Interval
    frr: Interval
    rows: tuple[GroupRow, ...]
    measures: dict[str, Interval]
    by_chance: dict[str, tuple[float, float, float]]
    supported: bool
    unseen: bool


def compare_groups(table: EmbeddingTable, *, kept: int = 2_000_000,
                   leave_out: Sequence[tuple[str, str]] = ()) -> GroupedComparisons:
    """Compare everybody, and remember who is of which group.

    Raises:
        AnalysisError: Fewer than two groups, or none with two people of whom one has two pictures.
    """
    people, person = np.unique(table.identities, return_inverse=True)
    names: list[set[str]] = [set() for _ in people]
    for number, name in zip(person, table.groups.tolist(), strict=True):
        names[number].add(name)
    clear = np.array([len(found) == 1 and "" not in found for found in names])
    kept_rows = clear[person]
    groups = sorted({next(iter(found)) for found, is_clear in zip(names, clear, strict=True) if is_clear})
    if len(groups) < 2:
        raise AnalysisError("Fairness needs at least two groups; the column 'group' names "
                            f"{', '.join(groups) or 'none'}.")
    comparisons = compare_all(table.take(kept_rows), kept=kept, across_groups=True, leave_out=leave_out)
    place = {name: number for number, name in enumerate(groups)}
    of_person = {name: next(iter(found)) for name, found in zip(people.tolist(), names, strict=True) if found}
    group = np.array([place[of_person[name]] for name in comparisons.people], np.int64)
    return GroupedComparisons(comparisons, tuple(groups), group, int((~clear).sum()))


def fairness_report(grouped: GroupedComparisons, alpha: float, *, rule: ThresholdRule = "global", seed: int = 0,
                    resamples: int = 1000) -> FairnessReport:
    """Fairness at a FAR of `alpha`.

    Args:
        grouped: From `compare_groups`.
        alpha: 0 to 1.
        rule: On which pairs the threshold is set.
        seed: Of resampling and shuffling.
        resamples: Of people within each group, each with its own threshold; as many shuffles.

    Raises:
        AnalysisError: The rate needs scores that were not kept.
    """
    ones = np.ones((1, len(grouped.group)))
    threshold = float(_thresholds(grouped, alpha, rule, ones)[0])
    drawn = _resampled(grouped, seed, resamples)
    thresholds = _thresholds(grouped, alpha, rule, drawn)
    far, frr = _rates(grouped, np.array([threshold]), ones, grouped.group)
    far_all, frr_all = _rates(grouped, thresholds, drawn, grouped.group)
    draw = np.random.default_rng(seed + 1)
    shuffled = [_rates(grouped, np.array([threshold]), ones, draw.permutation(grouped.group))
                for _ in range(resamples)]
    chance = {name: _middle_and_ends([measures(a[0], r[0])[name] for a, r in shuffled])
              for name in measures(far[0], frr[0])}
    pairs, genuine = _pair_counts(grouped, ones)
    floor_far, floor_frr = 1 / np.maximum(pairs[0], 1), 1 / np.maximum(genuine[0], 1)
    found = measures(np.maximum(far[0], floor_far), np.maximum(frr[0], floor_frr))
    spread = [measures(np.maximum(a, floor_far), np.maximum(r, floor_frr))
              for a, r in zip(far_all, frr_all, strict=True)]
    whole_far, whole_frr = grouped.all.fmr(threshold), grouped.all.fnmr(threshold)
    whole = [(_whole_far(grouped, t, w), _whole_frr(grouped, t, w))
             for t, w in zip(thresholds, drawn, strict=True)]
    return FairnessReport(
        alpha=alpha, rule=rule, threshold=threshold,
        far=_interval(whole_far, [a for a, _ in whole]), frr=_interval(whole_frr, [r for _, r in whole]),
        rows=tuple(GroupRow(name, grouped.sizes[number], int(genuine[0, number]), int(pairs[0, number]),
                            _interval(float(far[0, number]), far_all[:, number]),
                            _interval(float(frr[0, number]), frr_all[:, number]))
                   for number, name in enumerate(grouped.groups)),
        measures={name: _interval(value, [one[name] for one in spread]) for name, value in found.items()},
        by_chance=chance,
        supported=bool((alpha * pairs[0] >= RULE_OF_30).all()),
        unseen=bool((far[0] == 0).any() or (frr[0] == 0).any()))


def group_rates(grouped: GroupedComparisons, threshold: float) -> tuple[Floats, Floats]:
    """FAR and FRR of each group, `[groups]`; none under one error, for an empty class is no perfect fairness."""
    ones = np.ones((1, len(grouped.group)))
    far, frr = _rates(grouped, np.array([threshold]), ones, grouped.group)
    pairs, genuine = _pair_counts(grouped, ones)
    return np.maximum(far[0], 1 / np.maximum(pairs[0], 1)), np.maximum(frr[0], 1 / np.maximum(genuine[0], 1))


def measures(far: Floats, frr: Floats) -> dict[str, float]:
    """What the groups' rates add up to; see the module.

    Args:
        far: False-accept rate of each group, `[groups]`.
        frr: False-reject rate of each group.
    """
    return {
        "BFAR": _ratio(far), "BFRR": _ratio(frr),
        "FAR max/geomean": _over_geometric_mean(far), "FRR max/geomean": _over_geometric_mean(frr),
        "FAR Gini": gini(far), "FRR Gini": gini(frr), "GARBE": (gini(far) + gini(frr)) / 2,
        "FDR": 1 - (float(far.max() - far.min()) + float(frr.max() - frr.min())) / 2,
    }


def _middle_and_ends(values: Sequence[float]) -> tuple[float, float, float]:
    """2.5 %, 50 % and 97.5 % of values, each one of them: some are infinite, and nothing lies between those."""
    ordered = sorted(values)
    low, middle, high = (ordered[max(0, int(np.ceil(share * len(ordered))) - 1)] for share in (0.025, 0.5, 0.975))
    return low, middle, high


def gini(rates: Floats) -> float:
    """Gini coefficient of k rates with the k/(k-1) correction: 0 if all are equal, 1 if one group has all errors."""
    count, mean = len(rates), float(rates.mean())
    if count < 2 or mean == 0:
        return 0.0
    differences = np.abs(rates[:, None] - rates[None, :]).sum()
    return float(count / (count - 1) * differences / (2 * count * count * mean))


def _ratio(rates: Floats) -> float:
    return 1.0 if rates.max() == 0 else float(rates.max() / rates.min()) if rates.min() > 0 else float("inf")


def _over_geometric_mean(rates: Floats) -> float:
    if rates.max() == 0:
        return 1.0
    return float(rates.max() / np.exp(np.log(rates).mean())) if rates.min() > 0 else float("inf")


def _resampled(grouped: GroupedComparisons, seed: int, resamples: int) -> Floats:
    """People drawn with replacement within each group, `[resamples, people]`."""
    drawn = np.zeros((resamples, len(grouped.group)))
    draw = np.random.default_rng(seed)
    for number in range(len(grouped.groups)):
        members = np.flatnonzero(grouped.group == number)
        drawn[:, members] = draw.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return drawn


def _thresholds(grouped: GroupedComparisons, alpha: float, rule: ThresholdRule, drawn: Floats) -> Floats:
    if rule == "global":
        return grouped.all.thresholds_resampled(alpha, drawn)
    everything = grouped.all
    pairs, _ = _pair_counts(grouped, drawn)
    found = np.empty(len(drawn))
    for number, weights in enumerate(drawn):
        places = []
        for group in range(len(grouped.groups)):
            own = (grouped.group[everything.one] == group) & (grouped.group[everything.other] == group)
            reached = np.cumsum(weights[everything.one] * weights[everything.other] * own)
            places.append(int(np.searchsorted(reached, alpha * pairs[number, group], "right")))
        place = min(places)
        if place >= len(everything.non_mated):
            raise AnalysisError(f"A false-accept rate of {alpha:g} needs more scores than were kept.")
        found[number] = np.nextafter(everything.non_mated[place], np.float32(np.inf))
    return found


def _pair_counts(grouped: GroupedComparisons, drawn: Floats) -> tuple[Floats, Floats]:
    """Impostor and genuine pairs of each group in each resample, `[resamples, groups]`."""
    pictures = grouped.all.counts.sum(axis=1)
    mated = np.bincount(grouped.all.mated_person, minlength=len(grouped.group)).astype(np.float64)
    member = np.eye(len(grouped.groups))[grouped.group]
    totals, own = (drawn * pictures) @ member, (drawn ** 2 * pictures ** 2) @ member
    return (totals ** 2 - own) / 2, (drawn * mated) @ member


def _rates(grouped: GroupedComparisons, thresholds: Floats, drawn: Floats, group: NDArray[np.int64]
           ) -> tuple[Floats, Floats]:
    """FAR and FRR of each group in each resample, `[resamples, groups]`, for any giving out of group labels."""
    everything, count = grouped.all, len(grouped.groups)
    labelled = GroupedComparisons(everything, grouped.groups, group, 0)
    pairs, genuine = _pair_counts(labelled, drawn)
    far, frr = np.zeros_like(pairs), np.zeros_like(genuine)
    for number, (threshold, weights) in enumerate(zip(thresholds, drawn, strict=True)):
        hits = int(np.searchsorted(-everything.non_mated, -np.float32(threshold), "right"))
        one, other = everything.one[:hits], everything.other[:hits]
        same = group[one] == group[other]
        far[number] = np.bincount(group[one[same]], weights[one[same]] * weights[other[same]], count)
        missed = everything.mated_person[everything.mated < np.float32(threshold)]
        frr[number] = np.bincount(group[missed], weights[missed], count)
    return far / np.maximum(pairs, 1), frr / np.maximum(genuine, 1)


def _whole_far(grouped: GroupedComparisons, threshold: float, weights: Floats) -> float:
    return float(grouped.all.fmr_resampled(threshold, weights[None])[0])


def _whole_frr(grouped: GroupedComparisons, threshold: float, weights: Floats) -> float:
    return float(grouped.all.fnmr_resampled(threshold, weights[None])[0])


def _interval(value: float, spread: Sequence[float] | Floats) -> Interval:
    finite = np.asarray(spread, np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
