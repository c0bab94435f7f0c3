"""All cores for one server's work: threads where gmpy2 lets go of Python's lock, processes where it does not."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import repeat
from types import TracebackType

from gmpy2 import mpz

from visagent.tools.private_match.multi_power import multi_power


class Workers:
    """A server's cores.

    Args:
        cores: How many to use; with one everything runs in the thread that asks.
    """

    def __init__(self, cores: int = 1) -> None:
        self._cores = cores
        self._changing = threading.Lock()
        self.threads: Executor | None = ThreadPoolExecutor(cores, "decrypt") if cores > 1 else None
        self._processes = _processes(cores) if cores > 1 else None

    def multi_powers(self, blocks: Sequence[Sequence[mpz]], exponents: Sequence[int], modulus: mpz) -> list[mpz]:
        """`multi_power` of each block with the same exponents."""
        processes = self._processes
        if processes is not None and len(blocks) > 1:
            try:
                return list(processes.map(multi_power, blocks, repeat(exponents), repeat(modulus), chunksize=4))
            except BrokenProcessPool:  # one was killed, as by a machine that ran out of memory
                self._replace(processes)
        return [multi_power(block, exponents, modulus) for block in blocks]

    def close(self) -> None:
        """End the threads and processes."""
        if self.threads is not None:
            self.threads.shutdown(cancel_futures=True)
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._changing:
            if self._processes is broken:
                broken.shutdown(wait=False)
                self._processes = _processes(self._cores)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def _processes(cores: int) -> ProcessPoolExecutor:
    # Not forked: a server has threads, and a fork of them may hang.
    return ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _end_with_parent)


def _end_with_parent() -> None:
    """A worker must not outlive its server, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
