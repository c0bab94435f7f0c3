"""Whose turn it is: a machine answers so many questions at once, the others wait in order and are told so."""

from __future__ import annotations

import threading
from collections.abc import Callable


class TurnQueue:
    """A queue of turns. Thread-safe.

    Args:
        at_once: Turns that may run at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._running: set[Place] = set()
        self._waiting: list[Place] = []
        self._changed = threading.Condition()

    def join(self, *, in_front: bool = False) -> Place:
        """A place at the end, or in front for who had one already."""
        place = Place(self)
        with self._changed:
            self._waiting.insert(0 if in_front else len(self._waiting), place)
            self._changed.notify_all()
        return place

    def wait(self, place: Place, told: Callable[[int], None], given_up: Callable[[], bool]) -> bool:
        """Wait until it is this place's turn.

        Args:
            place: From `join`.
            told: Called with the number of turns that have to end first, whenever it changes.
            given_up: Asked twice a second; the place is left if it says so.

        Returns:
            Whether it is its turn; False if it was given up.
        """
        before = -1
        while True:
            with self._changed:
                free = self._at_once - len(self._running)
                ahead = self._waiting.index(place) + 1 - free
                if ahead <= 0:
                    self._waiting.remove(place)
                    self._running.add(place)
                    return True
                if ahead == before:
                    self._changed.wait(0.5)
            if given_up():
                self.leave(place)
                return False
            if ahead != before:
                before = ahead
                told(ahead)

    def leave(self, place: Place) -> None:
        """Give the place up, waiting or running; leaving twice is nothing."""
        with self._changed:
            self._running.discard(place)
            if place in self._waiting:
                self._waiting.remove(place)
            self._changed.notify_all()


class Place:
    """A place in the queue."""

    def __init__(self, queue: TurnQueue) -> None:
        self._queue = queue

    def wait(self, told: Callable[[int], None], given_up: Callable[[], bool]) -> bool:
        """Wait for the turn; see `TurnQueue.wait`."""
        return self._queue.wait(self, told, given_up)

    def leave(self) -> None:
        """Let the next one in."""
        self._queue.leave(self)
