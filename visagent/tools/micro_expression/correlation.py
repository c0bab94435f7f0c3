"""The correlation layer of FlowNetC: how alike each place of one map is to the places around it in another."""

from __future__ import annotations

from functools import cache

import torch

REACH = 20
STRIDE = 2


def correlate(first: torch.Tensor, second: torch.Tensor, *, reach: int = REACH, stride: int = STRIDE) -> torch.Tensor:
    """`out[d](p) = <first(p), second(p + d)> / C` for displacements d of -reach to reach in steps of stride, each way.

    All pairs of places are multiplied at once, and the wanted ones picked: on the small maps of MOL most displacements
    lead outside, where the product is 0.

    Args:
        first: `[B, C, H, W]`.
        second: The same shape.
        reach: Largest displacement along an axis.
        stride: Between displacements; divides `reach`.

    Returns:
        `[B, D * D, H, W]` with `D = 2 * reach / stride + 1`, vertical displacements outermost.
    """
    batch, channels, height, width = first.shape
    products = torch.matmul(first.flatten(2).transpose(1, 2), second.flatten(2)) / channels  # [B, HW, HW]
    padded = torch.cat([products, products.new_zeros(batch, height * width, 1)], 2)  # the last one: outside
    chosen = _partners(height, width, reach, stride).to(first.device)
    found: torch.Tensor = padded.gather(2, chosen.expand(batch, -1, -1)).transpose(1, 2).unflatten(2, (height, width))
    return found


@cache
@torch.inference_mode(False)  # else whoever looks first would spoil it for who learns later
def _partners(height: int, width: int, reach: int, stride: int) -> torch.Tensor:
    """For each place and displacement the number of the place it leads to, `[HW, DD]`; HW where that is outside."""
    steps = torch.arange(-reach, reach + 1, stride)
    y = torch.arange(height)[:, None, None, None] + steps[:, None]
    x = torch.arange(width)[None, :, None, None] + steps[None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return torch.where(inside, y * width + x, height * width).reshape(height * width, -1)
