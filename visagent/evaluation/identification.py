"""One-to-many search with strangers among the probes: FPIR and FNIR by threshold and rank (ISO/IEC 19795-1:2021).

A trial enrols some people of a labelled table and searches with the other pictures: those of enrolled people are mated
searches, those of others non-mated ones. FPIR(N, T): share of non-mated searches that return anybody from the
threshold on. FNIR(N, R, T): share of mated searches in which the right person is not among the first R, or is under
the threshold. N counts people.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visagent.datasets.embedding_table import EmbeddingTable
from visagent.errors import AnalysisError
from visagent.vision.encoder import Embeddings, of_length_one

Fusion = Literal["max", "centroid"]
"""How the samples of a person become one score: the highest of theirs, or that of their mean scaled to length 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A gallery and its searches.

    Attributes:
        people: Names of the enrolled, `[N]`.
        enrolled: Their samples, float32 `[S, D]`.
        owner: Whose each is, as number, `[S]`, ascending.
        mated: Probes of enrolled people, `[M, D]`.
        mated_owner: Whose they are, `[M]`.
        non_mated: Probes of others, `[K, D]`.
        non_mated_person: Names of these, `[K]`.
    """

    people: NDArray[np.str_]
    enrolled: Embeddings
    owner: NDArray[np.int64]
    mated: Embeddings
    mated_owner: NDArray[np.int64]
    non_mated: Embeddings
    non_mated_person: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What the searches of a trial returned.

    Attributes:
        own: Score of the right person in each mated search, `[M]`.
        rank: Place of the right person in it, from 1, `[M]`; among equals the last.
        best_other: Highest score of each non-mated search, `[K]`.
    """

    own: NDArray[np.float32]
    rank: NDArray[np.int64]
    best_other: NDArray[np.float32]

    def fpir(self, threshold: float) -> float:
        """Share of the non-mated searches that return anybody."""
        return float((self.best_other >= np.float32(threshold)).mean())

    def fnir(self, threshold: float, rank: int = 1) -> float:
        """Share of the mated searches that do not return the right person among the first `rank`."""
        return float(1 - ((self.own >= np.float32(threshold)) & (self.rank <= rank)).mean())

    def threshold_at_fpir(self, fpir: float) -> float:
        """The smallest threshold with at most this FPIR on these searches."""
        highest = np.sort(self.best_other)[::-1]
        allowed = int(np.floor(fpir * len(highest)))
        return float(np.nextafter(highest[allowed], np.float32(np.inf))) if allowed < len(highest) else float(-1)


def draw_trial(table: EmbeddingTable, people: int, rng: np.random.Generator, *, samples: int = 1,
               strangers: int | None = None) -> Trial:
    """Enrol people drawn from a table; all other pictures are probes.

    People with more pictures than `samples` come first, so that there are mated searches; if they are too few, people
    whose pictures are all enrolled fill the gallery up. At least one person in five stays a stranger.

    Args:
        table: Labelled embeddings.
        people: To enrol.
        rng: Draws people and which of their pictures are enrolled.
        samples: Pictures of each that are enrolled, fewer of people who have no more.
        strangers: Non-mated probes at most, drawn; all if None.

    Raises:
        AnalysisError: Too few people.
    """
    names, person, counts = np.unique(table.identities, return_inverse=True, return_counts=True)
    if people > 0.8 * len(names):
        raise AnalysisError(f"A gallery of {people} people leaves too few strangers among {len(names)}.")
    shuffled = rng.permutation(len(names))
    with_probes = [one for one in shuffled if counts[one] > samples]
    without = [one for one in shuffled if counts[one] <= samples]
    chosen = np.array((with_probes[:round(0.8 * len(with_probes))] + without)[:people])
    if len(chosen) < people or counts[chosen[0]] <= samples:
        raise AnalysisError(f"Too few people have more than {samples} pictures.")
    number = np.full(len(names), -1)
    number[chosen] = np.arange(people)
    order = rng.permutation(len(table))
    place = _place_among_own(person, order)
    held = number[person] >= 0
    enrolled = np.flatnonzero(held & (place < samples))
    enrolled = enrolled[np.argsort(number[person[enrolled]], kind="stable")]
    mated = np.flatnonzero(held & (place >= samples))
    others = np.flatnonzero(~held)
    if strangers is not None and strangers < len(others):
        others = rng.choice(others, strangers, replace=False)
    return Trial(names[chosen], table.embeddings[enrolled], number[person[enrolled]], table.embeddings[mated],
                 number[person[mated]], table.embeddings[others], table.identities[others])


def search(trial: Trial, *, fusion: Fusion = "max", same: Collection[tuple[str, str]] = ()) -> Searches:
    """Search a trial's gallery with all of its probes.

    Args:
        trial: The trial.
        fusion: How the samples of a person become one score.
        same: Pairs of names that are one person: such a stranger is not compared with its other name.
    """
    size = len(trial.people)
    mated = person_scores(trial.mated, trial.enrolled, trial.owner, size, fusion)
    own = mated[np.arange(len(mated)), trial.mated_owner]
    others = mated.copy()
    others[np.arange(len(mated)), trial.mated_owner] = -np.inf
    rank = 1 + (others >= own[:, None]).sum(1)
    strange = person_scores(trial.non_mated, trial.enrolled, trial.owner, size, fusion)
    place = {name: number for number, name in enumerate(trial.people.tolist())}
    for one, other in [*same, *((b, a) for a, b in same)]:
        if one in place:
            strange[trial.non_mated_person == other, place[one]] = -np.inf
    return Searches(own, rank.astype(np.int64), strange.max(1))


def person_scores(probes: Embeddings, enrolled: Embeddings, owner: NDArray[np.int64], people: int,
                  fusion: Fusion) -> NDArray[np.float32]:
    """Scores of probes with people, float32 `[Q, people]`; `owner` is ascending and names each person."""
    starts = np.searchsorted(owner, np.arange(people))
    if fusion == "centroid":
        return np.asarray(probes @ of_length_one(np.add.reduceat(enrolled, starts)).T, np.float32)
    return np.asarray(np.maximum.reduceat(probes @ enrolled.T, starts, axis=1), np.float32)


def _place_among_own(person: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row its place, from 0, among the rows of its person, in a drawn order."""
    rows = order[np.argsort(person[order], kind="stable")]
    sorted_person = person[rows]
    first = np.searchsorted(sorted_person, sorted_person)
    place = np.empty(len(person), np.int64)
    place[rows] = np.arange(len(person)) - first
    return place
