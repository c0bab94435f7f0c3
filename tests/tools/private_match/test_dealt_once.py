"""A dealt number is used once, whenever a server dies: kill -9 between marking it and using it, and before and after.

One server is real and gets killed; the test has the other one's key and plays its part, so it sees every number.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from visagent.errors import BadMessage, PrivateMatchError, ServerUnreachable
from visagent.tools.private_match.ledger import Ledger
from visagent.tools.private_match.messages import pack, unpack
from visagent.tools.private_match.parties import USER

from .running import Fake, House, Process, crowd, heard, in_numbers, probe

KILLS = 20
PEOPLE = crowd(12)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house") as house:
        yield house


@pytest.fixture
def template(house: House) -> dict[str, dict[str, Any]]:
    """A question's messages, to be sent often under other ids."""
    house.publish(PEOPLE, queries=1000)
    return house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))


def fresh() -> dict[str, Any]:
    return {"id": os.urandom(16), "at": int(time.time())}


def is_sound(server: Process) -> None:
    """SQLite finds nothing wrong in its ledger."""
    connection = sqlite3.connect(server.folder / "ledger.sqlite")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()


@pytest.mark.slow
def test_server_2_never_names_a_number_twice(house: House, template: dict[str, dict[str, Any]]) -> None:
    """Not even to a server 1 that lost its ledger and always says that none is used."""
    chance, pool = random.Random(0), house.pool
    house.two.start()
    seen: list[int] = []
    marked = 0
    for turn in range(KILLS + 1):
        with ExitStack() as stack:
            user = stack.enter_context(house.call(2, USER, 10))
            peer = stack.enter_context(house.call(2, "server-1", 10))
            question = template["server-2"] | fresh()
            user.send(pack(question))
            peer.send(pack({"kind": "join", "id": question["id"], "generation": question["generation"],
                            "pool": pool, "next": 0}))
            if turn < KILLS:
                time.sleep(chance.uniform(0, 0.03))
                house.two.kill()
            with suppress(PrivateMatchError):
                seen.append(unpack(peer.receive()).whole("index", 0, 1000))
        after = house.two.next_of(pool)
        assert after >= marked
        assert after > (seen[-1] if seen else -1), "a number was told before it was marked"
        marked = after
        if turn < KILLS:
            is_sound(house.two)
            house.two.start()
    assert seen == sorted(set(seen))
    assert 1 <= len(seen) <= KILLS + 1
    assert marked == seen[-1] + 1
    assert house.two.words == ""


@pytest.mark.slow
def test_server_1_marks_a_number_before_it_uses_it(house: House, template: dict[str, dict[str, Any]]) -> None:
    """What it sends first is masked with it; and it uses none that server 2 names again."""
    chance, pool = random.Random(1), house.pool
    house.one.start()
    used: set[int] = set()
    with Fake(house, 2) as fake:
        for turn in range(KILLS + 1):
            with ExitStack() as stack:
                user = stack.enter_context(house.call(1, USER, 10))
                user.send(pack(template["server-1"] | fresh()))
                peer = stack.enter_context(fake.take())
                index = unpack(peer.receive()).whole("next", 0, 1000)
                assert index > max(used, default=-1)
                peer.send(pack({"kind": "joined", "index": index}))
                if turn < KILLS:
                    time.sleep(chance.uniform(0, 0.03))
                    house.one.kill()
                with suppress(PrivateMatchError):
                    peer.receive()  # a share of the query, hidden by the dealt numbers
                    used.add(index)
            assert house.one.next_of(pool) > max(used, default=-1), "a number was used before it was marked"
            if turn < KILLS:
                is_sound(house.one)
                house.one.start()
        assert used
        for index in (max(used), min(used), 0):
            with house.call(1, USER, 10) as user:
                user.send(pack(template["server-1"] | fresh()))
                with fake.take() as peer:
                    peer.receive()
                    peer.send(pack({"kind": "joined", "index": index}))
                    answer = heard(user)
                    assert (answer.text("kind"), answer.text("name")) == ("error", "BadMessage")
                    assert "used before" in answer.text("text")
                    with pytest.raises(ServerUnreachable):
                        peer.receive()  # nothing that the number hides
    assert house.one.words == ""


def test_a_ledger_marks_a_number_before_it_returns(tmp_path: Path) -> None:
    """Another connection, as after a crash, finds it."""
    ledger, other = Ledger(tmp_path / "ledger.sqlite"), Ledger(tmp_path / "ledger.sqlite")
    for index in range(50):
        assert other.next_of("pool") == index
        ledger.take("pool", index)
        with pytest.raises(BadMessage, match="used before"):
            other.take("pool", index)
    ledger.close()
    other.close()


@pytest.mark.slow
def test_a_number_named_far_too_high_uses_up_nothing(house: House, template: dict[str, dict[str, Any]]) -> None:
    """Server 1 is told a number that was never dealt: it refuses, and those that were dealt are left."""
    house.one.start()
    pool = house.pool
    with Fake(house, 2) as fake:
        for index in (1000, 1001, 1 << 39):
            with house.call(1, USER, 10) as user:
                user.send(pack(template["server-1"] | fresh()))
                with fake.take() as peer:
                    peer.receive()
                    peer.send(pack({"kind": "joined", "index": index}))
                answer = heard(user)
                assert answer.text("kind") == "error"
            assert house.one.next_of(pool) == 0
    house.two.start()
    assert house.user().identify(probe(PEOPLE, 3), PEOPLE.contract) == "Person 3"
