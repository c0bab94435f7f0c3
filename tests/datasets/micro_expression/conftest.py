"""A schematic face."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from visagent.datasets.micro_expression.faces import PHOTO_SIDE


@pytest.fixture
def face68() -> torch.Tensor:
    """68 landmarks of an upright symmetrical face in a crop of 128 pixels, a little off its middle."""
    t = np.linspace(0, np.pi, 17)
    jaw = np.stack([-44 * np.cos(t), 50 * np.sin(t) - 8], 1)
    brow = np.stack([np.linspace(-36, -10, 5), -24 - 4 * np.sin(np.linspace(0.3, 2.6, 5))], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-14, 8, 4)], 1)
    base = np.stack([np.linspace(-9, 9, 5), 13 + 2 * np.sin(np.linspace(0, np.pi, 5))], 1)
    eye = np.array([[-32, -12], [-26, -16], [-19, -16], [-13, -11], [-19, -8], [-26, -8]], float)
    turned = np.linspace(np.pi, -np.pi, 13)[:12]
    outer = np.stack([19 * np.cos(turned), 31 - 7 * np.sin(turned)], 1)
    turned = np.linspace(np.pi, -np.pi, 9)[:8]
    inner = np.stack([13 * np.cos(turned), 31 - 2 * np.sin(turned)], 1)
    other_brow = (brow * [-1, 1])[::-1]
    other_eye = (eye * [-1, 1])[[3, 2, 1, 0, 5, 4]]
    points = np.concatenate([jaw, brow, other_brow, bridge, base, eye, other_eye, outer, inner])
    return torch.tensor(points + np.array([62, 60]), dtype=torch.float32)


@pytest.fixture
def faces(face68: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Four made-up photos, smooth textures, with their landmarks."""
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(4):
        coarse = torch.from_numpy(rng.uniform(40, 215, (1, 1, 20, 20))).float()
        photos.append(torch.nn.functional.interpolate(coarse, size=PHOTO_SIDE, mode="bicubic")[0, 0].clamp(0, 255))
    return torch.stack(photos), face68.expand(4, -1, -1) + (PHOTO_SIDE - 128) / 2
