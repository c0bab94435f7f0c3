"""One server in the hands of somebody who says anything to the other: the other tells its user of an error, and runs
on.

Nobody claims that answers are right then; a server that does not keep to the protocol is outside of what is promised.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from visagent.errors import BadMessage, PrivateMatchError
from visagent.tools.private_match.channel import Channel
from visagent.tools.private_match.messages import Message, pack, unpack, write_ciphertexts
from visagent.tools.private_match.parties import USER
from visagent.tools.private_match.threshold_key import KeyShare

from .harm import altered, damaged
from .running import Fake, House, crowd, heard, in_numbers, probe, reply

pytestmark = pytest.mark.slow
PEOPLE = crowd(12)
NUMBERS = 1000
STEPS = ("squares", "smaller", "compare", "product", "half", "deliver", "done", "another", "")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "house") as house:
        yield house


def begin(house: House, way: str, party: int) -> None:
    """Only this server runs."""
    house.publish(PEOPLE, way, queries=NUMBERS)
    house.servers[party - 1].start()


def ask(house: House, party: int, stack: ExitStack, template: dict[str, Any]) -> tuple[Channel, bytes]:
    """A user's question to one server, on the line, and its id."""
    line, query = stack.enter_context(house.call(party, USER, 15)), os.urandom(16)
    line.send(pack(template | {"id": query, "at": int(time.time())}))
    return line, query


def question(house: House, party: int) -> dict[str, Any]:
    return house.question(in_numbers(PEOPLE, probe(PEOPLE, 3)))[f"server-{party}"]


def is_told(answer: Message) -> str:
    """The name of the error that a user is told; it must be one that was foreseen."""
    assert answer.text("kind") == "error", answer.fields
    assert "look into its log" not in answer.text("text"), answer.fields
    return answer.text("name")


def runs_on(house: House, party: int) -> None:
    """With the right server at its side again it answers."""
    assert house.servers[party - 1].runs
    house.servers[2 - party].start()
    assert house.user(30).identify(probe(PEOPLE, 3), PEOPLE.contract) == "Person 3"
    assert [server.words for server in house.servers] == ["", ""]


def index_of(message: bytes) -> int | None:
    try:
        return unpack(message).whole("index", 0, NUMBERS - 1)
    except BadMessage:
        return None


@pytest.mark.parametrize("way", ["shared", "packed"])
def test_server_1_beside_a_server_2_that_says_anything(house: House, way: str) -> None:
    begin(house, way, 1)
    chance, template = random.Random(way), question(house, 1)
    outcomes: Counter[str] = Counter()
    with Fake(house, 2) as fake, ExitStack() as stack:
        for turn in range(150 if way == "shared" else 50):
            user, query = ask(house, 1, stack, template)
            with fake.take() as line:
                join = unpack(line.receive())
                assert (join.text("kind"), join.raw("id")) == ("join", query)
                ahead = join.whole("next", 0, NUMBERS)
                joined: dict[str, Any] = {"kind": "joined", "index": ahead}
                message = pack(joined)
                if turn % 2:
                    while (index := index_of(message := altered(joined, chance))) is not None and index > ahead + 5:
                        pass
                line.send(message)
                exchange(line, chance)
            answer = heard(user)
            outcomes[answer.text("kind") if answer.text("kind") == "answer" else is_told(answer)] += 1
    assert outcomes["BadMessage"] > 10
    runs_on(house, 1)


def exchange(line: Channel, chance: random.Random) -> None:
    """Play along with random numbers for a while, then send what does not fit."""
    try:
        for _ in range(chance.randrange(12)):
            line.send(chance.randbytes(len(line.receive())))
        theirs = line.receive()
        line.send(chance.choice((b"", b"\0", b"\0" * 4, theirs[:-1], theirs + b"\0", theirs * 2,
                                 damaged(theirs, chance))))
    except PrivateMatchError:
        pass


