"""MOL: micro-expression, optical flow and landmarks of a short clip by one network.

```
frames 1..8  2x128x128 -> conv stack -> 128x16x16 -+-> F5C of the earlier frame (frames 1..7) -+
                                                   +-> F5C of the later frame   (frames 2..8) -+
  both, in turn, 14 slices 128x16x16x14 -> conv3d -> pool -> 2560 -> 256 -> class
  the later                             -> conv -> 6272 -> 512 -> 68 landmarks of frames 2..8
  both, with the frames                 -> FlowNetC-like head -> flow of the 7 pairs
```

Shao et al., "MOL: Joint Estimation of Micro-Expression, Optical Flow, and Landmark via Transformer-Graph-Style
Convolution", TPAMI 2025. Where the authors' code goes pair by pair, the pairs are part of the batch here. The second
plane of a frame is ours: what changes, made larger; see `with_changes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from visagent.errors import WeightsError
from visagent.tools.micro_expression.f5c import F5C, Correspondence
from visagent.tools.micro_expression.flow_head import FlowHead
from visagent.vision.half_precision import read_half, write_half
from visagent.vision.micro_expression import FRAMES, LANDMARKS, NONE, SIDE

PAIRS: Final = range(FRAMES - 1)
"""Of one frame and the next."""
MAGNIFICATION: Final = 64.0
"""After 200 steps of 32 windows with large movements the loss is 1.72 with 8 (150 steps), 1.57 with 16, 1.49 with 40,
1.45 with 100."""


@dataclass(frozen=True, slots=True)
class MOLOutput:
    """What the network says of a batch of clips.

    Attributes:
        classes: Logits `[B, K]`.
        landmarks: Of frames 2 to 8, `[B, 7, 68, 2]` as (x, y) in pixels; None if not asked for.
        flow: From the first to the second frame of each pair asked for, `[B, P, 2, 128, 128]` as (x, y) in pixels;
            None without a flow head.
    """

    classes: torch.Tensor
    landmarks: torch.Tensor | None = None
    flow: torch.Tensor | None = None


def conv_stack() -> nn.Sequential:
    """`[B, 2, 128, 128]` to `[B, 128, 16, 16]`; nothing between the layers, as released."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 4, 2), nn.Conv2d(8, 32, 3, 2), nn.Conv2d(32, 64, 2, 2, 1), nn.Conv2d(64, 128, 1)
    )


