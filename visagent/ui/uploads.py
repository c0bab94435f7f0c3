"""What visitors have uploaded: who may see and use a file, and when it goes.

Gradio keeps uploads in one folder and lets everybody read all of it. Here each file belongs to those who uploaded it,
is read into memory once it is used, and is deleted then, or after a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from visagent.errors import PictureError

KEPT_SECONDS: Final = 900.0
"""An upload that nobody has used for as long is deleted."""
MOST_BYTES: Final = 100_000_000
"""Longer uploads are refused while they arrive."""


@dataclass(slots=True)
class _Upload:
    owners: set[str] = field(default_factory=set)
    touched: float = 0.0


class Uploads:
    """The uploaded files and whose they are. Thread-safe.

    Args:
        folder: Where Gradio puts them; nothing outside of it is ever read or deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._files: dict[Path, _Upload] = {}
        self._lock = threading.Lock()

    def register(self, visitor: str, paths: Iterable[str]) -> None:
        """Note that a visitor has uploaded these. The same file of two visitors is one file that both own."""
        with self._lock:
            for path in map(self._inside, paths):
                if path is not None:
                    upload = self._files.setdefault(path, _Upload())
                    upload.owners.add(visitor)
                    upload.touched = time.monotonic()

    def owns(self, visitor: str, path: str) -> bool:
        """Whether this visitor has uploaded this file, and it is still there."""
        inside = self._inside(path)
        with self._lock:
            known = inside is not None and inside in self._files and visitor in self._files[inside].owners
        return known and inside is not None and inside.is_file()

    def read(self, visitor: str, path: str) -> bytes:
        """The bytes of a visitor's upload. Raises PictureError if it is not theirs or gone."""
        if not self.owns(visitor, path):
            raise PictureError("The upload is gone; attach the file again.")
        try:
            data = Path(path).read_bytes()
        except OSError:
            raise PictureError("The upload is gone; attach the file again.") from None
        with self._lock:
            if (upload := self._files.get(Path(path).resolve())) is not None:
                upload.touched = time.monotonic()
        return data

    def take(self, visitor: str, path: str) -> bytes:
        """The same, and the file is deleted unless another visitor has uploaded it too. Raises PictureError."""
        data = self.read(visitor, path)
        self._drop(visitor, [Path(path).resolve()])
        return data

    def forget(self, visitor: str) -> None:
        """Delete everything that a visitor has uploaded."""
        with self._lock:
            theirs = [path for path, upload in self._files.items() if visitor in upload.owners]
        self._drop(visitor, theirs)

    def purge(self) -> None:
        """Delete what nobody has used for a while."""
        limit = time.monotonic() - KEPT_SECONDS
        with self._lock:
            old = [(owner, path) for path, upload in self._files.items() if upload.touched < limit
                   for owner in upload.owners]
        for owner, path in old:
            self._drop(owner, [path])

    def _drop(self, visitor: str, paths: Iterable[Path]) -> None:
        with self._lock:
            for path in paths:
                upload = self._files.get(path)
                if upload is None:
                    continue
                upload.owners.discard(visitor)
                if not upload.owners:
                    del self._files[path]
                    with suppress(OSError):
                        path.unlink()
                        path.parent.rmdir()  # a folder for each content; another name of it may still be there

    def _inside(self, path: str) -> Path | None:
        """The path with links followed, if it lies in a folder of the uploads' folder."""
        try:
            resolved = Path(path).resolve()
        except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
            return None
        return resolved if resolved.parent.parent == self._folder else None
