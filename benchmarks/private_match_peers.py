"""Part of `private_match.py`: the same search by other means, one process each, and not all of them as private.

phe: the gallery encrypted number by number, the query in the clear, scores opened by whoever has the key; what one
writes first after reading phe's documentation. TenSEAL: CKKS with 8,192 numbers, 60-40-40-60 bits and a scale of 2^40,
one ciphertext for each of the 128 numbers with 4,096 people side by side, on one core; whoever has the key sees all
scores.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.randomness import Dealer, FirstSource, SecondSource, Source, new_seed
from visagent.vision.encoder import Embeddings

SLOTS = 4096
PATIENCE = 600.0
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """Bytes of each template at rest, from and to the user, and between servers; and how often these exchange."""

    template: float
    to_servers: float
    to_user: float
    between: float = 0
    exchanges: int = 0

    def of(self, times: float) -> Sizes:
        """With so many times the people, where each has a part of the answer."""
        return replace(self, to_user=self.to_user * times)


class PheSearch:
    """With phe, some records of which each takes the same time.

    Args:
        templates: Whole numbers or floats `[n, D]`; as many are searched at once.
        bits: Of the key.
    """

    def __init__(self, templates: NDArray[Any], bits: int) -> None:
        import phe

        public, self._key = phe.generate_paillier_keypair(n_length=bits)
        self._gallery = [[public.encrypt(value) for value in row] for row in templates.tolist()]
        self._plain = templates
        ciphertext = bits // 4
        self.sizes = Sizes(ciphertext * templates.shape[1], 8 * templates.shape[1], ciphertext * len(templates))

    def ask(self, query: NDArray[Any]) -> None:
        """All scores, in the clear at the end."""
        values = query.tolist()
        scores = [self._key.decrypt(sum((a * b for a, b in zip(row[1:], values[1:], strict=True)), row[0] * values[0]))
                  for row in self._gallery]
        if not np.allclose(scores, self._plain @ query):
            raise AssertionError("phe's scores are wrong")


class TensealSearch:
    """With TenSEAL's CKKS, the gallery in columns; the best-known way with it."""

    def __init__(self, templates: Embeddings) -> None:
        import tenseal

        self._library, self._plain = tenseal, templates
        self._slots = min(SLOTS, len(templates))
        self._context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60],
                                        n_threads=1)
        self._context.global_scale = 2 ** 40
        filled = np.concatenate([templates, np.zeros((-len(templates) % self._slots, templates.shape[1]))])
        self._columns = [[tenseal.ckks_vector(self._context, column) for column in
                          filled[start:start + self._slots].T.tolist()]
                         for start in range(0, len(filled), self._slots)]

    def sizes(self, encrypted: bool) -> Sizes:
        """As serialised."""
        count, dimension = self._plain.shape
        one = len(self._columns[0][0].serialize())
        answer = len(self._scores(self._plain[0].astype(float).tolist())[0].serialize())
        return Sizes(one * dimension * len(self._columns) / count, dimension * (one if encrypted else 4),
                     answer * len(self._columns))

    def ask(self, query: Embeddings, encrypted: bool) -> None:
        """All scores, in the clear at the end."""
        values: list[Any] = query.astype(float).tolist()
        if encrypted:
            values = [self._library.ckks_vector(self._context, [value] * self._slots) for value in values]
        scores = np.concatenate([score.decrypt() for score in self._scores(values)])[:len(self._plain)]
        if int(scores.argmax()) != int((self._plain @ query).argmax()):
            raise AssertionError("TenSEAL found somebody else")

    def _scores(self, values: list[Any]) -> list[Any]:
        totals = []
        for columns in self._columns:
            total = columns[0] * values[0]
            for column, value in zip(columns[1:], values[1:], strict=True):
                total += column * value
            totals.append(total)
        return totals


Dealt = tuple[Source, Source]


def dealt_for(deal: Callable[[Dealer], None]) -> Dealt:
    """Both servers' random numbers."""
    seeds = new_seed(), new_seed()
    dealer = Dealer(*seeds)
    deal(dealer)
    return FirstSource(seeds[0], dealer.corrections), SecondSource(seeds[1])


def both(dealt: Dealt | Callable[[Dealer], None], task: Callable[[int, Source, Exchange], T]) -> tuple[T, T]:
    """What both servers have in the end, as two threads with two queues between them."""
    sources = dealt_for(dealt) if callable(dealt) else dealt
    lines: tuple[queue.SimpleQueue[bytes], ...] = (queue.SimpleQueue(), queue.SimpleQueue())

    def serve(party: int) -> T:
        def exchange(mine: bytes, length: int | None = None) -> bytes:
            lines[party - 1].put(mine)
            return lines[2 - party].get(timeout=PATIENCE)

        return task(party, sources[party - 1], exchange)

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(serve, (1, 2))
    return one, other