class ExpressionHead(nn.Module):
    """The class, from the features of all pairs.

    The convolution begins as a detector of change: its taps over the slices of either F5C block sum to zero.

    Args:
        classes: K.
        dropout: 0.5 in the released code, for sets of some hundred clips; simulated windows never come twice.
    """

    def __init__(self, classes: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(128, 32, (2, 2, 5), (2, 2, 1))
        with torch.no_grad():
            for taps in (self.convolution.weight[..., 0::2], self.convolution.weight[..., 1::2]):
                taps -= taps.mean(-1, keepdim=True)
        self.pool = nn.MaxPool3d(2)
        self.classify = nn.Sequential(
            nn.Dropout(dropout), nn.Flatten(), nn.Linear(2560, 256), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(256, classes)
        )  # fmt: skip

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        """`[B, 128, 16, 16, 14]` to logits `[B, K]`."""
        logits: torch.Tensor = self.classify(self.pool(self.convolution(slices)))
        return logits


class LandmarkHead(nn.Module):
    """The 68 landmarks, from the features of one frame.

    Attributes:
        mean_face: What is said of a face before anything is learnt, `[68, 2]` in pixels; the training sets it, so that
            the layers learn how a face differs from it.
    """

    mean_face: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(128, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6272, 512), nn.ReLU(),
            nn.Linear(512, 2 * LANDMARKS)
        )  # fmt: skip

        self.register_buffer("mean_face", torch.full((LANDMARKS, 2), (SIDE - 1) / 2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, 128, 16, 16]` to `[B, 68, 2]`."""
        points: torch.Tensor = self.locate(features).float().unflatten(1, (LANDMARKS, 2))
        return self.mean_face + points


class MOL(nn.Module):
    """The network; see the drawing in the module's docstring.

    Args:
        classes: K.
        with_landmarks: Whether it has the landmark head.
        with_flow: Whether it has the flow head, nine tenths of the weights.
        correspondence: See `f5c.ChannelCorrespondence`.
        dropout: See `ExpressionHead`.
    """

    def __init__(
        self,
        classes: int,
        *,
        with_landmarks: bool = True,
        with_flow: bool = True,
        correspondence: Correspondence = "paper",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.stack = conv_stack()
        self.earlier = F5C(correspondence=correspondence)
        self.later = F5C(correspondence=correspondence)
        self.expression = ExpressionHead(classes, dropout)
        self.landmarks = LandmarkHead() if with_landmarks else None
        self.flow = FlowHead() if with_flow else None

    def classify(self, earlier: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
        """Logits `[B, K]` of clips, from what is seen in the earlier and the later frame of each pair.

        Args:
            earlier: `[B, 7, 128, 16, 16]`.
            later: The same.
        """
        slices = torch.stack([earlier, later], 2).flatten(1, 2)  # F1 of 1, F2 of 2, F1 of 2, F2 of 3, ...
        logits: torch.Tensor = self.expression(slices.permute(0, 2, 3, 4, 1))
        return logits

    def forward(self, clips: torch.Tensor, *, classes_only: bool = False, pairs: Sequence[int] = PAIRS) -> MOLOutput:
        """Look at clips `[B, 8, 128, 128]`, normalised by `normalised`.

        Args:
            clips: Gray aligned faces.
            classes_only: Leave the other heads out.
            pairs: Of which pairs of frames the flow is asked, 0 to 6.
        """
        batch = len(clips)
        features = self.stack(with_changes(clips).flatten(0, 1)).unflatten(0, (batch, FRAMES))
        earlier = self.earlier(features[:, :-1].flatten(0, 1)).unflatten(0, (batch, FRAMES - 1))
        later = self.later(features[:, 1:].flatten(0, 1)).unflatten(0, (batch, FRAMES - 1))
        classes = self.classify(earlier, later)
        if classes_only:
            return MOLOutput(classes)
        landmarks = flow = None
        if self.landmarks is not None:
            landmarks = self.landmarks(later.flatten(0, 1)).unflatten(0, (batch, FRAMES - 1))
        if self.flow is not None:
            first, second = list(pairs), [pair + 1 for pair in pairs]
            flow = self.flow(
                clips[:, first].reshape(-1, 1, SIDE, SIDE),
                clips[:, second].reshape(-1, 1, SIDE, SIDE),
                torch.cat([earlier[:, first], later[:, first]], 2).flatten(0, 1),
            ).unflatten(0, (batch, len(first)))
        return MOLOutput(classes, landmarks, flow)


def with_changes(clips: torch.Tensor) -> torch.Tensor:
    """Clips `[B, 8, 128, 128]` and what changes over time in them, made larger: `[B, 8, 2, 128, 128]`.

    A micro-expression changes a pixel by a hundredth of what pixels differ by: in the frames alone the network sees
    little but who it is. To magnify a clip's changes is usual in the field (after Wu et al., 2012); the released code
    does without. In a plane of their own they leave the face as it is, for the landmarks.
    """
    return torch.stack([clips, MAGNIFICATION * (clips - clips.mean(1, keepdim=True))], 2)


def normalised(clips: torch.Tensor) -> torch.Tensor:
    """Clips of gray values `[B, 8, 128, 128]`, each frame with mean 0 and each clip with deviation 1.

    The released code takes one mean and one maximum for all clips of a subject, which a single clip does not have; and
    a mean for each frame leaves nothing of a light that flickers.
    """
    centred = clips - clips.mean((2, 3), keepdim=True)
    return centred / centred.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1.0)


def save_network(network: MOL, folder: Path) -> None:
    """Write `model.safetensors` (float16) into a folder, without the flow head."""
    write_half(network, folder, without="flow")


def load_network(folder: Path) -> MOL:
    """Read what `save_network` wrote, ready to look. Raises WeightsError if it does not fit."""
    network = MOL(NONE + 1, with_flow=False)
    try:
        read_half(network, folder)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError("The weights of MOL cannot be read; reinstall visagent.") from error
    return network.eval()
