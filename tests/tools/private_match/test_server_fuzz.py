"""Two thousand messages and connections that went wrong: each is refused or does no harm, and servers answer on."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from visagent.errors import BadMessage, PrivateMatchError
from visagent.tools.private_match.channel import Channel, accept, listen
from visagent.tools.private_match.messages import Message, pack, unpack
from visagent.tools.private_match.parties import USER, Place

from .harm import Harm, Proxy, altered, damaged
from .running import House, crowd, free_places, heard, in_numbers, probe, reply

pytestmark = pytest.mark.slow
PEOPLE = crowd(12)
GROWTH = 50 << 20
"""Bytes by which a server's memory may grow."""
TOLD = {"BadMessage", "DamagedRecord", "PrivateKeyError", "RandomnessSpent", "ServerUnreachable", "PrivateMatchError"}
"""What a server says went wrong."""


def named(house: House, place: int = 3, timeout: float = 20.0) -> str | None:
    return house.user(timeout).identify(probe(PEOPLE, place), PEOPLE.contract)


def running(folder: Any, way: str, queries: int = 4000) -> House:
    """Servers that have answered a few questions already, so that they hold all the memory that they need."""
    house = House(folder)
    house.publish(PEOPLE, way, queries=queries)
    house.start()
    for place in range(12):
        assert named(house, place) == f"Person {place}"
    return house


def unharmed(house: House, before: tuple[int, ...]) -> None:
    """The servers run, answer, have told of nothing unforeseen, and hold little more memory than before."""
    assert all(server.runs for server in house.servers)
    ends = time.monotonic() + 30
    while True:  # some of what went wrong may still be on its way
        try:
            assert named(house) == "Person 3"
            break
        except PrivateMatchError:
            assert time.monotonic() < ends
            time.sleep(0.5)
    assert [server.words for server in house.servers] == ["", ""]
    grown = [server.memory - was for server, was in zip(house.servers, before, strict=True)]
    assert max(grown) < GROWTH, f"memory grew by {[size >> 20 for size in grown]} MB"


def memory(house: House) -> tuple[int, ...]:
    return tuple(server.memory for server in house.servers)


@pytest.fixture(scope="module", params=["shared", "packed", "reference"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = running(tmp_path_factory.mktemp("fuzz") / request.param, request.param,
                    4000 if request.param == "shared" else 1000)
    try:
        yield house
    finally:
        house.close()


def is_question(house: House, message: bytes, party: int, asked: dict[str, Any]) -> bool | None:
    """Whether a server must take it for a question; None if that hangs on a second more or less."""
    try:
        read = unpack(message)
        good = (read.text("kind") == "query" and len(read.raw("id")) == 16 and read.text("way") == asked["way"]
                and read.whole("dimension", 0, 4096) == asked["dimension"]
                and read.whole("bits", 0, 64) == asked["bits"] and read.text("encoder") == asked["encoder"]
                and len(read.raw("query")) == len(asked["query"]) and read.whole("generation", 0, 1 << 40) >= 0)
        apart = abs(read.whole("at", 0, 1 << 40) - time.time())
    except BadMessage:
        return False
    return None if good and 295 < apart < 305 else good and apart < 300


def test_questions_that_were_altered(house: House) -> None:
    """Sent by somebody who has the user's key. What still is a question gets an answer; any answer may be wrong then,
    for the face may be another."""
    way = house.user().terms.way
    count = {"shared": 1200, "packed": 200, "reference": 150}[way]
    chance, before = random.Random(way), memory(house)
    template = house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))
    outcomes: Counter[str] = Counter()

    def prepare() -> tuple[int, bytes, dict[str, bytes] | None]:
        party = 1 + chance.randrange(2)
        fresh = {"id": os.urandom(16), "at": int(time.time())}
        question = {role: fields | fresh for role, fields in template.items()}
        asked = question[f"server-{party}"]
        while (good := is_question(house, message := altered(asked, chance), party, asked)) is None:
            pass
        if not good:
            return party, message, None
        other = question[f"server-{3 - party}"] | {"id": unpack(message).raw("id")}
        return party, message, {f"server-{party}": message, f"server-{3 - party}": pack(other)}

    def send(work: tuple[int, bytes, dict[str, bytes] | None]) -> str:
        party, message, both = work
        if both is None:
            with house.call(party, USER, 10) as line:
                answer = reply(line, message)
            assert answer.text("kind") == "error", answer.fields
            assert answer.text("name") in TOLD
            return answer.text("name")
        try:
            house.user()._ask(both, lambda done, of: None)
        except PrivateMatchError as error:
            # A number that is no ciphertext; or no numbers are left, or a server is still busy with the one before.
            assert way == "reference", error
            return type(error).__name__
        return "answered"

    with ThreadPoolExecutor(4) as pool:
        outcomes.update(pool.map(send, [prepare() for _ in range(count)]))
    assert outcomes["BadMessage"] > count / 4
    if way != "reference":
        assert outcomes["answered"] > count / 20
        assert set(outcomes) == {"BadMessage", "answered"}
    unharmed(house, before)


