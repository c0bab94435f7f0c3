"""What the parties send each other: named plain values, and ciphertexts; nothing else is understood.

Whatever comes is read value by value, and each is looked at before it is read: none may be announced and missing,
nested too deep, one of too many, or of a kind that no message has. So a short message never takes much memory or time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeGuard, Union

import gmpy2
from gmpy2 import mpz

from visagent.errors import BadMessage
from visagent.tools.private_match.paillier import PublicKey

Value: TypeAlias = Union[int, bytes, str, bool, Sequence["Value"], None]  # noqa: UP007 - names itself

DEPTH: Final = 4
"""A message is the first level, so lists in lists in a list are the last."""
MOST_VALUES: Final = 1 << 16
"""Values of a message, those in its lists included. Many ciphertexts are one value: bytes."""
LONGEST_TEXT: Final = 1024
LEAST: Final = -(1 << 63)
GREATEST: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read. Every reader raises BadMessage where the value is missing or not what it must be.

    Attributes:
        fields: The values by their names.
    """

    fields: Mapping[str, Value] = field(repr=False)

    def text(self, name: str) -> str:
        """A text of at most 1,024 characters, none of which moves a terminal's cursor."""
        value = self.fields.get(name)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
            raise _wrong(name, "a short text")
        return value

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        value = self.fields.get(name)
        if not _is_whole(value, low, high):
            raise _wrong(name, f"a whole number from {low} to {high}")
        return value

    def raw(self, name: str, length: int | None = None) -> bytes:
        """Bytes; exactly so many where a length is given."""
        value = self.fields.get(name)
        if not isinstance(value, bytes) or length not in (None, len(value)):
            raise _wrong(name, "bytes" if length is None else f"{length} bytes")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.fields.get(name)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def numbers(self, name: str, count: int, low: int = 0, high: int = GREATEST) -> list[int]:
        """A list of exactly `count` whole numbers from `low` to `high`, both included."""
        value = self.fields.get(name)
        if isinstance(value, list):
            numbers = [one for one in value if _is_whole(one, low, high)]
            if len(numbers) == len(value) == count:
                return numbers
        raise _wrong(name, f"{count} whole numbers from {low} to {high}")


def pack(fields: Mapping[str, Value]) -> bytes:
    """A message as bytes.

    Args:
        fields: Whole numbers of 64 bits, bytes, texts, truth values, None, and lists of these, by names.

    Raises:
        BadMessage: There is something else among them.
    """
    import msgpack

    if not all(type(name) is str and _is_allowed(value, 2) for name, value in fields.items()):
        raise BadMessage("A message holds whole numbers of 64 bits, bytes, texts, truth values and lists of these.")
    try:
        packed: bytes = msgpack.packb(dict(fields), use_bin_type=True, strict_types=True)
    except ValueError:  # a text that is not Unicode
        raise BadMessage("A message holds a text that cannot be written.") from None
    return packed


def unpack(data: bytes) -> Message:
    """Read a message.

    Raises:
        BadMessage: It is anything but one whole message, or holds what none may hold.
    """
    import msgpack

    try:
        reader = _Reader(data)
        fields = reader.fields()
        ended = reader.ended
    except (msgpack.OutOfData, ValueError):  # ValueError: not Unicode, or longer than the whole message
        raise BadMessage("A message is cut short or damaged.") from None
    if not ended:
        raise BadMessage("There is something behind the end of a message.")
    return Message(fields)


def write_ciphertexts(values: Sequence[mpz], public: PublicKey) -> bytes:
    """Ciphertexts one after another, each of the same length, the highest byte first."""
    return b"".join(value.to_bytes(public.ciphertext_bytes, "big") for value in values)


