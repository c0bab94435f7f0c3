"""Part of `private_match.py`: how the time of a query grows with the number of people and the length of the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from private_match_searches import seconds_of
from private_match_timing import duration, show_table

from visagent.tools.private_match.parties import Way
from visagent.tools.private_match.tournament import exchanges

MILLION = 1_000_000
MACHINES = (1, 10, 100)
"""Pairs of servers over which a million people are spread."""
LABELS = {"shared": "shared (no key)", "packed": "packed", "reference": "reference (Pura's protocols)"}
COLOURS = {"shared": "#0072b2", "packed": "#d55e00", "reference": "#4d4d4d"}
STYLES = {2048: ("-", "o"), 3072: ("--", "s")}

Curve = tuple[Way, int]
"""A way, and the bits of the key."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a query: `fixed + each * people`.

    Attributes:
        worst: By how much the fit is off at most, as a share of what was measured.
    """

    fixed: float
    each: float
    worst: float

    def __call__(self, people: float) -> float:
        return self.fixed + self.each * people


def fit(seconds: Mapping[int, float]) -> Cost:
    """By least squares of the relative errors, so that small galleries count as much as large ones."""
    people, taken = np.array(list(seconds)), np.array(list(seconds.values()))
    columns = np.stack([np.ones(len(people)), people], axis=1) / taken[:, None]
    fixed, each = np.linalg.lstsq(columns, np.ones(len(people)), rcond=None)[0]
    fixed = max(0.0, float(fixed))
    cost = Cost(fixed, float(each), 0)
    return Cost(fixed, float(each), max(abs(cost(n) / t - 1) for n, t in seconds.items()))


def spread(cost: Cost, between: Cost, people: int, pairs: int) -> float:
    """Seconds with people spread over pairs of servers: a part, and one more search among the pairs' nearest.

    That last one is a tournament on shares; it is taken to cost what a whole search by shares among so many would.
    """
    return cost(people / pairs) + (between(pairs) if pairs > 1 else 0)


def measure(plan: Mapping[Way, Sequence[int]], keys: Sequence[int], rounds: int) -> dict[Curve, dict[int, float]]:
    """Seconds by number of people. The way on shares needs no key, so one length is enough."""
    found: dict[Curve, dict[int, float]] = {}
    for way, counts in plan.items():
        for bits in keys if way != "shared" else keys[:1]:
            found[way, bits] = {}
            for count in counts:
                times = 1 if way == "reference" else rounds
                found[way, bits][count] = seconds_of(way, count, times, bits)
    return found


def show(plan: Mapping[Way, Sequence[int]], keys: Sequence[int], rounds: int, image: Path | None) -> None:
    """Measure, print, and draw."""
    found = measure(plan, keys, rounds)
    costs = {curve: fit(seconds) for curve, seconds in found.items()}
    print("### Seconds by number of people\n")
    show_table(["way", "key", "people: time of a query"],
               [[way, _key(way, bits), ", ".join(f"{n:,}: {duration(t)}" for n, t in seconds.items())]
                for (way, bits), seconds in found.items()])
    print("### Cost of a query, a + b N, and a million people\n")
    between = costs["shared", keys[0]]
    rows = []
    for (way, bits), cost in costs.items():
        row = [way, _key(way, bits), duration(cost.fixed), duration(cost.each), f"{cost.worst:.0%}"]
        rows.append(row + [duration(spread(cost, between, MILLION, pairs)) for pairs in MACHINES])
    show_table(["way", "key", "a", "b", "fit is off by at most",
                *(f"1,000,000 on {pairs} pair{'s' * (pairs > 1)}" for pairs in MACHINES)], rows)
    largest = ", ".join(f"{way} {max(counts):,}" for way, counts in plan.items())
    print(f"Largest measured: {largest}; beyond that it is extrapolated. Everything is on one machine: between two, "
          f"add their round-trip time once for each exchange, {exchanges(MILLION, 23) + 2} for a million people by "
          "shares.\n")
    if image is not None:
        draw(found, costs, image)
        print(f"Drawn: {image}\n")


def draw(found: Mapping[Curve, Mapping[int, float]], costs: Mapping[Curve, Cost], image: Path) -> None:
    """Points that were measured, and the fit: solid where measured, faint to a million."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    figure.set_facecolor("white")
    for (way, bits), seconds in found.items():
        line, marker = STYLES[bits]
        people = list(seconds)
        label = LABELS[way] + (f", {bits} bits" if way != "shared" else "")
        inside, beyond = np.geomspace(people[0], people[-1], 50), np.geomspace(people[-1], MILLION, 50)
        cost, colour = costs[way, bits], COLOURS[way]
        axes.plot(inside, cost.fixed + cost.each * inside, line, color=colour, linewidth=1.6)
        axes.plot(beyond, cost.fixed + cost.each * beyond, line, color=colour, linewidth=1.2, alpha=0.35)
        axes.plot(people, list(seconds.values()), marker, color=colour, label=label, markersize=5.5,
                  markerfacecolor=colour if bits == 2048 else "white")
    axes.set(xscale="log", yscale="log", xlabel="people in the gallery", ylabel="seconds for one query",
             title="Private recognition: time of a query, two servers with one core each")
    ticks = {1e-3: "1 ms", 1e-2: "10 ms", 0.1: "100 ms", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min",
             3600: "1 h", 86400: "1 day", 864000: "10 days"}
    low, high = axes.get_ylim()
    shown = {at: text for at, text in ticks.items() if low <= at <= high}
    axes.set_yticks(list(shown), list(shown.values()))
    axes.minorticks_off()
    axes.set_xticks([10 ** power for power in range(1, 7)],
                    ["10", "100", "1,000", "10,000", "100,000", "1,000,000"])
    axes.grid(color="#e0e0e0", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", title="measured; faint lines: extrapolated")
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, dpi=130)
    pyplot.close(figure)


def _key(way: str, bits: int) -> str:
    return "-" if way == "shared" else f"{bits} bits"
