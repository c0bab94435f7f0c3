"""Sessions of Gradio, one for each open page: whose each is, and that nothing is kept of it once nobody needs it.

Gradio remembers what every page shows, pictures of faces among it, for links that open a page as another one left it.
This page has no such links, and Gradio would forget only after ten thousand further pages.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gradio.state_holder import StateHolder

MOST_SESSIONS: Final = 4096
"""Sessions whose visitors are remembered."""
HOLD_SECONDS: Final = 0.25
"""How long a page may take to hear that its stream has ended."""


class Sessions:
    """All sessions. Thread-safe."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}
        self._ended: dict[str, float] = {}
        self._kept: StateHolder | None = None
        self._lock = threading.Lock()

    def watch(self, kept: StateHolder) -> None:
        """Drop from here what is to be forgotten: where Gradio remembers its sessions."""
        self._kept = kept

    def owner_of(self, session: str, visitor: str) -> str:
        """Whose session this is: the first visitor's that used it, this one's if nobody did."""
        with self._lock:
            owner = self._owners.setdefault(session, visitor)
            if len(self._owners) > MOST_SESSIONS:
                del self._owners[next(iter(self._owners))]
            return owner

    def stream_ends(self, session: str) -> None:
        """The page is told that its stream of results ends."""
        with self._lock:
            self._ended[session] = time.monotonic()
            if len(self._ended) > MOST_SESSIONS:
                del self._ended[next(iter(self._ended))]

    def seconds_to_hold(self, session: str) -> float:
        """For how long a question of this page must wait until it is sure to have heard that; mostly 0."""
        with self._lock:
            ended = self._ended.get(session)
            return 0.0 if ended is None else max(0.0, ended + HOLD_SECONDS - time.monotonic())

    def drop(self, session: str) -> None:
        """Forget what the page of a session shows. A page that is still open goes on."""
        if self._kept is not None:
            with self._kept.lock:
                self._kept.session_data.pop(session, None)
                self._kept.time_last_used.pop(session, None)

    def forget(self, visitor: str) -> None:
        """The same for all pages of a visitor."""
        with self._lock:
            theirs = [session for session, owner in self._owners.items() if owner == visitor]
        for session in theirs:
            self.drop(session)
