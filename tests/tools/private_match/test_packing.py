"""Many small numbers in one plaintext: what is done to the plaintext is done to every slot."""

from __future__ import annotations

import gmpy2
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from visagent.tools.private_match.packing import Slots
from visagent.tools.private_match.paillier import SecretKey

LAYOUTS = st.builds(Slots, st.integers(1, 200), st.integers(1, 40))


@st.composite
def laid_out(draw: st.DrawFn, signed: bool = False) -> tuple[Slots, list[int]]:
    """A layout, and as many values as it has slots, or fewer."""
    slots = draw(LAYOUTS)
    limit = 1 << slots.width
    least, greatest = (-limit // 4, limit // 4) if signed else (0, limit - 1)
    return slots, draw(st.lists(st.integers(least, greatest), max_size=slots.count))


@given(laid_out())
def test_what_is_packed_comes_back(case: tuple[Slots, list[int]]) -> None:
    slots, values = case
    packed = slots.pack(values)
    assert packed == sum(value << (slots.width * place) for place, value in enumerate(values))
    unpacked = slots.unpack(packed, len(values))
    assert unpacked == values
    assert all(type(value) is int for value in unpacked)
    # Slots that hold nothing are zero, and fewer may be asked for.
    assert slots.unpack(packed, slots.count) == values + [0] * (slots.count - len(values))
    assert slots.unpack(packed, len(values) // 2) == values[:len(values) // 2]


@given(laid_out(signed=True))
def test_negative_values_come_back_once_lifted(case: tuple[Slots, list[int]]) -> None:
    slots, values = case
    lift = 1 << slots.width >> 1
    packed = slots.pack(values) + slots.pack([lift] * len(values))
    assert [value - lift for value in slots.unpack(packed, len(values))] == values


@given(st.integers(20, 60), st.lists(st.tuples(st.integers(-500, 500), st.integers(-500, 500)), max_size=20),
       st.integers(-500, 500))
def test_sums_and_multiples_are_those_of_all_slots(width: int, values: list[tuple[int, int]], factor: int) -> None:
    slots, lift = Slots(width, 20), 1 << (width - 1)
    one, other = [a for a, _ in values], [b for _, b in values]
    packed = factor * slots.pack(one) - slots.pack(other) + slots.pack([lift] * len(values))
    assert slots.unpack(packed, len(values)) == [factor * a - b + lift for a, b in values]


@pytest.mark.parametrize("bits", [2048, 3072])
@pytest.mark.parametrize("width", [1, 31, 64, 156, 500, 1000])
def test_a_full_plaintext_is_still_positive(bits: int, width: int) -> None:
    slots = Slots.within(bits, width)
    assert slots.width == width
    assert slots.count == (bits - 2) // width
    fullest = slots.pack([(1 << width) - 1] * slots.count)
    smallest_half = (mpz(1) << (bits - 1)) // 2
    assert fullest < smallest_half
    assert fullest << width >= smallest_half >> 1  # one more would not fit
    assert slots.unpack(fullest, slots.count) == [(1 << width) - 1] * slots.count


def test_the_slots_of_the_paper() -> None:
    assert Slots.within(2048, 64).count == 31
    assert Slots.within(2048, 140).count == 14
    assert Slots.within(2048, 2047).count == 0


@given(LAYOUTS, st.integers(0, 1000))
def test_blocks_hold_everything_and_none_is_empty(slots: Slots, number: int) -> None:
    blocks = slots.blocks(number)
    assert blocks * slots.count >= number
    assert (blocks - 1) * slots.count < number or number == blocks == 0


def test_slots_survive_encryption(key: SecretKey) -> None:
    """Products of whole vectors, with signs, as the packed way computes them."""
    public = key.public
    slots = Slots.within(public.bits, 64)
    rows = [[(7 * record + 13 * place) % 255 - 127 for place in range(4)] for record in range(slots.count)]
    query = [127, -127, 1, -60]
    columns = [public.encrypt(slots.pack([row[place] for row in rows])) for place in range(4)]
    lift = 1 << 40
    total = public.encrypt(slots.pack([lift] * slots.count))
    for column, factor in zip(columns, query, strict=True):
        total = public.add(total, public.scale(column, factor))
    opened = key.decrypt(total)
    assert opened > 0
    found = [value - lift for value in slots.unpack(opened, slots.count)]
    assert found == [sum(a * b for a, b in zip(row, query, strict=True)) for row in rows]
    assert gmpy2.mpz(opened) == slots.pack([value + lift for value in found])
