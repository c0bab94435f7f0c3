"""What the parts of `private_match.py` share: timing side by side, one core for all, tables in Markdown."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def interleaved(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each task, all in turn in every round, so that a busy machine is as busy for each."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def median_of(task: Callable[[], object], rounds: int) -> float:
    """Median seconds."""
    return interleaved({"": task}, rounds)[""]


def pinned(task: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What a function returns that runs in a new process on one core; libraries that use all cores find just one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _pin) as pool:
        return pool.submit(task, *arguments, **named).result()


def _pin() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def installed(module: str) -> bool:
    """Whether a library to compare with is there."""
    return importlib.util.find_spec(module) is not None


def machine() -> str:
    """The processor, its cores, and how busy the machine is."""
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return (f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores, "
            f"Python {platform.python_version()}, load average {os.getloadavg()[0]:.1f}")


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown, its columns lined up."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print(flush=True)


def duration(seconds: float) -> str:
    """With three digits, in the unit that fits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size * (2 if size > 1 else 1):
            return f"{three(seconds / size)} {unit}"
    return f"{three(seconds / 1e-6)} µs"


def three(number: float) -> str:
    """A number with three digits; thousands are kept whole."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number < 1 else f"{number:.{1 if number >= 10 else 2}f}"


def size(count: float) -> str:
    """Bytes."""
    for unit, whole in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= whole:
            return f"{three(count / whole)} {unit}"
    return f"{count:.0f} B"
