"""Pura's own protocols: each step against plain integers, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visagent.errors import BadMessage, PrivateKeyError
from visagent.tools.private_match.multi_power import multi_power
from visagent.tools.private_match.paillier import SecretKey, generate_key
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.reference import leader as leader_module
from visagent.tools.private_match.reference.helper import Helper
from visagent.tools.private_match.reference.leader import Candidate, Leader
from visagent.tools.private_match.reference.masks import Sizes
from visagent.tools.private_match.threshold_key import split_key

QUANTISER = Quantiser(16)
SIZES = Sizes(2048, 16, 8, QUANTISER.distance_bits)
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def leader(key: SecretKey) -> Leader:
    one, other = split_key(key)
    return Leader(one, SIZES, Helper(other, SIZES).answer)


@given(data=st.data())
@QUICK
def test_a_product_of_powers_is_that_of_each(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 20))
    modulus = mpz(data.draw(st.integers(3, 2**64)))
    bases = [mpz(value) for value in data.draw(st.lists(st.integers(0, 2**64), min_size=count, max_size=count))]
    exponents = data.draw(st.lists(st.integers(0, 2**50), min_size=count, max_size=count))
    expected = 1
    for base, exponent in zip(bases, exponents, strict=True):
        expected = expected * pow(int(base), exponent, int(modulus)) % int(modulus)
    for window in (None, 1, 5):
        assert multi_power(bases, exponents, modulus, window) % modulus == expected % modulus


@pytest.mark.parametrize(("one", "other"), [
    (0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (-1, 1), (5, 5), (-7, -7), (-8, -7), (2**22, 2**22 - 1), (2**22, 2**22)])
def test_a_comparison_is_exact_whatever_the_coin_says(one: int, other: int, leader: Leader, key: SecretKey) -> None:
    public = key.public
    said = [key.decrypt(leader.at_most(public.encrypt(one), public.encrypt(other))) for _ in range(6)]
    assert said == [int(one <= other)] * 6


@given(value=st.integers(0, 2**128 - 1), bit=st.integers(0, 1))
@QUICK
def test_a_product_with_a_bit_is_exact(value: int, bit: int, leader: Leader, key: SecretKey) -> None:
    product = leader.product(key.public.encrypt(value), key.public.encrypt(bit), 128)
    assert key.decrypt(product) == value * bit


@pytest.mark.parametrize("greatest", [1, 127])
def test_squared_distances_are_exact(greatest: int, leader: Leader, key: SecretKey) -> None:
    rng = np.random.default_rng(greatest)
    records = rng.integers(-greatest, greatest + 1, (4, 16))
    query = rng.integers(-greatest, greatest + 1, 16)
    records[0], records[1] = query, -np.sign(query) * greatest
    encrypted = [key.public.encrypt_all(-int(value) for value in row) for row in records]
    distances = leader.squared_distances(key.public.encrypt_all(map(int, query)), encrypted)
    assert [key.decrypt(value) for value in distances] == ((records - query) ** 2).sum(axis=1).tolist()


@pytest.mark.parametrize("distances", [[3], [3, 1], [1, 3], [5, 5], [9, 4, 7], [0, 0, 0], list(range(17, 0, -1))])
def test_the_nearest_wins_with_its_identity(distances: list[int], leader: Leader, key: SecretKey) -> None:
    public = key.public
    identities = [2**127 + 1000 * place for place in range(len(distances))]
    found = leader.nearest([Candidate(public.encrypt(distance), public.encrypt(identity))
                            for distance, identity in zip(distances, identities, strict=True)])
    assert key.decrypt(found.distance) == min(distances)
    assert distances[identities.index(int(key.decrypt(found.identity)))] == min(distances)


@pytest.mark.parametrize(("threshold", "named"), [(41, True), (40, True), (39, False), (0, False)])
def test_only_who_is_near_enough_is_delivered(threshold: int, named: bool, leader: Leader, key: SecretKey) -> None:
    public, identity = key.public, 2**128 - 5
    mine, sent = leader.end([public.encrypt(40), public.encrypt(identity)], [public.encrypt(50), public.encrypt(7)],
                            threshold)
    opened = key.decrypt(sent[0])
    assert (int.from_bytes(mine, "little") + int(opened)) % 2**128 == (identity if named else 0)
    again = leader.end([], [public.encrypt(40), public.encrypt(identity)], threshold)
    assert again[0] != mine and key.decrypt(again[1][0]) != opened, "what each server is told is random"


def test_a_search_is_that_of_plain_numbers(leader: Leader, key: SecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    monkeypatch.setattr(leader_module, "NUMBERS_AT_A_TIME", 16 * 16)
    records, query = rng.integers(-127, 128, (19, 16)), rng.integers(-127, 128, 16)
    public, done = key.public, list[int]()
    found = leader.search(public.encrypt_all(map(int, query)),
                          [public.encrypt_all(-int(value) for value in row) for row in records],
                          public.encrypt_all(range(100, 119)), done.append)
    distances = ((records - query) ** 2).sum(axis=1)
    assert key.decrypt(found.identity) == 100 + int(distances.argmin())
    assert key.decrypt(found.distance) == distances.min()
    assert done == [16, 19]


def test_what_does_not_fit_is_refused(key: SecretKey) -> None:
    one, other = split_key(key)
    helper = Helper(other, SIZES)
    with pytest.raises(BadMessage, match="step"):
        helper.answer("delete everything", 1, [])
    for step in ("squares", "product", "compare", "smaller"):
        with pytest.raises(BadMessage, match="values"):
            helper.answer(step, 3, [key.public.encrypt(1)] * 3)
    _, stranger = split_key(generate_key(2048))
    with pytest.raises(PrivateKeyError, match="share of another key"):
        Leader(one, SIZES, Helper(stranger, SIZES).answer).at_most(key.public.encrypt(1), key.public.encrypt(2))
