"""All comparisons of a labelled set: mated and non-mated scores, error rates, and intervals by resampling people.

Definitions of ISO/IEC 19795-1:2021 with inclusive thresholds: FMR(t) = share of non-mated scores >= t, FNMR(t) = share
of mated scores < t. Comparisons of one person are not independent, so intervals resample people: a comparison of two
people counts as often as the product of how often each was drawn (two-way bootstrap).
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.embedding_table import EmbeddingTable
from visagent.errors import AnalysisError

Floats = NDArray[np.float64]
BLOCK = 1024
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Comparisons:
    """Scores of all pairs of pictures, by pair of people.

    Attributes:
        people: Names, in the order of the numbers below.
        mated: Scores of pairs of one person, float32.
        mated_person: Whose pair each is, as number.
        non_mated: The highest scores of pairs of two people, the highest first, float32.
        one: One person of each of these pairs, as number.
        other: The other.
        counts: Pictures of each person in each group, `[people, groups]`; non-mated pairs are of one group.
        floor: Scores under this were not kept among `non_mated`; all above were.
    """

    people: tuple[str, ...]
    mated: NDArray[np.float32]
    mated_person: NDArray[np.int32]
    non_mated: NDArray[np.float32]
    one: NDArray[np.int32]
    other: NDArray[np.int32]
    counts: Floats
    floor: float

    @property
    def non_mated_count(self) -> int:
        """Pairs of two people of one group, also those whose scores were not kept (or that were left out: a few)."""
        return round(float(self._pairs(np.ones((1, len(self.people))))[0]))

    def threshold_at_fmr(self, fmr: float) -> float:
        """The smallest threshold that at most this share of the non-mated scores reaches.

        Raises:
            AnalysisError: The rate needs scores under `floor`.
        """
        return float(self._thresholds(fmr, np.ones((1, len(self.people))))[0])

    def fmr(self, threshold: float) -> float:
        """Share of the non-mated scores that reach the threshold."""
        return float(self._reached(threshold)) / self.non_mated_count

    def fnmr(self, threshold: float) -> float:
        """Share of the mated scores that do not reach the threshold."""
        return float((self.mated < np.float32(threshold)).mean())

    def fmr_errors(self, threshold: float) -> int:
        """Non-mated scores that reach the threshold."""
        return self._reached(threshold)

    def resampled(self, seed: int, resamples: int = RESAMPLES) -> Floats:
        """How often each person is drawn in each resample, `[resamples, people]`."""
        draws = np.random.default_rng(seed).multinomial(
            len(self.people), np.full(len(self.people), 1 / len(self.people)), resamples)
        return draws.astype(np.float64)

    def fmr_resampled(self, threshold: float, drawn: Floats) -> Floats:
        """FMR in each resample, `[resamples]`."""
        hits = self._reached(threshold)
        one, other = self.one[:hits], self.other[:hits]
        errors = np.array([(weights[one] * weights[other]).sum() for weights in drawn])
        return errors / np.maximum(self._pairs(drawn), 1)

    def fnmr_resampled(self, threshold: float, drawn: Floats) -> Floats:
        """FNMR in each resample, `[resamples]`: a person drawn twice brings its pairs twice."""
        size = len(self.people)
        missed = np.bincount(self.mated_person[self.mated < np.float32(threshold)], minlength=size)
        pairs = np.bincount(self.mated_person, minlength=size)
        return np.asarray(drawn @ missed / np.maximum(drawn @ pairs, 1))

    def thresholds_resampled(self, fmr: float, drawn: Floats) -> Floats:
        """The threshold at a rate in each resample, `[resamples]`."""
        return self._thresholds(fmr, drawn)

    def _thresholds(self, fmr: float, drawn: Floats) -> Floats:
        allowed = fmr * self._pairs(drawn)
        found = np.empty(len(drawn))
        for number, weights in enumerate(drawn):
            reached = np.cumsum(weights[self.one] * weights[self.other])
            place = int(np.searchsorted(reached, allowed[number], "right"))
            if place >= len(self.non_mated):
                raise AnalysisError(f"A false-match rate of {fmr:g} needs more scores than were kept.")
            # Just above the first score that is one too many, so that ties are not let in.
            found[number] = np.nextafter(self.non_mated[place], np.float32(np.inf))
        return found

    def _pairs(self, drawn: Floats) -> Floats:
        """Non-mated pairs in each resample: in each group, all pairs less those of one person."""
        totals = drawn @ self.counts
        own = (drawn ** 2) @ (self.counts ** 2)
        return np.asarray(((totals ** 2 - own) / 2).sum(axis=1))

    def _reached(self, threshold: float) -> int:
        if threshold <= self.floor:
            raise AnalysisError("The threshold lies under the scores that were kept.")
        return int(np.searchsorted(-self.non_mated, -np.float32(threshold), "right"))


def compare_all(table: EmbeddingTable, *, kept: int = 2_000_000, across_groups: bool = False,
                leave_out: Collection[tuple[str, str]] = ()) -> Comparisons:
    """Compare every picture with every other.

    Non-mated pairs stay within a group: a man is easily told from a woman, and a threshold set on easy pairs is too
    low for the hard ones.

    Args:
        table: Labelled embeddings.
        kept: The highest non-mated scores that are kept; the rest is counted only.
        across_groups: Compare people of different groups too.
        leave_out: Pairs of names that are known to be one person: they are not compared.

    Raises:
        AnalysisError: No person has two pictures, or there is only one person.
    """
    people, person = np.unique(table.identities, return_inverse=True)
    groups, group = np.unique(table.groups, return_inverse=True)
    if across_groups:
        group = np.zeros_like(group)
    counts = np.zeros((len(people), 1 if across_groups else len(groups)))
    np.add.at(counts, (person, group), 1)
    mated, whose, highest = [], [], _Highest(kept)
    for start in range(0, len(table), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = table.embeddings[rows] @ table.embeddings[start:].T
        later = np.arange(scores.shape[1])[None, :] > np.arange(len(scores))[:, None]
        same = person[rows, None] == person[None, start:]
        place = np.nonzero(same & later)
        mated.append(scores[place])
        whose.append(person[start:][place[0]])
        highest.add(scores, ~same & later & (group[rows, None] == group[None, start:]), person[start:])
    mated_scores, mated_person = np.concatenate(mated), np.concatenate(whose)
    values, one, other, floor = highest.result()
    if not len(mated_scores) or not len(values):
        raise AnalysisError("Comparing needs people with two pictures or more, and at least two people of a group.")
    wrong = _numbered(leave_out, people)
    if wrong.size:
        stays = ~np.isin(np.minimum(one, other).astype(np.int64) * len(people) + np.maximum(one, other), wrong)
        values, one, other = values[stays], one[stays], other[stays]
    return Comparisons(tuple(people.tolist()), mated_scores, mated_person.astype(np.int32), values, one, other, counts,
                       floor)


def read_pairs(file: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of names of a CSV with columns `identity_a` and `identity_b`. Raises AnalysisError."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return tuple((row["identity_a"], row["identity_b"]) for row in csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        raise AnalysisError("The list of label errors must be a CSV with columns identity_a and identity_b.") from None


def _numbered(pairs: Collection[tuple[str, str]], people: NDArray[np.str_]) -> NDArray[np.int64]:
    """One number for each pair of people that are both there."""
    place = {name: number for number, name in enumerate(people.tolist())}
    found = [sorted((place[a], place[b])) for a, b in pairs if a in place and b in place]
    return np.array([low * len(people) + high for low, high in found], np.int64)


class _Highest:
    """The highest scores of many blocks, with who is compared."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._held = 0
        self._floor = -np.inf

    def add(self, scores: NDArray[np.float32], wanted: NDArray[np.bool_], person: NDArray[Any]) -> None:
        row, column = np.nonzero(wanted & (scores > self._floor))
        self._parts.append((scores[row, column], person[row].astype(np.int32), person[column].astype(np.int32)))
        self._held += len(row)
        if self._held > 2 * self._kept:
            self._shrink()

    def _shrink(self) -> None:
        values, one, other = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        if len(values) > self._kept:
            cut = np.argpartition(-values, self._kept - 1)[:self._kept]
            values, one, other = values[cut], one[cut], other[cut]
            self._floor = float(values.min())
        self._parts, self._held = [(values, one, other)], len(values)

    def result(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], float]:
        self._shrink()
        values, one, other = self._parts[0]
        order = np.argsort(-values, kind="stable")
        return values[order], one[order], other[order], self._floor
