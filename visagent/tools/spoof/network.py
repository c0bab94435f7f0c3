"""The attack specialist: a small convolutional network that looks at one face view.

```
view 192x192x3 -> conv5/2 -> conv3/2 -> conv3/2, block, block -> conv3/2, block, block -> features 12x12x128
                                                                              features -> mask   12x12 attacked cells
                                                   features, mean and maximum pooled -> type   live, or which attack
                                                   features, mean and maximum pooled -> clues  what gives it away
```

The attack score is the log-odds of "not live": the logarithm of the summed attack probabilities over the live one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from visagent.errors import WeightsError
from visagent.vision.half_precision import read_half, write_half

GRID = 12


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the outputs mean: attack types (class 0 is live, then these) and clues, in the order of the outputs."""

    attacks: tuple[str, ...]
    clues: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Output:
    """Raw outputs for a batch.

    Attributes:
        types: Logits `[B, 1 + attacks]`; class 0 is live.
        clues: Logits `[B, clues]`.
        mask: Logits `[B, 12, 12]` of "attacked here".
        features: `[B, 128, 12, 12]`, what the vision tower of visagent-nano is taught from.
    """

    types: torch.Tensor
    clues: torch.Tensor
    mask: torch.Tensor
    features: torch.Tensor

    @property
    def attack_score(self) -> torch.Tensor:
        """Log-odds of an attack, `[B]`; 0 is undecided, higher speaks for an attack."""
        return torch.logsumexp(self.types[:, 1:], 1) - self.types[:, 0]


class ResidualBlock(nn.Module):
    """One 3x3 convolution beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to the same shape."""
        return torch.relu(self.norm(self.convolution(x)) + x)


class SpoofNetwork(nn.Module):
    """The specialist; see the drawing in the module's docstring."""

    def __init__(self, vocabulary: Vocabulary, width: int = 16) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.trunk = nn.Sequential(
            shrink(3, width, 5),
            shrink(width, 2 * width, 3),
            shrink(2 * width, 4 * width, 3),
            ResidualBlock(4 * width),
            ResidualBlock(4 * width),
            shrink(4 * width, 8 * width, 3),
            ResidualBlock(8 * width),
            ResidualBlock(8 * width),
        )
        self.mask = nn.Conv2d(8 * width, 1, 1)
        self.types = nn.Linear(16 * width, 1 + len(vocabulary.attacks))
        self.clues = nn.Linear(16 * width, len(vocabulary.clues))

    def forward(self, views: torch.Tensor) -> Output:
        """Look at views `[B, 3, 192, 192]` scaled to -1 ... 1."""
        features = self.trunk(views)
        pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1)
        return Output(self.types(pooled), self.clues(pooled), self.mask(features)[:, 0], features)


def shrink(channels: int, target: int, kernel: int) -> nn.Sequential:
    """A convolution that halves both sides of the grid."""
    return nn.Sequential(
        nn.Conv2d(channels, target, kernel, 2, kernel // 2, bias=False), nn.BatchNorm2d(target), nn.ReLU()
    )


def as_input(views: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 views `[B, 192, 192, 3]` as the network's input, float32 `[B, 3, 192, 192]`, -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(views.transpose(0, 3, 1, 2))).float().div_(127.5).sub_(1)


def save_network(network: SpoofNetwork, folder: Path) -> None:
    """Write `model.safetensors` (float16) and `vocabulary.json` into a folder."""
    write_half(network, folder)
    words = {"attacks": network.vocabulary.attacks, "clues": network.vocabulary.clues}
    (folder / "vocabulary.json").write_text(json.dumps(words, indent=1) + "\n")


def load_network(folder: Path) -> SpoofNetwork:
    """Read what `save_network` wrote, ready to look. Raises WeightsError if it does not fit."""
    try:
        words = json.loads((folder / "vocabulary.json").read_text())
        network = SpoofNetwork(Vocabulary(tuple(words["attacks"]), tuple(words["clues"])))
        read_half(network, folder)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError("The attack specialist's weights cannot be read; reinstall visagent.") from error
    return network.eval()
