"""Numbers and tensors in the files that dlib's networks are saved in."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

Values: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

CONVOLUTION: Final = b"\x01\x05con_4"
AFFINE: Final = b"\x01\x07affine_"
DENSE: Final = b"\x01\x04fc_2"
NORMALISATION: Final = b"\x01\x07bn_con2"
_TENSOR_VERSION: Final = 2


def read_integer(data: bytes, at: int) -> tuple[int, int]:
    """The integer at this place and where it ends: a byte with the count of bytes, then as many, lowest first."""
    end = at + 1 + (data[at] & 0x0F)  # the count's highest bit is the sign
    return int.from_bytes(data[at + 1 : end], "little"), end


def skip_integers(data: bytes, at: int, count: int) -> int:
    """Where this many integers end."""
    for _ in range(count):
        _, at = read_integer(data, at)
    return at


def read_tensor(data: bytes, at: int) -> tuple[Values, int]:
    """The tensor at this place, flat, and where it ends: version, four sizes, float32 values.

    Raises:
        ValueError: There is no tensor.
    """
    version, at = read_integer(data, at)
    if version != _TENSOR_VERSION:
        raise ValueError("no tensor here")
    count = 1
    for _ in range(4):
        size, at = read_integer(data, at)
        count *= size
    end = at + 4 * count
    return np.frombuffer(data[at:end], "<f4").astype(np.float32), end


def next_tensor(data: bytes, layer: bytes, at: int) -> tuple[Values, int]:
    """The first tensor of the next layer of this kind. Raises ValueError if there is no such layer."""
    return read_tensor(data, data.index(layer, at) + len(layer))
