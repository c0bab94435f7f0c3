"""Exact search in memory: the most similar people among all templates, by blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from visagent.vision.encoder import Embeddings

Rows: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

BLOCK_ROWS = 65_536
"""Templates per block of one query: 128 numbers each, 32 MB."""
BATCH_ROWS = 8_192
"""Templates per block of many queries: with 200 queries the scores take 6 MB."""


@dataclass(frozen=True, slots=True)
class Match:
    """A person and how alike: the cosine similarity of the person's most similar template."""

    person: str
    score: float


class TemplateIndex:
    """All templates of a collection as one matrix. Disposable: made from the database, never written.

    Args:
        dimension: Numbers in an embedding.
    """

    def __init__(self, dimension: int) -> None:
        self._vectors: Embeddings = np.empty((0, dimension), np.float32)
        self._samples: Rows = np.empty(0, np.int64)
        self._owners: Rows = np.empty(0, np.int64)
        self._people: list[str] = []
        self._most_samples = 0

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def people(self) -> tuple[str, ...]:
        """Ids of the people with a template, in no order."""
        return tuple(self._people)

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
        vectors = [self._vectors[stays], *(embedding[None] for _, _, embedding in added)]
        self._vectors = np.ascontiguousarray(np.concatenate(vectors), dtype=np.float32)
        self._samples = np.concatenate([self._samples[stays], np.array([s for s, _, _ in added], np.int64)])
        self._owners = np.array([place[person] for person in owners], np.int64)
        self._most_samples = int(np.bincount(self._owners).max()) if owners else 0

    def search(self, embeddings: Embeddings, most: int = 5, *, among: str | None = None) -> list[list[Match]]:
        """The most similar people to each of several embeddings, the most similar first; exact.

        Equal scores come in the order of the people's ids, whatever the order of enrolment.

        Args:
            embeddings: float32 `[Q, D]` of length 1.
            most: People per embedding.
            among: Compare with this person only.
        """
        if among is not None:
            return self._against(embeddings, among)
        # The k-th person's best template is among the best k * S templates, where S is most samples of one person.
        rows, scores = top_rows(self._vectors, embeddings, most * self._most_samples)
        return [self._by_person(found, values, most) for found, values in zip(rows, scores, strict=True)]

    def _against(self, embeddings: Embeddings, person: str) -> list[list[Match]]:
        if person not in self._people:
            return [[] for _ in embeddings]
        mine = self._vectors[self._owners == self._people.index(person)]
        return [[Match(person, float(score))] for score in (embeddings @ mine.T).max(axis=1)]

    def _by_person(self, rows: Rows, scores: Embeddings, most: int) -> list[Match]:
        best: dict[int, float] = {}
        for row, score in zip(self._owners[rows].tolist(), scores.tolist(), strict=True):
            best[row] = max(best.get(row, -np.inf), score)
        ranked = sorted(best.items(), key=lambda item: (-item[1], self._people[item[0]]))
        return [Match(self._people[owner], score) for owner, score in ranked[:most]]


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
