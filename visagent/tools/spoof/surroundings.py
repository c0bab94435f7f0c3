"""What stands around a face: whether the border of a screen or sheet encloses it, seen in a wide view.

The face view that the specialist judges ends at the face. A phone's frame, a sheet's margin, the hand that holds them
lie outside of it. Here a network looks at a square of 3.2 times the face's box. It abstains where the picture ends too
close to the face: then there are no surroundings to judge.

This module loads no torch until the weights are read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from visagent.evidence import Box, ModelIdentity
from visagent.tools.spoof.specialist import OperatingPoint, attacked_box, read_operating_point
from visagent.vision.crop import WIDE_MARGIN, WIDE_SIDE, ByteImage, View, take_view
from visagent.weights import locate, weights_digest

if TYPE_CHECKING:
    from visagent.tools.spoof.surroundings_network import SurroundingsNetwork

NAME: Final = "spoof-surroundings"
Border = Literal["none", "likely", "certain"]
MOST_PADDING: Final = 0.65
"""Share of a wide view that may lie outside of the picture. A square picture around the face must have 1.9 times the
side of its box."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What the surroundings say of one face.

    Attributes:
        score: Calibrated probability that a screen's or sheet's border encloses the face, 0 to 1.
        threshold: Probability from which on a border is likely: with another voice that says so, an attack.
        certain: Probability from which on the border alone makes it an attack.
        carrier: The likelier of the two, whether or not the face is enclosed.
        box: Bounds of what the border encloses, as far as the view shows it, in pixels of the picture; None if the
            network marks nothing.
        enclosed: Probability of "enclosed here" for each cell of the wide view, `[12, 12]`, 0 to 1.
    """

    score: float
    threshold: float
    certain: float
    carrier: Literal["screen", "sheet"]
    box: Box | None
    enclosed: NDArray[np.floating] = field(repr=False, compare=False)

    @property
    def border(self) -> Border:
        """What the score amounts to."""
        return _border(self.score, self.threshold, self.certain)


def seen_around(rgb: ByteImage, face: Box, turns: int = 0) -> View | None:
    """The wide view of a face; None where more than `MOST_PADDING` of it lies outside of the picture.

    Raises:
        ValueError: `rgb` is no picture.
    """
    view = wide_view(rgb, face, turns)
    return view if padded_share(view, rgb.shape[1], rgb.shape[0]) <= MOST_PADDING else None


class BorderPoint(OperatingPoint):
    """An operating point of two thresholds; `operating_point.json`.

    Attributes:
        certain: Log-odds from which on the border alone makes it an attack; not below `threshold`.
    """

    certain: float

    @model_validator(mode="after")
    def _in_order(self) -> BorderPoint:
        if self.certain < self.threshold:
            raise ValueError("a certain border needs a score at least as high as a likely one")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The network with its operating point."""

    network: SurroundingsNetwork
    operating_point: BorderPoint
    identity: ModelIdentity

    def look(self, rgb: ByteImage, face: Box, turns: int = 0) -> Enclosure | None:
        """Judge what stands around a face. The view and its mirror image are averaged.

        Args:
            rgb: The whole picture, uint8 `[H, W, 3]`.
            face: The face's box in pixels of the picture.
            turns: Quarter turns against the clock that bring the face upright (`Face.turns`).

        Returns:
            None where more than `MOST_PADDING` of the wide view lies outside of the picture: it cannot be told.

        Raises:
            ValueError: The picture has another shape or type.
        """
        view = seen_around(rgb, face, turns)
        if view is None:
            return None
        height, width = rgb.shape[:2]
        log_odds, kinds, mask = judge(self.network, view.rgb)
        box = attacked_box(mask, WIDE_SIDE)
        return Enclosure(
            score=self.operating_point.probability(log_odds),
            threshold=self.operating_point.probability(self.operating_point.threshold),
            certain=self.operating_point.probability(self.operating_point.certain),
            carrier="screen" if kinds[1] >= kinds[2] else "sheet",
            box=None if box is None else _clipped(view.to_picture(box), width, height), enclosed=mask)

    def border_of(self, view: NDArray[np.uint8]) -> Border:
        """What a wide view alone says, uint8 `[96, 96, 3]`."""
        return _border(judge(self.network, view)[0], self.operating_point.threshold, self.operating_point.certain)


def wide_view(rgb: ByteImage, face: Box, turns: int = 0) -> View:
    """The square view with a face's surroundings, uint8 `[96, 96, 3]`, its face upright after so many quarter turns.

    Raises:
        ValueError: `rgb` is no picture.
    """
    return take_view(rgb, face, margin=WIDE_MARGIN, size=WIDE_SIDE, turns=turns)


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
        seen = as_input(view[None])
        output = network(torch.cat([seen, seen.flip(3)]))
        marked = output.mask.sigmoid()
        mask = (marked[0] + marked[1].flip(1)) / 2
        return float(output.score.mean()), output.kinds.softmax(1).mean(0).numpy(), mask.numpy()


def _border(score: float, likely: float, certain: float) -> Border:
    return "certain" if score >= certain else "likely" if score >= likely else "none"


def load_surroundings() -> Surroundings:
    """The shipped network; give it to `Models.get`. Raises WeightsError if it is missing or altered."""
    return read_surroundings(locate(NAME))


def read_surroundings(folder: Path) -> Surroundings:
    """The network of a folder that holds `model.safetensors` and `operating_point.json`.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    from visagent.tools.spoof.surroundings_network import load_network

    network = load_network(folder)
    point = read_operating_point(folder, "surroundings network", BorderPoint)
    return Surroundings(network, point, ModelIdentity(id=NAME, digest=weights_digest(folder)))


def _clipped(box: Box, width: int, height: int) -> Box | None:
    x1, x2 = (min(max(x, 0.0), float(width)) for x in (box.x1, box.x2))
    y1, y2 = (min(max(y, 0.0), float(height)) for y in (box.y1, box.y2))
    return Box(x1=x1, y1=y1, x2=x2, y2=y2) if x1 < x2 and y1 < y2 else None
