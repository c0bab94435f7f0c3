"""Which of two shared numbers is smaller: always right, and nothing of the numbers crosses the wire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from visagent.errors import BadMessage
from visagent.tools.private_match.comparison import choose, deal_signs, is_negative, multiply_bits, rounds
from visagent.tools.private_match.randomness import Source, pack_bits, unpack_bits

Servers = Callable[..., Any]
UNLIKELY = 1e-9
"""A transcript that says nothing fails a test this seldom."""
TOO_FAR = 8.0
"""Standard deviations: of all pairs of bits of a transcript none goes together so strongly by chance (10^-15 each)."""
CLOSE, FAR = 1, 1 << 20


def shares_of(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    first = rng.integers(0, 2**32, values.shape, np.uint32)
    return first, values.astype(np.int64).astype(np.uint32) - first


def signs_of(servers: Servers, shares: tuple[np.ndarray, np.ndarray], width: int) -> tuple[np.ndarray, Any]:
    """Which are negative, and what happened."""
    count = len(shares[0])
    ran = servers(lambda dealer: deal_signs(count, width, dealer),
                  lambda party, source, exchange: is_negative(shares[party - 1], width, party, source, exchange))
    assert ran.first.shape == ran.second.shape == (-(-count // 8),)
    return unpack_bits(ran.first ^ ran.second, count).astype(bool), ran


@pytest.mark.parametrize("width", range(2, 7))
def test_every_value_in_every_split_of_its_bits(servers: Servers, width: int) -> None:
    """The bits over the width are random, and must not matter."""
    rng = np.random.default_rng(width)
    low, value = np.meshgrid(np.arange(1 << width), np.arange(-(1 << width >> 1), 1 << width >> 1))
    for _ in range(3):
        above = rng.integers(0, 1 << (32 - width), low.size, np.uint32) << np.uint32(width)
        first = low.ravel().astype(np.uint32) | above
        second = value.ravel().astype(np.int64).astype(np.uint32) - first
        found, _ = signs_of(servers, (first, second), width)
        assert np.array_equal(found, value.ravel() < 0)


@st.composite
def shared_values(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """A width, values of it, and one server's shares of them."""
    width = draw(st.integers(2, 32))
    half = 1 << width >> 1
    values = draw(st.lists(st.integers(-half, half - 1), min_size=1, max_size=20))
    return width, values, draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(values), max_size=len(values)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shared_values())
@example((32, [-(1 << 31), (1 << 31) - 1, 0, -1], [0, 2**32 - 1, 0, 0]))
@example((9, [-1] * 8, [1] * 8))
@example((10, [0] * 9, [2**32 - 1] * 9))
def test_any_value_of_any_width(servers: Servers, case: tuple[int, list[int], list[int]]) -> None:
    width, values, first = case
    mine = np.array(first, np.uint32)
    found, _ = signs_of(servers, (mine, np.array(values, np.int64).astype(np.uint32) - mine), width)
    assert found.tolist() == [value < 0 for value in values]


@pytest.mark.parametrize("width", range(2, 33))
def test_extremes_of_every_width(servers: Servers, width: int) -> None:
    rng = np.random.default_rng(width)
    half = 1 << width >> 1
    ends = [-half, -half + 1, -2, -1, 0, 1, half - 2, half - 1]
    values = np.array(ends * 6 + rng.integers(-half, half, 33).tolist(), np.int64)
    values = values[(values >= -half) & (values < half)]
    first, second = shares_of(values, rng)
    first[:8], first[8:16], first[16:24] = 0, 2**32 - 1, half  # carries through all bits, and through none
    second = values.astype(np.uint32) - first
    found, ran = signs_of(servers, (first, second), width)
    assert np.array_equal(found, values < 0)
    assert len(ran.sent[0]) == len(ran.sent[1]) == rounds(width)


def test_as_many_exchanges_as_said() -> None:
    assert [rounds(width) for width in (2, 3, 4, 5, 6, 9, 10, 17, 18, 24, 32)] == [1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64, 65])
@pytest.mark.parametrize("width", [2, 3, 8, 24, 32])
def test_all_that_is_dealt_is_used(servers: Any, count: int, width: int) -> None:
    """It is enough, and the last byte is used."""
    shares = shares_of(np.arange(count) % 2, np.random.default_rng(0))
    found, ran = signs_of(servers, shares, width)
    assert not found.any()
    assert len(ran.sent[0]) == rounds(width)
    servers.lost = 1
    with pytest.raises(BadMessage, match=r"end too early"):
        signs_of(servers, shares, width)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 2)])
