"""Exact search in memory: the most similar people of a collection, by blocks that stay in the cache.

A person is compared by the mean of the templates, scaled to length 1. On people of LFW who set no threshold it misses
half as many as the most similar template does, at false-positive rates that keep under the wanted one as long as the
threshold is derived from the number of templates (docs/recognition.md, `visagent.evaluation.recognition`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from visagent.vision.encoder import Embeddings, of_length_one

Rows: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

BLOCK_ROWS = 65_536
"""People per block of one query: 128 numbers each, 32 MB."""
BATCH_ROWS = 8_192
"""People per block of many queries: with 200 queries the scores take 6 MB."""


@dataclass(frozen=True, slots=True)
class Match:
    """A person and how alike: the cosine similarity with the mean of the person's templates."""

    person: str
    score: float


class TemplateIndex:
    """All templates of a collection, and their mean for each person. Disposable: made from the database.

    Args:
        dimension: Numbers in an embedding.
    """

    def __init__(self, dimension: int) -> None:
        self._vectors: Embeddings = np.empty((0, dimension), np.float32)
        self._samples: Rows = np.empty(0, np.int64)
        self._owners: Rows = np.empty(0, np.int64)
        self._people: list[str] = []
        self._means: Embeddings = np.empty((0, dimension), np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def people(self) -> tuple[str, ...]:
        """Ids of the people with a template, in no order."""
        return tuple(self._people)

    @property
    def means(self) -> Embeddings:
        """Of each person's templates, scaled to length 1, float32 `[P, D]` in the order of `people`."""
        return self._means

    @property
    def samples(self) -> frozenset[int]:
        """Ids of the templates in it."""
        return frozenset(self._samples.tolist())

    def change(self, removed: Sequence[int], added: Sequence[tuple[int, str, Embeddings]]) -> None:
        """Take templates out and put others in, each given as sample id, person and embedding of length 1."""
        stays = ~np.isin(self._samples, np.asarray(removed, np.int64))
        owners = [self._people[owner] for owner in self._owners[stays]] + [person for _, person, _ in added]
        self._people = sorted(set(owners))
        place = {person: number for number, person in enumerate(self._people)}
        vectors = np.concatenate([self._vectors[stays], *(embedding[None] for _, _, embedding in added)])
        samples = np.concatenate([self._samples[stays], np.array([s for s, _, _ in added], np.int64)])
        numbers = np.array([place[person] for person in owners], np.int64)
        order = np.lexsort((samples, numbers))
        self._vectors, self._samples, self._owners = vectors[order], samples[order], numbers[order]
        starts = np.searchsorted(self._owners, np.arange(len(self._people)))
        self._means = of_length_one(np.add.reduceat(self._vectors, starts)) if owners else self._vectors[:0]

    def search(self, embeddings: Embeddings, most: int = 5, *, among: str | None = None) -> list[list[Match]]:
        """The most similar people to each of several embeddings, the most similar first; exact.

        Equal scores come in the order of the people's ids, whatever the order of enrolment.

        Args:
            embeddings: float32 `[Q, D]` of length 1.
            most: People per embedding.
            among: Compare with this person only.
        """
        if among is not None and among not in self._people:
            return [[] for _ in embeddings]
        first = 0 if among is None else self._people.index(among)
        means = self._means if among is None else self._means[first:first + 1]
        rows, scores = top_rows(means, embeddings, most)
        return [[Match(self._people[first + row], score) for row, score in zip(found, values, strict=True)]
                for found, values in zip(rows.tolist(), scores.tolist(), strict=True)]


def top_rows(vectors: Embeddings, queries: Embeddings, most: int) -> tuple[Rows, Embeddings]:
    """The `most` rows of greatest inner product with each query, exact; equal ones by row number.

    A block's scores are compared with the least of the best so far first: after a few blocks hardly any is greater, so
    that sorting costs little beside the products.

    Args:
        vectors: float32 `[N, D]`.
        queries: float32 `[Q, D]`.
        most: Rows per query; all if there are fewer.

    Returns:
        Row numbers int64 `[Q, most]` and products float32 `[Q, most]`, the greatest first.
    """
    count, queries = len(queries), np.ascontiguousarray(queries, np.float32)
    most = min(most, len(vectors))
    best = np.full((count, most), -np.inf, np.float32)
    rows = np.zeros((count, most), np.int64)
    if not most or not count:
        return rows, best
    step = BLOCK_ROWS if count == 1 else max(BATCH_ROWS, most)
    for start in range(0, len(vectors), step):
        block = queries @ vectors[start:start + step].T
        for query in np.flatnonzero(block.max(axis=1) > best[:, -1]):
            places = np.flatnonzero(block[query] > best[query, -1])
            if len(places) > 8 * most:
                cut = np.partition(block[query, places], len(places) - most)[len(places) - most]
                places = places[block[query, places] >= cut]
            values = np.concatenate([best[query], block[query, places]])
            numbers = np.concatenate([rows[query], places + start])
            order = np.lexsort((numbers, -values))[:most]
            best[query], rows[query] = values[order], numbers[order]
    return rows, best
