"""What tests of private matching share: keys, and two servers in two threads with a line between them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from visagent.errors import ServerUnreachable
from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.paillier import SecretKey, generate_key
from visagent.tools.private_match.randomness import Dealer, FirstSource, SecondSource, Source, new_seed

PATIENCE = 20
"""Seconds that a server waits for the other one."""


@pytest.fixture(scope="session")
def key() -> SecretKey:
    """A key of 2,048 bits."""
    return generate_key(2048)


@pytest.fixture(scope="session")
def long_key() -> SecretKey:
    """A key of 3,072 bits."""
    return generate_key(3072)


@dataclass
class End:
    """One end of a line: an `Exchange` that keeps what it was given."""

    out: queue.SimpleQueue[bytes | None]
    into: queue.SimpleQueue[bytes | None]
    sent: list[bytes] = field(default_factory=list)

    def __call__(self, mine: bytes, length: int | None = None) -> bytes:
        self.sent.append(mine)
        self.out.put(mine)
        try:
            theirs = self.into.get(timeout=PATIENCE)
        except queue.Empty:
            theirs = None
        if theirs is None:
            raise ServerUnreachable("the other server has stopped")
        assert len(theirs) == (len(mine) if length is None else length), "of another length than was agreed"
        return theirs


@dataclass(frozen=True)
class Outcome:
    """What both servers returned, and all that they sent."""

    first: Any
    second: Any
    sent: tuple[list[bytes], list[bytes]]


Task = Callable[[int, Source, Exchange], Any]


@dataclass
class TwoServers:
    """`servers(deal, task)`: what is dealt for, and what each of the two servers runs with its part.

    Attributes:
        threads: Two.
        lost: Bytes that are cut off the end of the corrections.
        wrap: Put around each server's source.
    """

    threads: ThreadPoolExecutor
    lost: int = 0
    wrap: Callable[[int, Source], Source] = lambda party, source: source

    def __call__(self, deal: Callable[[Dealer], None], task: Task) -> Outcome:
        seeds = new_seed(), new_seed()
        dealer = Dealer(*seeds)
        deal(dealer)
        corrections = dealer.corrections
        sources: tuple[Source, Source] = (FirstSource(seeds[0], corrections[:len(corrections) - self.lost]),
                                          SecondSource(seeds[1]))
        lines: tuple[queue.SimpleQueue[bytes | None], ...] = (queue.SimpleQueue(), queue.SimpleQueue())
        ends = End(lines[0], lines[1]), End(lines[1], lines[0])

        def serve(party: int) -> Any:
            try:
                return task(party, self.wrap(party, sources[party - 1]), ends[party - 1])
            except BaseException:
                ends[party - 1].out.put(None)
                raise

        runs = [self.threads.submit(serve, party) for party in (1, 2)]
        failures = [failure for run in runs if (failure := run.exception()) is not None]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, ServerUnreachable)):
            raise failure  # the cause, not that the other one has stopped
        assert all(line.empty() for line in lines), "something was sent that nobody read"
        return Outcome(runs[0].result(), runs[1].result(), (ends[0].sent, ends[1].sent))


@pytest.fixture(scope="session")
def _threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def servers(_threads: ThreadPoolExecutor) -> TwoServers:
    """Two servers that share nothing but a line."""
    return TwoServers(_threads)
