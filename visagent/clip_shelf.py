"""Where the clips of all sessions lie: within one size for the whole process, however many people are here."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import count
from typing import Final

MAX_BYTES: Final = 500_000_000


class ClipShelf:
    """Files of clips by a number; the oldest goes when there is no room. Thread-safe.

    Args:
        max_bytes: Size of all together; a single file may be as large.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._files: dict[int, bytes] = {}
        self._total = 0
        self._numbers = count()
        self._lock = threading.RLock()  # a session that is garbage drops its clips, in the middle of anything

    def put(self, data: bytes) -> int:
        """Keep a file; older ones may go for it."""
        with self._lock:
            number = next(self._numbers)
            self._files[number] = data
            self._total += len(data)
            while self._total > self._max_bytes and len(self._files) > 1:
                self.drop({next(iter(self._files))})
            return number

    def get(self, number: int) -> bytes | None:
        """The file of a number; None if it had to go."""
        with self._lock:
            return self._files.get(number)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget these files."""
        with self._lock:
            for number in numbers:
                self._total -= len(self._files.pop(number, b""))


SHELF: Final = ClipShelf()
"""Of this process."""
