"""Both servers as processes, and users who ask them: every way, every answer, while galleries are made anew."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from visagent.errors import (
    BadMessage,
    DamagedRecord,
    PrivateMatchError,
    RandomnessSpent,
    ServerUnreachable,
    VisagentError,
)
from visagent.tools.private_match.authority import People
from visagent.tools.private_match.client import PrivateGallery
from visagent.tools.private_match.local import LocalServers
from visagent.tools.private_match.names import open_name
from visagent.tools.private_match.parties import TERMS_FILE, USER, Terms, read_private
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.recognition.calibration import Threshold

from .running import NEAR, House, crowd, encoder, probe, stranger

WAYS = ("shared", "packed", "reference")
MakeHouse = Callable[..., House]


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[MakeHouse]:
    """`make_house()`: all parties; their servers are killed at the end."""
    houses: list[House] = []

    def make(**options: int) -> House:
        houses.append(House(tmp_path / f"house-{len(houses)}", **options))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    return make_house()


def exact(vectors: np.ndarray) -> People:
    """People whose templates become exactly these whole numbers."""
    dimension = vectors.shape[1]
    return People([f"Person {place}" for place in range(len(vectors))],
                  (vectors / Quantiser(dimension).scale).astype(np.float32), len(vectors), encoder(dimension))


def squared(distance: int, dimension: int) -> Threshold:
    """A threshold of exactly so great a squared distance."""
    return Threshold(value=1 - (distance + 0.5) / (2 * Quantiser(dimension).scale ** 2), fmr=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "count"), [("shared", 100), ("packed", 40), ("reference", 5)])
def test_with_keys_of_full_length(make_house: MakeHouse, way: str, count: int) -> None:
    house, people = make_house(bits=2048), crowd(count)
    terms = house.publish(people, way, queries=10)
    with LocalServers(house.folder) as servers:
        assert [process.poll() for process in servers.processes] == [None, None]
        user = house.user()
        for place in (0, count // 2, count - 1):
            assert user.identify(probe(people, place), people.contract) == f"Person {place}"
        assert user.identify(stranger(people), people.contract) is None
    assert [process.returncode for process in servers.processes] == [0, 0]
    assert terms == read_private(house.folder / USER / TERMS_FILE, Terms) == user.terms


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bits", [8, 10])
def test_everybody_is_named_and_no_stranger_is(house: House, way: str, bits: int) -> None:
    people = crowd(17)
    house.publish(people, way, bits=bits, queries=40)
    house.start()
    user = house.user()
    for place in range(17):
        assert user.identify(probe(people, place), people.contract) == f"Person {place}"
    assert {user.identify(stranger(people, seed), people.contract) for seed in range(9, 18)} == {None}
    assert not house.one.words
    assert not house.two.words


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_galleries_of_very_few(house: House, way: str, count: int) -> None:
    """In the reference way one server then leads nobody."""
    people = crowd(count)
    house.publish(people, way, queries=10)
    house.start()
    user = house.user()
    assert [user.identify(probe(people, place), people.contract) for place in range(count)] == \
        [f"Person {place}" for place in range(count)]
    assert user.identify(stranger(people), people.contract) is None


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_at_the_threshold_and_of_equals(house: House, way: str) -> None:
    vectors = np.zeros((5, 8), np.int64)
    vectors[:, 0] = (0, 40, 40, 80, 127)
    people = exact(vectors)
    house.publish(people, way, threshold=squared(100, 8), queries=20)
    house.start()
    user = house.user()

    def found(*numbers: int) -> str | None:
        identity = user.identity_of(np.array(numbers + (0,) * (8 - len(numbers)), np.int64))
        return open_name(identity, user.terms.names) if any(identity) else None

    assert user.terms.threshold == 100
    assert found(80) == found(80, 10) == found(74, 8) == "Person 3"  # the last two at the threshold
    assert found(80, 10, 1) is found(-127, 127) is None
    assert found(127, 6, 8) == found(121, -8) == "Person 4"
    assert found(0, -10) == "Person 0"
    equals = {found(40, 0, 5) for _ in range(4)}
    assert equals <= ({"Person 1", "Person 2"} if way == "reference" else {"Person 1"})
    assert found(20) is None  # as far from three of them
    assert found(60, 0) is None


@pytest.mark.parametrize("threshold", [-0.5, NEAR, 1.0])
def test_thresholds_at_their_ends(house: House, threshold: float) -> None:
    """From a similarity of 1 on nobody but the template itself counts; from -0.5 on anybody does."""
    people = crowd(4)
    house.publish(people, threshold=Threshold(value=threshold, fmr=0.01), queries=10)
    house.start()
    user = house.user()
    assert user.identify(people.templates[2], people.contract) == "Person 2"
    assert user.identify(probe(people, 1), people.contract) == (None if threshold == 1 else "Person 1")
    assert (user.identify(stranger(people), people.contract) is None) == (threshold > 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_gallery_made_anew_is_taken_up_by_the_next_query(house: House, way: str, tmp_path: Path) -> None:
    """By the servers, and by a user who has only an old copy of the folder."""
    before, after = crowd(6), crowd(8, seed=1)
    house.publish(before, way, queries=20)
    far_away = tmp_path / "far away"
    shutil.copytree(house.folder / USER, far_away)
    house.start()
    distant = PrivateGallery(far_away)
    assert distant.identify(probe(before, 5), before.contract) == "Person 5"
    ids = [server.process.pid for server in house.servers]
    for _ in range(2):
        terms = house.publish(after, way, queries=20)
        assert distant.terms.generation < terms.generation
        assert distant.identify(probe(after, 7), after.contract) == "Person 7"
        assert distant.identify(probe(before, 5), before.contract) is None
        assert distant.terms == terms == read_private(far_away / TERMS_FILE, Terms)
        assert PrivateGallery(far_away).identify(probe(after, 6), after.contract) == "Person 6"
    assert [server.process.pid for server in house.servers] == ids
    assert all(server.runs and not server.words for server in house.servers)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_somebody_who_was_forgotten_is_nobody(house: House, way: str) -> None:
    people = crowd(5)
    first = house.publish(people, way, queries=20)
    house.start()
    user = house.user()
    assert user.identify(probe(people, 2), people.contract) == "Person 2"
    kept = [0, 1, 3, 4]
    second = house.publish(People([people.names[place] for place in kept], people.templates[kept], 4,
                                  people.contract), way, queries=20)
    assert user.identify(probe(people, 2), people.contract) is None
    assert [user.identify(probe(people, place), people.contract) for place in kept] == \
        [f"Person {place}" for place in kept]
    # Nothing links the two: no tag of a name, and no sealed name, is in both.
    assert not set(first.names) & set(second.names)
    assert not set(first.names.values()) & set(second.names.values())
    assert len(second.names) == 4


@pytest.mark.parametrize("change", [{"way": "packed"}, {"bits": 10}, {"dimension": 16}])
def test_a_gallery_of_another_kind_needs_the_user_s_folder_anew(house: House, change: dict[str, object]) -> None:
    people = crowd(4)
    house.publish(people)
    house.start()
    user = house.user()
    dimension = change.pop("dimension", 32)
    assert isinstance(dimension, int)
    after = crowd(4, dimension)
    house.publish(after, **change)  # type: ignore[arg-type]
    with pytest.raises(BadMessage, match="copy the user's folder"):
        user.identify(probe(people, 1), people.contract)
    assert house.user().identify(probe(after, 1), after.contract) == "Person 1"


@pytest.mark.slow
@pytest.mark.parametrize(("way", "threads", "queries"), [("shared", 8, 10), ("packed", 8, 10), ("reference", 4, 2)])
def test_many_users_at_once(house: House, way: str, threads: int, queries: int) -> None:
    """Every one of them gets the right answer."""
    people = crowd(9)
    house.publish(people, way, queries=2 * threads * queries)
    house.start()

    def ask(number: int) -> list[str | VisagentError | None]:
        user, found = house.user(60), list[str | VisagentError | None]()
        for turn in range(queries):
            place = (number + turn) % 10
            face = probe(people, place, number) if place < 9 else stranger(people, 1_000_000 + number)
            try:
                found.append(user.identify(face, people.contract))
            except VisagentError as error:
                found.append(error)
        return found

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(ask, range(threads)))
    wanted = [[f"Person {place}" if (place := (number + turn) % 10) < 9 else None for turn in range(queries)]
              for number in range(threads)]
    wrong = [(got, due) for some, all_due in zip(answers, wanted, strict=True)
             for got, due in zip(some, all_due, strict=True) if got != due]
    assert not wrong, f"{len(wrong)} of {threads * queries}: {wrong[:5]}"
    assert not house.one.words + house.two.words
    if way != "reference":
        assert [server.next_of(house.pool) for server in house.servers] == [threads * queries] * 2


@pytest.mark.parametrize("stale", [1, 2])
def test_servers_with_different_makings(house: House, stale: int) -> None:
    people = crowd(4)
    house.publish(people)
    server = house.servers[stale - 1]
    old = (server.folder / "records.sqlite").read_bytes()
    house.publish(people)
    (server.folder / "records.sqlite").write_bytes(old)
    house.start()
    for _ in range(5):
        with pytest.raises(BadMessage, match="different makings"):
            house.user().identify(probe(people, 1), people.contract)
    house.publish(people)
    assert house.user().identify(probe(people, 1), people.contract) == "Person 1"
    assert not house.one.words + house.two.words


def test_servers_with_different_makings_in_the_reference_way(house: House) -> None:
    """They do not notice: their halves are disjoint. The user does."""
    people = crowd(4)
    house.publish(people, "reference")
    old = (house.two.folder / "records.sqlite").read_bytes()
    house.publish(people, "reference")
    (house.two.folder / "records.sqlite").write_bytes(old)
    house.start()
    for place in range(4):
        with pytest.raises(PrivateMatchError, match=r"different makings|different things|copy the"):
            house.user().identify(probe(people, place), people.contract)


@pytest.mark.parametrize("way", ["shared", "packed"])
def test_dealt_numbers_that_are_used_up(house: House, way: str) -> None:
    people = crowd(4)
    house.publish(people, way, queries=3)
    house.start()
    user = house.user()
    for place in range(3):
        assert user.identify(probe(people, place), people.contract) == f"Person {place}"
    for _ in range(10):
        with pytest.raises(RandomnessSpent, match="visagent private publish"):
            user.identify(probe(people, 3), people.contract)
    house.publish(people, way, queries=1)
    assert user.identify(probe(people, 3), people.contract) == "Person 3"
    with pytest.raises(RandomnessSpent):
        user.identify(probe(people, 3), people.contract)


def test_a_gallery_with_no_numbers_dealt(house: House) -> None:
    people = crowd(4)
    house.publish(people, queries=0)
    house.start()
    with pytest.raises(RandomnessSpent):
        house.user().identify(probe(people, 3), people.contract)


def test_another_encoder_is_refused_before_anything_is_sent(house: House) -> None:
    """No server runs: whatever was sent would fail otherwise."""
    people = crowd(4)
    house.publish(people)
    user = house.user()
    for contract in (encoder(32, "another"), encoder(16)):
        with pytest.raises(PrivateMatchError, match="made with the encoder made up") as caught:
            user.identify(probe(people, 0), contract)
        assert not isinstance(caught.value, ServerUnreachable)
    with pytest.raises(ServerUnreachable, match=r"server-[12] does not answer; is it running"):
        user.identify(probe(people, 0), people.contract)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_cores_give_the_same_answers(make_house: MakeHouse, way: str) -> None:
    house, people = make_house(cores=2), crowd(40 if way == "packed" else 12)
    house.publish(people, way, queries=20)
    house.start()
    user = house.user()
    for place in range(0, len(people.names), 5):
        assert user.identify(probe(people, place), people.contract) == f"Person {place}"
    assert user.identify(stranger(people), people.contract) is None
    assert not house.one.words + house.two.words
    for server in house.servers:
        server.send(signal.SIGTERM)
    assert [server.wait() for server in house.servers] == [0, 0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_told_to_end_does(house: House, number: signal.Signals) -> None:
    house.publish(crowd(2))
    house.start()
    for server in house.servers:
        server.send(number)
    assert [server.wait() for server in house.servers] == [0, 0]
    assert not house.one.words + house.two.words


@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(("way", "count"), [("reference", 64), ("packed", 200)])
def test_servers_that_are_told_to_end_while_they_search(make_house: MakeHouse, way: str, count: int, cores: int
                                                        ) -> None:
    """The user is told, and neither server says that something failed."""
    house, people = make_house(cores=cores), crowd(count)
    house.publish(people, way, queries=100)
    house.start()
    stopped = threading.Event()

    def ask() -> VisagentError | None:
        while not stopped.is_set():
            try:
                house.user(10).identify(probe(people, 3), people.contract)
            except VisagentError as error:
                return error
        return None

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        time.sleep(1.0)
        for server in house.servers:
            server.send(signal.SIGTERM)
        assert [server.wait() for server in house.servers] == [0, 0]
        stopped.set()
        assert isinstance(asked.result(), PrivateMatchError)
    assert not house.one.words + house.two.words


@pytest.mark.slow
def test_a_place_that_is_taken(house: House) -> None:
    house.publish(crowd(2))
    house.one.start()
    with pytest.raises(ServerUnreachable, match=r"did not start: The server cannot listen.*Choose another port"):
        LocalServers(house.folder)
    assert house.one.runs


def test_servers_that_cannot_start_say_why(house: House) -> None:
    with pytest.raises(ServerUnreachable, match="publish it again with `visagent private publish`"):
        LocalServers(house.folder)
    assert not (house.one.folder / "records.sqlite").exists()


@pytest.mark.parametrize("name", ["with space", "per%20cent", "what?mode=memory", "number#1", "ümläut"])
def test_folders_of_any_name(tmp_path: Path, name: str) -> None:
    people = crowd(3)
    with House(tmp_path / name) as house:
        house.publish(people)
        house.start()
        assert house.user().identify(probe(people, 1), people.contract) == "Person 1"


def test_nobody_to_publish_leaves_the_old_gallery(house: House) -> None:
    people = crowd(3)
    house.publish(people)
    before = house.galleries()
    with pytest.raises(PrivateMatchError, match="nobody to publish"):
        house.publish(crowd(0))
    assert house.galleries() == before
    house.start()
    assert house.user().identify(probe(people, 1), people.contract) == "Person 1"


@pytest.mark.slow
def test_a_name_that_is_missing_from_the_list(house: House) -> None:
    people = crowd(3)
    house.publish(people)
    house.start()
    user = house.user()
    user.terms = user.terms.model_copy(update={"names": {}})
    with pytest.raises(DamagedRecord, match="list of sealed names"):
        user.identify(probe(people, 1), people.contract)
