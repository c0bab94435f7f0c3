"""Messages: what was packed is what is read, and nothing else is ever taken for a message."""

from __future__ import annotations

import random
import time
import tracemalloc
from enum import IntEnum

import gmpy2
import msgpack
import numpy as np
import pytest
from gmpy2 import mpz
from hypothesis import given
from hypothesis import strategies as st

from visagent.errors import BadMessage
from visagent.tools.private_match.messages import (
    DEPTH,
    MOST_VALUES,
    Message,
    Value,
    pack,
    read_ciphertexts,
    unpack,
    write_ciphertexts,
)
from visagent.tools.private_match.paillier import PublicKey, SecretKey

FIELDS: dict[str, Value] = {"kind": "query", "id": bytes(16), "records": 7, "part": b"\1\2",
                            "deep": [[1, "ü"], [None]], "yes": True, "numbers": [1, 2, 3]}
plain = st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.binary(max_size=300), st.text(max_size=300),
                  st.booleans(), st.none())
two_deep = st.one_of(plain, st.lists(plain, max_size=20))
four_deep = st.one_of(two_deep, st.lists(st.lists(two_deep, max_size=3), max_size=3))
allowed = st.dictionaries(st.text(max_size=40), four_deep, max_size=8)
names = st.one_of(st.text(max_size=4), st.integers(0, 9))
anything = st.recursive(
    st.one_of(plain, st.floats(), st.just(msgpack.Timestamp(1, 2)),
              st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9))),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)), max_leaves=20)


@given(allowed)
def test_what_was_packed_is_read(fields: dict[str, Value]) -> None:
    assert unpack(pack(fields)).fields == fields


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = unpack(data)
    except BadMessage:
        return
    assert message.fields == msgpack.unpackb(data)


@given(anything)
def test_anything_that_can_be_packed_is_a_message_or_refused(value: object) -> None:
    data = msgpack.packb(value)
    try:
        message = unpack(data)
    except BadMessage:
        return
    assert message.fields == value and pack(message.fields)


@pytest.mark.parametrize("data", [
    b"", b"\x00", b"\xc0", msgpack.packb([1]), msgpack.packb("text"), msgpack.packb(b"raw"), b"\xc1",
    msgpack.packb({"a": 1.5}), msgpack.packb({"a": msgpack.Timestamp(1)}),
    msgpack.packb({"a": msgpack.ExtType(4, b"")}), msgpack.packb({"a": msgpack.Timestamp(1 << 40, 5)}),
    msgpack.packb({"a": {"b": 1}}), msgpack.packb({"a": [{}]}), msgpack.packb({1: 1}), msgpack.packb({b"a": 1}),
    msgpack.packb({None: 1}), msgpack.packb({True: 1}), b"\x81\x91\x01\x01", b"\x81\xa1a\xc1",
    msgpack.packb({"a": 1}) + b"\xc0", msgpack.packb({"a": 1}) * 2, msgpack.packb({"a": 1})[:-1], b"\x81",
    b"\x81\xa1a", b"\x82\xa1a\x01\xa1a\x02", b"\x82\xa1a\x01\xd9\x01a\x01", b"\x81\xa1\xff\x01", b"\x81\xa1a\xa1\xff",
    b"\x81\xa1a\xa3\xed\xa0\x80",
])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack(data)


