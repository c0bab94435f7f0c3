"""Paillier: what is encrypted comes back, sums and multiples too; keys are as the paper's, and show no secret."""

from __future__ import annotations

from dataclasses import replace

import gmpy2
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given, settings
from hypothesis import strategies as st

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.fixed_base import FixedBase
from visagent.tools.private_match.paillier import STRENGTHS, SecretKey, generate_key

HALF = st.integers(-(1 << 2046), 1 << 2046)
"""All plaintexts of a key of 2,048 bits, but for the greatest."""
SMALL = st.integers(-(1 << 64), 1 << 64)


@pytest.fixture(params=["key", pytest.param("long_key", marks=pytest.mark.slow)])
def any_key(request: pytest.FixtureRequest) -> SecretKey:
    """Of both sizes."""
    found: SecretKey = request.getfixturevalue(request.param)
    return found


def textbook_decrypt(key: SecretKey, ciphertext: mpz) -> int:
    """Paillier 1999: L(c^lambda mod N^2) mu mod N, from the two primes alone."""
    n = key.prime_p * key.prime_q
    order = gmpy2.lcm(key.prime_p - 1, key.prime_q - 1)
    mu = gmpy2.invert(order, n)
    plain = (gmpy2.powmod(ciphertext, order, n * n) - 1) // n * mu % n
    return int(plain if plain <= n // 2 else plain - n)


def edges(key: SecretKey) -> list[int]:
    half = int(key.public.n // 2)
    return [0, 1, -1, half - 1, 1 - half, half, -half]


def test_what_is_encrypted_comes_back(any_key: SecretKey) -> None:
    for message in edges(any_key):
        ciphertext = any_key.public.encrypt(message)
        assert any_key.decrypt(ciphertext) == message == textbook_decrypt(any_key, ciphertext)
        assert any_key.public.is_ciphertext(ciphertext)


@given(message=HALF)
def test_any_number_comes_back(key: SecretKey, message: int) -> None:
    ciphertext = key.public.encrypt(message)
    assert key.decrypt(ciphertext) == message
    assert textbook_decrypt(key, ciphertext) == message


def test_numbers_of_numpy_are_numbers(key: SecretKey) -> None:
    messages = np.array([-128, 0, 127, 2**62], np.int64)
    assert [key.decrypt(one) for one in key.public.encrypt_all(messages)] == messages.tolist()


@settings(max_examples=15)
@given(one=HALF, other=HALF, factor=SMALL)
def test_sums_and_multiples(key: SecretKey, one: int, other: int, factor: int) -> None:
    public = key.public
    ours, theirs = public.encrypt(one), public.encrypt(other)
    for ciphertext, number in [(public.add(ours, theirs), one + other), (public.subtract(ours, theirs), one - other),
                               (public.negate(ours), -one), (public.scale(ours, factor), one * factor),
                               (public.shift(ours, other), one + other)]:
        assert (key.decrypt(ciphertext) - number) % public.n == 0
        assert 0 <= ciphertext < public.square
        assert textbook_decrypt(key, ciphertext) == key.decrypt(ciphertext)


@settings(max_examples=25)
@given(one=st.integers(-(1 << 900), 1 << 900), other=st.integers(-(1 << 900), 1 << 900), factor=SMALL)
def test_small_sums_and_multiples_are_exact(key: SecretKey, one: int, other: int, factor: int) -> None:
    public = key.public
    ours, theirs = public.encrypt(one), public.encrypt(other)
    assert key.decrypt(public.add(public.scale(ours, factor), theirs)) == one * factor + other
    assert key.decrypt(public.subtract(ours, public.shift(theirs, 7))) == one - other - 7
    assert key.decrypt(public.negate(public.negate(ours))) == one
    assert key.decrypt(public.scale(ours, 0)) == 0


def test_equal_messages_look_unrelated(any_key: SecretKey) -> None:
    public = any_key.public
    ciphertexts = [*public.encrypt_all([7] * 20), public.encrypt(7)]
    assert len(set(ciphertexts)) == 21
    masked = {public.add(ciphertexts[0], public.mask()) for _ in range(20)}
    assert len(masked | set(ciphertexts)) == 41
    assert all(any_key.decrypt(one) == 7 for one in masked)
    assert any_key.decrypt(public.mask()) == 0
    # Known plaintext taken off, what is left is the mask alone: never the trivial one, whatever the message.
    assert public.shift(public.encrypt(7), -7) != 1
    bare = [public.shift(one, -7) for one in ciphertexts]
    assert len(set(bare)) == 21


def test_masks_have_exponents_of_full_length(key: SecretKey) -> None:
    """A short exponent would be found by trying; none of the first 2^16 is in use."""
    public = key.public
    table, power = set(), mpz(1)
    for _ in range(1 << 12):
        table.add(power)
        power = power * public.base % public.square
    giant = gmpy2.invert(gmpy2.powmod(public.base, 1 << 12, public.square), public.square)
    mask = public.mask()
    for _ in range(1 << 4):
        assert mask not in table
        mask = mask * giant % public.square


def test_what_is_no_ciphertext_is_refused(any_key: SecretKey) -> None:
    public = any_key.public
    outside = [0, 1, -1, public.n, public.square, public.square + 1, public.square - public.n, 2 * public.n,
               any_key.prime_p, any_key.prime_q, 12345 * any_key.prime_p, any_key.prime_q ** 2,
               -public.encrypt(3), public.square + public.encrypt(3)]
    for value in outside:
        assert not public.is_ciphertext(mpz(value))
    assert all(public.is_ciphertext(mpz(value)) for value in (2, public.n + 1, public.square - 1))


def test_keys_are_as_published(any_key: SecretKey) -> None:
    public = any_key.public
    kappa, bits = public.strength, public.bits
    assert STRENGTHS[bits] == kappa
    assert {2048: 112, 3072: 128}[bits] == kappa
    assert public.n.bit_length() == bits
    assert public.n == any_key.prime_p * any_key.prime_q
    assert public.square == public.n ** 2
    assert public.ciphertext_bytes == bits // 4
    assert (public.square - 1).bit_length() <= 8 * public.ciphertext_bytes
    assert any_key.order == 2 * any_key.order_p * any_key.order_q
    rests = []
    for prime, order in ((any_key.prime_p, any_key.order_p), (any_key.prime_q, any_key.order_q)):
        assert gmpy2.is_prime(prime, 50)
        assert gmpy2.is_prime(order, 50)
        assert prime.bit_length() == bits // 2
        assert order.bit_length() == 2 * kappa
        rest, remainder = gmpy2.f_divmod(prime - 1, 2 * order)
        assert remainder == 0
        assert rest % 2 == 1
        rests.append(rest)
    assert any_key.prime_p != any_key.prime_q
    assert any_key.order_p != any_key.order_q
    assert gmpy2.gcd(*rests) == 1
    assert gmpy2.gcd(rests[0] * rests[1], any_key.order) == 1
    assert gmpy2.gcd(any_key.order, public.n) == 1


def test_the_base_has_the_order_of_the_hidden_subgroup(any_key: SecretKey) -> None:
    public, p, q = any_key.public, any_key.order_p, any_key.order_q

    def power(exponent: mpz) -> mpz:
        return gmpy2.powmod(public.base, exponent, public.square)

    assert power(2 * p * q) == 1
    assert power(p * q) == public.square - 1  # the minus sign of h = -y^(2 p' q')
    assert all(power(exponent) != 1 for exponent in (mpz(1), mpz(2), p, q, 2 * p, 2 * q, p * q))
    # It is an N-th power: a ciphertext of 0.
    assert any_key.decrypt(public.base) == 0 == textbook_decrypt(any_key, public.base)


def test_keys_are_fresh(key: SecretKey) -> None:
    other = generate_key(2048)
    numbers = {int(number) for one in (key, other) for number in (one.prime_p, one.prime_q, one.order_p, one.order_q,
                                                                  one.public.base)}
    assert len(numbers) == 10
    assert gmpy2.gcd(key.public.n, other.public.n) == 1
    assert key.public.id != other.public.id
    assert key.decrypt(other.public.encrypt(5) % key.public.square) != 5


@pytest.mark.parametrize("bits", [0, -2048, 512, 1024, 2047, 4096])
def test_other_sizes_are_refused(bits: int) -> None:
    with pytest.raises(PrivateKeyError, match=r"2048 or 3072 bits"):
        generate_key(bits)


def test_the_id_is_of_the_whole_key(key: SecretKey) -> None:
    public = key.public
    assert len(public.id) == 16
    assert int(public.id, 16) >= 0
    assert replace(public).id == public.id
    ids = {public.id, replace(public, n=public.n + 2).id, replace(public, base=public.base + 1).id,
           replace(public, strength=128).id}
    assert len(ids) == 4


def test_no_secret_is_shown(key: SecretKey) -> None:
    key.decrypt(key.public.encrypt(1))  # what is worked out on the way is not shown either
    shown = f"{key!r} {key} {key.public!r}"
    for secret in (key.prime_p, key.prime_q, key.order_p, key.order_q, key.order, key.order // 2):
        assert str(secret) not in shown
        assert f"{secret:x}" not in shown


@given(exponent=st.integers(0, (1 << 40) - 1), base=st.integers(2, 10**9))
def test_powers_from_the_table(exponent: int, base: int) -> None:
    modulus = mpz(10**18 + 9)
    table = FixedBase(mpz(base), modulus, 40)
    assert table.exponent_bytes == 5
    assert table.power(exponent.to_bytes(5, "little")) == pow(base, exponent, int(modulus))


@pytest.mark.parametrize(("bits", "count"), [(1, 1), (8, 1), (9, 2), (448, 56), (512, 64)])
def test_the_table_covers_the_longest_exponent(bits: int, count: int) -> None:
    table = FixedBase(mpz(3), mpz(1_000_003), bits)
    assert table.exponent_bytes == count
    longest = bytes([255] * count)
    assert table.power(longest) == pow(3, int.from_bytes(longest, "little"), 1_000_003)
    assert table.power(b"") == 1


def test_masks_are_powers_with_four_kappa_bits(any_key: SecretKey, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fixed(count: int) -> bytes:
        asked.append(count)
        return bytes([17] * count)

    monkeypatch.setattr("secrets.token_bytes", fixed)
    public = any_key.public
    exponent = int.from_bytes(bytes([17] * (4 * public.strength // 8)), "little")
    assert public.mask() == gmpy2.powmod(public.base, exponent, public.square)
    assert public.encrypt(5) == (1 + 5 * public.n) * public.mask() % public.square
    assert set(asked) == {4 * public.strength // 8}
