"""F5C: fully-connected convolution and channel correspondence, what the three tasks of MOL share.

```
x 128x16x16 -> FCC: half the channels  CW(CH(norm(x + P) ) + P)  + x     every pixel sees the whole map
                    the other half     CH(CW(norm(x + P) ) + P)  + x
            -> CCC: each channel asks its 4 most alike channels what they see that it does not  + x
```

MOL (Shao et al., TPAMI 2025), sections on F5C; shapes as in the released code. The released code differs from the
paper in the second half: see `ChannelCorrespondence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Literal

import torch
from torch import nn

Correspondence = Literal["paper", "released"]
"""Between what the graph of the second half is drawn: channels, as the paper has it, or places, as the code does."""


SMALL = 0.02
"""Deviation of places and biases at the beginning. The released code begins with 1, under which the motion drowns:
after 200 steps of 32 the loss was 2.11 with 1 and 1.85 with this."""


class CircularConvolution(nn.Module):
    """A depthwise convolution along one axis whose kernel is as long as the axis and goes round its end.

    `y[c, i] = b[c] + sum over t of K[c, t] * x[c, (i + t) mod n]`, computed as one product with the circulant matrix.

    Args:
        channels: C.
        side: n.
        axis: "height" or "width".
    """

    places: torch.Tensor

    def __init__(self, channels: int, side: int, axis: Literal["height", "width"]) -> None:
        super().__init__()
        self.axis = axis
        self.kernel = nn.Parameter(torch.empty(channels, side))
        self.bias = nn.Parameter(SMALL * torch.randn(channels))
        nn.init.uniform_(self.kernel, -(side**-0.5), side**-0.5)  # as a Conv2d of `side` taps begins
        steps = torch.arange(side)
        self.register_buffer("places", (steps[None, :] - steps[:, None]) % side, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, n, n]` to the same shape."""
        circulant = self.kernel[:, self.places]  # [C, n, n]: row i holds the weights of output i
        # One product for each channel, of the whole batch at once: broadcasting would copy the matrix for each map.
        y: torch.Tensor = torch.einsum("cij,bcjw->bciw" if self.axis == "height" else "cij,bchj->bchi", circulant, x)
        return y + self.bias[:, None, None]


