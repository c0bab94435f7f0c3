"""MOL's head for optical flow: FlowNetC (Dosovitskiy et al., 2015), fed with the features of the F5C blocks.

```
frame k, k+1  1x128x128 -> conv6/2 64@64 -> conv4/2 128@32 -> conv2/2 256@16 -> correlation 441@16
                                                               (frame k) 1x1 -> redirect      32@16
F5C features of both 256@16 ---------------------------------------------------------- concat 729@16
  -> conv3_1 256@16 -> conv4 512@8 -> conv5 512@4 -> conv6 1024@2
  -> at each level: predict 2@n, enlarge the prediction and the features twice, join with the skip of that size
  -> flow 2@128 in pixels
```
"""

from __future__ import annotations

import torch
from torch import nn

from visagent.tools.micro_expression.correlation import correlate

_SLOPE = 0.1


def convolve(channels: int, target: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, target, kernel, stride, (kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(target),
        nn.LeakyReLU(_SLOPE),
    )


def enlarge(channels: int, target: int) -> nn.Sequential:
    """A transposed convolution that doubles both sides, leaky ReLU."""
    return nn.Sequential(nn.ConvTranspose2d(channels, target, 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE))


class Refinement(nn.Module):
    """One level of the way up: a coarse flow, and the features for the next finer level."""

    def __init__(self, channels: int, target: int) -> None:
        super().__init__()
        self.predict = nn.Conv2d(channels, 2, 3, 1, 1, bias=False)
        self.enlarge_flow = nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False)
        self.enlarge = enlarge(channels, target)

    def forward(self, features: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """`[B, channels, n, n]` and the skip of the finer level to its features, `[B, skip + target + 2, 2n, 2n]`."""
        return torch.cat([skip, self.enlarge(features), self.enlarge_flow(self.predict(features))], 1)


class FlowHead(nn.Module):
    """The head; see the drawing in the module's docstring."""

    def __init__(self, features: int = 256) -> None:
        super().__init__()
        self.conv1 = convolve(1, 64, 6, 2)
        self.conv2 = convolve(64, 128, 4, 2)
        self.conv3 = convolve(128, 256, 2, 2)
        self.redirect = convolve(256, 32, 1)
        self.conv3_1 = convolve(32 + 441 + features, 256, 3)
        self.conv4 = nn.Sequential(convolve(256, 512, 3, 2), convolve(512, 512, 3))
        self.conv5 = nn.Sequential(convolve(512, 512, 3, 2), convolve(512, 512, 3))
        self.conv6 = nn.Sequential(convolve(512, 1024, 3, 2), convolve(1024, 1024, 3))
        self.up5 = Refinement(1024, 512)
        self.up4 = Refinement(512 + 512 + 2, 256)
        self.up3 = Refinement(512 + 256 + 2, 128)
        self.up2 = Refinement(256 + 128 + 2, 128)
        self.up1 = Refinement(128 + 128 + 2, 64)
        self.up0 = Refinement(64 + 64 + 2, 32)
        self.predict = nn.Conv2d(1 + 32 + 2, 2, 3, 1, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        for parameter in self.parameters():
            if parameter.dim() == 4:  # a third faster on processors
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, first: torch.Tensor, second: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """The flow from `first` to `second`, `[B, 2, 128, 128]` as (x, y) in pixels.

        Args:
            first: Frames `[B, 1, 128, 128]`.
            second: The frames after them.
            features: Of both, from the F5C blocks, `[B, 256, 16, 16]`.
        """
        fine = self.conv1(torch.cat([first, second]))  # both at once: the encoder is shared
        middle = self.conv2(fine)
        here, there = self.conv3(middle).chunk(2)
        alike = nn.functional.leaky_relu(correlate(here, there), _SLOPE)
        joined = self.conv3_1(torch.cat([self.redirect(here), alike, features], 1))
        at8 = self.conv4(joined)
        at4 = self.conv5(at8)
        up = self.up5(self.conv6(at4), at4)
        up = self.up4(up, at8)
        up = self.up3(up, joined)
        up = self.up2(up, middle.chunk(2)[0])
        up = self.up1(up, fine.chunk(2)[0])
        flow: torch.Tensor = self.predict(self.up0(up, first))
        return flow
