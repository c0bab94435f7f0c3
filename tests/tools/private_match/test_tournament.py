"""The nearest record, if near enough: as in plain numbers, in as many exchanges as said, and with nothing shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from visagent.errors import BadMessage
from visagent.tools.private_match.comparison import Exchange
from visagent.tools.private_match.randomness import Dealer, Source
from visagent.tools.private_match.tournament import deal_tournament, exchanges, nearest

Servers = Callable[..., Any]
UNLIKELY = 1e-9
"""A transcript that says nothing fails a test this seldom."""


@dataclass(frozen=True)
class Case:
    """One search.

    Attributes:
        distances: Of each record.
        identities: `[records, words]`.
        threshold: The greatest distance that is near enough.
        bits: Of a distance.
    """

    distances: np.ndarray
    identities: np.ndarray
    threshold: int
    bits: int

    @property
    def answer(self) -> np.ndarray:
        """In plain numbers; `argmin` is the first of equals."""
        best = int(np.argmin(self.distances))
        return self.identities[best] * np.uint32(self.distances[best] <= self.threshold)


def case_of(distances: Sequence[int], threshold: int, bits: int, words: int = 2) -> Case:
    """Identities say which record it is, so that equal distances are told apart."""
    count = len(distances)
    identities = np.arange(1, count * words + 1, dtype=np.uint32).reshape(count, words) * np.uint32(2654435761)
    return Case(np.array(distances, np.uint32), identities, threshold, bits)


def search(servers: Servers, cases: Sequence[Case], seed: int = 0) -> Any:
    """All searches, one after another, with what is dealt for all; returns what happened."""
    rng = np.random.default_rng(seed)
    shares: tuple[list[tuple[np.ndarray, np.ndarray]], ...] = ([], [])
    for case in cases:
        first = [rng.integers(0, 2**32, part.shape, np.uint32) for part in (case.distances, case.identities)]
        shares[0].append((first[0], first[1]))
        shares[1].append((case.distances - first[0], case.identities - first[1]))

    def deal(dealer: Dealer) -> None:
        for case in cases:
            deal_tournament(len(case.distances), case.identities.shape[1], case.bits, dealer)

    def serve(party: int, source: Source, exchange: Exchange) -> list[np.ndarray]:
        return [nearest(*part, case.threshold, case.bits, party, source, exchange)
                for part, case in zip(shares[party - 1], cases, strict=True)]

    return servers(deal, serve)


def agree(servers: Servers, cases: Sequence[Case], seed: int = 0) -> None:
    ran = search(servers, cases, seed)
    for case, one, other in zip(cases, ran.first, ran.second, strict=True):
        assert one.shape == other.shape == case.answer.shape
        assert np.array_equal(one + other, case.answer), case
    expected = sum(exchanges(len(case.distances), case.bits) for case in cases)
    assert len(ran.sent[0]) == len(ran.sent[1]) == expected


def random_cases(count: int, bits: int, records: int, seed: int) -> list[Case]:
    """Half of them have thresholds at, just under or just over the least distance."""
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        # Few different distances, so that many are equal.
        pool = rng.integers(0, 1 << bits, int(rng.integers(1, 5)))
        distances = rng.choice(pool, int(rng.integers(1, records + 1)))
        close = int(distances.min()) + int(rng.integers(-1, 2))
        threshold = close if rng.random() < 0.5 else int(rng.integers(0, 1 << bits))
        cases.append(case_of(distances.tolist(), min(max(threshold, 0), (1 << bits) - 1), bits,
                             int(rng.integers(1, 4))))
    return cases


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_three_records_with_all_distances_and_thresholds(servers: Servers, bits: int) -> None:
    everything = range(1 << bits)
    step = 1 if bits < 3 else 5
    cases = [case_of([a, b, c], threshold, bits)
             for a in everything for b in everything for c in everything for threshold in everything]
    agree(servers, cases[::step])


@pytest.mark.parametrize("records", [1, 2])
def test_one_and_two_records(servers: Servers, records: int) -> None:
    numbers = [0, 1, 6, 7]
    pairs = [[a] if records == 1 else [a, b] for a in numbers for b in numbers]
    agree(servers, [case_of(distances, threshold, 3) for distances in pairs for threshold in range(8)])


@pytest.mark.parametrize(("bits", "records"), [(1, 4), (4, 9), (12, 17), (23, 33), (31, 10)])
def test_as_in_plain_numbers(servers: Servers, bits: int, records: int) -> None:
    agree(servers, random_cases(120, bits, records, seed=bits))


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, 8, 23, 29, 31])
def test_thousands_as_in_plain_numbers(servers: Servers, bits: int) -> None:
    agree(servers, random_cases(1000, bits, 40, seed=100 + bits))


@pytest.mark.parametrize("records", [*range(1, 18), 31, 32, 33, 100])
def test_of_equals_the_first(servers: Servers, records: int) -> None:
    """Wherever the first of them stands, and where all are equal."""
    places = sorted({0, 1, records // 2, records - 2, records - 1} & set(range(records)))
    cases = [case_of([5] * records, 5, 4)]
    for first in places:
        for second in places:
            distances = [9] * records
            distances[first] = distances[second] = 4
            cases.append(case_of(distances, 4, 4))
    agree(servers, cases)


@pytest.mark.parametrize("bits", [3, 23, 31])
def test_the_threshold_itself_is_near_enough(servers: Servers, bits: int) -> None:
    top = (1 << bits) - 1
    for distances in ([top // 2], [top // 2, top], [top, top, top // 2]):
        agree(servers, [case_of(distances, top // 2 + more, bits) for more in (-1, 0, 1)])
    agree(servers, [case_of([top, top, top], top, bits), case_of([top, top, top], top - 1, bits),
                    case_of([0, top], top, bits), case_of([top, 0], top, bits), case_of([0, 0], 0, bits),
                    case_of([1, top], 0, bits), case_of([top], 0, bits), case_of([0], top, bits)])


def test_an_exact_match_is_found(servers: Servers) -> None:
    """A distance of zero is not taken for none."""
    agree(servers, [case_of([0 if place == at else 1 for place in range(7)], 0, 23) for at in range(7)])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_the_numbers(servers: Servers, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 31))
    distance = st.integers(0, (1 << bits) - 1)
    distances = data.draw(st.lists(distance, min_size=1, max_size=12))
    threshold = data.draw(st.one_of(distance, st.sampled_from(distances)))
    agree(servers, [case_of(distances, threshold, bits, data.draw(st.integers(1, 5)))], data.draw(st.integers(0, 99)))


def test_as_many_exchanges_as_said() -> None:
    """Per level the sign and the choice; one level more for the threshold."""
    assert [exchanges(records, 23) for records in (1, 2, 3, 4, 5, 1024, 1025)] == [7, 14, 21, 21, 28, 77, 84]


@pytest.mark.parametrize(("records", "words", "bits"), [(1, 1, 1), (2, 4, 23), (7, 2, 23), (8, 1, 31), (100, 3, 9)])
def test_all_that_is_dealt_is_used(servers: Any, records: int, words: int, bits: int) -> None:
    """It is enough, and its last byte is used."""
    case = case_of([1] * records, 1, bits, words)
    agree(servers, [case])
    servers.lost = 1
    with pytest.raises(BadMessage, match=r"end too early"):
        search(servers, [case])


def transcripts(servers: Servers, gap: int, swapped: bool, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each byte was sent by either server, over many searches."""
    near, far = 1000, 1000 + gap
    distances = [far, near] * 8 if swapped else [near, far] * 8
    ran = search(servers, [case_of(distances, threshold, 23, 4)] * 150)
    one, other = (np.bincount(np.frombuffer(b"".join(sent), np.uint8), minlength=256) for sent in ran.sent)
    return one, other


def test_what_crosses_the_wire_tells_no_gap_no_winner_and_no_answer(servers: Servers) -> None:
    runs = [transcripts(servers, gap, swapped, threshold)
            for gap, swapped, threshold in ((1, False, 0), (1 << 20, False, 0), (1 << 20, True, 0), (1, True, 5000))]
    for party in (0, 1):
        counts = np.stack([run[party] for run in runs])
        assert counts.sum(1).min() > 50_000
        assert len(set(counts.sum(1).tolist())) == 1
        assert chi2_contingency(counts).pvalue > UNLIKELY
        assert all(chisquare(count).pvalue > UNLIKELY for count in counts)


def test_each_servers_share_of_the_answer_looks_uniform(servers: Servers) -> None:
    """So that neither can tell whether there was one."""
    for threshold in (0, 5000):
        ran = search(servers, [case_of([1000, 2000, 3000], threshold, 13, 64)] * 60, seed=threshold)
        for shares in (ran.first, ran.second):
            counts = np.bincount(np.frombuffer(b"".join(share.tobytes() for share in shares), np.uint8), minlength=256)
            assert chisquare(counts).pvalue > UNLIKELY