def test_products_of_shared_bits(servers: Servers, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.integers(0, 256, (2, *shape), np.uint8) for _ in range(2))
    ran = servers(lambda dealer: dealer.products(*shape),
                  lambda party, source, exchange: multiply_bits(one[party - 1], other[party - 1], party, source,
                                                                exchange))
    assert np.array_equal(ran.first ^ ran.second, (one[0] ^ one[1]) & (other[0] ^ other[1]))
    assert len(ran.sent[0]) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_rows_are_chosen_by_their_bit(servers: Servers, chosen: list[bool], columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, bits = len(chosen), np.array(chosen)
    rows = rng.choice(np.array([0, 1, 2**31, 2**32 - 1, 12345], np.uint32), (count, columns))
    first_bits = rng.integers(0, 256, -(-count // 8), np.uint8) & pack_bits(np.ones(count, np.bool_))
    first_rows = rng.integers(0, 2**32, rows.shape, np.uint32)
    shares = [(first_bits, first_rows), (pack_bits(bits) ^ first_bits, rows - first_rows)]
    ran = servers(lambda dealer: dealer.choices(count, columns),
                  lambda party, source, exchange: choose(*shares[party - 1], party, source, exchange))
    assert ran.first.shape == rows.shape
    assert np.array_equal(ran.first + ran.second, rows * bits[:, None].astype(np.uint32))
    assert len(ran.sent[0]) == len(ran.sent[1]) == 1


@dataclass
class Noted:
    """A source that keeps what it gave."""

    source: Source
    given: list[np.ndarray]

    def products(self, *shape: int) -> Any:
        return self._note(self.source.products(*shape))

    def choices(self, count: int, columns: int) -> Any:
        return self._note(self.source.choices(count, columns))

    def products_with(self, matrix: np.ndarray) -> Any:
        return self._note(self.source.products_with(matrix))

    def _note(self, parts: Any) -> Any:
        self.given += parts
        return parts


@dataclass
class Forgetful:
    """A source that gives the same random bits twice: first for a, then for b."""

    source: Source

    def products(self, *shape: int) -> Any:
        a, _, product = self.source.products(*shape)
        return a, a, product


class Unmasked:
    """A source whose random bits are all zero."""

    def products(self, *shape: int) -> Any:
        return tuple(np.zeros(shape, np.uint8) for _ in range(3))


WIDTH, MANY = 24, 1 << 15


def compare_often(servers: Any, value: int, first: int = 0, count: int = MANY) -> Any:
    """The same comparison of the same two shares, each time with fresh random bits, and no share to hide behind."""
    mine = np.full(count, first, np.uint32)
    return signs_of(servers, (mine, np.full(count, value, np.int64).astype(np.uint32) - mine), WIDTH)[1]


def planes(messages: list[bytes]) -> np.ndarray:
    """Bits that were sent of each comparison `[bits, comparisons]`, as -1 and 1."""
    packed = np.concatenate([np.frombuffer(message, np.uint8).reshape(-1, MANY // 8) for message in messages])
    return np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32) * 2 - 1


def strongest(bits: np.ndarray) -> float:
    """The most that a bit leans to one side, two bits go together, or a bit with that of the next comparison."""
    together = np.abs(bits @ bits.T) / np.sqrt(bits.shape[1])
    np.fill_diagonal(together, 0)
    alone = np.abs(bits.sum(1)) / np.sqrt(bits.shape[1])
    beside = np.abs((bits[:, 1:] * bits[:, :-1]).sum(1)) / np.sqrt(bits.shape[1] - 1)
    return float(max(together.max(), alone.max(), beside.max()))


def counted(messages: list[bytes]) -> np.ndarray:
    return np.bincount(np.frombuffer(b"".join(messages), np.uint8), minlength=256)


@pytest.mark.parametrize("value", [CLOSE, -CLOSE, FAR, -FAR, 0])
def test_all_that_crosses_the_wire_is_uniform(servers: Any, value: int) -> None:
    """Each side's messages, both sides' together, and what both together open: bit by bit, and in pairs."""
    ran = compare_often(servers, value)
    first, second = (planes(messages) for messages in ran.sent)
    assert len(first) == 2 * (23 + 2 * (11 + 6 + 3 + 1 + 1))
    assert strongest(np.concatenate([first, second])) < TOO_FAR
    assert strongest(first * second) < TOO_FAR
    for messages in ran.sent:
        assert chisquare(counted(messages)).pvalue > UNLIKELY


@pytest.mark.parametrize("party", [1, 2])
@pytest.mark.parametrize("value", [CLOSE, -FAR])
def test_no_server_learns_from_what_it_knows_and_gets(servers: Any, party: int, value: int) -> None:
    """Its own random bits next to the other one's messages are unrelated to them."""
    given: dict[int, list[np.ndarray]] = {1: [], 2: []}
    servers.wrap = lambda whose, source: Noted(source, given[whose])
    ran = compare_often(servers, value, first=0x12345678)
    own = planes([part.tobytes() for part in given[party]])
    theirs = planes(ran.sent[2 - party])
    assert strongest(np.concatenate([own, theirs])) < TOO_FAR
    assert strongest(np.concatenate([own, theirs * planes(ran.sent[party - 1])])) < TOO_FAR


def test_small_and_large_gaps_swapped_or_not_cannot_be_told_apart(servers: Any) -> None:
    runs = [compare_often(servers, value) for value in (CLOSE, FAR, -CLOSE, -FAR)]
    assert len({tuple(map(len, sent)) for ran in runs for sent in ran.sent}) == 1
    for party in (0, 1):
        assert chi2_contingency(np.stack([counted(ran.sent[party]) for ran in runs])).pvalue > UNLIKELY
    ones = np.stack([(planes(ran.sent[0]) * planes(ran.sent[1])).sum(1) for ran in runs])
    assert np.abs(ones[0] - ones[1:]).max() < TOO_FAR * np.sqrt(2 * MANY)


@pytest.mark.parametrize("wrap", [lambda party, source: Forgetful(source), lambda party, source: Unmasked()],
                         ids=["used twice", "none"])
def test_these_tests_notice_bad_masks(servers: Any, wrap: Callable[[int, Source], Any]) -> None:
    servers.wrap = wrap
    first, second = (planes(messages) for messages in compare_often(servers, CLOSE).sent)
    assert strongest(np.concatenate([first, second])) > TOO_FAR
    assert strongest(first * second) > TOO_FAR


def test_these_tests_notice_masked_products() -> None:
    """Pura's comparison opens r1 (a - b) + r2: of 64-bit masks, the length tells the gap."""
    rng = np.random.default_rng(0)
    opened = [(rng.integers(1, 1 << 40, MANY) * gap + rng.integers(0, 1 << 20, MANY)).astype("<u8").tobytes()
              for gap in (CLOSE, FAR)]
    assert chi2_contingency(np.stack([counted([one]) for one in opened])).pvalue < UNLIKELY


@pytest.mark.parametrize("bit", [0, 1])
def test_choosing_sends_nothing_but_masks(servers: Any, bit: int) -> None:
    """Neither which row was chosen, nor what is in it."""
    columns, size = 2, MANY // 8
    flips, hidden = [], []
    for _ in range(2):
        mine = np.full(size, 255 * bit, np.uint8), np.full((MANY, columns), 7, np.uint32)
        none = np.zeros_like(mine[0]), np.zeros_like(mine[1])
        ran = servers(lambda dealer: dealer.choices(MANY, columns),
                      lambda party, source, exchange, one=mine, other=none: choose(*(one if party == 1 else other),
                                                                                   party, source, exchange))
        assert np.array_equal(ran.first + ran.second, mine[1] * np.uint32(bit))
        for (message,) in ran.sent:
            assert len(message) == size + 4 * MANY * columns
            flips.append(planes([message[:size]]))
            words = np.frombuffer(message[size:], np.uint8).reshape(MANY, -1)
            hidden.append(np.unpackbits(words, axis=1).T.astype(np.float32) * 2 - 1)
            assert chisquare(counted([message])).pvalue > UNLIKELY
    for run in (0, 2):
        assert strongest(np.concatenate([flips[run], hidden[run], flips[run + 1], hidden[run + 1]])) < TOO_FAR
        assert strongest(np.concatenate([flips[run] * flips[run + 1], hidden[run] * hidden[run + 1]])) < TOO_FAR