def step(chance: random.Random, share: KeyShare) -> dict[str, Any]:
    """A step of the reference way with as many values as it takes, or some other number."""
    public, name, count = share.public, chance.choice(STEPS), chance.choice((0, 1, 1, 2, 3, 5))
    number = {"squares": 22 * count, "smaller": 2 * (-(-count // 3)) + 2 * count, "half": 2, "deliver": 2}.get(
        name, 2 * count)
    number = max(0, number + chance.choice((0, 0, 0, 0, 1, -1, 2, -2, -number)))
    values = public.encrypt_all(chance.randrange(1 << 200) for _ in range(number))
    if chance.random() < 0.8:
        values[1::2] = [share.partial(value) for value in values[0:len(values) // 2 * 2:2]]
    return {"kind": "step", "step": name, "count": count, "number": number,
            "values": write_ciphertexts(values, public)}


def test_a_helper_of_a_leader_that_says_anything(house: House) -> None:
    """Server 2 helps; server 1, which it leads meanwhile, does not answer it."""
    begin(house, "reference", 2)
    chance, template, share = random.Random(1), question(house, 2), house.server_key(1).share()
    outcomes: Counter[str] = Counter()
    with Fake(house, 1) as fake:
        for _ in range(150):
            with ExitStack() as stack:
                _, query = ask(house, 2, stack, template)
                stack.enter_context(fake.take())
                leader = stack.enter_context(house.call(2, "server-1", 15))
                leader.send(pack({"kind": "help", "id": query}))
                for _ in range(4):
                    fields = step(chance, share)
                    message = pack(fields) if chance.random() < 0.7 else altered(fields, chance)
                    answer = reply(leader, message)
                    outcomes[answer.text("kind")] += 1
                    if answer.text("kind") == "error":
                        outcomes[is_told(answer)] += 1
                        break
                    assert answer.text("kind") == "values"
                    if fields["step"] == "done":
                        break
    assert outcomes["values"] > 20
    assert outcomes["BadMessage"] > 20
    runs_on(house, 2)


@pytest.mark.parametrize("party", [1, 2])
def test_a_leader_of_a_helper_that_says_anything(house: House, party: int) -> None:
    begin(house, "reference", party)
    other = 3 - party
    chance, template, share = random.Random(party), question(house, party), house.server_key(other).share()
    public = share.public
    outcomes: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    with Fake(house, other) as fake:
        for _ in range(80):
            with ExitStack() as stack:
                user, query = ask(house, party, stack, template)
                helper = stack.enter_context(fake.take())
                assert unpack(helper.receive()).text("kind") == "help"
                own = stack.enter_context(house.call(party, f"server-{other}", 15))
                own.send(pack({"kind": "help", "id": query}))
                if party == 1:  # waits for the other half; there is none
                    half = reply(own, {"kind": "step", "step": "half", "count": 0, "number": 0, "values": b""})
                    assert half.text("kind") == "values"
                last = chance.randrange(8)
                try:
                    for turn in range(8):
                        asked = unpack(helper.receive())
                        name, count = asked.text("step"), asked.whole("count", 0, 1000)
                        steps[name] += 1
                        due = {"squares": count, "smaller": 3 * count, "compare": 1, "product": 1}.get(name, 0)
                        if turn == last:  # what does not fit
                            due = chance.choice((0, due + 1, due * 2 + 1, max(0, due - 1)))
                        values = public.encrypt_all(chance.randrange(1 << 30) for _ in range(due))
                        answer: dict[str, Any] = {"kind": "values", "count": due,
                                                  "values": write_ciphertexts(values, public)}
                        helper.send(altered(answer, chance) if turn == last and chance.random() < 0.5
                                    else pack(answer))
                        if name == "done":
                            break
                except PrivateMatchError:
                    pass
                helper.close()
                own.close()
                answered = heard(user)
                outcomes[answered.text("kind") if answered.text("kind") == "answer" else is_told(answered)] += 1
    assert outcomes["BadMessage"] > 10
    assert {"squares", "smaller"} <= set(steps)
    assert party == 2 or {"compare", "product", "deliver"} <= set(steps)
    runs_on(house, party)


@pytest.mark.parametrize(("way", "kind"), [("shared", "help"), ("packed", "help"), ("reference", "join")])
def test_what_belongs_to_another_way(house: House, way: str, kind: str) -> None:
    begin(house, way, 2)
    with ExitStack() as stack:
        if way == "reference":
            fake = stack.enter_context(Fake(house, 1))
        _, query = ask(house, 2, stack, question(house, 2))
        if way == "reference":
            stack.enter_context(fake.take())
        peer = stack.enter_context(house.call(2, "server-1", 15))
        answer = reply(peer, {"kind": kind, "id": query, "generation": house.user().terms.generation,
                              "pool": house.pool, "next": 0})
        assert is_told(answer) == "BadMessage"
    runs_on(house, 2)
