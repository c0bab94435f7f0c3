"""A secret key in two halves: each decrypts nothing, both together decrypt.

The published split of SOCI and SOCI+ lets the second server compute the first one's half: there sk1 is a short number
and sk1 + sk2 = 1 mod N, so sk1 = (1 - sk2) mod N. Here both halves are uniform modulo 2 alpha N, the whole order that
matters, so one half says nothing about the other modulo 2 alpha. It costs an exponent as long as N for both.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import repeat

import gmpy2
from gmpy2 import mpz

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.paillier import PublicKey, SecretKey


@dataclass(frozen=True, eq=False)
class KeyShare:
    """One server's half of the secret key.

    Attributes:
        public: The public key.
        party: 1 or 2.
        exponent: The half, from 0 to 2 alpha N.
    """

    public: PublicKey
    party: int
    exponent: mpz = field(repr=False)

    def partial(self, ciphertext: mpz) -> mpz:
        """This server's part of a decryption: the ciphertext to the power of its half.

        `powmod_sec` takes the same steps whatever the exponent is; it needs a third more time than `powmod`.
        """
        return gmpy2.powmod_sec(ciphertext, self.exponent, self.public.square)

    def partials(self, ciphertexts: Sequence[mpz], threads: Executor | None = None) -> list[mpz]:
        """The parts of many, on as many cores as there are threads: gmpy2 lets go of Python's lock meanwhile."""
        if threads is None or len(ciphertexts) < 2:
            return [self.partial(ciphertext) for ciphertext in ciphertexts]
        return list(threads.map(_partial_in_thread, repeat(self), ciphertexts))


def _partial_in_thread(share: KeyShare, ciphertext: mpz) -> mpz:
    gmpy2.get_context().allow_release_gil = True  # the context is the thread's own
    return share.partial(ciphertext)


def split_key(key: SecretKey) -> tuple[KeyShare, KeyShare]:
    """Two halves of a secret key, fresh at every call.

    With delta = 2 alpha ((2 alpha)^-1 mod N), which is 0 modulo 2 alpha and 1 modulo N, the halves add up to delta
    modulo 2 alpha N: a ciphertext to the power delta is 1 + mN.
    """
    n, order = key.public.n, key.order
    modulus = order * n
    delta = order * gmpy2.invert(order, n)
    one = mpz(secrets.randbelow(int(modulus)))
    return KeyShare(key.public, 1, one), KeyShare(key.public, 2, (delta - one) % modulus)


def combine(public: PublicKey, one: mpz, other: mpz) -> mpz:
    """The number that both servers' parts hold, from -N/2 to N/2.

    Raises:
        PrivateKeyError: The parts are not of one ciphertext under the two halves of this key.
    """
    product = one * other % public.square - 1
    quotient, remainder = gmpy2.f_divmod(product, public.n)
    if remainder:
        raise PrivateKeyError("The two servers' parts of a decryption do not fit together: one of them holds a share "
                              "of another key. Give both the shares that were made together.")
    return public.signed(quotient)
