"""Paillier's cryptosystem with short random exponents: what Pura's servers compute on.

Keys are those of FastPai (the SOCI and SOCI+ code of Pura's authors): N = PQ with P = 2pp' + 1 and Q = 2qq' + 1, and h
= -y^(2p'q') generates a hidden subgroup whose order divides 2pq. A ciphertext of m is (1 + mN) (h^N)^r mod N^2 with r
of 4 kappa bits only. That it hides m rests on Paillier's assumption for that subgroup, a stronger one than for all of
Z*_N: P and Q have a special form and r is short. p and q have 2 kappa bits each, so that the best known attacks on the
hidden subgroup take 2^kappa steps.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import gmpy2
from gmpy2 import mpz

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.fixed_base import FixedBase

STRENGTHS: Final = {2048: 112, 3072: 128}
"""Security in bits (NIST SP 800-57) by the bits of N."""
PRIME_ROUNDS: Final = 40
"""Miller-Rabin rounds; a composite passes with a probability under 2^-80."""


@dataclass(frozen=True, eq=False)
class PublicKey:
    """What everybody may know: enough to encrypt and to compute on ciphertexts.

    Attributes:
        n: N.
        base: h^N mod N^2, of which random powers hide a message.
        strength: kappa, bits of security.
    """

    n: mpz
    base: mpz
    strength: int

    @cached_property
    def square(self) -> mpz:
        """N^2, the modulus of ciphertexts."""
        return self.n * self.n

    @cached_property
    def half(self) -> mpz:
        """Plaintexts over it stand for negative numbers."""
        return self.n // 2

    @property
    def bits(self) -> int:
        """Of N."""
        return int(self.n.bit_length())

    @property
    def ciphertext_bytes(self) -> int:
        """Of every ciphertext, 512 for N of 2048 bits."""
        return (2 * self.bits + 7) // 8

    @cached_property
    def id(self) -> str:
        """SHA-256 of the key, first 16 hex digits."""
        text = f"{self.n:x} {self.base:x} {self.strength}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def _powers(self) -> FixedBase:
        return FixedBase(self.base, self.square, 4 * self.strength)

    def encrypt(self, message: int | mpz) -> mpz:
        """A fresh ciphertext of a number from -N/2 to N/2; two of the same number look unrelated."""
        return (1 + message * self.n) * self.mask() % self.square

    def encrypt_all(self, messages: Iterable[int | mpz]) -> list[mpz]:
        """A fresh ciphertext of each."""
        return [self.encrypt(message) for message in messages]

    def mask(self) -> mpz:
        """A fresh ciphertext of 0: multiplied to a ciphertext it makes it unrecognisable."""
        return self._powers.power(secrets.token_bytes(self._powers.exponent_bytes))

    def add(self, one: mpz, other: mpz) -> mpz:
        """A ciphertext of the sum of two numbers."""
        return one * other % self.square

    def negate(self, one: mpz) -> mpz:
        """A ciphertext of the negative; 200 times as fast as the power N - 1."""
        return gmpy2.invert(one, self.square)

    def subtract(self, one: mpz, other: mpz) -> mpz:
        """A ciphertext of the difference."""
        return one * gmpy2.invert(other, self.square) % self.square

    def scale(self, one: mpz, factor: int | mpz) -> mpz:
        """A ciphertext of a multiple by a number that need not be kept from whoever runs this."""
        return gmpy2.powmod(one, factor, self.square)

    def shift(self, one: mpz, number: int | mpz) -> mpz:
        """A ciphertext of the number plus a known one; not freshly masked."""
        return one * (1 + number * self.n) % self.square

    def signed(self, plaintext: mpz) -> mpz:
        """A plaintext from 0 to N-1 as the number from -N/2 to N/2 that it stands for."""
        return plaintext - self.n if plaintext > self.half else plaintext

    def is_ciphertext(self, value: mpz) -> bool:
        """Whether a number can be one: 1 < c < N^2, without a common factor with N."""
        return bool(1 < value < self.square and gmpy2.gcd(value, self.n) == 1)


@dataclass(frozen=True, eq=False)
class SecretKey:
    """What opens every ciphertext; only the key authority has it.

    Attributes:
        public: The public key.
        prime_p: P.
        prime_q: Q.
        order_p: p; the hidden subgroup has order 2p modulo P.
        order_q: q; the same for Q.
    """

    public: PublicKey
    prime_p: mpz = field(repr=False)
    prime_q: mpz = field(repr=False)
    order_p: mpz = field(repr=False)
    order_q: mpz = field(repr=False)

    @property
    def order(self) -> mpz:
        """2 alpha = 2pq: every power of the base to it is 1 modulo N^2."""
        return 2 * self.order_p * self.order_q

    @cached_property
    def _inverses(self) -> tuple[mpz, mpz, mpz]:
        """Of N/P * 2p modulo P, of N/Q * 2q modulo Q, and of Q modulo P."""
        p, q = self.prime_p, self.prime_q
        return (gmpy2.invert(q * 2 * self.order_p, p), gmpy2.invert(p * 2 * self.order_q, q), gmpy2.invert(q, p))

    def decrypt(self, ciphertext: mpz) -> mpz:
        """The number, from -N/2 to N/2, by the Chinese remainder theorem: two exponents of 2 kappa bits.

        Modulo P^2 the mask has order 2p, so c^(2p) = 1 + 2p m N mod P^2 and (c^(2p) - 1) / P = 2p m Q mod P.
        """
        p, q = self.prime_p, self.prime_q
        inverse_p, inverse_q, q_in_p = self._inverses
        power_p = gmpy2.powmod_sec(ciphertext % (p * p), 2 * self.order_p, p * p)
        power_q = gmpy2.powmod_sec(ciphertext % (q * q), 2 * self.order_q, q * q)
        in_p = (power_p - 1) // p * inverse_p % p
        in_q = (power_q - 1) // q * inverse_q % q
        return self.public.signed(in_q + q * ((in_p - in_q) * q_in_p % p))


def generate_key(bits: int = 2048) -> SecretKey:
    """A fresh key.

    Args:
        bits: Of N, a key of `STRENGTHS`.

    Raises:
        PrivateKeyError: Another size.
    """
    if bits not in STRENGTHS:
        raise PrivateKeyError(f"Keys have {' or '.join(map(str, STRENGTHS))} bits, not {bits}.")
    strength = STRENGTHS[bits]
    while True:
        prime_p, order_p = _safe_like_prime(bits // 2, 2 * strength)
        prime_q, order_q = _safe_like_prime(bits // 2, 2 * strength)
        n, alpha = prime_p * prime_q, order_p * order_q
        rest_p, rest_q = (prime_p - 1) // (2 * order_p), (prime_q - 1) // (2 * order_q)
        coprime = (gmpy2.gcd(2 * alpha, n) == gmpy2.gcd(rest_p, rest_q) == gmpy2.gcd(rest_p * rest_q, alpha) == 1)
        if order_p != order_q and prime_p != prime_q and n.bit_length() == bits and coprime:
            break
    cofactor = rest_p * rest_q
    while True:
        y = mpz(secrets.randbelow(int(n)))
        if gmpy2.gcd(y, n) == 1:
            break
    h = -gmpy2.powmod(y, 2 * cofactor, n) % n
    return SecretKey(PublicKey(n, gmpy2.powmod(h, n, n * n), strength), prime_p, prime_q, order_p, order_q)


def _safe_like_prime(bits: int, order_bits: int) -> tuple[mpz, mpz]:
    """A prime 2 p p' + 1 of so many bits with a prime p of `order_bits`, and p; p' is odd and shares no factor."""
    order = _prime(order_bits)
    # Both highest bits of the prime are set, so that the product of two of them has all of its bits.
    least, most = -(-(3 << (bits - 2)) // (2 * order)), (1 << bits) // (2 * order)
    while True:
        cofactor = least + mpz(secrets.randbelow(int(most - least))) | 1
        prime = 2 * order * cofactor + 1
        if prime >> (bits - 2) == 3 and gmpy2.gcd(cofactor, order) == 1 and gmpy2.is_prime(prime, PRIME_ROUNDS):
            return prime, order


def _prime(bits: int) -> mpz:
    """A random prime of exactly so many bits."""
    while True:
        candidate = mpz(secrets.randbits(bits)) | 1 | (mpz(1) << (bits - 1))
        if gmpy2.is_prime(candidate, PRIME_ROUNDS):
            return candidate
