"""A process that lives for one clip, within limits of time and memory.

A hostile file neither hangs nor fills the caller. As with all processes that Python spawns, a script must read clips
under `if __name__ == "__main__":`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from visagent.errors import ClipTooCostly

PATIENCE_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 4 << 30  # address space, on top of what a worker starts with
DIED: Final = ("The process that read the clip died: the clip may be damaged, or too large for this machine's memory. "
               "Save it anew, shorter or smaller.")


def in_worker(work: Callable[..., Any], *args: object, patience: float) -> Any:
    """What `work` returns in a fresh process. Raises ClipTooCostly if it takes too long or dies."""
    from pebble import ProcessPool

    # A pool of one: pebble 5.2 forks for `concurrent.process(mp_context=...)`, and a fork of threads may hang.
    pool = ProcessPool(max_workers=1, context=get_context("spawn"))
    try:
        return pool.schedule(work, args=args, timeout=patience).result()
    except TimeoutError:
        raise too_slow(patience) from None
    except (OSError, BrokenExecutor):  # pebble's ProcessExpired is an OSError
        raise ClipTooCostly(DIED) from None
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def too_slow(patience: float) -> ClipTooCostly:
    """The error for a worker that takes longer."""
    return ClipTooCostly(f"Reading the clip took over {patience:g} s and was stopped; cut it shorter.")


def limit_memory(memory: int) -> None:
    """In the worker: take no more than so many bytes on top of what it starts with, and leave nothing behind."""
    import resource

    import av  # noqa: F401  # now, as part of what the worker starts with

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave the clip on the disk
    status = Path("/proc/self/statm")
    if status.exists():  # Linux; elsewhere only the time is limited
        most = int(status.read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
