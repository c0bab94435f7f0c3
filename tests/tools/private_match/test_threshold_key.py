"""Two halves of a key: together they decrypt, apart they decrypt nothing, by the attack on the published split either.

The published split (SOCI, SOCI+) is made here too and attacked, so that it is known that these tests would notice.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.paillier import PublicKey, SecretKey, generate_key
from visagent.tools.private_match.threshold_key import KeyShare, combine, split_key

UNLIKELY = 1e-9
"""A correct split fails a test of its distribution this seldom."""


@pytest.fixture(scope="module")
def halves(key: SecretKey) -> tuple[KeyShare, KeyShare]:
    return split_key(key)


@pytest.fixture(scope="module")
def other_key() -> SecretKey:
    return generate_key(2048)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def published_split(key: SecretKey, blinding: bool) -> tuple[mpz, mpz]:
    """As in the code of SOCI+, with the multiple of 2 alpha N that it means to add, or without."""
    n, order = key.public.n, key.order
    one = mpz(secrets.randbits(128) | 1 << 127)
    other = order * gmpy2.invert(order, n) - one
    return one, other + (secrets.randbits(128) * order * n if blinding else 0)


def open_alone(public: PublicKey, exponent: mpz, ciphertext: mpz) -> mpz | None:
    """What a ciphertext to an exponent holds, or None where that is no plaintext."""
    quotient, rest = gmpy2.f_divmod(gmpy2.powmod(ciphertext, exponent, public.square) - 1, public.n)
    return None if rest else public.signed(quotient)


def guesses(public: PublicKey, own: mpz) -> list[mpz]:
    """What one server may take for the sum: its own half, and the other one as the published split has it."""
    theirs = (1 - own) % public.n
    return [own, own + theirs, own + theirs + public.n, own - own % public.n + 1, own % public.n,
            own % public.n + theirs]


def test_both_together_decrypt(key: SecretKey, halves: tuple[KeyShare, KeyShare]) -> None:
    half = int(key.public.n // 2)
    for message in (0, 1, -1, half - 1, 1 - half, half, -half, 12345678901234567890):
        ciphertext = key.public.encrypt(message)
        parts = [share.partial(ciphertext) for share in halves]
        assert combine(key.public, *parts) == message == key.decrypt(ciphertext)
        assert combine(key.public, *reversed(parts)) == message


@settings(max_examples=12)
@given(one=st.integers(-(1 << 1000), 1 << 1000), other=st.integers(-(1 << 1000), 1 << 1000),
       factor=st.integers(-(1 << 30), 1 << 30))
def test_what_was_computed_decrypts_too(key: SecretKey, halves: tuple[KeyShare, KeyShare], one: int, other: int,
                                        factor: int) -> None:
    public = key.public
    ciphertext = public.add(public.scale(public.encrypt(one), factor), public.negate(public.encrypt(other)))
    parts = [share.partial(ciphertext) for share in halves]
    assert combine(public, *parts) == one * factor - other == key.decrypt(ciphertext)


@pytest.mark.slow
def test_both_together_decrypt_with_a_long_key(long_key: SecretKey) -> None:
    one, other = split_key(long_key)
    half = int(long_key.public.n // 2)
    for message in (0, 1, -1, half - 1, 1 - half):
        ciphertext = long_key.public.encrypt(message)
        assert combine(long_key.public, one.partial(ciphertext), other.partial(ciphertext)) == message


def test_many_at_once_are_as_one_by_one(key: SecretKey, halves: tuple[KeyShare, KeyShare],
                                        threads: ThreadPoolExecutor) -> None:
    ciphertexts = key.public.encrypt_all(range(-3, 4))
    for share in halves:
        single = [share.partial(ciphertext) for ciphertext in ciphertexts]
        assert share.partials(ciphertexts) == single
        assert share.partials(ciphertexts, threads) == single
        assert share.partials(ciphertexts[:1], threads) == single[:1]
        assert share.partials([], threads) == share.partials([]) == []


@pytest.mark.parametrize("blinding", [False, True])
def test_the_attack_opens_the_published_split(key: SecretKey, blinding: bool) -> None:
    """Server 2 alone: sk1 = (1 - sk2) mod N."""
    public = key.public
    one, other = published_split(key, blinding)
    assert (1 - other) % public.n == one
    for message in (0, 1, -1, 42, 12345):
        ciphertext = public.encrypt(message)
        assert open_alone(public, one + other, ciphertext) == message
        assert message in [open_alone(public, guess, ciphertext) for guess in guesses(public, other)]


@pytest.mark.parametrize("party", [1, 2])
@pytest.mark.parametrize("message", [0, 1, -1, 42, 1 << 2000])
def test_neither_half_alone_decrypts(key: SecretKey, party: int, message: int) -> None:
    own = split_key(key)[party - 1].exponent
    ciphertext = key.public.encrypt(message)
    # Whoever had the whole key modulo 2 alpha would get something that is 1 modulo N; nothing here does.
    assert {open_alone(key.public, guess, ciphertext) for guess in guesses(key.public, own)} == {None}


@pytest.mark.parametrize("party", [1, 2])
@pytest.mark.slow
def test_neither_half_of_a_long_key_decrypts(long_key: SecretKey, party: int) -> None:
    own = split_key(long_key)[party - 1].exponent
    ciphertext = long_key.public.encrypt(42)
    assert {open_alone(long_key.public, guess, ciphertext) for guess in guesses(long_key.public, own)} == {None}


def test_the_halves_add_up_modulo_everything(key: SecretKey) -> None:
    one, other = (share.exponent for share in split_key(key))
    assert (one + other) % key.order == 0
    assert (one + other) % key.public.n == 1
    assert all(0 <= half < key.order * key.public.n for half in (one, other))


def buckets(values: list[mpz], modulus: mpz) -> float:
    """The p-value of numbers being uniform modulo another."""
    counts = np.bincount([int(value % modulus * 16 // modulus) for value in values], minlength=16)
    return float(chisquare(counts).pvalue)


def test_the_halves_are_fresh_and_uniform(key: SecretKey) -> None:
    """Over the whole range, and modulo all that matters: 2 alpha, N, and the small numbers that a short half shows."""
    n, order = key.public.n, key.order
    splits = [split_key(key) for _ in range(1500)]
    for party in (0, 1):
        exponents = [split[party].exponent for split in splits]
        assert len(set(exponents)) == len(splits)
        for modulus in (order * n, order, n, key.order_p, mpz(1 << 64)):
            assert buckets(exponents, modulus) > UNLIKELY
        # A sum known in advance would show in how both go together.
    halves_of = [(split[0].exponent * 4 // (order * n), split[1].exponent % order * 4 // order) for split in splits]
    together = np.bincount([int(4 * high + low) for high, low in halves_of], minlength=16)
    assert chisquare(together).pvalue > UNLIKELY


def test_the_published_halves_are_not(key: SecretKey) -> None:
    splits = [published_split(key, blinding=False) for _ in range(200)]
    assert buckets([one for one, _ in splits], key.order * key.public.n) < UNLIKELY
    assert buckets([other for _, other in splits], key.public.n) < UNLIKELY


@pytest.mark.parametrize("wrong", [
    lambda mine, anew, foreign, c: (mine[0].partial(c), anew[1].partial(c)),
    lambda mine, anew, foreign, c: (anew[0].partial(c), mine[1].partial(c)),
    lambda mine, anew, foreign, c: (mine[0].partial(c), foreign[1].partial(c)),
    lambda mine, anew, foreign, c: (foreign[0].partial(c), foreign[1].partial(c)),
    lambda mine, anew, foreign, c: (mine[0].partial(c), mine[0].partial(c)),
    lambda mine, anew, foreign, c: (mine[1].partial(c), mine[1].partial(c)),
    lambda mine, anew, foreign, c: (mine[0].partial(c), mine[1].partial(c * c)),
    lambda mine, anew, foreign, c: (mine[0].partial(c), c),
    lambda mine, anew, foreign, c: (mine[0].partial(c), mpz(0)),
    lambda mine, anew, foreign, c: (mine[0].partial(c), mine[1].partial(c) + 1),
], ids=["another split's 2", "another split's 1", "another key's 2", "another key's", "1 twice", "2 twice",
        "of another ciphertext", "the ciphertext itself", "zero", "altered"])
def test_parts_that_do_not_fit_are_refused(key: SecretKey, other_key: SecretKey, halves: tuple[KeyShare, KeyShare],
                                           wrong: Callable[..., tuple[mpz, mpz]]) -> None:
    one, other = wrong(halves, split_key(key), split_key(other_key), key.public.encrypt(42))
    with pytest.raises(PrivateKeyError, match=r"do not fit together"):
        combine(key.public, one, other)


def test_shares_say_whose_they_are_and_no_more(key: SecretKey, halves: tuple[KeyShare, KeyShare]) -> None:
    assert [share.party for share in halves] == [1, 2]
    for share in halves:
        assert share.public is key.public
        shown = f"{share!r} {share}"
        assert str(share.exponent) not in shown
        assert f"{share.exponent:x}" not in shown


def test_one_half_is_drawn_from_the_whole_range_by_the_system(key: SecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a generator that can be guessed: the range asked for is 2 alpha N."""
    asked: list[int] = []

    def least(limit: int) -> int:
        asked.append(limit)
        return 5

    monkeypatch.setattr("secrets.randbelow", least)
    one, other = split_key(key)
    assert asked == [key.order * key.public.n]
    assert 5 in (one.exponent, other.exponent)
    ciphertext = key.public.encrypt(9)
    assert combine(key.public, one.partial(ciphertext), other.partial(ciphertext)) == 9
