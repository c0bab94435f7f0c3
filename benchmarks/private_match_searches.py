"""Part of `private_match.py`: one among N, from the user's request to the answer, beside other means."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from private_match_pairs import DIMENSION, Pair, faces, query_for
from private_match_peers import PheSearch, Sizes, TensealSearch
from private_match_timing import installed, interleaved, show_table, size, three

from visagent.tools.private_match.parties import Way
from visagent.tools.private_match.quantise import Quantiser

WAYS: tuple[Way, ...] = ("shared", "packed")
PHE_RECORDS = 6
"""Records that phe is timed with; each takes the same time."""
COMPARED = ("reference", "phe, int8", "phe, floats")


@dataclass(frozen=True)
class Search:
    """A way with one number of people.

    Attributes:
        ask: One query.
        sizes: Counts bytes and exchanges of one.
        times: By how much the time of `ask` is multiplied, where it searches among fewer people.
    """

    ask: Callable[[], object]
    sizes: Callable[[], Sizes]
    times: float = 1


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        seconds: For a query.
        sizes: Bytes and exchanges.
        multiplied: Whether the time is that of fewer people, multiplied.
    """

    seconds: float
    sizes: Sizes
    multiplied: bool = False


def measure(ways: Sequence[Way], count: int, rounds: int, bits: int, peers: Mapping[str, Search]) -> dict[str, Row]:
    """Visagent's own, two server processes each, and others, in turn in every round."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = {way: Pair(Path(folder) / way, way, faces(count), rounds + 3, bits) for way in ways}
        with ExitStack() as running:
            users = {way: running.enter_context(pair.running()) for way, pair in pairs.items()}
            searches = {way: Search(partial(pair.ask, users[way]), partial(_count, pair))
                        for way, pair in pairs.items()} | dict(peers)
            seconds = _times(searches, rounds)
        return {name: Row(seconds[name] * search.times, search.sizes(), search.times != 1)
                for name, search in searches.items()}


def seconds_of(way: Way, count: int, rounds: int, bits: int) -> float:
    """Seconds for a query, and no more."""
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder) / way, way, faces(count), rounds + 1, bits)
        with pair.running() as user:
            return _times({way: Search(partial(pair.ask, user), partial(_count, pair))}, rounds)[way]


def _times(searches: Mapping[str, Search], rounds: int) -> dict[str, float]:
    tasks = {name: search.ask for name, search in searches.items()}
    if tasks.keys() != {"reference"}:  # the first query of a server takes longer, but not by seconds
        interleaved(tasks, 1)
    return interleaved(tasks, rounds)


def _count(pair: Pair) -> Sizes:
    seen = pair.traffic()
    return Sizes(pair.at_rest().template, seen.to_servers, seen.to_user, seen.between, seen.exchanges)


def other_means(count: int, queries: int, phe: Mapping[str, Search]) -> dict[str, Search]:
    """What searches among so many people in this process."""
    templates = faces(count)
    query, quantise = query_for(templates, 0), Quantiser(DIMENSION)
    whole, small = quantise(templates), quantise(query)
    times = count / PHE_RECORDS
    found = {name: Search(search.ask, partial(_sizes_of, search, times), times) for name, search in phe.items()}
    if installed("tenseal"):
        ckks = TensealSearch(templates)
        for name, encrypted in (("plain", False), ("encrypted", True)):
            found[f"TenSEAL CKKS, {name} query"] = Search(partial(ckks.ask, query, encrypted),
                                                          partial(ckks.sizes, encrypted))
    bytes_at_rest = whole.astype(np.int8)
    found["numpy, in the clear"] = Search(
        lambda: int(((bytes_at_rest.astype(np.int32) - small) ** 2).sum(axis=1).argmin()),
        lambda: Sizes(DIMENSION, DIMENSION, 4))
    return found


def _sizes_of(search: Search, times: float) -> Sizes:
    return search.sizes().of(times)


def with_phe(bits: int) -> dict[str, Search]:
    """A few records with phe; made once, since it encrypts for seconds."""
    if not installed("phe"):
        return {}
    templates, quantise = faces(PHE_RECORDS), Quantiser(DIMENSION)
    query = query_for(templates, 0)
    whole, floats = PheSearch(quantise(templates), bits), PheSearch(templates.astype(float), bits)
    return {"phe, int8": Search(partial(whole.ask, quantise(query)), lambda: whole.sizes),
            "phe, floats": Search(partial(floats.ask, query.astype(float)), lambda: floats.sizes)}


def show(counts: Sequence[int], reference_counts: Sequence[int], rounds: int, reference_rounds: int, bits: int
         ) -> None:
    """Measure and print."""
    phe = with_phe(bits)
    reference = {count: measure(("reference",), count, reference_rounds, bits, {})["reference"]
                 for count in reference_counts}
    largest = max(reference)
    each = ", ".join(f"{row.seconds / count * 1e3:.0f} ms with {count}" for count, row in reference.items())
    print(f"\nPura's protocols (`reference`) take for each record: {each}.\n")
    for count in sorted({*counts, *reference_counts}):
        rows = measure(WAYS, count, rounds, bits, other_means(count, rounds + 1, phe))
        rows["reference"] = reference.get(count) or _multiplied(reference[largest], count / largest)
        _print(count, rows)
    for name, module in (("phe", "phe"), ("TenSEAL", "tenseal")):
        if not installed(module):
            print(f"{name} is not installed and left out.\n")


def _multiplied(row: Row, times: float) -> Row:
    """The reference way with more people; how often its servers exchange then was not counted."""
    sizes = replace(row.sizes, between=row.sizes.between * times, exchanges=-1)
    return Row(row.seconds * times, sizes, multiplied=True)


def _print(count: int, rows: Mapping[str, Row]) -> None:
    lines = []
    for name, row in rows.items():
        star = "*" if row.multiplied else ""
        line = [name, three(row.seconds * 1e3) + star, three(row.seconds * 1e3 / count)]
        line += [f"{three(rows[other].seconds / row.seconds)}x" if other in rows else "-" for other in COMPARED]
        sizes = row.sizes
        line += [size(sizes.template), size(sizes.to_servers), size(sizes.to_user),
                 size(sizes.between) + (star if sizes.between else ""),
                 str(sizes.exchanges) if sizes.exchanges >= 0 else "-"]
        lines.append(line)
    print(f"### One among {count:,}\n")
    show_table(["way", "ms a query", "ms a record", *(f"{other} /" for other in COMPARED), "at rest, a template",
                "user to servers", "to user", "between servers", "exchanges"], lines)
