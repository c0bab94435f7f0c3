"""The attack specialist at work: weights, operating point, and what it says of one view.

This module loads no torch until a specialist is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visagent.errors import WeightsError
from visagent.evidence import Box, ModelIdentity
from visagent.tools.spoof.words import Verdict
from visagent.vision.crop import VIEW_SIDE
from visagent.weights import locate, weights_digest

if TYPE_CHECKING:
    from visagent.tools.spoof.network import SpoofNetwork

NAME = "spoof-specialist"
PRESENT = 0.5
"""A clue, or a cell of the mask, is reported from this probability on: then it is more likely there than not."""


class OperatingPoint(BaseModel):
    """What the attack score means, measured on the development split; `operating_point.json`.

    Attributes:
        threshold: Log-odds of an attack from which on a view is called a spoof.
        scale: Slope of Platt's calibration.
        offset: Its intercept: the probability of an attack is `sigmoid(scale * log_odds + offset)`.
        source: Data, split and error rate of the threshold.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    threshold: float
    scale: Annotated[float, Field(gt=0)]
    offset: float
    source: Annotated[str, Field(min_length=10)]

    def probability(self, log_odds: float) -> float:
        """Calibrated probability of an attack, 0 to 1."""
        return sigmoid(self.scale * log_odds + self.offset)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the specialist says of one view.

    Attributes:
        score: Calibrated probability of an attack, 0 to 1.
        threshold: Probability from which on the view is called a spoof.
        attack: The most likely attack type, whether or not it is a spoof.
        clues: What gives an attack away, each with its probability of over 0.5, most likely first.
        box: Bounds of the biggest connected attacked area in pixels of the view; None if there is none.
        attacked: Probability of "attacked here" for each cell of the view, `[12, 12]`, 0 to 1: where `box` comes from.
    """

    score: float
    threshold: float
    attack: str
    clues: Mapping[str, float]
    box: Box | None
    attacked: NDArray[np.floating] = field(repr=False, compare=False)

    @property
    def is_spoof(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold

    @property
    def verdict(self) -> Verdict:
        """The same in a word."""
        return "spoof" if self.is_spoof else "live"


@dataclass(frozen=True, slots=True, eq=False)
class Specialist:
    """The network with its operating point."""

    network: SpoofNetwork
    operating_point: OperatingPoint
    identity: ModelIdentity

    def look(self, view: NDArray[np.uint8]) -> Opinion:
        """Judge a face view, uint8 `[192, 192, 3]`. The view and its mirror image are averaged.

        Raises:
            ValueError: The view has another shape.
        """
        import torch

        from visagent.tools.spoof.network import as_input

        if view.shape != (VIEW_SIDE, VIEW_SIDE, 3) or view.dtype != np.uint8:
            raise ValueError(f"the specialist looks at uint8 [{VIEW_SIDE}, {VIEW_SIDE}, 3]")
        with torch.inference_mode():
            output = self.network(as_input(np.stack([view, view[:, ::-1]])))
            log_odds = float(output.attack_score.mean())
            types = output.types.softmax(1).mean(0).numpy()
            clues = output.clues.sigmoid().mean(0).numpy()
            mask = output.mask.sigmoid()
            attacked = ((mask[0] + mask[1].flip(1)) / 2).numpy()
        words = self.network.vocabulary
        order = [int(index) for index in np.argsort(-clues, kind="stable") if clues[index] > PRESENT]
        return Opinion(
            score=self.operating_point.probability(log_odds),
            threshold=self.operating_point.probability(self.operating_point.threshold),
            attack=words.attacks[int(types[1:].argmax())],
            clues={words.clues[index]: float(clues[index]) for index in order},
            box=attacked_box(attacked, VIEW_SIDE), attacked=attacked)


def load_specialist() -> Specialist:
    """The shipped specialist; give it to `Models.get`. Raises WeightsError if it is missing or altered."""
    return read_specialist(locate(NAME))


def read_specialist(folder: Path) -> Specialist:
    """The specialist of a folder that holds `model.safetensors`, `vocabulary.json` and `operating_point.json`.

    Raises:
        WeightsError: A file is missing or does not fit.
    """
    from visagent.tools.spoof.network import load_network

    network = load_network(folder)
    point = read_operating_point(folder, "attack specialist", OperatingPoint)
    return Specialist(network, point, ModelIdentity(id=NAME, digest=weights_digest(folder)))


Point = TypeVar("Point", bound=OperatingPoint)


def read_operating_point(folder: Path, whose: str, kind: type[Point]) -> Point:
    """The `operating_point.json` beside a network's weights. Raises WeightsError if it cannot be read."""
    try:
        return kind.model_validate_json((folder / "operating_point.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError(f"The {whose}'s operating point cannot be read; reinstall visagent.") from error


def attacked_box(attacked: NDArray[np.floating], side: int) -> Box | None:
    """Bounds of the biggest connected region of cells over 0.5, in pixels; None if no cell is.

    Args:
        attacked: Probability of "attacked here" for each cell, `[grid, grid]`, 0 to 1.
        side: Side of the view in pixels.
    """
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((attacked > PRESENT).astype(np.uint8), connectivity=4)
    if count < 2:  # only the background
        return None
    weights = [float(attacked[labels == region].sum()) for region in range(1, count)]
    x, y, width, height, _ = (int(value) for value in stats[1 + int(np.argmax(weights))])
    cell = side / attacked.shape[0]
    return Box(x1=x * cell, y1=y * cell, x2=(x + width) * cell, y2=(y + height) * cell)


def sigmoid(value: float) -> float:
    """`1 / (1 + exp(-value))`, without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    return math.exp(value) / (1 + math.exp(value))
