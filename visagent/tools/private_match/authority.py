"""The key authority: makes an encrypted gallery for the two servers out of people's templates."""

from __future__ import annotations

import fcntl
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.errors import PrivateMatchError
from visagent.tools.contract import Progress, untold
from visagent.tools.private_match.messages import write_ciphertexts
from visagent.tools.private_match.names import IDENTITY_BYTES, new_identity, seal_name
from visagent.tools.private_match.packed import encrypt_blocks
from visagent.tools.private_match.paillier import PublicKey
from visagent.tools.private_match.parties import (
    KEY_FILE,
    TERMS_FILE,
    USER,
    AuthorityKey,
    Terms,
    Way,
    read_private,
    server_role,
    write_private,
)
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.randomness import Dealer, Words, new_seed
from visagent.tools.private_match.records import Pool, RecordsWriter, halves, query_seed
from visagent.tools.private_match.shared import IDENTITY_WORDS, as_words, deal_shared, split
from visagent.tools.private_match.tournament import deal_tournament
from visagent.tools.recognition.calibration import Threshold
from visagent.vision.encoder import EmbeddingContract, Embeddings

LOCK_FILE: Final = "publishing"


@dataclass(frozen=True, eq=False)
class People:
    """Whom the servers shall find.

    Attributes:
        names: Of the people.
        templates: One for each, float32 `[N, D]` of length 1.
        samples: How many templates there were before each person's were averaged.
        contract: Of the encoder.
    """

    names: Sequence[str]
    templates: Embeddings
    samples: int
    contract: EmbeddingContract


def publish(folder: Path, people: People, threshold: Threshold, threshold_source: str, *, way: Way = "shared",
            bits: int = 8, queries: int = 200, progress: Progress = untold) -> Terms:
    """Encrypt the people for both servers, deal random numbers for queries, and write the three folders anew.

    A server that runs takes up the new gallery with its next query. Identities are fresh, so that nothing links this
    gallery to the one before.

    Args:
        folder: Of all parties.
        people: Whom.
        threshold: The similarity from which a person is named.
        threshold_source: Where that comes from.
        way: How the servers shall search.
        bits: Of a template's numbers, 8 or 10.
        queries: For how many queries random numbers are dealt; the reference way needs none.
        progress: Told how far it is.

    Raises:
        PrivateKeyError: The authority's key is not there.
        PrivateMatchError: There is nobody to publish, or a folder cannot be written.
    """
    if not len(people.templates):
        raise PrivateMatchError("There is nobody to publish; enrol people first.")
    authority = read_private(folder / "authority" / KEY_FILE, AuthorityKey)
    with _alone(folder / "authority"):
        return _publish(folder, authority, people, threshold, threshold_source, way, bits, queries, progress)


def _publish(folder: Path, authority: AuthorityKey, people: People, threshold: Threshold, threshold_source: str,
             way: Way, bits: int, queries: int, progress: Progress) -> Terms:
    public = authority.public.key()
    quantiser = Quantiser(people.contract.dimension, bits)
    templates = quantiser(people.templates)
    identities = [new_identity() for _ in people.names]
    terms = Terms(
        generation=_generation_after(folder), way=way, encoder=people.contract.id, model=people.contract.model,
        digest=people.contract.digest, dimension=quantiser.dimension, bits=8 if bits == 8 else 10,
        records=len(templates), templates=people.samples,
        threshold=quantiser.squared_threshold(threshold.value), similarity=threshold.value,
        threshold_source=threshold_source,
        names=dict(seal_name(identity, name) for identity, name in zip(identities, people.names, strict=True)))
    pool = secrets.token_hex(8)
    seeds = new_seed(), new_seed()
    writers = [RecordsWriter(folder / server_role(party), authority.storage[server_role(party)], public.id, terms,
                             Pool(pool, queries, seeds[party - 1])) for party in (1, 2)]
    try:
        _write_gallery(writers, way, templates, identities, quantiser, public, progress)
        if way != "reference":
            writers[0].write("dealt", _dealt(seeds, queries, way, as_words(templates), quantiser, progress))
        for writer in writers:
            writer.finish()
    except BaseException:
        for writer in writers:
            writer.give_up()
        raise
    write_private(folder / USER / TERMS_FILE, terms)
    return terms


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one at a time may publish: the servers' folders must come from one making."""
    with (folder / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PrivateMatchError("The gallery is being published already; wait until that is done.") from None
        yield


def _write_gallery(writers: Sequence[RecordsWriter], way: Way, templates: NDArray[np.int64],
                   identities: Sequence[bytes], quantiser: Quantiser, public: PublicKey, progress: Progress) -> None:
    count = len(templates)
    if way == "reference":
        for writer, some in zip(writers, halves(count), strict=True):
            writer.write("record", _encrypted(templates[some.start:some.stop], identities[some.start:some.stop],
                                              public, progress))
        return
    for writer, share in zip(writers, split(identity_words(identities)), strict=True):
        writer.write("identity", (row.tobytes() for row in share))
    if way == "packed":
        blocks = [write_ciphertexts(block, public) for block in encrypt_blocks(
            templates, quantiser.distance_bits, public, lambda done: progress("encrypting", done, count))]
        for writer in writers:
            writer.write("block", blocks)
        return
    lengths = (templates * templates).sum(axis=1)
    whole = as_words(np.concatenate([templates, lengths[:, None]], axis=1))
    for writer, share in zip(writers, split(whole), strict=True):
        writer.write("share", (row.tobytes() for row in share))


def _encrypted(templates: NDArray[np.int64], identities: Sequence[bytes], public: PublicKey, progress: Progress
               ) -> Iterator[bytes]:
    """Per record the ciphertexts of its negated numbers and of its identity."""
    for done, (row, identity) in enumerate(zip(templates, identities, strict=True), 1):
        numbers = [-int(value) for value in row]
        yield write_ciphertexts(public.encrypt_all([*numbers, int.from_bytes(identity, "little")]), public)
        progress("encrypting", done, len(templates))


def _dealt(seeds: tuple[bytes, bytes], queries: int, way: Way, templates: Words, quantiser: Quantiser,
           progress: Progress) -> Iterator[bytes]:
    for index in range(queries):
        dealer = Dealer(*(query_seed(seed, index) for seed in seeds))
        if way == "shared":
            deal_shared(templates, quantiser.distance_bits, dealer)
        else:
            deal_tournament(len(templates), IDENTITY_WORDS, quantiser.distance_bits, dealer)
        yield dealer.corrections
        progress("dealing", index + 1, queries)


def identity_words(identities: Sequence[bytes]) -> Words:
    """Identities as words `[N, 4]`."""
    return np.frombuffer(b"".join(identities), "<u4").reshape(len(identities), IDENTITY_BYTES // 4).copy()


def _generation_after(folder: Path) -> int:
    """The time in seconds, or one more than the last one: it grows even where the folders were emptied meanwhile."""
    file = folder / USER / TERMS_FILE
    last = read_private(file, Terms).generation if file.exists() else 0
    return max(last + 1, int(time.time()))