class CircularBranch(nn.Module):
    """Two circular convolutions one after the other, each told where it is, beside the identity."""

    def __init__(self, channels: int, side: int, first: Literal["height", "width"]) -> None:
        super().__init__()
        second: Literal["height", "width"] = "width" if first == "height" else "height"
        self.first_place = nn.Parameter(SMALL * torch.randn(_along(channels, side, first)))
        self.norm = nn.BatchNorm2d(channels)
        self.first = CircularConvolution(channels, side, first)
        self.second_place = nn.Parameter(SMALL * torch.randn(_along(channels, side, second)))
        self.second = CircularConvolution(channels, side, second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, n, n]` to the same shape."""
        y: torch.Tensor = self.first(self.norm(x + self.first_place))
        change: torch.Tensor = self.second(y + self.second_place)
        return x + change


def _along(channels: int, side: int, axis: Literal["height", "width"]) -> tuple[int, int, int]:
    return (channels, side, 1) if axis == "height" else (channels, 1, side)


class FullyConnectedConvolution(nn.Module):
    """FCC: half of the channels go height first, half width first."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.height_first = CircularBranch(channels // 2, side, "height")
        self.width_first = CircularBranch(channels // 2, side, "width")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, n, n]` to the same shape."""
        upper, lower = x.chunk(2, 1)
        return torch.cat([self.height_first(upper), self.width_first(lower)], 1)


class ChannelCorrespondence(nn.Module):
    """CCC: a graph convolution whose nodes are the channels, each with its `n * n` map as its feature.

    `g_i = max over the k most alike j of ReLU(W1 f_i + W2 (f_j - f_i) + b)`, then a 1x1 convolution, beside the
    identity. A node is its own most alike one. Since ReLU rises, and `W1 f_i` is the same for all neighbours, the
    largest is taken of `W2 f_j` alone: two products and one gather, where the released code loops over channels and
    neighbours.

    Args:
        channels: C.
        side: n.
        neighbours: k.
        mode: "paper" as above. "released" does what the authors' code does instead: the neighbours are places, chosen
            by the cosine of their channels; the centre is taken off twice; there is no 1x1 convolution.
    """

    def __init__(self, channels: int, side: int, neighbours: int = 4, mode: Correspondence = "paper") -> None:
        super().__init__()
        self.neighbours, self.mode = neighbours, mode
        self.own = nn.Linear(side * side, side * side)
        self.difference = nn.Linear(side * side, side * side)
        self.mix = nn.Conv2d(channels, channels, 1) if mode == "paper" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, n, n]` to the same shape."""
        features = x.flatten(2)
        seen = self._of_channels(features) if self.mode == "paper" else self._of_places(features)
        change: torch.Tensor = self.mix(seen.reshape(x.shape))
        return x + change

    def _of_channels(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, C, N]` to the same shape."""
        nearest = _most_alike(features, self.neighbours)  # [B, C, k]
        weights = torch.cat([self.own.weight - self.difference.weight, self.difference.weight])
        own, theirs = nn.functional.linear(features, weights).chunk(2, 2)
        return torch.relu(own + self._bias() + _largest(theirs, nearest))

    def _of_places(self, features: torch.Tensor) -> torch.Tensor:
        """The same by the released code's way."""
        nearest = _most_alike(features.transpose(1, 2), self.neighbours)  # [B, N, k]
        own = nn.functional.linear(features, self.own.weight - 2 * self.difference.weight, self._bias())
        best: torch.Tensor | None = None
        for neighbour in nearest.unbind(2):  # each is a map of the places' neighbours, [B, N]
            moved = torch.gather(features, 2, neighbour[:, None].expand_as(features))
            theirs = nn.functional.linear(moved, self.difference.weight)
            best = theirs if best is None else torch.maximum(best, theirs)
        assert best is not None
        return torch.relu(own + best)

    def _bias(self) -> torch.Tensor:
        return self.own.bias + self.difference.bias


def _most_alike(nodes: torch.Tensor, count: int) -> torch.Tensor:
    """The numbers of the nodes with the largest cosine, of nodes `[B, V, D]`: `[B, V, count]`, itself among them."""
    with torch.no_grad():  # a choice has no gradient
        unit = nn.functional.normalize(nodes, dim=2)
        return torch.matmul(unit, unit.transpose(1, 2)).topk(count, 2).indices


def _of_neighbours(nodes: torch.Tensor, nearest: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The features of the first neighbour of all nodes, then of the second, ...

    One neighbour after the other, and no `max` over all of them: that takes most of the block's time on a processor.

    Args:
        nodes: `[B, V, D]`.
        nearest: Numbers of the neighbours, `[B, V, k]`.

    Yields:
        Their numbers `[B, V, 1]` and features `[B, V, D]`.
    """
    batch, count = nodes.shape[:2]
    first = count * torch.arange(batch, device=nodes.device)[:, None, None]
    for neighbour in nearest.split(1, 2):
        features = nodes.flatten(0, 1).index_select(0, (neighbour + first).flatten())
        yield neighbour, features.unflatten(0, (batch, count))


def _largest(nodes: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """The largest of each feature among the neighbours, `[B, V, D]`."""
    if torch.is_grad_enabled():
        # Found first, gathered then: the gradient goes through one neighbour's features and not through all.
        return nodes.gather(1, _strongest(nodes, nearest))
    features = (theirs for _, theirs in _of_neighbours(nodes, nearest))
    return reduce(torch.maximum, features)


@torch.no_grad()
def _strongest(nodes: torch.Tensor, nearest: torch.Tensor) -> torch.Tensor:
    """The number of the neighbour with the largest, for each feature, `[B, V, D]`."""
    numbers = best = None
    for neighbour, theirs in _of_neighbours(nodes, nearest):
        if numbers is None or best is None:
            numbers, best = neighbour.expand_as(theirs), theirs
        else:
            numbers = torch.where(theirs > best, neighbour, numbers)
            best = torch.maximum(best, theirs)
    assert numbers is not None
    return numbers


class F5C(nn.Module):
    """FCC, then CCC; the shape is kept."""

    def __init__(self, channels: int = 128, side: int = 16, correspondence: Correspondence = "paper") -> None:
        super().__init__()
        self.convolution = FullyConnectedConvolution(channels, side)
        self.correspondence = ChannelCorrespondence(channels, side, mode=correspondence)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, n, n]` to the same shape."""
        y: torch.Tensor = self.correspondence(self.convolution(x))
        return y
