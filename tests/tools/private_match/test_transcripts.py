"""What each server sees of a query: the same in every world, but for the leak of Pura's family that is stated here.

A *view* is all that a server has: its part of the gallery, of the query and of the dealt numbers, all that it is
sent, and all that it opens or works out from these. Views of two worlds that differ as much as worlds can are compared
bit by bit, byte by byte and by a classifier; the same tests find a dealt number that is used twice.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from gmpy2 import mpz
from scipy.stats import chi2_contingency, ks_2samp, spearmanr
from sklearn.linear_model import LogisticRegression

from visagent.errors import PrivateKeyError
from visagent.tools.private_match.messages import read_ciphertexts, write_ciphertexts
from visagent.tools.private_match.names import new_identity
from visagent.tools.private_match.packed import PackedGallery, encrypt_blocks, mask_query, search_packed, slots_for
from visagent.tools.private_match.parties import AuthorityKey
from visagent.tools.private_match.quantise import Quantiser
from visagent.tools.private_match.randomness import Dealer, FirstSource, SecondSource, Source, new_seed
from visagent.tools.private_match.reference.helper import Helper
from visagent.tools.private_match.reference.leader import Candidate, Leader
from visagent.tools.private_match.reference.masks import SIGMA, Sizes
from visagent.tools.private_match.shared import (
    SharedGallery,
    as_words,
    deal_shared,
    search_shared,
    share_query,
    split,
)
from visagent.tools.private_match.threshold_key import KeyShare, combine, split_key
from visagent.tools.private_match.tournament import deal_tournament
from visagent.tools.private_match.workers import Workers

from .running import SMALL, keys

RUNS = 300
"""Of each world."""
UNLIKELY = 1e-9
TOO_FAR = 7.0
"""Standard deviations: with 20,000 bits one view in 20 million is so far from another by chance."""
DIMENSION, THRESHOLD = 4, 300
BITS = Quantiser(DIMENSION).distance_bits


@dataclass(frozen=True)
class World:
    """A gallery and a face.

    Attributes:
        templates: Whole numbers `[N, D]`.
        face: `[D]`.
        found: Which record is near enough; None if none is.
    """

    templates: np.ndarray
    face: np.ndarray
    found: int | None


def gallery(seed: int, records: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, (records, DIMENSION))


def at(templates: np.ndarray, place: int) -> World:
    return World(templates, templates[place], place)


def nowhere(templates: np.ndarray) -> World:
    """A face in the corner farthest from all."""
    corners = np.array(np.meshgrid(*[[-127, 127]] * DIMENSION)).reshape(DIMENSION, -1).T
    nearest = ((corners[:, None] - templates[None]) ** 2).sum(axis=2).min(axis=1)
    return World(templates, corners[nearest.argmax()], None)


ALIKE = np.zeros((9, DIMENSION), np.int64)
WORLDS = {
    "swapped galleries": (at(gallery(1), 0), at(gallery(2), 0)),
    "matching or not": (at(gallery(1), 0), nowhere(gallery(1))),
    "first or last": (at(gallery(1), 0), at(gallery(1), 8)),
    "as unlike as can be": (at(ALIKE, 0), World(ALIKE + 127, ALIKE[0] - 127, None)),
}


class Meeting:
    """Two servers in two threads, with a line on which everything is kept."""

    def __init__(self) -> None:
        self._lines: tuple[queue.SimpleQueue[bytes], ...] = (queue.SimpleQueue(), queue.SimpleQueue())
        self.received: tuple[list[bytes], list[bytes]] = ([], [])

    def exchange(self, party: int, mine: bytes, length: int | None = None) -> bytes:
        self._lines[party - 1].put(mine)
        theirs = self._lines[2 - party].get(timeout=20)
        self.received[party - 1].append(theirs)
        return theirs

    def run(self, threads: ThreadPoolExecutor, task: Callable[[int, Any], Any]) -> tuple[Any, Any]:
        runs = [threads.submit(task, party, partial(self.exchange, party)) for party in (1, 2)]
        return runs[0].result(), runs[1].result()

    def opened(self, party: int) -> list[bytes]:
        """What both servers' frames of one exchange give together: the sum of words, the exclusive or of bits."""
        together = []
        for mine, theirs in zip(self.received[2 - party], self.received[party - 1], strict=True):
            if len(mine) == len(theirs):
                one, other = (np.frombuffer(data, np.uint8) for data in (mine, theirs))
                together.append((one ^ other).tobytes())
                if len(mine) % 4 == 0:
                    together.append((np.frombuffer(mine, "<u4") + np.frombuffer(theirs, "<u4")).tobytes())
        return together


