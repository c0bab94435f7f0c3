"""The queue of turns: so many at once, in order, and who waits for a person holds nobody up."""

from __future__ import annotations

import threading

from visagent.ui.turns import Place, TurnQueue

from .fakes import until


def never() -> bool:
    return False


def waiting(place: Place, told: list[int]) -> threading.Thread:
    """Waits for its turn in a thread."""
    thread = threading.Thread(target=place.wait, args=(told.append, never), daemon=True)
    thread.start()
    return thread


def test_so_many_run_at_once_and_the_next_one_follows_in_order() -> None:
    queue = TurnQueue(2)
    first, second = queue.join(), queue.join()
    assert first.wait(lambda ahead: None, never) and second.wait(lambda ahead: None, never)
    third, fourth = queue.join(), queue.join()
    told: list[list[int]] = [[], []]
    threads = [waiting(third, told[0]), waiting(fourth, told[1])]
    until(lambda: told == [[1], [2]])
    second.leave()
    threads[0].join(10)
    until(lambda: told[1] == [2, 1])
    assert threads[1].is_alive()
    first.leave()
    threads[1].join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_who_comes_back_is_next_and_not_beside_who_runs() -> None:
    queue = TurnQueue(1)
    asked, other = queue.join(), queue.join()
    asked.wait(lambda ahead: None, never)
    asked.leave()  # asks a person
    assert other.wait(lambda ahead: None, never)
    later = queue.join()
    back = queue.join(in_front=True)
    told: list[list[int]] = [[], []]
    threads = [waiting(back, told[0]), waiting(later, told[1])]
    until(lambda: told == [[1], [2]])
    other.leave()
    threads[0].join(10)
    assert not threads[0].is_alive() and threads[1].is_alive()
    back.leave()
    threads[1].join(10)


def test_who_gives_up_leaves_no_gap() -> None:
    queue = TurnQueue(1)
    first = queue.join()
    first.wait(lambda ahead: None, never)
    second, third = queue.join(), queue.join()
    assert not second.wait(lambda ahead: None, lambda: True)
    told: list[int] = []
    thread = waiting(third, told)
    until(lambda: told == [1])
    first.leave()
    first.leave()
    thread.join(10)
    assert not thread.is_alive()
