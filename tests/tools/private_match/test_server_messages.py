"""Messages that are none, come twice or too late, or are not for their sender to send: refused, and nothing else
happens."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from visagent.errors import BadMessage, PrivateMatchError, ServerUnreachable
from visagent.tools.private_match import server as server_module
from visagent.tools.private_match.meetings import MOST
from visagent.tools.private_match.messages import pack
from visagent.tools.private_match.parties import KEY_FILE, USER, AuthorityKey, UserKey, read_private, write_private
from visagent.tools.private_match.server import Server

from .running import House, crowd, in_numbers, probe, reply

WAYS = ("shared", "packed", "reference")
PEOPLE = crowd(12)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house") as house:
        yield house


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], House]]:
    """`standing("packed")`: servers that run on and are asked by many tests; at the end they have said nothing."""
    houses: dict[str, House] = {}

    def get(way: str) -> House:
        if way not in houses:
            houses[way] = House(tmp_path_factory.mktemp("standing") / way)
            houses[way].publish(PEOPLE, way, queries=200)
            houses[way].start()
        return houses[way]

    try:
        yield get
        for house in houses.values():
            assert all(server.runs for server in house.servers)
            assert not house.one.words + house.two.words
    finally:
        for house in houses.values():
            house.close()


def named(house: House, place: int = 3) -> str | None:
    return house.user().identify(probe(PEOPLE, place), PEOPLE.contract)


def ask_both(house: House, **changes: Any) -> PrivateMatchError | None:
    """Ask both servers with some fields of the message changed; a function is given the field and the party."""
    user = house.user(5)
    question = house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))
    for party, fields in enumerate(question.values(), 1):
        for name, change in changes.items():
            fields[name] = change(fields[name], party) if callable(change) else change
    try:
        user._ask({role: pack(fields) for role, fields in question.items()}, lambda done, of: None)
    except PrivateMatchError as error:
        return error
    return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("changes", "words"), [
    ({"id": b"0123456789abcde"}, "16 bytes"),
    ({"id": bytes(17)}, "16 bytes"),
    ({"id": "0123456789abcdef"}, "16 bytes"),
    ({"at": lambda at, party: at - 301}, "clocks"),
    ({"at": lambda at, party: at + 301}, "clocks"),
    ({"at": 0}, "clocks"),
    ({"at": -1}, "whole number"),
    ({"at": 1 << 63}, "whole number"),
    ({"at": True}, "whole number"),
    ({"at": None}, "whole number"),
    ({"way": "another"}, "another way"),
    ({"way": ""}, "another way"),
    ({"dimension": 31}, "another way"),
    ({"dimension": 1 << 40}, "whole number"),
    ({"bits": 10}, "another way"),
    ({"encoder": "0" * 16}, "another encoder"),
    ({"query": lambda query, party: query[:-1]}, "bytes"),
    ({"query": lambda query, party: query + b"\0"}, "bytes"),
    ({"query": b""}, "bytes"),
    ({"query": None}, "bytes"),
    ({"generation": -1}, "whole number"),
    ({"generation": None}, "whole number"),
    ({"kind": "answer"}, "not for user to send"),
    ({"kind": "x" * 1025}, "short text"),
    ({"kind": None}, "short text"),
])
def test_a_question_that_is_none(standing: Callable[[str], House], way: str, changes: dict[str, Any], words: str
                                 ) -> None:
    house = standing(way)
    used = house.used()
    error = ask_both(house, **changes)
    assert isinstance(error, BadMessage)
    assert words in str(error)
    assert house.used() == used, "a dealt number was spent on it"
    if way != "reference":
        assert named(house) == "Person 3"


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_question_is_answered_once(house: House, way: str) -> None:
    """Not again a moment later, and not after the servers were started anew."""
    house.publish(PEOPLE, way, queries=20)
    house.start()
    question = {role: pack(fields)
                for role, fields in house.question(in_numbers(PEOPLE, probe(PEOPLE, 3))).items()}

    def ask() -> None:
        house.user()._ask(question, lambda done, of: None)

    ask()
    for _ in range(2):
        with pytest.raises(BadMessage, match="sent before; ask anew"):
            ask()
    for server in house.servers:
        server.kill()
        server.start()
    with pytest.raises(BadMessage, match="sent before; ask anew"):
        ask()
    if way != "reference":
        assert house.used() == (1, 1)


@pytest.mark.slow
def test_numbers_that_are_no_ciphertexts(standing: Callable[[str], House]) -> None:
    house = standing("reference")
    secret = read_private(house.folder / "authority" / KEY_FILE, AuthorityKey)
    n, prime = secret.public.n, secret.prime_p
    size = secret.public.key().ciphertext_bytes
    for number in (0, 1, n, n * n, n * n + 5, (1 << 8 * size) - 1, prime, 3 * prime, prime * prime, n * n - prime):
        for party in (1, 2):
            def change(query: bytes, to: int, party: int = party, number: int = number) -> bytes:
                place = 7 * size
                return query if to != party else \
                    query[:place] + int(number).to_bytes(size, "big") + query[place + size:]

            error = ask_both(house, query=change)
            assert isinstance(error, BadMessage | ServerUnreachable), number
        error = ask_both(house, query=lambda query, party, number=number: int(number).to_bytes(size, "big") * 32)
        assert isinstance(error, BadMessage), number
        assert "none under this key" in str(error) or "does not" in str(error)
    assert named(house) == "Person 3"


@pytest.mark.parametrize("way", WAYS)
def test_nobody_may_send_what_is_another_s_to_send(standing: Callable[[str], House], way: str) -> None:
    house = standing(way)
    question = house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))
    join = {"id": bytes(16), "generation": house.user().terms.generation, "pool": house.pool, "next": 0}
    for party, other in ((1, "server-2"), (2, "server-1")):
        for role, kind, fields in ((USER, "join", join), (USER, "help", {"id": bytes(16)}),
                                   (other, "query", question[f"server-{party}"]), (USER, "step", {}),
                                   (other, "step", {"step": "done"}), (other, "answer", {})):
            with house.call(party, role) as line:
                answer = reply(line, {**fields, "kind": kind})
            assert answer.text("kind") == "error"
            assert answer.text("name") == "BadMessage"
            assert answer.text("text") == f"A message of this kind is not for {role} to send."
    if way != "reference":
        assert named(house) == "Person 3"


@pytest.mark.slow
def test_a_user_of_other_keys(house: House, tmp_path: Path) -> None:
    house.publish(PEOPLE)
    house.start()
    file = house.folder / USER / KEY_FILE
    key = read_private(file, UserKey)
    links = {role: bytes(32) for role in key.links}
    write_private(file, key.model_copy(update={"links": links}))
    with pytest.raises(ServerUnreachable):
        named(house)
    write_private(file, key.model_copy(update={"links": {"server-1": key.links["server-2"],
                                                         "server-2": key.links["server-1"]}}))
    with pytest.raises(ServerUnreachable):
        named(house)
    write_private(file, key.model_copy(update={"servers": {"server-1": key.servers["server-2"],
                                                           "server-2": key.servers["server-1"]}}))
    with pytest.raises(ServerUnreachable):
        named(house)
    write_private(file, key)
    assert named(house) == "Person 3"
    assert house.used() == (1, 1)


@pytest.fixture
def here(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Both servers in threads of this process, where they can be made impatient."""
    monkeypatch.setattr(server_module, "MEET_S", 0.3)
    house.publish(PEOPLE, queries=20)
    servers = [Server(server.folder) for server in house.servers]
    threads = [threading.Thread(target=server.serve) for server in servers]
    for thread in threads:
        thread.start()
    yield house
    for server in servers:
        server.close()
    for party in (1, 2):  # a listener that is closed in another thread waits for one more caller
        place = house.server_key(party).here
        with suppress(OSError):
            socket.create_connection((place.host, place.port), 1).close()
    for thread in threads:
        thread.join(10)