@pytest.mark.parametrize("header", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
@pytest.mark.parametrize("length", [100, 1 << 20, 1 << 31, (1 << 32) - 1])
def test_what_is_announced_must_have_come(header: bytes, length: int) -> None:
    """Lists, maps, texts, bytes and extensions that say they are long."""
    announced = header + length.to_bytes(4, "big")
    tracemalloc.start()
    try:
        for data in (announced, b"\x81\xa1a" + announced, b"\x81\xa1a" + announced + bytes(50)):
            with pytest.raises(BadMessage):
                unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_lists_in_lists_without_end_cost_nothing() -> None:
    """Each announces a million more; a reader that makes room as it is told to needs gigabytes."""
    data = b"\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 500 + bytes(1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage, match="nested deeper"):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_depth_has_a_limit() -> None:
    assert DEPTH == 4
    for value in ([[[1]]], [[[]]]):
        assert unpack(pack({"a": value})).fields == {"a": value}
    for value in ([[[[1]]]], [[[[]]]]):
        with pytest.raises(BadMessage, match="nested deeper than 4"):
            unpack(msgpack.packb({"a": value}))
        with pytest.raises(BadMessage):
            pack({"a": value})


def test_the_number_of_values_has_a_limit() -> None:
    assert unpack(msgpack.packb({"a": [0] * (MOST_VALUES - 1)}))
    for fields in ({"a": [0] * MOST_VALUES}, {"a": [[0] * 300 for _ in range(300)]},
                   {str(number): 0 for number in range(MOST_VALUES + 1)}):
        with pytest.raises(BadMessage, match="more than 65536 values"):
            unpack(msgpack.packb(fields))


@pytest.mark.parametrize("value", [
    1.5, 1 << 64, -(1 << 63) - 1, {"b": 1}, (1, 2), {1}, mpz(1), np.int64(1), np.bool_(True), bytearray(b"x"),
    "\ud800", [1.5], [[mpz(1)]], memoryview(b"x"), object(), IntEnum("Way", ["SHARED"]).SHARED,
])
def test_what_cannot_be_packed(value: object) -> None:
    with pytest.raises(BadMessage, match="A message holds"):
        pack({"a": value})  # type: ignore[dict-item]
    with pytest.raises(BadMessage):
        pack({1: 1})  # type: ignore[dict-item]


def test_readers_give_what_is_there() -> None:
    message = unpack(pack(FIELDS))
    assert message.text("kind") == "query"
    assert message.raw("id", 16) == bytes(16) and message.raw("part") == b"\1\2"
    assert message.whole("records", 7, 7) == 7
    assert message.numbers("numbers", 3, 1, 3) == [1, 2, 3]
    assert message.flag("yes") is True
    assert "query" not in repr(message), "what people ask is not logged by accident"


@pytest.mark.parametrize("name", ["kind", "id", "records", "part", "deep", "yes", "numbers", "missing"])
def test_readers_refuse_all_else(name: str) -> None:
    message = Message(FIELDS)
    readers = {
        "kind": lambda: message.text(name), "id": lambda: message.raw(name, 16),
        "records": lambda: message.whole(name, 0, 10), "part": lambda: message.raw(name, 2),
        "yes": lambda: message.flag(name), "numbers": lambda: message.numbers(name, 3),
    }
    for of, read in readers.items():
        if of != name:
            with pytest.raises(BadMessage, match=f'no "{name}" that is'):
                read()


@pytest.mark.parametrize("read", [
    lambda message: message.whole("records", 8, 9), lambda message: message.whole("records", 0, 6),
    lambda message: message.whole("yes", 0, 1), lambda message: message.raw("id", 15),
    lambda message: message.raw("id", 0), lambda message: message.numbers("numbers", 2),
    lambda message: message.numbers("numbers", 4), lambda message: message.numbers("numbers", 3, 2),
    lambda message: message.numbers("numbers", 3, 0, 2), lambda message: message.numbers("mixed", 2),
    lambda message: message.numbers("mixed", 1),
    lambda message: message.text("long"), lambda message: message.text("escape"),
    lambda message: message.text("lines"),
])
def test_readers_hold_to_their_limits(read: object) -> None:
    message = Message({**FIELDS, "mixed": [1, True], "long": "x" * 1025, "escape": "\x1b[2J", "lines": "a\nb"})
    with pytest.raises(BadMessage):
        read(message)  # type: ignore[operator]


def test_fuzzed_messages_are_messages_or_refused() -> None:
    rng, data = random.Random(8), pack(FIELDS)
    refused = 0
    begun = time.monotonic()
    for _ in range(2_000):
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(changed) + 1)
            changed[at:at + rng.randrange(3)] = rng.choice((bytes([rng.randrange(256)]), b"", rng.randbytes(3),
                                                            b"\xdd\xff\xff\xff\xff", b"\xc7\x08\xff" + bytes(8)))
        try:
            message = unpack(bytes(changed))
        except BadMessage:
            refused += 1
            continue
        assert unpack(pack(message.fields)).fields == message.fields
    assert refused > 1_000 and time.monotonic() - begun < 10