@cache
def small_key() -> tuple[KeyShare, KeyShare]:
    """Both halves of a key of 512 bits, of which nothing but the length differs from a real one."""
    return split_key(AuthorityKey.model_validate_json(keys(SMALL)["authority"]).key())


def identities_of(count: int) -> np.ndarray:
    return np.frombuffer(b"".join(new_identity() for _ in range(count)), "<u4").reshape(count, 4)


def check(answers: tuple[Any, Any], identities: np.ndarray, world: World) -> None:
    wanted = np.zeros(4, np.uint32) if world.found is None else identities[world.found]
    assert np.array_equal(answers[0] + answers[1], wanted)


Views = tuple[bytes, bytes]


def on_shares(world: World, threads: ThreadPoolExecutor, seeds: tuple[bytes, bytes] | None = None) -> Views:
    """Both servers' views of one search on shares, everything fresh (but for the dealt numbers, if told so)."""
    templates = as_words(world.templates)
    identities = identities_of(len(templates))
    lengths = as_words((world.templates ** 2).sum(axis=1))
    galleries = [SharedGallery(rows[:, :-1].copy(), rows[:, -1].copy(), ids) for rows, ids in
                 zip(split(np.concatenate([templates, lengths[:, None]], axis=1)), split(identities), strict=True)]
    parts, seeds, meeting = share_query(world.face), seeds or (new_seed(), new_seed()), Meeting()
    dealer = Dealer(*seeds)
    deal_shared(templates, BITS, dealer)
    sources: tuple[Source, Source] = FirstSource(seeds[0], dealer.corrections), SecondSource(seeds[1])
    answers = meeting.run(threads, lambda party, line: search_shared(
        galleries[party - 1], parts[party - 1], THRESHOLD, BITS, party, sources[party - 1], line))
    check(answers, identities, world)
    views = [b"".join([galleries[place].templates.tobytes(), galleries[place].lengths.tobytes(),
                       galleries[place].identities.tobytes(), parts[place], seeds[place],
                       dealer.corrections if place == 0 else b"", *meeting.received[place],
                       *meeting.opened(place + 1), answers[place].tobytes()]) for place in (0, 1)]
    return views[0], views[1]