def read_ciphertexts(data: bytes, count: int, public: PublicKey) -> list[mpz]:
    """Take such bytes apart.

    Args:
        data: From `write_ciphertexts`.
        count: How many there must be.
        public: The key that they are encrypted with.

    Raises:
        BadMessage: There are more or fewer, or one of them is no ciphertext under this key.
    """
    size = public.ciphertext_bytes
    if len(data) != count * size:
        raise BadMessage(f"Instead of {count} ciphertexts there are {len(data)} bytes.")
    values = [mpz.from_bytes(data[start:start + size], "big") for start in range(0, len(data), size)]
    product, n, square = mpz(1), public.n, public.square
    for value in values:
        product = product * value % n
    # The product shares a factor with N where any of them does, and one greatest common divisor is cheaper than many.
    if not (all(1 < value < square for value in values) and gmpy2.gcd(product, n) == 1):
        raise BadMessage("A number that should be a ciphertext is none under this key.")
    return values


class _Reader:
    """Reads one message, value by value."""

    def __init__(self, data: bytes) -> None:
        from msgpack import Unpacker

        self._data = data
        # A buffer of no size would be taken to mean the greatest.
        self._unpacker = Unpacker(raw=False, max_buffer_size=max(1, len(data)), read_size=max(1, len(data)))
        self._unpacker.feed(data)
        self._values = 0

    @property
    def ended(self) -> bool:
        """Whether all was read."""
        return bool(self._unpacker.tell() == len(self._data))

    def fields(self) -> dict[str, Value]:
        """The names and values of a message."""
        if self._kind() != "map":
            raise BadMessage("A message does not begin with names and values.")
        fields: dict[str, Value] = {}
        for _ in range(self._unpacker.read_map_header()):
            if self._kind() != "text":
                raise BadMessage("A message has a value without a name.")
            name = self._unpacker.unpack()
            if name in fields:
                raise BadMessage("A message has two values of one name.")
            fields[name] = self._value(2)
        return fields

    def _value(self, level: int) -> Value:
        self._values += 1
        kind = self._kind()
        if kind == "list":
            if level > DEPTH:
                raise BadMessage(f"A message is nested deeper than {DEPTH} levels.")
            return [self._value(level + 1) for _ in range(self._unpacker.read_array_header())]
        if kind not in ("plain", "text"):
            raise BadMessage("A message holds something of a kind that none may hold.")
        value: Value = self._unpacker.unpack()
        return value

    def _kind(self) -> str:
        """Of what comes next, by its first byte."""
        if self._values > MOST_VALUES:
            raise BadMessage(f"A message holds more than {MOST_VALUES} values.")
        at: int = self._unpacker.tell()
        if at >= len(self._data):
            raise BadMessage("A message is cut short.")
        return _KINDS[self._data[at]]


def _kind_of(first: int) -> str:
    """What begins with a byte, in the MessagePack specification."""
    if first <= 0x7F or first >= 0xE0 or 0xCC <= first <= 0xD3 or 0xC4 <= first <= 0xC6 or first in (0xC0, 0xC2, 0xC3):
        return "plain"  # whole numbers, bytes, nil, truth values
    if 0xA0 <= first <= 0xBF or 0xD9 <= first <= 0xDB:
        return "text"
    if 0x90 <= first <= 0x9F or 0xDC <= first <= 0xDD:
        return "list"
    if 0x80 <= first <= 0x8F or 0xDE <= first <= 0xDF:
        return "map"
    return "other"  # fractions, extensions, times, and a byte that is never used


_KINDS: Final = tuple(_kind_of(first) for first in range(256))


def _is_allowed(value: object, depth: int) -> bool:
    if type(value) is int:
        return LEAST <= value <= GREATEST
    if type(value) is list:
        return depth <= DEPTH and all(_is_allowed(one, depth + 1) for one in value)
    return value is None or type(value) in (bytes, str, bool)


def _is_whole(value: Value, low: int, high: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _wrong(name: str, due: str) -> BadMessage:
    return BadMessage(f"A message has no \"{name}\" that is {due}; do both sides run the same version of visagent?")
