"""The correlation against brute force, and the shapes and size of the flow head."""

from __future__ import annotations

import pytest
import torch

from visagent.tools.micro_expression.correlation import correlate
from visagent.tools.micro_expression.flow_head import FlowHead


@pytest.mark.parametrize(("height", "width", "reach", "stride"), [(5, 7, 4, 2), (6, 6, 3, 1), (4, 3, 20, 2)])
def test_correlation_is_the_product_at_each_displacement(height: int, width: int, reach: int, stride: int) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 8, height, width)
    steps = range(-reach, reach + 1, stride)
    expected = []
    for dy in steps:
        for dx in steps:
            plane = torch.zeros(2, height, width)
            for y in range(height):
                for x in range(width):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        plane[:, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1) / 8
            expected.append(plane)
    torch.testing.assert_close(correlate(first, second, reach=reach, stride=stride), torch.stack(expected, 1))


def test_who_looked_before_can_learn_afterwards() -> None:
    first = torch.randn(1, 4, 9, 9, requires_grad=True)
    with torch.inference_mode():
        correlate(first.detach(), first.detach())
    correlate(first, first.detach()).sum().backward()
    assert first.grad is not None and (first.grad != 0).any()


def test_the_head_has_the_shapes_and_the_size_of_the_released_one() -> None:
    head = FlowHead().eval()
    assert sum(parameter.numel() for parameter in head.parameters()) == 39_730_282
    with torch.inference_mode():
        flow = head(torch.randn(2, 1, 128, 128), torch.randn(2, 1, 128, 128), torch.randn(2, 256, 16, 16))
    assert flow.shape == (2, 2, 128, 128)
