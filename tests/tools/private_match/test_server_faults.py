"""Servers that die, hang or hold the wrong thing: errors of a kind that says so, in time, nothing lost, and never a
wrong name."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visagent.errors import DamagedRecord, PrivateMatchError, ServerUnreachable
from visagent.tools.private_match.authority import People
from visagent.tools.private_match.holdings import load_holdings
from visagent.tools.private_match.parties import KEY_FILE, write_private
from visagent.tools.private_match.server import Server

from .running import House, crowd, lives, probe, stranger

WAYS = ("shared", "packed", "reference")
PEOPLE = crowd(12)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house") as house:
        yield house


def named(house: House, place: int = 3, people: People = PEOPLE, timeout: float = 20.0) -> str | None:
    return house.user(timeout).identify(probe(people, place), people.contract)


def failure(house: House, timeout: float = 20.0, place: int = 3) -> PrivateMatchError:
    """What a query fails by; it must."""
    with pytest.raises(PrivateMatchError) as caught:
        named(house, place, timeout=timeout)
    assert str(house.folder) not in str(caught.value)
    return caught.value


# Servers that die or hang


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_was_killed_before(house: House, way: str) -> None:
    house.publish(PEOPLE, way, queries=20)
    before = house.galleries()
    house.start()
    assert named(house) == "Person 3"
    for server in house.servers:
        server.kill()
        assert isinstance(failure(house), ServerUnreachable)
        server.start()
        assert named(house) == "Person 3"
    assert house.galleries() == before
    assert not house.one.words + house.two.words


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 2])
def test_a_server_that_is_killed_while_it_searches(house: House, killed: int) -> None:
    people = crowd(64)
    house.publish(people, "reference")
    before = house.galleries()
    house.start()
    progress: list[tuple[int, int]] = []

    def on(done: int, of: int) -> None:
        progress.append((done, of))
        house.servers[killed - 1].kill()

    begun = time.monotonic()
    with pytest.raises(ServerUnreachable):
        house.user(5).identify(probe(people, 3), people.contract, on)
    assert time.monotonic() - begun < 10
    assert progress[0] in ((16, 64), (32, 64))
    house.servers[killed - 1].start()
    assert named(house, 40, people) == "Person 40"
    assert house.galleries() == before
    assert not house.one.words + house.two.words


@pytest.mark.slow
@pytest.mark.parametrize("way", ["shared", "packed"])
@pytest.mark.parametrize(("paused", "killed"), [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_a_server_that_is_killed_in_the_middle(house: House, way: str, paused: int, killed: int) -> None:
    """Paused, so that the middle lasts."""
    house.publish(PEOPLE, way, queries=20)
    before = house.galleries()
    house.start()
    assert named(house) == "Person 3"
    used = house.used()
    house.servers[paused - 1].pause()
    with ThreadPoolExecutor(1) as pool:
        asked: Future[PrivateMatchError] = pool.submit(failure, house, 2)
        time.sleep(0.3)
        house.servers[killed - 1].kill()
        if paused != killed:
            house.servers[paused - 1].go_on()
        begun = time.monotonic()
        assert isinstance(asked.result(), ServerUnreachable)
        assert time.monotonic() - begun < 3
    house.servers[killed - 1].start()
    assert named(house) == "Person 3"
    assert house.galleries() == before
    assert min(house.used()) > max(used)
    assert not house.one.words + house.two.words


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("party", [1, 2])
def test_a_server_that_hangs(house: House, way: str, party: int) -> None:
    """The user waits for as long as was said, and the server answers again once it goes on."""
    house.publish(PEOPLE, way, queries=20)
    house.start()
    assert named(house) == "Person 3"
    used = house.used()
    house.servers[party - 1].pause()
    begun = time.monotonic()
    assert isinstance(failure(house, 2), ServerUnreachable)
    assert 1.5 < time.monotonic() - begun < 4.5
    house.servers[party - 1].go_on()
    assert named(house) == "Person 3"
    if way != "reference":
        assert min(house.used()) > max(used)
    assert not house.one.words + house.two.words


@pytest.mark.slow
def test_a_worker_of_a_server_that_is_killed(tmp_path: Path) -> None:
    """As by a machine that ran out of memory: the server does without it."""
    people = crowd(40)
    with House(tmp_path / "house", cores=2) as house:
        house.publish(people, "packed", queries=20)
        house.start()
        assert named(house, 3, people) == "Person 3"
        for _ in range(2):
            os.kill(house.one.workers[0], signal.SIGKILL)
            time.sleep(0.3)
            assert "Person 3" in [name_or_none(house, people) for _ in range(2)]
        assert not house.one.words + house.two.words


def name_or_none(house: House, people: People) -> str | None:
    try:
        return named(house, 3, people)
    except PrivateMatchError:
        return None


@pytest.mark.slow
def test_a_server_that_is_killed_takes_its_workers_along(tmp_path: Path) -> None:
    people = crowd(40)
    with House(tmp_path / "house", cores=2) as house:
        house.publish(people, "packed", queries=20)
        house.start()
        assert named(house, 3, people) == "Person 3"
        workers = [worker for server in house.servers for worker in server.workers]
        assert len(workers) >= 4
        try:
            for server in house.servers:
                server.kill()
            ends = time.monotonic() + 5
            while any(map(lives, workers)):
                assert time.monotonic() < ends, "they live on without their server"
                time.sleep(0.1)
        finally:
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


@pytest.mark.slow
def test_kills_at_any_moment(house: House) -> None:
    """Twelve times either server dies in the middle of questions; no dealt number serves twice, no name is wrong."""
    house.publish(PEOPLE, queries=5000)
    before = house.galleries()
    house.start()
    chance, stop = np.random.default_rng(0), threading.Event()
    wrong: list[object] = []
    answered = 0

    def ask() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                name = named(house, answered % 12, timeout=3)
            except PrivateMatchError:
                time.sleep(0.1)
                continue
            except Exception as error:  # whatever it is, the test must tell
                wrong.append(error)
                return
            if name != f"Person {answered % 12}":
                wrong.append((name, answered % 12))
            answered += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        used = [house.used()]
        for _ in range(12):
            server = house.servers[chance.integers(2)]
            time.sleep(chance.uniform(0.05, 0.3))
            server.kill()
            used.append(house.used())
            server.start()
    finally:
        stop.set()
        asking.join()
    used.append(house.used())
    assert not wrong
    assert answered
    for (one, two), (one_later, two_later) in itertools.pairwise(used):
        assert one_later >= one
        assert two_later >= two
    # Answered queries each took a number of their own, and so did those that failed halfway.
    assert max(used[-1]) >= answered
    assert house.galleries() == before
    assert named(house) == "Person 3"
    assert house.used()[0] == house.used()[1] == max(used[-1]) + 1


# What is wrong on a server's disk


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("party", [1, 2])
def test_a_key_share_of_another_key(house: House, way: str, party: int, tmp_path: Path) -> None:
    """The shared way does without keys of Paillier's kind; in the others both servers' parts do not fit."""
    house.publish(PEOPLE, way, queries=20)
    other = House(tmp_path / "other", number=1)
    server = house.servers[party - 1]
    key = house.server_key(party)
    write_private(server.folder / KEY_FILE, key.model_copy(update={"exponent": other.server_key(party).exponent}))
    house.start()
    if way == "shared":
        assert named(house) == "Person 3"
        return
    for place in range(4):
        assert isinstance(failure(house, place=place), PrivateMatchError)
    write_private(server.folder / KEY_FILE, key)
    server.restart()
    assert named(house) == "Person 3"
    assert not house.one.words + house.two.words


@pytest.mark.parametrize("change", [{"storage": bytes(32)}, {"public": ...}])
@pytest.mark.parametrize("way", WAYS)
def test_records_under_another_key(house: House, way: str, change: dict[str, Any], tmp_path: Path) -> None:
    house.publish(PEOPLE, way, queries=20)
    other = House(tmp_path / "other", number=1)
    key = house.server_key(1)
    wrong = key.model_copy(update={name: other.server_key(1).public if value is ... else value
                                   for name, value in change.items()})
    write_private(house.one.folder / KEY_FILE, wrong)
    with pytest.raises(AssertionError, match="not what was sealed for it; publish it again"):
        house.one.start()
    with pytest.raises(DamagedRecord):
        Server(house.one.folder)
    assert house.one.wait() == 1


def edit(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    try:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    finally:
        connection.close()


ROWS = {"shared": "share", "packed": "block", "reference": "record"}
EDITS = {
    "a byte": "UPDATE rows SET sealed = zeroblob(length(sealed)) WHERE kind = '{kind}' AND place = 0",
    "longer": "UPDATE rows SET sealed = CAST(sealed || x'00' AS BLOB) WHERE kind = '{kind}' AND place = 0",
    "empty": "UPDATE rows SET sealed = x'' WHERE kind = '{kind}' AND place = 0",
    "text": "UPDATE rows SET sealed = 'text' WHERE kind = '{kind}' AND place = 0",
    "missing": "DELETE FROM rows WHERE kind = '{kind}' AND place = 0",
    "moved": "UPDATE rows SET place = 1000 WHERE kind = '{kind}' AND place = 0",
    "one more": "INSERT INTO rows SELECT kind, 1000, sealed FROM rows WHERE kind = '{kind}' AND place = 0",
    "no table": "DROP TABLE rows",
    "no terms": "DELETE FROM about",
    "terms": "UPDATE about SET sealed = zeroblob(length(sealed))",
    "text for terms": "UPDATE about SET sealed = 'text'",
    "newer": "UPDATE about SET generation = generation + 1",
    "another pool": "UPDATE about SET pool = '0123456789abcdef'",
    "two terms": "INSERT INTO about SELECT generation + 1, pool, sealed FROM about",
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_that_are_not_what_was_sealed(house: House, way: str) -> None:
    house.publish(PEOPLE, way, queries=5)
    file = house.one.folder / "records.sqlite"
    whole = file.read_bytes()
    key = house.server_key(1)

    def load() -> None:
        load_holdings(house.one.folder, key, key.share()).records.close()

    load()
    for edited in EDITS.values():
        edit(file, edited.format(kind=ROWS[way]))
        with pytest.raises(DamagedRecord, match="publish it again"):
            load()
        file.write_bytes(whole)
    if way != "packed":  # there is only one block
        swap = [f"UPDATE rows SET place = {to} WHERE kind = '{ROWS[way]}' AND place = {at}"
                for at, to in ((0, -1), (1, 0), (-1, 1))]
        edit(file, *swap)
        with pytest.raises(DamagedRecord):
            load()
        file.write_bytes(whole)
    for rest in (b"", b"x", whole[:50], whole[:len(whole) // 2], whole[4096:], bytes(len(whole)),
                 (house.two.folder / "records.sqlite").read_bytes()):
        file.write_bytes(rest)
        with pytest.raises(DamagedRecord):
            load()
    file.unlink()
    with pytest.raises(DamagedRecord):
        load()
    file.mkdir()
    with pytest.raises(DamagedRecord):
        load()


def put(file: Path, content: bytes) -> None:
    """Another file in this one's place, as when a gallery is made anew."""
    fresh = file.with_name("fresh")
    fresh.write_bytes(content)
    fresh.replace(file)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_any_byte_of_what_a_running_server_holds(house: House, way: str) -> None:
    """It is put in place under running servers: an error that says so, or the right name."""
    house.publish(PEOPLE, way, queries=300)
    house.start()
    outcomes: dict[str, int] = {}
    for party in (1, 2):
        file = house.servers[party - 1].folder / "records.sqlite"
        whole = file.read_bytes()
        chance = np.random.default_rng(party)
        for turn in range(25 if way != "reference" else 8):
            damaged = bytearray(whole)
            for _ in range(1 + turn % 3):
                damaged[chance.integers(len(damaged))] ^= 1 << chance.integers(8)
            put(file, bytes(damaged))
            try:
                name = named(house, turn % 12)
            except PrivateMatchError as error:
                name = type(error).__name__
            else:
                assert name == f"Person {turn % 12}"
                name = "answered"
            outcomes[name] = outcomes.get(name, 0) + 1
        put(file, whole)
    assert set(outcomes) <= {"answered", "DamagedRecord", "ServerUnreachable"}
    assert outcomes["DamagedRecord"]
    assert named(house) == "Person 3"
    assert not house.one.words + house.two.words