def is_join(message: bytes, wanted: dict[str, Any], numbers: int) -> bool | None:
    """Whether server 2 must begin; None where it would wait for the user's message under another id, or take over that
    many more of the dealt numbers are used."""
    try:
        read = unpack(message)
        kind, query = read.text("kind"), read.raw("id", 16)
    except BadMessage:
        return False
    if kind not in ("join", "help"):
        return False
    if query != wanted["id"] or kind == "help":
        return None
    try:
        good = read.text("pool") == wanted["pool"] and read.whole("generation", 0, 1 << 40) == wanted["generation"]
        used = read.whole("next", 0, 1 << 40)
    except BadMessage:
        return False
    return None if good and wanted["next"] + 5 < used < numbers else good and used < numbers


@pytest.mark.parametrize("house", ["shared", "packed"], indirect=True)
def test_what_server_1_says_was_altered(house: House) -> None:
    """Server 2 hears from somebody who has server 1's key: first a join, then what is exchanged in a search. (For the
    reference way see test_peer_fuzz.py.)"""
    way = house.user().terms.way
    chance, before = random.Random(way), memory(house)
    template, pool = house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))["server-2"], house.pool
    numbers = 4000 if way == "shared" else 1000
    outcomes: Counter[str] = Counter()
    asked: Asked | None = None
    with ExitStack() as stack:
        for turn in range(250 if way == "shared" else 60):
            if asked is None:
                asked = Asked(stack.enter_context(house.call(2, USER, 10)), template)
            join = {"kind": "join", "id": asked.id, "generation": template["generation"], "pool": pool,
                    "next": house.two.next_of(pool)}
            message, good = pack(join), True
            if turn % 2:
                while (good := is_join(message := altered(join, chance), join, numbers)) is None:
                    pass
            with house.call(2, "server-1", 10) as peer:
                peer.send(message)
                answer = unpack(peer.receive())
                assert answer.text("kind") == ("joined" if good else "error"), answer.fields
                outcomes[exchanged(peer, chance) if good else answer.text("name")] += 1
            if good or is_about(message, asked.id):
                answer = heard(asked.line)
                assert answer.text("kind") in ("answer", "error")
                if answer.text("kind") == "error":
                    assert answer.text("name") in TOLD
                    assert "look into its log" not in answer.text("text")
                asked = None
    assert {"BadMessage", "wrong frame"} <= set(outcomes)
    unharmed(house, before)


def is_about(message: bytes, query: bytes) -> bool:
    """Whether it can be read as a join to this query, so that the query fails with it."""
    try:
        read = unpack(message)
        return read.text("kind") == "join" and read.raw("id") == query
    except BadMessage:
        return False


class Asked:
    """A user's question to server 2, on the line; server 1 has none."""

    def __init__(self, line: Channel, template: dict[str, Any]) -> None:
        self.line, self.id = line, os.urandom(16)
        line.send(pack(template | {"id": self.id, "at": int(time.time())}))


def exchanged(peer: Channel, chance: random.Random) -> str:
    """Play along for some exchanges, then send a frame that is damaged, of another length, or no frame."""
    rounds = chance.randrange(12)
    try:
        for _ in range(rounds):
            theirs = peer.receive()
            peer.send(chance.randbytes(len(theirs)))
        theirs = peer.receive()
        peer.send(chance.choice((b"", b"\0", b"\0" * 4, theirs[:-1], theirs + b"\0", theirs * 2,
                                 damaged(theirs, chance))))
        return "wrong frame"
    except PrivateMatchError as error:
        return "ended before" if "kind" not in str(error) else "refused"