def on_packed(world: World, threads: ThreadPoolExecutor) -> Views:
    """The same on packed ciphertexts: also what each server decrypts."""
    shares = small_key()
    public, slots = shares[0].public, slots_for(shares[0].public.bits, BITS)
    identities = identities_of(len(world.templates))
    blocks = encrypt_blocks(world.templates, BITS, public)
    assert len(blocks) == 2  # each server opens one
    galleries = [PackedGallery([block[:-1] for block in blocks], [block[-1] for block in blocks], ids)
                 for ids in split(identities)]
    parts, seeds, meeting = mask_query(world.face), (new_seed(), new_seed()), Meeting()
    dealer = Dealer(*seeds)
    deal_tournament(len(identities), 4, BITS, dealer)
    sources: tuple[Source, Source] = FirstSource(seeds[0], dealer.corrections), SecondSource(seeds[1])
    with Workers() as workers:
        answers = meeting.run(threads, lambda party, line: search_packed(
            galleries[party - 1], parts[party - 1], THRESHOLD, BITS, shares[party - 1], sources[party - 1], line,
            workers))
    check(answers, identities, world)
    views = []
    for place, share in enumerate(shares):
        received = meeting.received[place]
        hidden, part = read_ciphertexts(received[1], 2, public)
        numbers = slots.unpack(combine(public, share.partial(hidden), part) % public.n, slots.count)
        decrypted = b"".join(number.to_bytes(-(-slots.width // 8), "little") for number in numbers)
        views.append(b"".join([*(write_ciphertexts(block, public) for block in blocks),
                               galleries[place].identities.tobytes(), parts[place], seeds[place],
                               dealer.corrections if place == 0 else b"", *received, decrypted,
                               *meeting.opened(place + 1)[2:], answers[place].tobytes()]))
    return views[0], views[1]


def apart(ones: Sequence[bytes], others: Sequence[bytes]) -> list[str]:
    """By which tests two worlds can be told apart from as many views of each."""
    assert len({len(view) for view in (*ones, *others)}) == 1, "even their lengths differ"
    found = []
    views = np.array([np.frombuffer(view, np.uint8) for view in (*ones, *others)])
    world = np.repeat([0, 1], (len(ones), len(others)))
    counts = np.array([np.bincount(views[world == which].ravel(), minlength=256) for which in (0, 1)])
    if chi2_contingency(counts[:, counts.any(axis=0)]).pvalue < UNLIKELY:
        found.append("bytes")
    means = views.astype(np.float64).mean(axis=1)
    if ks_2samp(means[world == 0], means[world == 1]).pvalue < UNLIKELY:
        found.append("means")
    bits = np.unpackbits(views, axis=1).astype(np.float32)
    shares = [bits[world == which].mean(axis=0) for which in (0, 1)]
    middle = (shares[0] + shares[1]) / 2
    spread = np.sqrt(np.maximum(middle * (1 - middle), 1 / len(ones)) * (1 / len(ones) + 1 / len(others)))
    if (np.abs(shares[0] - shares[1]) / spread).max() > TOO_FAR:
        found.append("bits")
    histograms = np.array([np.bincount(view, minlength=256) for view in views]) / np.sqrt(views.shape[1])
    for name, features in (("classifier of bytes", histograms), ("classifier of bits", bits)):
        order = np.random.default_rng(0).permutation(len(views))
        half = len(order) // 2
        model = LogisticRegression(C=0.01, max_iter=200).fit(features[order[:half]], world[order[:half]])
        right = model.score(features[order[half:]], world[order[half:]])
        if abs(right - 0.5) > 5.5 * 0.5 / np.sqrt(len(order) - half):  # one in 25 million by chance
            found.append(name)
    return found


@pytest.fixture(scope="module")
def threads() -> Any:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.slow
@pytest.mark.parametrize("worlds", WORLDS)
@pytest.mark.parametrize("search", [on_shares, on_packed])
def test_no_server_can_tell_two_worlds_apart(search: Any, worlds: str, threads: ThreadPoolExecutor) -> None:
    seen = [[search(world, threads) for _ in range(RUNS)] for world in WORLDS[worlds]]
    for place in (0, 1):
        assert apart(*([views[place] for views in some] for some in seen)) == [], f"server {place + 1}"


@pytest.mark.slow
def test_the_same_tests_find_dealt_numbers_that_are_used_again(threads: ThreadPoolExecutor) -> None:
    """So what they do not find elsewhere is not there for want of looking."""
    seeds = new_seed(), new_seed()
    seen = [[on_shares(world, threads, seeds)[0] for _ in range(RUNS)] for world in WORLDS["matching or not"]]
    assert {"bits", "classifier of bits"} <= set(apart(*seen))
    plain = [[world.face.astype("<u4").tobytes() * 20 for _ in range(RUNS)] for world in WORLDS["matching or not"]]
    assert "classifier of bytes" in apart(*plain)


@pytest.mark.parametrize("search", [on_shares, on_packed])
def test_two_equal_questions_have_nothing_in_common(search: Any, threads: ThreadPoolExecutor) -> None:
    world = WORLDS["swapped galleries"][0]
    for one, other in zip(search(world, threads), search(world, threads), strict=True):
        first, second = (np.unpackbits(np.frombuffer(view, np.uint8)) for view in (one, other))
        assert abs((first ^ second).mean() - 0.5) < TOO_FAR * 0.5 / np.sqrt(len(first))
        assert not {one[start:start + 8] for start in range(0, len(one) - 8, 4)} & \
            {other[start:start + 8] for start in range(0, len(other) - 8, 4)}


def test_a_user_s_messages_for_one_face_have_nothing_in_common() -> None:
    face = WORLDS["swapped galleries"][0].face
    public = small_key()[0].public
    for write in (share_query, mask_query):
        parts = [part for _ in range(20) for part in write(face)]
        assert len(set(parts)) == 40
    numbers = [number for _ in range(20) for number in public.encrypt_all(int(value) for value in face)]
    assert len(set(numbers)) == 20 * DIMENSION


def test_one_share_of_the_key_opens_nothing(threads: ThreadPoolExecutor) -> None:
    """Nor do the numbers that anybody can work out from it, among them what the published split gave away."""
    world = WORLDS["swapped galleries"][0]
    shares = small_key()
    public = shares[0].public
    blocks = encrypt_blocks(world.templates, BITS, public)
    n = public.n
    for share in shares:
        x = share.exponent
        other = (1 - x) % n  # the first server's share under the published split
        for exponent in (x, x % n, other, x + other, x % n + other, 2 * x, x - 1, x * x, (x + other) * n):
            for ciphertext in (*blocks[0], public.encrypt(0), public.encrypt(1)):
                assert (pow(ciphertext, exponent, public.square) - 1) % n != 0
        hidden = public.encrypt(5)
        with pytest.raises(PrivateKeyError, match="do not fit together"):
            combine(public, share.partial(hidden), share.partial(hidden))
        with pytest.raises(PrivateKeyError):
            combine(public, share.partial(hidden), mpz(1))
    assert combine(public, *(share.partial(hidden) for share in shares)) == 5


# The reference way


class Watched:
    """A leader whose helper's opened numbers are kept by step, and the answers that the leader gets."""

    def __init__(self) -> None:
        shares = small_key()
        self.sizes = Sizes(shares[0].public.bits, DIMENSION, 8, BITS)
        self.public = shares[0].public
        self.opened: dict[str, list[mpz]] = {}
        self.answers: list[bytes] = []
        self.helper = Helper(shares[1], self.sizes)
        self.leader = Leader(shares[0], self.sizes, self._ask)

    def _ask(self, step: str, count: int, values: list[mpz]) -> list[mpz]:
        packed = {"smaller": 2 * self.sizes.comparisons.blocks(count)}.get(step, len(values))
        self.opened.setdefault(step, []).extend(self.helper.open(values[:packed]))
        answer = self.helper.answer(step, count, values)
        self.answers.append(write_ciphertexts(answer, self.public))
        return answer

    def candidates(self, distances: Sequence[int]) -> list[Candidate]:
        return [Candidate(self.public.encrypt(distance), self.public.encrypt(place + 1))
                for place, distance in enumerate(distances)]

    def search(self, world: World) -> int:
        """The number that the user is told, from an encrypted gallery."""
        numbers = self.public.encrypt_all(int(value) for value in world.face)
        records = [self.public.encrypt_all(-int(value) for value in row) for row in world.templates]
        identities = self.public.encrypt_all(range(1, len(records) + 1))
        nearest = self.leader.search(numbers, records, identities)
        mine, sent = self.leader.end([nearest.distance, nearest.identity], [], THRESHOLD)
        (opened,) = self.helper.open(sent)
        self.opened.setdefault("deliver", []).append(opened)
        return int((int.from_bytes(mine, "little") + opened) % (1 << 128))


def gaps_of(watched: Watched, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """What the helper reads off a round: about how far apart the two distances of each pair are, with a sign."""
    flat = [distance for pair in pairs for distance in pair]
    watched.opened.pop("smaller", None)
    watched.leader._round(watched.candidates(flat)[0::2], watched.candidates(flat)[1::2])
    slots = watched.sizes.comparisons
    numbers = [number for block in watched.opened["smaller"] for number in slots.unpack(block, slots.count)]
    return np.array([(number - (1 << slots.width - 1)) / 2 ** SIGMA for number in numbers[:len(pairs)]])


def test_the_helper_learns_how_far_apart_two_distances_are() -> None:
    """The leak: from each comparison the gap, up to a factor of two; of which is smaller it learns nothing."""
    chance = np.random.default_rng(0)
    gaps = np.unique((2 ** chance.uniform(0, BITS - 1, 300)).astype(int))
    chance.shuffle(gaps)
    pairs = [(int(low), int(low + gap)) for gap in gaps
             for low in [chance.integers(0, (1 << BITS) - gap)]]
    seen = gaps_of(Watched(), pairs)
    assert spearmanr(np.abs(seen), gaps).statistic > 0.9
    assert np.all((gaps - 1) / 2 <= np.abs(seen))
    assert np.all(np.abs(seen) <= gaps + 1)
    negative = (seen < 0).mean()
    assert abs(negative - 0.5) < 6 * 0.5 / np.sqrt(len(gaps))
    # Which of the distances are compared, other than their gap, does not show.
    lows = np.array([low for low, _ in pairs])
    narrow = gaps_of(Watched(), [(int(low), int(low) + 7) for low in lows])
    assert abs(spearmanr(np.abs(narrow), lows).statistic) * np.sqrt(len(lows) - 1) < 6


def test_the_helper_learns_how_far_from_the_threshold_the_nearest_is() -> None:
    """The same leak, in the last comparison."""
    watched, chance = Watched(), np.random.default_rng(1)
    gaps = np.unique((2 ** chance.uniform(0, BITS - 2, 150)).astype(int))
    chance.shuffle(gaps)
    nearer = chance.integers(0, 2, len(gaps)).astype(bool)
    middle = 1 << BITS - 1
    for gap, near in zip(gaps, nearer, strict=True):
        distance = watched.public.encrypt(int(middle - gap if near else middle + gap))
        watched.leader.at_most(distance, watched.public.encrypt(middle))
    signed = [int(number % watched.public.n - watched.public.half) for number in watched.opened["compare"]]
    seen = np.array([abs(number) / 2 ** SIGMA for number in signed])
    assert spearmanr(seen, gaps).statistic > 0.9
    assert np.all(seen <= gaps + 2)
    assert np.all(seen >= gaps / 2 - 2)
    same = (np.array([number > 0 for number in signed]) == nearer).mean()
    assert abs(same - 0.5) < 6 * 0.5 / np.sqrt(len(gaps)), "the helper learns whether somebody was found"


@pytest.mark.slow
def test_nothing_else_that_the_helper_opens_tells_anything() -> None:
    """And what the leader is sent are ciphertexts that it cannot tell apart."""
    seen: list[tuple[list[bytes], list[bytes]]] = []
    for world in WORLDS["as unlike as can be"]:
        opened, answered = list[bytes](), list[bytes]()
        for _ in range(150):
            watched = Watched()
            assert watched.search(World(world.templates[:4], world.face, None)) in \
                ({0} if world.found is None else {1, 2, 3, 4})
            size = watched.public.bits // 8
            kept = {step: watched.opened[step] for step in ("squares", "product", "deliver")}
            opened.append(b"".join(int(number % watched.public.n).to_bytes(size, "little")
                                   for numbers in kept.values() for number in numbers))
            answered.append(b"".join(watched.answers))
        seen.append((opened, answered))
    assert apart(seen[0][0], seen[1][0]) == []
    assert apart(seen[0][1], seen[1][1]) == []


@pytest.mark.slow
def test_by_the_comparisons_alone_worlds_are_told_apart() -> None:
    """The price of the reference way: whether all distances are alike shows."""
    spread = []
    for world in (WORLDS["as unlike as can be"][0], WORLDS["swapped galleries"][0]):
        sizes = []
        for _ in range(20):
            watched = Watched()
            watched.search(World(world.templates[:4], world.face, None))
            slots = watched.sizes.comparisons
            first = slots.unpack(watched.opened["smaller"][0], 2)
            sizes.append(max(abs(number - (1 << slots.width - 1)) for number in first) / 2 ** SIGMA)
        spread.append(sizes)
    assert max(spread[0]) <= 1 < min(spread[1])
