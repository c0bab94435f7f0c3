"""dlib's face recognition network, rebuilt in PyTorch from dlib's own file: the same numbers, five times faster.

The network is He et al.'s ResNet-34 (2015) with fewer layers and half the filters, as Davis King trained it for
`dlib_face_recognition_resnet_model_v1` (dlib's example `dnn_face_recognition_ex.cpp`); a test holds its output to
dlib's. In dlib each face takes about 60 ms of a core and batches gain nothing; here convolutions run batched and with
the processor's vector units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from visagent.errors import WeightsError
from visagent.vision.dlib_file import AFFINE, CONVOLUTION, DENSE, next_tensor, read_tensor, skip_integers

MEAN_RGB: Final = (122.782, 117.001, 104.298)
SCALE: Final = 256.0
LEVELS: Final = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Filters, blocks, and whether the first block halves the picture; from the input to the output."""
DIMENSION: Final = 128


class Block(nn.Module):
    """Two convolutions beside a shortcut. dlib pads what is smaller, in size or in filters, with zeros, then adds."""

    def __init__(self, inputs: int, filters: int, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.first = nn.Conv2d(inputs, filters, 3, stride=2 if halve else 1, padding=0 if halve else 1)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, inputs, H, W]` to `[N, filters, H', W']`."""
        y = self.second(functional.relu(self.first(x)))
        shortcut = functional.avg_pool2d(x, 2) if self.halve else x
        height, width = (max(y.shape[axis], shortcut.shape[axis]) for axis in (2, 3))
        return functional.relu(_padded(y, y.shape[1], height, width) + _padded(shortcut, y.shape[1], height, width))


class DlibResNet(nn.Module):
    """Chips in, descriptors out. Affine layers are folded into the convolutions before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        blocks, inputs = [], 32
        for filters, count, halves in LEVELS:
            for number in range(count):
                blocks.append(Block(inputs, filters, halves and number == 0))
                inputs = filters
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(inputs, DIMENSION, bias=False)

    def forward(self, chips: torch.Tensor) -> torch.Tensor:
        """Chips `[N, 3, 150, 150]`, 0 to 255, to descriptors `[N, 128]`."""
        mean = torch.tensor(MEAN_RGB, dtype=chips.dtype, device=chips.device).view(1, 3, 1, 1)
        x = functional.max_pool2d(functional.relu(self.stem((chips - mean) / SCALE)), 3, 2)
        descriptors: torch.Tensor = self.dense(self.blocks(x).mean((2, 3)))
        return descriptors


def read_dlib_resnet(path: Path) -> DlibResNet:
    """Rebuild the network from dlib's file, whose digest the caller has checked.

    Raises:
        WeightsError: The file does not hold this network.
    """
    data = path.read_bytes()
    network = DlibResNet()
    layers = [network.stem]
    for block in network.blocks:
        assert isinstance(block, Block)
        layers += [block.first, block.second]
    at = 0
    try:
        with torch.no_grad():
            for layer in layers:
                parameters, at = next_tensor(data, CONVOLUTION, at)
                both, at = next_tensor(data, AFFINE, at)
                scale, shift = np.split(both, 2)
                weights = parameters[: layer.weight.numel()].reshape(layer.weight.shape)
                layer.weight.copy_(torch.from_numpy(weights * scale[:, None, None, None]))
                layer.bias.copy_(torch.from_numpy(  # type: ignore[union-attr]
                    parameters[layer.weight.numel():] * scale + shift))
            at = skip_integers(data, data.index(DENSE, at) + len(DENSE), 2)  # outputs and inputs
            parameters, at = read_tensor(data, at)
            network.dense.weight.copy_(torch.from_numpy(parameters.reshape(-1, DIMENSION).T.copy()))
    except (ValueError, IndexError, RuntimeError):
        raise WeightsError("dlib's face recognition model has another layout than expected; run `pip install "
                           "--force-reinstall face_recognition_models==0.3.0`.") from None
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _padded(x: torch.Tensor, filters: int, height: int, width: int) -> torch.Tensor:
    missing = (0, width - x.shape[3], 0, height - x.shape[2], 0, filters - x.shape[1])
    return functional.pad(x, missing) if any(missing) else x
