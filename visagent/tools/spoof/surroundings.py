"""What stands around a face: whether the border of a screen or sheet encloses it, seen in a wide view.

The face view that the specialist judges ends at the face. A phone's frame, a sheet's margin, the hand that holds them
lie outside of it. Here a network looks at a square of 3.2 times the face's box. It abstains where the picture ends too
close to the face: then there are no surroundings to judge.

No trained network ships yet, so the spoof tool does not ask it: a pilot on few views saw neither of the two sample
attacks (docs/spoof.md). `visagent.finetune.surroundings` trains one, `read_surroundings` opens it.

This module loads no torch until the weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from visagent.evidence import Box, ModelIdentity
from visagent.tools.spoof.specialist import OperatingPoint, attacked_box, read_operating_point
from visagent.vision.crop import WIDE_MARGIN, WIDE_SIDE, ByteImage, View, take_view
from visagent.weights import weights_digest

if TYPE_CHECKING:
    from visagent.tools.spoof.surroundings_network import SurroundingsNetwork

NAME: Final = "spoof-surroundings"
MOST_PADDING: Final = 0.65
"""Share of a wide view that may lie outside of the picture. A square picture around the face must have 1.9 times the
side of its box."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What the surroundings say of one face.

    Attributes:
        score: Calibrated probability that a screen's or sheet's border encloses the face, 0 to 1.
        threshold: Probability from which on the face is called enclosed.
        carrier: The likelier of the two, whether or not the face is enclosed.
        box: Bounds of what the border encloses, as far as the view shows it, in pixels of the picture; None if the
            network marks nothing.
    """

    score: float
    threshold: float
    carrier: Literal["screen", "sheet"]
    box: Box | None

    @property
    def is_enclosed(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The network with its operating point."""

    network: SurroundingsNetwork
    operating_point: OperatingPoint
    identity: ModelIdentity

    def look(self, rgb: ByteImage, face: Box) -> Enclosure | None:
        """Judge what stands around a face. The view in four turns, and mirrored, is averaged.

        Args:
            rgb: The whole picture, uint8 `[H, W, 3]`.
            face: The face's box in pixels of the picture.

        Returns:
            None where more than `MOST_PADDING` of the wide view lies outside of the picture: it cannot be told.

        Raises:
            ValueError: The picture has another shape or type.
        """
        view = wide_view(rgb, face)
        height, width = rgb.shape[:2]
        if padded_share(view, width, height) > MOST_PADDING:
            return None
        log_odds, kinds, mask = judge(self.network, view.rgb)
        box = attacked_box(mask, WIDE_SIDE)
        return Enclosure(
            score=self.operating_point.probability(log_odds),
            threshold=self.operating_point.probability(self.operating_point.threshold),
            carrier="screen" if kinds[1] >= kinds[2] else "sheet",
            box=None if box is None else _clipped(view.to_picture(box), width, height))


def wide_view(rgb: ByteImage, face: Box) -> View:
    """The square view with a face's surroundings, uint8 `[96, 96, 3]`. Raises ValueError for what is no picture."""
    return take_view(rgb, face, margin=WIDE_MARGIN, size=WIDE_SIDE)


def padded_share(view: View, width: int, height: int) -> float:
    """Share of a view's area that lies outside of its picture, 0 to 1.

    Args:
        view: Of the picture.
        width: Of the picture in pixels.
        height: Of the picture.
    """
    across = min(width, view.left + view.side) - max(0, view.left)
    down = min(height, view.top + view.side) - max(0, view.top)
    return 1 - max(0, across) * max(0, down) / view.side**2


def judge(network: SurroundingsNetwork, view: NDArray[np.uint8]
          ) -> tuple[float, NDArray[np.floating], NDArray[np.floating]]:
    """Log-odds of an enclosed face, probabilities of the three kinds `[3]`, and of "enclosed here" `[12, 12]`.

    Args:
        network: Ready to look.
        view: uint8 `[96, 96, 3]`.
    """
    import torch

    from visagent.tools.spoof.network import as_input

    with torch.inference_mode():
        upright = as_input(view[None])
        turned = [torch.rot90(side, turns, (2, 3)) for side in (upright, upright.flip(3)) for turns in range(4)]
        output = network(torch.cat(turned))
        masks = [torch.rot90(mask, -turns, (0, 1)) for mask, turns in
                 zip(output.mask.sigmoid(), (0, 1, 2, 3) * 2, strict=True)]
        mask = torch.stack([*masks[:4], *(one.flip(1) for one in masks[4:])]).mean(0)
        return float(output.score.mean()), output.kinds.softmax(1).mean(0).numpy(), mask.numpy()


def read_surroundings(folder: Path) -> Surroundings:
    """The network of a folder that holds `model.safetensors` and `operating_point.json`.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    from visagent.tools.spoof.surroundings_network import load_network

    network = load_network(folder)
    point = read_operating_point(folder, "surroundings network")
    return Surroundings(network, point, ModelIdentity(id=NAME, digest=weights_digest(folder)))


def _clipped(box: Box, width: int, height: int) -> Box | None:
    x1, x2 = (min(max(x, 0.0), float(width)) for x in (box.x1, box.x2))
    y1, y2 = (min(max(y, 0.0), float(height)) for y in (box.y1, box.y2))
    return Box(x1=x1, y1=y1, x2=x2, y2=y2) if x1 < x2 and y1 < y2 else None