@pytest.mark.parametrize("between", ["user", "servers"])
def test_connections_that_are_harmed(tmp_path_factory: pytest.TempPathFactory, between: str) -> None:
    """By somebody between the parties who has no key: the right name, or an error in time."""
    chance, lock = random.Random(between), threading.Lock()
    length = 400 if between == "user" else 2500

    def harm() -> Harm | None:
        with lock:
            return Harm.random(chance, length) if chance.random() < 0.8 else None

    with ExitStack() as stack:
        house = stack.enter_context(House(tmp_path_factory.mktemp("harmed") / between))
        places = free_places()
        proxies = [stack.enter_context(Proxy(place)) for place in places]
        through: tuple[Place, Place] = (proxies[0].place, proxies[1].place)
        house.move(places, through, None) if between == "user" else house.move(places, None, through)
        house.publish(PEOPLE, queries=2000)
        house.start()
        for place in range(12):
            assert named(house, place) == f"Person {place}"
        before = memory(house)
        for proxy in proxies:
            proxy.harm = harm
        outcomes: Counter[str] = Counter()

        def ask(place: int) -> tuple[str, float]:
            begun = time.monotonic()
            try:
                name = named(house, place % 12, 1.5)
            except PrivateMatchError as error:
                return type(error).__name__, time.monotonic() - begun
            assert name == f"Person {place % 12}"
            return "answered", time.monotonic() - begun

        with ThreadPoolExecutor(6) as pool:
            for outcome, took in pool.map(ask, range(180 if between == "user" else 90)):
                outcomes[outcome] += 1
                assert took < 12
        for proxy in proxies:
            proxy.harm = lambda: None
        done = [harm for proxy in proxies for harm in proxy.done]
        assert {harm.kind for harm in done} == {"flip", "drop", "double", "cut", "delay"}
        assert len(done) > (120 if between == "user" else 30)
        assert set(outcomes) == {"answered", "BadMessage", "ServerUnreachable"}
        unharmed(house, before)


Say = Callable[[dict[str, Any]], bytes]


def test_a_user_of_servers_that_say_anything(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both servers' answers are altered alike by who has their keys; the user gets an error, a name, or nobody."""
    with House(tmp_path_factory.mktemp("told") / "house") as house:
        house.publish(PEOPLE, queries=1)
        user = house.user(5)
        chance = random.Random(0)
        sound: dict[str, Any] = {"kind": "answer", "part": bytes(16), "generation": user.terms.generation,
                                 "terms": b"", "left": 1}
        anew = sound | {"generation": user.terms.generation + 1, "terms": user.terms.model_dump_json().encode()}
        messages: list[bytes] = []

        def serve(party: int, listener: Any) -> None:
            key = house.server_key(party)
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with accept(connection, key.links, key.role, key.public.key().id, timeout=5) as line:
                        line.receive()
                        line.send(messages[-1])
                        if b"progress" not in messages[-1]:
                            line.receive()
                except PrivateMatchError:
                    pass

        listeners = [listen(house.server_key(party).here.address()) for party in (1, 2)]
        threads = [threading.Thread(target=serve, args=(party, listener), daemon=True)
                   for party, listener in enumerate(listeners, 1)]
        for thread in threads:
            thread.start()
        outcomes: Counter[str] = Counter()
        try:
            for turn in range(300):
                base = (sound, anew, {"kind": "progress", "done": 1, "of": 2},
                        {"kind": "error", "name": "BadMessage", "text": "words"})[turn % 4]
                messages.append(pack(base) if turn < 2 else altered(base, chance))
                try:
                    outcomes[str(type(user.identity_of(np.zeros(32, np.int64))).__name__)] += 1
                except PrivateMatchError as error:
                    outcomes[type(error).__name__] += 1
                    assert all(letter.isprintable() for letter in str(error))
                assert user.terms.names.keys() == house.user().terms.names.keys()
        finally:
            for listener in listeners:
                listener.shutdown(2)
                listener.close()
            for thread in threads:
                thread.join(10)
        assert {"bytes", "BadMessage"} <= set(outcomes)


def test_a_message_tells_what_it_is() -> None:
    """The oracle of these tests knows a question, and what is none."""
    assert isinstance(unpack(pack({"kind": "query"})), Message)
    chance = random.Random(0)
    fields = {"kind": "query", "id": bytes(16), "at": 3}
    assert len({altered(fields, chance) for _ in range(300)}) > 150
    assert len({damaged(pack(fields), chance) for _ in range(300)}) > 150
