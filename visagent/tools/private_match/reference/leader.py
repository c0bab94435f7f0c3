"""The leader of the reference protocols: from an encrypted query and encrypted records to an encrypted identity.

Brackets in comments are ciphertexts. Every mask is fresh from the system's random numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from gmpy2 import mpz

from visagent.errors import BadMessage
from visagent.tools.private_match.multi_power import multi_power
from visagent.tools.private_match.reference.masks import IDENTITY_BITS, SIGMA, Sizes
from visagent.tools.private_match.threshold_key import KeyShare

Ask = Callable[[str, int, list[mpz]], list[mpz]]
"""The line to the helper: step, count, values; gives `Helper.answer`."""

NUMBERS_AT_A_TIME = 2048
"""Numbers of records whose masked differences are sent together: 16 records of 128, 700 KB at 2048 bits."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A record under encryption: its distance from the query, and whose it is."""

    distance: mpz
    identity: mpz


class Leader:
    """One server's search through the records that it leads.

    Args:
        share: This server's half of the key.
        sizes: Of what is handled.
        ask: The line to the helper.
        threads: For decryptions.
    """

    def __init__(self, share: KeyShare, sizes: Sizes, ask: Ask, threads: Executor | None = None) -> None:
        self._share, self._public = share, share.public
        self._sizes, self._ask, self._threads = sizes, ask, threads

    def search(self, query: Sequence[mpz], records: Sequence[Sequence[mpz]], identities: Sequence[mpz],
               progress: Callable[[int], None] = lambda done: None) -> Candidate:
        """The nearest of the records.

        Args:
            query: [x_i], one ciphertext for each number.
            records: Per record [-y_i].
            identities: Per record whose it is.
            progress: Told how many records have been compared.
        """
        order = list(range(len(records)))
        secrets.SystemRandom().shuffle(order)  # so that the helper cannot tell which records are far apart
        candidates: list[Candidate] = []
        step = max(1, NUMBERS_AT_A_TIME // self._sizes.dimension)
        for start in range(0, len(order), step):
            some = order[start:start + step]
            distances = self.squared_distances(query, [records[place] for place in some])
            candidates += map(Candidate, distances, (identities[place] for place in some))
            progress(len(candidates))
        return self.nearest(candidates)

    def squared_distances(self, query: Sequence[mpz], records: Sequence[Sequence[mpz]]) -> list[mpz]:
        """[sum_i (x_i - y_i)^2] of each record, one exchange for all (BatchSquare).

        The helper is sent s_i = x_i - y_i + r_i, many in one ciphertext, and returns [sum s_i^2]; what the masks added
        is taken off: sum (x_i - y_i)^2 = sum s_i^2 - 2 sum r_i (x_i - y_i) - sum r_i^2.
        """
        public, slots = self._public, self._sizes.differences
        sent: list[mpz] = []
        unmask: list[mpz] = []
        for record in records:
            differences = [public.add(one, other) for one, other in zip(query, record, strict=True)]
            masks = [secrets.randbits(SIGMA) + self._sizes.offset for _ in differences]
            for start in range(0, len(masks), slots.count):
                group = differences[start:start + slots.count]
                packed = mpz(1)
                for difference in reversed(group):  # Horner: every step moves what is there by one slot
                    packed = public.add(public.scale(packed, mpz(1) << slots.width), difference)
                sent.append(public.add(packed, public.encrypt(slots.pack(masks[start:start + slots.count]))))
            cross = multi_power(differences, [2 * mask for mask in masks], public.square)
            unmask.append(public.shift(public.negate(cross), -sum(mask * mask for mask in masks)))
        squares = self._answer("squares", len(records), self._with_parts(sent), len(records))
        return [public.add(square, correction) for square, correction in zip(squares, unmask, strict=True)]

    def nearest(self, candidates: Sequence[Candidate]) -> Candidate:
        """The candidate with the smallest distance (n-SMIN): a tournament, one exchange for each of its rounds."""
        left = list(candidates)
        while len(left) > 1:
            left = self._round(left[0::2], left[1::2]) + (left[-1:] if len(left) % 2 else [])
        return left[0]

    def _round(self, ones: Sequence[Candidate], others: Sequence[Candidate]) -> list[Candidate]:
        """The nearer of each pair.

        The helper learns r1 (a - b) + r2 with 0 <= r2 < r1, which is negative exactly if a < b; a coin decides which
        of the two is a. It returns u = 1 if b is nearer or as near, and u times the masked steps from a to b.
        """
        public, slots = self._public, self._sizes.comparisons
        middle = mpz(1) << (slots.width - 1)
        pairs = [pair if secrets.randbits(1) else pair[::-1] for pair in zip(ones, others, strict=False)]
        hidden, steps, masks = [], [], []
        for a, b in pairs:
            factor = secrets.randbits(SIGMA) | 1 << (SIGMA - 1)
            rest = secrets.randbelow(factor)
            difference = public.scale(public.subtract(a.distance, b.distance), factor)
            hidden.append(public.shift(difference, rest + middle))
            of_distance, of_identity = secrets.randbits(SIGMA + 64), secrets.randbits(SIGMA + IDENTITY_BITS)
            masks.append((of_distance, of_identity))
            steps.append(public.add(public.subtract(b.distance, a.distance), public.encrypt(of_distance)))
            steps.append(public.add(public.subtract(b.identity, a.identity), public.encrypt(of_identity)))
        sent = []
        for start in range(0, len(hidden), slots.count):
            packed = mpz(1)
            for value in reversed(hidden[start:start + slots.count]):
                packed = public.add(public.scale(packed, mpz(1) << slots.width), value)
            sent.append(public.add(packed, public.mask()))
        answers = self._answer("smaller", len(pairs), [*self._with_parts(sent), *steps], 3 * len(pairs))
        won = []
        for place, ((a, _), (of_distance, of_identity)) in enumerate(zip(pairs, masks, strict=True)):
            is_b, distance_step, identity_step = answers[3 * place:3 * place + 3]
            won.append(Candidate(
                public.add(public.add(a.distance, distance_step), public.negate(public.scale(is_b, of_distance))),
                public.add(public.add(a.identity, identity_step), public.negate(public.scale(is_b, of_identity)))))
        return won

    def at_most(self, one: mpz, other: mpz) -> mpz:
        """[1] if the first number is not over the second, else [0] (SCMP of SOCI+ with the arguments so placed)."""
        public = self._public
        factor = secrets.randbits(SIGMA) | 1 << (SIGMA - 1)
        rest = public.half - secrets.randbelow(factor - 1) - 1
        if secrets.randbits(1):
            # factor (other - one + 1) + rest is over N/2 exactly if one <= other
            value = public.shift(public.scale(public.subtract(other, one), factor), factor + rest)
            return self._answer("compare", 1, self._with_parts([public.add(value, public.mask())]), 1)[0]
        # factor (one - other) + rest is over N/2 exactly if one > other
        value = public.shift(public.scale(public.subtract(one, other), factor), rest)
        is_greater = self._answer("compare", 1, self._with_parts([public.add(value, public.mask())]), 1)[0]
        return public.shift(public.negate(is_greater), 1)

    def product(self, one: mpz, small: mpz, one_bits: int) -> mpz:
        """[x y] of [x], under 2^one_bits, and [y], 0 or 1 (SMUL of SOCI+): one masked pair in one ciphertext."""
        public = self._public
        mask, small_mask = secrets.randbits(SIGMA + one_bits), secrets.randbits(SIGMA)
        hidden = public.scale(public.add(one, public.encrypt(mask)), mpz(1) << (SIGMA + 2))
        hidden = public.add(public.add(hidden, small), public.encrypt(small_mask))
        both = self._answer("product", 1, self._with_parts([hidden]), 1)[0]
        taken = public.add(public.scale(one, small_mask), public.scale(small, mask))
        return public.shift(public.subtract(both, taken), -mask * small_mask)

    def decide(self, candidate: Candidate, threshold: int) -> mpz:
        """[identity] if the distance is not over the threshold, else [0]."""
        accepted = self.at_most(candidate.distance, self._public.encrypt(threshold))
        return self.product(candidate.identity, accepted, IDENTITY_BITS)

    def end(self, own: Sequence[mpz], other: Sequence[mpz], threshold: int) -> tuple[bytes, list[mpz]]:
        """The last steps, after both servers have led their halves.

        Args:
            own: Distance and identity of the nearest record here; empty if there is none.
            other: The same of the other server.
            threshold: Greatest squared distance at which the person is named.

        Returns:
            This server's part of the answer, and what the helper must open to have its own.
        """
        candidates = [Candidate(*some) for some in (own, other) if some]
        mine, sent = self.deliver(self.decide(self.nearest(candidates), threshold))
        return mine.to_bytes(IDENTITY_BITS // 8, "little"), sent

    def deliver(self, result: mpz) -> tuple[int, list[mpz]]:
        """What the user is told by this server, and the ciphertext with its part for the helper, which opens it.

        The user adds both numbers modulo 2^128. The helper sees the result under a mask 128 bits longer.
        """
        mask = secrets.randbits(SIGMA + IDENTITY_BITS)
        hidden = self._public.add(result, self._public.encrypt(mask))
        return -mask % (1 << IDENTITY_BITS), self._with_parts([hidden])

    def _answer(self, step: str, count: int, values: list[mpz], due: int) -> list[mpz]:
        answer = self._ask(step, count, values)
        if len(answer) != due:
            raise BadMessage(f"The other server answered {len(answer)} values where {due} were due; give both the "
                             "same version of visagent.")
        return answer

    def _with_parts(self, ciphertexts: list[mpz]) -> list[mpz]:
        """Each ciphertext followed by this server's part of its decryption."""
        parts = self._share.partials(ciphertexts, self._threads)
        return [value for pair in zip(ciphertexts, parts, strict=True) for value in pair]