@pytest.mark.slow
def test_a_question_that_only_one_server_is_asked(here: House) -> None:
    question = here.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))
    begun = time.monotonic()
    for party in (1, 2):
        with here.call(party, USER) as line:
            answer = reply(line, question[f"server-{party}"])
        assert answer.text("kind") == "error", "it must not hold a place for long"
    assert time.monotonic() - begun < 5
    assert here.used() == (0, 0)
    assert named(here) == "Person 3"
    assert here.used() == (1, 1)


@pytest.mark.slow
def test_too_many_questions_at_once(house: House) -> None:
    """The one too many is refused, and when those before it are gone the next is answered."""
    house.publish(PEOPLE, queries=20)
    house.start()
    with ExitStack() as lines:
        for _ in range(MOST):
            line = lines.enter_context(house.call(2, USER))
            line.send(pack(house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))["server-2"]))
        time.sleep(0.5)
        with pytest.raises(ServerUnreachable, match="64 queries already"):
            named(house)
    ends = time.monotonic() + 15
    while True:
        try:
            assert named(house) == "Person 3"
            break
        except ServerUnreachable:
            assert time.monotonic() < ends, "the server remembers users that are gone"
            time.sleep(0.5)
    assert not house.one.words + house.two.words


@pytest.mark.slow
def test_callers_who_say_nothing_are_in_nobody_s_way(house: House) -> None:
    house.publish(PEOPLE, queries=20)
    house.start()
    with ExitStack() as lines:
        for party in (1, 2):
            place = house.server_key(party).here
            for number in range(40):
                silent = lines.enter_context(socket.create_connection((place.host, place.port), 5))
                if number % 2:
                    silent.sendall(b"GET / HTTP/1.1\r\n\r\n" * (number % 3))
        assert named(house) == "Person 3"
    assert named(house) == "Person 3"
    assert not house.one.words + house.two.words
