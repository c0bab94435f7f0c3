"""The helper of the reference protocols: opens masked values, computes on them, answers in fresh ciphertexts.

What it sees are sums of a value and a mask 128 bits longer, which say nothing, and, when distances are compared, their
differences times a random number of 128 bits: from that it learns about how far apart two distances are (their records
shuffled, the sign hidden by a coin). This is a weakness of the protocol family, not mended here.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor

import gmpy2
from gmpy2 import mpz

from visagent.errors import BadMessage
from visagent.tools.private_match.reference.masks import SIGMA, Sizes
from visagent.tools.private_match.threshold_key import KeyShare, combine


class Helper:
    """One server's answers to the other, which leads.

    Args:
        share: This server's half of the key.
        sizes: Of what is handled.
        threads: For decryptions.
    """

    def __init__(self, share: KeyShare, sizes: Sizes, threads: Executor | None = None) -> None:
        self._share, self._public = share, share.public
        self._sizes, self._threads = sizes, threads

    def answer(self, step: str, count: int, values: Sequence[mpz]) -> list[mpz]:
        """What the leader is sent back.

        Args:
            step: Name of the protocol's step.
            count: Records, pairs or values that it is about.
            values: What came: ciphertexts and the leader's parts of their decryption.

        Raises:
            BadMessage: There is no such step, or the values are not as many as it takes.
            PrivateKeyError: The parts do not fit to this server's half of the key.
        """
        steps = {"squares": self._squares, "product": self._products, "compare": self._signs,
                 "smaller": self._smaller}
        if step not in steps:
            raise BadMessage("The other server asks for a step that this version does not know; give both the same "
                             "version of visagent.")
        return steps[step](count, values)

    def open(self, values: Sequence[mpz]) -> list[mpz]:
        """Numbers from ciphertexts, each followed by the leader's part of its decryption."""
        ciphertexts, parts = values[0::2], values[1::2]
        if len(ciphertexts) != len(parts):
            raise BadMessage("The other server sent a ciphertext without its part of the decryption.")
        own = self._share.partials(ciphertexts, self._threads)
        return [combine(self._public, one, other) for one, other in zip(parts, own, strict=True)]

    def _squares(self, count: int, values: Sequence[mpz]) -> list[mpz]:
        """Per record the sum of the squares of its masked differences."""
        slots, dimension = self._sizes.differences, self._sizes.dimension
        groups = slots.blocks(dimension)
        _expect(len(values), 2 * groups * count)
        opened = self.open(values)
        sums = []
        for record in range(count):
            numbers: list[int] = []
            for group in opened[record * groups:(record + 1) * groups]:
                numbers += slots.unpack(group, min(slots.count, dimension - len(numbers)))
            sums.append(sum(number * number for number in numbers))
        return self._public.encrypt_all(sums)

    def _products(self, count: int, values: Sequence[mpz]) -> list[mpz]:
        """Per pair the product of two masked numbers, sent in one ciphertext (SMUL of SOCI+)."""
        _expect(len(values), 2 * count)
        return self._public.encrypt_all(a * b for a, b in (gmpy2.f_divmod_2exp(pair, SIGMA + 2)
                                                           for pair in self.open(values)))

    def _signs(self, count: int, values: Sequence[mpz]) -> list[mpz]:
        """Per comparison whether the masked value is over N/2 (SCMP of SOCI+)."""
        _expect(len(values), 2 * count)
        return self._public.encrypt_all(int(value < 0) for value in self.open(values))

    def _smaller(self, count: int, values: Sequence[mpz]) -> list[mpz]:
        """Per pair: which is smaller, and the masked step from one to the other, of distance and of identity.

        The values are the packed masked differences, then two ciphertexts per pair.
        """
        slots = self._sizes.comparisons
        packed = slots.blocks(count)
        _expect(len(values), 2 * packed + 2 * count)
        opened = self.open(values[:2 * packed])
        middle = 1 << (slots.width - 1)
        public, answer = self._public, []
        for pair in range(count):
            block, slot = divmod(pair, slots.count)
            other_is_smaller = slots.unpack(opened[block] >> (slots.width * slot), 1)[0] >= middle
            answer.append(public.encrypt(int(other_is_smaller)))
            for step in values[2 * packed + 2 * pair:2 * packed + 2 * pair + 2]:
                answer.append(public.add(step, public.mask()) if other_is_smaller else public.mask())
        return answer


def _expect(got: int, wanted: int) -> None:
    if got != wanted:
        raise BadMessage(f"The other server sent {got} values for a step that takes {wanted}.")
