"""Who is here: each browser has conversations of its own, in memory, until it leaves or clears them."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from visagent.errors import QuestionError
from visagent.settings import Settings
from visagent.tools.models import Models
from visagent.ui.conversation import ChatConversation
from visagent.ui.sessions import Sessions
from visagent.ui.turns import TurnQueue
from visagent.ui.uploads import Uploads

IDLE_SECONDS: Final = 3600.0
"""A visitor who has done nothing for as long is forgotten, with all pictures."""
MOST_VISITORS: Final = 64
MOST_CONVERSATIONS: Final = 8
TURNS_OF_A_SERVER: Final = 4


@dataclass(slots=True, eq=False)
class Visitor:
    """One browser.

    Attributes:
        id: The secret in its cookie.
        conversations: By a short id, in the order they were begun; never empty.
        current: Which one the page shows.
        seen: When it was last here, by the monotonic clock.
    """

    id: str
    conversations: dict[str, ChatConversation]
    current: str
    seen: float = field(default_factory=time.monotonic)

    @property
    def conversation(self) -> ChatConversation:
        """The one that the page shows."""
        return self.conversations.get(self.current) or next(reversed(self.conversations.values()))


class Visitors:
    """All visitors of the page. Thread-safe.

    Args:
        settings: Which model conversations ask, and the limits.
        models: The loaded models, shared by all.
        uploads: The visitors' files, forgotten with them.
        sessions: Their open pages, likewise.
    """

    def __init__(self, settings: Settings, models: Models, uploads: Uploads, sessions: Sessions) -> None:
        self._settings = settings
        self._models = models
        self._uploads = uploads
        self._sessions = sessions
        # The local model takes one question after the other, a server takes several.
        self._queue = TurnQueue(1 if settings.engine == "local" else TURNS_OF_A_SERVER)
        self._visitors: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def of(self, visitor_id: str) -> Visitor:
        """The visitor with this id, a new one if need be.

        Raises:
            QuestionError: As many as may be are here, and all of them are busy.
        """
        with self._lock:
            visitor = self._visitors.get(visitor_id)
            if visitor is None:
                self._make_room()
                first, conversation = self._begun()
                visitor = self._visitors[visitor_id] = Visitor(visitor_id, {first: conversation}, first)
            visitor.seen = time.monotonic()
            return visitor

    def begin(self, visitor: Visitor) -> None:
        """A new conversation beside the others; an empty one is taken if there is one.

        Raises:
            QuestionError: There are as many as may be.
        """
        with self._lock:
            empty = next((key for key, one in visitor.conversations.items() if not one.answers), None)
            if empty is None:
                if len(visitor.conversations) >= MOST_CONVERSATIONS:
                    raise QuestionError(f"There are {MOST_CONVERSATIONS} conversations, the most there may be; clear "
                                        "them first.")
                empty, conversation = self._begun()
                visitor.conversations[empty] = conversation
            visitor.current = empty

    def clear(self, visitor: Visitor) -> None:
        """Forget all conversations of a visitor, their pictures and findings, and the uploads."""
        for conversation in visitor.conversations.values():
            conversation.clear()
        with self._lock:
            first, conversation = self._begun()
            visitor.conversations, visitor.current = {first: conversation}, first
        self._uploads.forget(visitor.id)
        self._sessions.forget(visitor.id)

    def purge(self) -> None:
        """Forget visitors who have been away for long; what still runs of theirs is stopped, and they go next time."""
        limit = time.monotonic() - IDLE_SECONDS
        with self._lock:
            for visitor in [one for one in self._visitors.values() if one.seen < limit]:
                for conversation in visitor.conversations.values():
                    if conversation.busy:
                        conversation.stop()
                self._forget(visitor)

    def close(self) -> None:
        """Stop every turn and forget everybody."""
        with self._lock:
            for visitor in list(self._visitors.values()):
                for conversation in visitor.conversations.values():
                    conversation.stop()
                self._uploads.forget(visitor.id)
            self._visitors.clear()

    def _begun(self) -> tuple[str, ChatConversation]:
        return secrets.token_urlsafe(6), ChatConversation(self._settings, self._models, self._queue)

    def _make_room(self) -> None:
        if len(self._visitors) < MOST_VISITORS:
            return
        for visitor in sorted(self._visitors.values(), key=lambda one: one.seen):
            if self._forget(visitor):
                return
        raise QuestionError("Too many people are here; come back later.")

    def _forget(self, visitor: Visitor) -> bool:
        if any(conversation.busy for conversation in visitor.conversations.values()):
            return False
        for conversation in visitor.conversations.values():
            conversation.clear()
        self._uploads.forget(visitor.id)
        self._sessions.forget(visitor.id)
        del self._visitors[visitor.id]
        return True
