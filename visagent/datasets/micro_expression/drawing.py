"""Random numbers of one generator: the same seed gives the same faces, motions and cameras."""

from __future__ import annotations

import torch


class Draw:
    """Draws on the generator's device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @classmethod
    def of(cls, seed: int, device: torch.device | str = "cpu") -> Draw:
        """A new one."""
        return cls(torch.Generator(device).manual_seed(seed))

    def even(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Evenly from low to high."""
        return torch.rand(*shape, generator=self.generator, device=self.generator.device) * (high - low) + low

    def normal(self, *shape: int) -> torch.Tensor:
        """Of mean 0 and deviation 1."""
        return torch.randn(*shape, generator=self.generator, device=self.generator.device)

    def whole(self, below: int, *shape: int) -> torch.Tensor:
        """Whole numbers from 0."""
        return torch.randint(below, shape, generator=self.generator, device=self.generator.device)