@pytest.fixture(scope="module")
def public(key: SecretKey) -> PublicKey:
    return key.public


def test_ciphertexts_come_through(key: SecretKey, long_key: SecretKey) -> None:
    for one in (key, long_key):
        values = [mpz(2), *one.public.encrypt_all([0, -5, 17]), one.public.square - 1]
        data = write_ciphertexts(values, one.public)
        assert len(data) == 5 * one.public.ciphertext_bytes == 5 * one.public.bits // 4
        assert read_ciphertexts(data, 5, one.public) == values
        assert write_ciphertexts([], one.public) == b"" and read_ciphertexts(b"", 0, one.public) == []


def test_they_are_written_the_highest_byte_first(public: PublicKey) -> None:
    assert write_ciphertexts([mpz(258)], public) == bytes(510) + b"\1\2"


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 40])
def test_as_many_as_there_should_be(count: int, public: PublicKey) -> None:
    with pytest.raises(BadMessage, match="ciphertexts there are 1024 bytes"):
        read_ciphertexts(write_ciphertexts(public.encrypt_all([1, 2]), public), count, public)


@pytest.mark.parametrize("length", [1023, 1025, 0])
def test_as_long_as_they_should_be(length: int, public: PublicKey) -> None:
    data = write_ciphertexts(public.encrypt_all([1, 2]), public)
    with pytest.raises(BadMessage):
        read_ciphertexts((data + b"\0")[:length], 2, public)


def test_what_is_no_ciphertext_is_refused_wherever_it_stands(key: SecretKey) -> None:
    public = key.public
    good = public.encrypt_all([1, 2])
    wrong = [mpz(0), mpz(1), public.square, public.square + 2, public.n, 3 * public.n, key.prime_p, 5 * key.prime_q,
             (mpz(1) << 8 * public.ciphertext_bytes) - 1]
    for value in wrong:
        assert not public.is_ciphertext(value)
        for place in range(3):
            values = [*good[:place], value, *good[place:]]
            with pytest.raises(BadMessage, match="none under this key"):
                read_ciphertexts(write_ciphertexts(values, public), 3, public)
    # Two factors that only together are N.
    with pytest.raises(BadMessage):
        read_ciphertexts(write_ciphertexts([key.prime_p, key.prime_q], public), 2, public)


@given(st.lists(st.integers(0, 1 << 4096), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_all_are_taken_if_each_may_be(numbers: list[int], rng: random.Random) -> None:
    public = PublicKey(mpz(3 * 5 * 7 * 11), mpz(2), 112)  # small, so that many numbers share a factor with it
    values = [mpz(number % (1 << 8 * public.ciphertext_bytes)) for number in numbers]
    data = write_ciphertexts(values, public)
    if all(public.is_ciphertext(value) for value in values):
        assert read_ciphertexts(data, len(values), public) == values
    else:
        with pytest.raises(BadMessage):
            read_ciphertexts(data, len(values), public)


def test_many_ciphertexts_take_no_time(public: PublicKey) -> None:
    values = [gmpy2.powmod(3, number, public.square) for number in range(5_000, 5_129)]
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        read_ciphertexts(write_ciphertexts(values, public), len(values), public)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.02  # 0.6 ms when this was written
