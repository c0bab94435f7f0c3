"""The network that looks at what stands around a face: does the border of a screen or sheet enclose it?

```
view 96x96x3 -> conv5/2 -> conv3/2 -> conv3/2, block, block -> fine 12x12x64 -> conv3/2, block, block -> coarse 6x6x128
                                      coarse, mean and maximum pooled -> kind   live, screen or sheet
                                      fine, and coarse enlarged       -> mask   12x12 cells that a border encloses
```

The score of an enclosed face is the log-odds of "not live".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from visagent.errors import WeightsError
from visagent.tools.spoof.network import ResidualBlock, shrink
from visagent.vision.half_precision import read_half, write_half

ENCLOSURES: Final = ("live", "screen", "sheet")
"""What the first output means, in its order."""


@dataclass(frozen=True, slots=True)
class WideOutput:
    """Raw outputs for a batch.

    Attributes:
        kinds: Logits `[B, 3]` of `ENCLOSURES`.
        mask: Logits `[B, 12, 12]` of "enclosed here".
    """

    kinds: torch.Tensor
    mask: torch.Tensor

    @property
    def score(self) -> torch.Tensor:
        """Log-odds of an enclosed face, `[B]`; 0 is undecided, higher speaks for an attack."""
        return torch.logsumexp(self.kinds[:, 1:], 1) - self.kinds[:, 0]


class SurroundingsNetwork(nn.Module):
    """See the drawing in the module's docstring."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            shrink(3, width, 5), shrink(width, 2 * width, 3), shrink(2 * width, 4 * width, 3),
            ResidualBlock(4 * width), ResidualBlock(4 * width))
        self.coarse = nn.Sequential(
            shrink(4 * width, 8 * width, 3), ResidualBlock(8 * width), ResidualBlock(8 * width))
        self.kinds = nn.Linear(16 * width, len(ENCLOSURES))
        self.fine_mask = nn.Conv2d(4 * width, 1, 1)
        self.coarse_mask = nn.Conv2d(8 * width, 1, 1)

    def forward(self, views: torch.Tensor) -> WideOutput:
        """Look at views `[B, 3, 96, 96]` scaled to -1 ... 1."""
        fine = self.fine(views)
        coarse = self.coarse(fine)
        pooled = torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3))], 1)
        context = nn.functional.interpolate(self.coarse_mask(coarse), scale_factor=2.0, mode="bilinear")
        return WideOutput(self.kinds(pooled), (self.fine_mask(fine) + context)[:, 0])


def save_network(network: SurroundingsNetwork, folder: Path) -> None:
    """Write `model.safetensors` (float16) into a folder."""
    write_half(network, folder)


def load_network(folder: Path) -> SurroundingsNetwork:
    """Read what `save_network` wrote, ready to look. Raises WeightsError if it does not fit."""
    network = SurroundingsNetwork()
    try:
        read_half(network, folder)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError("The weights for a face's surroundings cannot be read; reinstall visagent.") from error
    return network.eval()
