"""Exact search beside FAISS's flat index, and beside a linear scan of a table as `deepface` searches, in one run.

    pip install faiss-cpu
    python benchmarks/search.py

Random unit vectors of 128 numbers, top 5, medians, as many threads as there are cores for both. deepface's way is
re-implemented from its documented behaviour: one distance after another over the rows of a pandas table.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
import pandas as pd

from visagent.gallery.index import top_rows

DIMENSION, TOP, QUERIES = 128, 5, 200


def unit(count: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def median(run: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def scan(table: pd.DataFrame, query: np.ndarray) -> pd.DataFrame:
    """Cosine distance row by row, then sorted."""
    target, distances = query.tolist(), []
    for _, row in table.iterrows():
        source = np.asarray(row["embedding"])
        distances.append(1 - np.dot(source, target) / (np.linalg.norm(source) * np.linalg.norm(target)))
    return table.assign(distance=distances).sort_values("distance").head(TOP)


def main() -> None:
    queries = unit(QUERIES, 1)
    for count in (10_000, 100_000, 1_000_000):
        vectors = unit(count, 0)
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(vectors)
        assert (index.search(queries, TOP)[1] == top_rows(vectors, queries, TOP)[0]).mean() > 0.999
        for size in (1, QUERIES):
            ours = median(lambda v=vectors, n=size: top_rows(v, queries[:n], TOP), 9 if size == 1 else 5)
            theirs = median(lambda i=index, n=size: i.search(queries[:n], TOP), 9 if size == 1 else 5)
            print(f"{count:>9,} templates, {size:>3} queries: {ours * 1000:8.2f} ms, FAISS {theirs * 1000:8.2f} ms, "
                  f"ratio {ours / theirs:.2f}")
        if count == 100_000:
            table = pd.DataFrame({"identity": range(count), "embedding": list(vectors)})
            linear = median(lambda t=table: scan(t, queries[0]), 1)
            ours = median(lambda v=vectors: top_rows(v, queries[:1], TOP), 9)
            print(f"{count:>9,} templates, linear scan of a table: {linear:.2f} s, {linear / ours:,.0f} times as long")


if __name__ == "__main__":
    main()
