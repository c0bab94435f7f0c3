"""Part of `private_match.py`: distances, identities and decisions beside whole-number arithmetic in the clear."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from private_match_pairs import DIMENSION, faces
from private_match_peers import both
from private_match_timing import show_table

from visagent.datasets.embedding_table import read_table
from visagent.tools.private_match import packed, shared
from visagent.tools.private_match.authority import identity_words
from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.names import new_identity
from visagent.tools.private_match.paillier import SecretKey, generate_key
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.randomness import Dealer, Source, Words
from visagent.tools.private_match.reference.helper import Helper
from visagent.tools.private_match.reference.leader import Candidate, Leader
from visagent.tools.private_match.reference.masks import IDENTITY_BITS, Sizes
from visagent.tools.private_match.searches import put_together
from visagent.tools.private_match.threshold_key import split_key
from visagent.tools.private_match.tournament import deal_tournament, nearest
from visagent.tools.private_match.workers import Workers
from visagent.tools.recognition.calibration import open_calibration

GALLERY = {"shared": 100, "packed": 62, "reference": 20}
"""Templates that each query is compared with; 62 are two blocks, so that each server finishes one."""
FMR = 1e-3


@dataclass
class Tally:
    """Pairs compared, and how many came out otherwise than in the clear."""

    queries: int = 0
    pairs: int = 0
    distances: int = 0
    decisions: int = 0
    identities: int = 0
    accepted: int = 0


@dataclass(frozen=True)
class Data:
    """Whole numbers to compare, and the threshold; None has every query use one of its own distances."""

    name: str
    templates: NDArray[np.int64]
    probes: NDArray[np.int64]
    threshold: int | None
    bits: int = 8

    @property
    def distance_bits(self) -> int:
        return Quantiser(self.templates.shape[1], self.bits).distance_bits


def made_up(count: int, gallery: int, bits: int = 8) -> Data:
    """Random templates; every other probe is near one of them."""
    quantise, rng = Quantiser(DIMENSION, bits), np.random.default_rng(7)
    templates, probes = faces(gallery, 1), faces(-(-count // gallery), 2)
    near = rng.integers(gallery, size=len(probes))
    probes[::2] = templates[near[::2]] + probes[::2] * rng.uniform(0, 1, (len(probes[::2]), 1))
    lengths = np.linalg.norm(probes, axis=1, keepdims=True)
    return Data("random", quantise(templates), quantise((probes / lengths).astype(np.float32)), None, bits)


def of_people(table: Path, count: int, gallery: int) -> Data:
    """Real faces: one template each of some people, and pictures of them and of others."""
    embeddings = read_table(table)
    if embeddings.contract is None:
        raise SystemExit(f"{table} does not say which encoder made it.")
    rng = np.random.default_rng(3)
    people, first, pictures = np.unique(embeddings.identities, return_index=True, return_counts=True)
    chosen = rng.permutation(np.flatnonzero(pictures > 1))[:gallery]
    others = np.setdiff1d(np.arange(len(embeddings)), first[chosen])
    known = others[np.isin(embeddings.identities[others], people[chosen])]
    number = -(-count // gallery)
    rows = np.concatenate([rng.permutation(known)[:number // 2], rng.permutation(others)])[:number]
    quantise = Quantiser(embeddings.contract.dimension)
    similarity = open_calibration(embeddings.contract, None).at_fmr(FMR).value
    return Data("LFW", quantise(embeddings.embeddings[first[chosen]]), quantise(embeddings.embeddings[rows]),
                quantise.squared_threshold(similarity))


def check(way: str, data: Data, key: SecretKey, limit_s: float) -> Tally:
    """Compare all probes with all templates, until the time is over."""
    made: dict[str, Callable[[Data, SecretKey], _OnShares | _Reference]] = {
        "shared": _Shared, "packed": _Packed, "reference": _Reference}
    run = made[way](data, key)
    tally, ends = Tally(), time.monotonic() + limit_s
    squared = ((data.probes[:, None] - data.templates[None]) ** 2).sum(axis=2)
    for probe, plain in zip(data.probes, squared, strict=True):
        threshold = int(secrets.choice(plain)) if data.threshold is None else data.threshold
        distances, found, accepted = run(probe, threshold)
        person = int(plain.argmin())
        expected = run.identities[person] if plain[person] <= threshold else bytes(16)
        tally.queries += 1
        tally.pairs += len(plain)
        tally.distances += int((distances != plain).sum())
        tally.decisions += int((accepted != (plain <= threshold)).sum())
        tally.identities += found != expected
        tally.accepted += int(accepted.sum())
        if time.monotonic() > ends:
            break
    return tally


Outcome = tuple[NDArray[np.int64], bytes, NDArray[np.bool_]]
"""Distances to all templates, the identity that the user is told, and which templates would be accepted alone."""


class _OnShares:
    """The ways that end in a tournament."""

    def __init__(self, data: Data, key: SecretKey) -> None:
        self._data, self._bits = data, data.distance_bits
        self.identities = [new_identity() for _ in data.templates]
        self._names = shared.split(identity_words(self.identities))

    def __call__(self, probe: NDArray[np.int64], threshold: int) -> Outcome:
        distances: dict[int, Words] = {}

        def noted(shares: Words, identities: Words, limit: int, bits: int, party: int, source: Source,
                  exchange: Exchange) -> Words:
            distances[party] = shares
            return nearest(shares, identities, limit, bits, party, source, exchange)

        with patch.object(shared, "nearest", noted), patch.object(packed, "nearest", noted):
            one, other = both(self.deal, self.search(probe, threshold))
        accepted = [self._alone(row, distances, threshold) for row in range(len(self.identities))]
        whole = (distances[1] + distances[2]).astype(np.int64)
        return whole, put_together("shared", one.tobytes(), other.tobytes()), np.array(accepted)

    def deal(self, dealer: Dealer) -> None:
        deal_tournament(len(self.identities), 4, self._bits, dealer)

    def search(self, probe: NDArray[np.int64], threshold: int) -> Callable[[int, Source, Exchange], Words]:
        raise NotImplementedError

    def _alone(self, row: int, distances: dict[int, Words], threshold: int) -> bool:
        """Whether a gallery of this one template would name its person."""
        def search(party: int, source: Source, exchange: Exchange) -> Words:
            return nearest(distances[party][row:row + 1], self._names[party - 1][row:row + 1], threshold, self._bits,
                           party, source, exchange)

        one, other = both(lambda dealer: deal_tournament(1, 4, self._bits, dealer), search)
        identity = put_together("shared", one.tobytes(), other.tobytes())
        if identity not in (self.identities[row], bytes(16)):
            raise AssertionError("an identity that nobody has")
        return any(identity)


class _Shared(_OnShares):
    def __init__(self, data: Data, key: SecretKey) -> None:
        super().__init__(data, key)
        lengths = (data.templates * data.templates).sum(axis=1, keepdims=True)
        shares = shared.split(shared.as_words(np.concatenate([data.templates, lengths], axis=1)))
        self._galleries = [shared.SharedGallery(np.ascontiguousarray(share[:, :-1]), share[:, -1].copy(), names)
                           for share, names in zip(shares, self._names, strict=True)]

    def deal(self, dealer: Dealer) -> None:
        shared.deal_shared(shared.as_words(self._data.templates), self._bits, dealer)

    def search(self, probe: NDArray[np.int64], threshold: int) -> Callable[[int, Source, Exchange], Words]:
        query = shared.share_query(probe)
        return lambda party, source, exchange: shared.search_shared(
            self._galleries[party - 1], query[party - 1], threshold, self._bits, party, source, exchange)


class _Packed(_OnShares):
    def __init__(self, data: Data, key: SecretKey) -> None:
        super().__init__(data, key)
        blocks = packed.encrypt_blocks(data.templates, self._bits, key.public)
        self._shares, self._workers = split_key(key), Workers()
        self._galleries = [packed.PackedGallery([block[:-1] for block in blocks], [block[-1] for block in blocks],
                                                names) for names in self._names]

    def search(self, probe: NDArray[np.int64], threshold: int) -> Callable[[int, Source, Exchange], Words]:
        query = packed.mask_query(probe)
        return lambda party, source, exchange: packed.search_packed(
            self._galleries[party - 1], query[party - 1], threshold, self._bits, self._shares[party - 1], source,
            exchange, self._workers)


class _Reference:
    """Leader and helper; half of the records is led, and ended, as if there were one server's half only."""

    def __init__(self, data: Data, key: SecretKey) -> None:
        self._key, public = key, key.public
        sizes = Sizes(public.bits, data.templates.shape[1], data.bits, data.distance_bits)
        leading, helping = split_key(key)
        # gmpy2's powers let go of Python's lock, so two threads are two cores.
        self._threads = ThreadPoolExecutor(2)
        self._helper = Helper(helping, sizes, self._threads)
        self._leader = Leader(leading, sizes, self._helper.answer, self._threads)
        self.identities = [new_identity() for _ in data.templates]
        self._names = public.encrypt_all(int.from_bytes(identity, "little") for identity in self.identities)
        self._records = [public.encrypt_all(-int(value) for value in row) for row in data.templates]

    def __call__(self, probe: NDArray[np.int64], threshold: int) -> Outcome:
        query = self._key.public.encrypt_all(int(value) for value in probe)
        hidden = self._leader.squared_distances(query, self._records)
        candidates = [Candidate(*pair) for pair in zip(hidden, self._names, strict=True)]
        accepted = [any(self._end(candidate, threshold)) for candidate in candidates]
        found = self._end(self._leader.nearest(candidates), threshold)
        return np.array([int(self._key.decrypt(value)) for value in hidden]), found, np.array(accepted)

    def _end(self, candidate: Candidate, threshold: int) -> bytes:
        mine, sent = self._leader.end([candidate.distance, candidate.identity], [], threshold)
        (opened,) = self._helper.open(sent)
        theirs = int(opened % (1 << IDENTITY_BITS)).to_bytes(IDENTITY_BITS // 8, "little")
        return put_together("reference", mine, theirs)


def show(pairs: int, sample: int, embeddings: Path | None, limit_s: float) -> None:
    """Check and print."""
    key, rows = generate_key(), []
    for way, gallery in GALLERY.items():
        count = sample if way == "reference" else pairs
        sets = [made_up(count, gallery), made_up(-(-count // 10), gallery, 10)]
        if embeddings is not None:
            sets.insert(1, of_people(embeddings, count, gallery))
        for data in sets:
            tally = check(way, data, key, limit_s)
            rows.append([way, f"{data.name}, {data.bits} bits", f"{tally.queries:,}", f"{tally.pairs:,}",
                         f"{tally.accepted:,}", str(tally.distances), str(tally.decisions), str(tally.identities)])
    print("### Compared with whole-number arithmetic in the clear\n")
    show_table(["way", "faces", "queries", "pairs", "of them accepted", "distances wrong", "decisions wrong",
                "identities wrong"], rows)
    if embeddings is None:
        print("There are no embeddings of real faces (--embeddings), so only random ones were compared.\n")
