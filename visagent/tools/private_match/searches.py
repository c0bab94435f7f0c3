"""What one server does for a query, in each of the three ways, once user and other server are on the line."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

import numpy as np
from gmpy2 import mpz

from visagent.errors import (
    BadMessage,
    DamagedRecord,
    PrivateKeyError,
    PrivateMatchError,
    RandomnessSpent,
    ServerUnreachable,
)
from visagent.tools.private_match.channel import Channel
from visagent.tools.private_match.holdings import EncryptedHalf, Holdings
from visagent.tools.private_match.messages import Message, pack, read_ciphertexts, unpack, write_ciphertexts
from visagent.tools.private_match.packed import PackedGallery, search_packed
from visagent.tools.private_match.paillier import PublicKey
from visagent.tools.private_match.randomness import FirstSource, SecondSource, Source
from visagent.tools.private_match.records import query_seed
from visagent.tools.private_match.reference.helper import Helper
from visagent.tools.private_match.reference.leader import Candidate, Leader
from visagent.tools.private_match.reference.masks import IDENTITY_BITS
from visagent.tools.private_match.shared import SharedGallery, search_shared
from visagent.tools.private_match.threshold_key import KeyShare
from visagent.tools.private_match.workers import Workers

ERRORS: Final[dict[str, type[PrivateMatchError]]] = {
    kind.__name__: kind for kind in (BadMessage, DamagedRecord, PrivateKeyError, RandomnessSpent, ServerUnreachable)}
"""What a server may say went wrong, by the name that it says."""

MOST_VALUES: Final = 1 << 16
"""Values in one step of the reference way; a step of 16 records of 512 numbers has 1,200."""


LONGEST_STEP_S: Final = 7200.0
"""Seconds that a helper waits for its leader, who may itself be waiting for the other half of the gallery."""


def query_bytes(holdings: Holdings, party: int, public: PublicKey) -> int:
    """How long a user's message to a server must be."""
    dimension = holdings.terms.dimension
    if holdings.terms.way == "reference":
        return dimension * public.ciphertext_bytes
    if party == 1:
        return 32
    return 8 * dimension + 4 if holdings.terms.way == "packed" else 4 * (dimension + 1)


def search_with_shares(holdings: Holdings, query: bytes, index: int, share: KeyShare, line: Channel, workers: Workers
                       ) -> bytes:
    """This server's part of the answer in the shared or the packed way, 16 bytes.

    Args:
        holdings: What is searched.
        query: What the user sent.
        index: Which of the dealt numbers are used; the ledger has them marked as used already.
        share: This server's half of the key.
        line: To the other server.
        workers: For work on all cores.
    """
    pool, terms = holdings.records.pool, holdings.terms
    seed = query_seed(pool.seed, index)
    source: Source = FirstSource(seed, holdings.records.dealt(index)) if share.party == 1 else SecondSource(seed)
    if isinstance(holdings.gallery, SharedGallery):
        words = search_shared(holdings.gallery, query, terms.threshold, holdings.distance_bits, share.party, source,
                              line.exchange)
    else:
        assert isinstance(holdings.gallery, PackedGallery)
        words = search_packed(holdings.gallery, query, terms.threshold, holdings.distance_bits, share, source,
                              line.exchange, workers)
    return bytes(words.astype("<u4").tobytes())


def put_together(way: str, one: bytes, other: bytes) -> bytes:
    """The identity from both servers' parts, 16 bytes; zeros for nobody."""
    if way == "reference":
        total = int.from_bytes(one, "little") + int.from_bytes(other, "little")
        return (total % (1 << IDENTITY_BITS)).to_bytes(IDENTITY_BITS // 8, "little")
    return bytes((np.frombuffer(one, "<u4") + np.frombuffer(other, "<u4")).tobytes())


class LeadingLine:
    """The leader's end of a link, as the protocols of `reference.leader` take it."""

    def __init__(self, line: Channel, public: PublicKey) -> None:
        self._line, self._public = line, public

    def __call__(self, step: str, count: int, values: list[mpz]) -> list[mpz]:
        """One step: send, and receive."""
        answer = self.tell(step, count, values)
        return read_ciphertexts(answer.raw("values"), answer.whole("count", 0, MOST_VALUES), self._public)

    def tell(self, step: str, count: int, values: list[mpz]) -> Message:
        """Send, and receive whatever comes."""
        self._line.send(pack({"kind": "step", "step": step, "count": count, "number": len(values),
                              "values": write_ciphertexts(values, self._public)}))
        answer = unpack(self._line.receive())
        if answer.text("kind") == "error":
            raise ERRORS.get(answer.text("name"), PrivateMatchError)(answer.text("text"))
        return answer


def lead(holdings: Holdings, query: bytes, share: KeyShare, ask: LeadingLine, threads: Executor | None,
         progress: Callable[[int], None]) -> tuple[Leader, Candidate | None]:
    """The nearest record of the half that this server leads, still encrypted; None if the half is empty."""
    assert isinstance(holdings.gallery, EncryptedHalf)
    numbers = read_ciphertexts(query, holdings.terms.dimension, share.public)
    leader = Leader(share, holdings.sizes(share.public.bits), ask, threads)
    half = holdings.gallery
    return leader, leader.search(numbers, half.records, half.identities, progress) if half.records else None


def help_along(holdings: Holdings, share: KeyShare, line: Channel, threads: Executor | None,
               half: Callable[[list[mpz]], None], delivered: Callable[[bytes], None]) -> None:
    """Answer the leader's steps until it is done.

    Args:
        holdings: What is searched.
        share: This server's half of the key.
        line: To the leader.
        threads: For decryptions.
        half: Told the other server's nearest candidate, empty if it led no records.
        delivered: Told this server's part of the answer.
    """
    public = share.public
    line.timeout = LONGEST_STEP_S
    helper = Helper(share, holdings.sizes(public.bits), threads)
    while True:
        message = unpack(line.receive())
        step, count = message.text("step"), message.whole("count", 0, MOST_VALUES)
        values = read_ciphertexts(message.raw("values"), message.whole("number", 0, MOST_VALUES), public)
        answer: list[mpz] = []
        if step == "half":
            if len(values) not in (0, 2):
                raise BadMessage("The other server's nearest record is not a distance and an identity.")
            half(values)
        elif step == "deliver":
            if len(values) != 2:
                raise BadMessage("The other server's result is not one ciphertext and its part.")
            (opened,) = helper.open(values)
            delivered(int(opened % (1 << IDENTITY_BITS)).to_bytes(IDENTITY_BITS // 8, "little"))
        elif step != "done":
            answer = helper.answer(step, count, values)
        line.send(pack({"kind": "values", "count": len(answer), "values": write_ciphertexts(answer, public)}))
        if step == "done":
            return
