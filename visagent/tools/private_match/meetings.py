"""Where the threads of one server that work on one query meet: the user's, and those of the other server's links."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gmpy2 import mpz

from visagent.errors import ServerUnreachable, VisagentError
from visagent.tools.private_match.holdings import Holdings

MOST: Final = 64
"""Queries that a server works on at once."""
LOOK_EVERY: Final = 2.0
"""Seconds after which a waiting thread tells its user that it still waits."""


@dataclass(eq=False)
class Meeting:
    """One query.

    Attributes:
        holdings: What is searched; None until the user's message has come.
        query: What the user sent.
        half: The other server's nearest candidate, in the reference way: distance and identity.
        met: Whether the other server has called, in the ways on shares.
        result: This server's part of the answer.
        failure: Why there will be none.
    """

    holdings: Holdings | None = None
    query: bytes = b""
    half: list[mpz] | None = None
    met: bool = False
    result: bytes | None = None
    failure: VisagentError | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def tell(self, change: Callable[[Meeting], None]) -> None:
        """Change something, and wake who waits for it."""
        with self._changed:
            change(self)
            self._changed.notify_all()

    def fail(self, error: VisagentError) -> None:
        """There will be no answer, unless there is one already."""
        def change(meeting: Meeting) -> None:
            if meeting.result is None and meeting.failure is None:
                meeting.failure = error

        self.tell(change)

    def wait(self, there: Callable[[Meeting], bool], limit_s: float, still: Callable[[], None] = lambda: None
             ) -> None:
        """Until something is there.

        Args:
            there: Tells whether it is.
            limit_s: Seconds to wait at most.
            still: Called every two seconds.

        Raises:
            VisagentError: What the query failed by.
            ServerUnreachable: It did not come in time.
        """
        ends = time.monotonic() + limit_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: there(self) or self.failure is not None, LOOK_EVERY)
                if self.failure is not None:
                    raise self.failure
                if there(self):
                    return
            if time.monotonic() > ends:
                raise ServerUnreachable("The other server did not do its part in time; is it running, and was it "
                                        "asked too?")
            still()


class Meetings:
    """All queries that a server works on."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, tuple[Meeting, int]] = {}
        self._lock = threading.Lock()

    def enter(self, query: bytes) -> Meeting:
        """The meeting of a query, made if need be; to be left afterwards. Raises ServerUnreachable: too many."""
        with self._lock:
            meeting, inside = self._by_id.get(query, (Meeting(), 0))
            if not inside and len(self._by_id) >= MOST:
                raise ServerUnreachable(f"The server works on {MOST} queries already; ask again in a moment.")
            self._by_id[query] = (meeting, inside + 1)
            return meeting

    def leave(self, query: bytes) -> None:
        """The last one to leave ends the meeting."""
        with self._lock:
            meeting, inside = self._by_id[query]
            if inside == 1:
                del self._by_id[query]
            else:
                self._by_id[query] = (meeting, inside - 1)