def test_dealt_numbers_that_were_swapped(house: House) -> None:
    """They are read when they are needed, and belong to their place too."""
    house.publish(PEOPLE, queries=5)
    edit(house.one.folder / "records.sqlite",
         *(f"UPDATE rows SET place = {to} WHERE kind = 'dealt' AND place = {at}"
           for at, to in ((0, -1), (1, 0), (-1, 1))))
    house.start()
    for _ in range(2):
        assert isinstance(failure(house), DamagedRecord | ServerUnreachable)
    assert named(house) == "Person 3"
    assert house.used() == (3, 3)
    assert not house.one.words + house.two.words


def test_both_servers_put_back_to_an_older_gallery(house: House) -> None:
    """By it somebody forgotten since must not be named, nor must anybody be called nobody who was added since."""
    house.publish(crowd(13))
    old = house.galleries()
    house.publish(PEOPLE)
    for server in house.servers:
        (server.folder / "records.sqlite").write_bytes(old[str(server.party)])
    house.start()
    with pytest.raises(PrivateMatchError):
        house.user().identify(probe(crowd(13), 12), PEOPLE.contract)
    with pytest.raises(PrivateMatchError):
        house.user().identify(stranger(PEOPLE), PEOPLE.contract)


@pytest.mark.slow
def test_ledgers_that_were_lost_or_damaged(house: House) -> None:
    """One that is lost is made up for by the other's; one that is damaged is not used."""
    house.publish(PEOPLE, queries=20)
    house.start()
    for _ in range(3):
        assert named(house) == "Person 3"
    for server in house.servers:
        server.kill()
        for file in server.folder.glob("ledger.sqlite*"):
            file.unlink()
        server.start()
        assert named(house) == "Person 3"
    assert house.used() == (5, 5)
    house.one.kill()
    for file in house.one.folder.glob("ledger.sqlite*"):
        file.write_bytes(b"not a ledger, but as long as it needs to be" * 300)
    with pytest.raises(AssertionError, match="ledger is damaged"):
        house.one.start()
