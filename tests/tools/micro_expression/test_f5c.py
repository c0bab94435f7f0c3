"""F5C against the formulas written out: circulant products, and the graph with its loops."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from visagent.tools.micro_expression.f5c import (
    F5C,
    ChannelCorrespondence,
    CircularConvolution,
    FullyConnectedConvolution,
)

SIDE = 6
CHANNELS = 8


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("axis", ["height", "width"])
def test_a_circular_convolution_is_the_sum_of_its_definition(axis: str) -> None:
    layer = CircularConvolution(CHANNELS, SIDE, axis)  # type: ignore[arg-type]
    x = torch.randn(2, CHANNELS, SIDE, SIDE)
    expected = torch.empty_like(x)
    for channel in range(CHANNELS):
        for i in range(SIDE):
            for j in range(SIDE):
                taps = [layer.kernel[channel, t] * (x[:, channel, (i + t) % SIDE, j] if axis == "height"
                                                    else x[:, channel, i, (j + t) % SIDE]) for t in range(SIDE)]
                expected[:, channel, i, j] = sum(taps) + layer.bias[channel]
    torch.testing.assert_close(layer(x), expected)


def test_the_released_codes_way_gives_the_same() -> None:
    """It appends the map without its last row, and convolves without padding."""
    layer = CircularConvolution(CHANNELS, SIDE, "height")
    x = torch.randn(2, CHANNELS, SIDE, SIDE)
    longer = torch.cat([x, x[:, :, :-1]], 2)
    theirs = nn.functional.conv2d(longer, layer.kernel[:, None, :, None], layer.bias, groups=CHANNELS)
    torch.testing.assert_close(layer(x), theirs)


def test_fcc_is_two_branches_of_circulant_products_beside_the_identity() -> None:
    layer = FullyConnectedConvolution(CHANNELS, SIDE).eval()
    x = torch.randn(3, CHANNELS, SIDE, SIDE)
    upper, lower = x[:, :4], x[:, 4:]

    def circulant(kernel: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.stack([row.roll(i) for i in range(SIDE)]) for row in kernel])

    def along(z: torch.Tensor, part: CircularConvolution) -> torch.Tensor:
        matrix = circulant(part.kernel)
        y = torch.einsum("cij,bcjw->bciw", matrix, z) if part.axis == "height" else \
            torch.einsum("cij,bchj->bchi", matrix, z)
        return y + part.bias[:, None, None]

    expected = []
    for half, branch in ((upper, layer.height_first), (lower, layer.width_first)):
        y = along(branch.norm(half + branch.first_place), branch.first)
        expected.append(half + along(y + branch.second_place, branch.second))
    assert layer.height_first.first.axis == "height" and layer.height_first.second.axis == "width"
    assert layer.width_first.first.axis == "width" and layer.width_first.second.axis == "height"
    torch.testing.assert_close(layer(x), torch.cat(expected, 1))


def test_every_pixel_sees_the_whole_map() -> None:
    layer = FullyConnectedConvolution(CHANNELS, SIDE).eval()
    x = torch.randn(1, CHANNELS, SIDE, SIDE, requires_grad=True)
    layer(x)[0, 0, 2, 3].backward()
    assert (x.grad[0, 0] != 0).all()


def neighbours(nodes: torch.Tensor, count: int) -> list[list[int]]:
    unit = nodes / nodes.norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    return [sorted(range(len(nodes)), key=lambda j: -float(cosines[i, j]))[:count] for i in range(len(nodes))]


def test_ccc_is_the_graph_convolution_of_the_paper() -> None:
    layer = ChannelCorrespondence(CHANNELS, SIDE)
    x = torch.randn(2, CHANNELS, SIDE, SIDE)
    expected = torch.empty_like(x)
    for batch, features in enumerate(x.flatten(2)):
        for i, near in enumerate(neighbours(features, 4)):
            assert i in near
            edges = [torch.relu(layer.own(features[i]) + layer.difference(features[j] - features[i])) for j in near]
            expected[batch, i] = torch.stack(edges).amax(0).reshape(SIDE, SIDE)
    torch.testing.assert_close(layer(x), x + layer.mix(expected))


def test_the_released_variant_is_what_the_authors_code_computes() -> None:
    layer = ChannelCorrespondence(CHANNELS, SIDE, mode="released")
    x = torch.randn(2, CHANNELS, SIDE, SIDE)
    expected = torch.empty_like(x)
    for batch, features in enumerate(x.flatten(2)):
        near = torch.tensor(neighbours(features.T, 4))  # of places
        for channel in range(CHANNELS):
            own = features[channel]
            edges = []
            for j in range(4):
                difference = own[near[:, j]] - own
                edges.append(torch.relu(layer.own(own) + layer.difference(difference - own)))
            expected[batch, channel] = torch.stack(edges).amax(0).reshape(SIDE, SIDE)
    torch.testing.assert_close(layer(x), x + expected)
    assert [name for name, _ in layer.named_parameters()] == ["own.weight", "own.bias", "difference.weight",
                                                              "difference.bias"]


def test_a_gradient_flows_through_the_block() -> None:
    layer = F5C(CHANNELS, SIDE)
    x = torch.randn(2, CHANNELS, SIDE, SIDE, requires_grad=True)
    layer(x).square().mean().backward()
    assert torch.isfinite(x.grad).all() and (x.grad != 0).any()
    assert all(parameter.grad is not None for parameter in layer.parameters())
