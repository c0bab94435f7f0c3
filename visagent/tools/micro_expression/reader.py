"""MOL at work: its weights, its operating point, and what it says of windows.

This module loads no torch until the network is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visagent.errors import WeightsError
from visagent.evidence import ModelIdentity
from visagent.weights import locate, weights_digest

if TYPE_CHECKING:
    from visagent.tools.micro_expression.network import MOL

NAME: Final = "mol"
BATCH: Final = 16
"""Windows at once."""


class OperatingPoint(BaseModel):
    """From which score on there is a micro-expression; `operating_point.json`.

    Attributes:
        threshold: Probability of a micro-expression, 0 to 1.
        explained: Least of `movement.Movement.explained`.
        source: Data, split and error rate of both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    threshold: Annotated[float, Field(gt=0, lt=1)]
    explained: Annotated[float, Field(gt=0, lt=1)]
    source: Annotated[str, Field(min_length=10)]


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """The network with its operating point."""

    network: MOL
    operating_point: OperatingPoint
    identity: ModelIdentity

    def look(self, crops: NDArray[np.uint8], windows: NDArray[np.int64],
             told: Callable[[int, int], None] = lambda done, of: None) -> NDArray[np.float32]:
        """Probabilities of the emotions and none in windows over a clip, `[N, 9]`.

        The crops and their mirror images are averaged: no emotion is of one side.

        Args:
            crops: Aligned frames, uint8 `[T, 128, 128]`.
            windows: Numbers of the eight frames of each window, `[N, 8]`, rising from window to window.
            told: How many windows are done, and of how many.
        """
        import torch

        from visagent.tools.micro_expression.network import normalised

        frames = torch.from_numpy(crops)
        logs = []
        with torch.inference_mode():
            for start in range(0, len(windows), BATCH):
                clips = normalised(frames[torch.from_numpy(windows[start : start + BATCH])].float())
                both = self.network(torch.cat([clips, clips.flip(3)]), classes_only=True).classes.log_softmax(1)
                logs.append(both.unflatten(0, (2, -1)).mean(0))
                told(min(start + BATCH, len(windows)), len(windows))
        return np.asarray(torch.cat(logs).softmax(1).numpy(), np.float32)


def load_reader() -> Reader:
    """The shipped network; give it to `Models.get`. Raises WeightsError if it is missing or altered."""
    return read_reader(locate(NAME))


def read_reader(folder: Path) -> Reader:
    """The network of a folder that holds `model.safetensors` and `operating_point.json`. Raises WeightsError."""
    from visagent.tools.micro_expression.network import load_network

    try:
        point = OperatingPoint.model_validate_json((folder / "operating_point.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError("The operating point of MOL cannot be read; reinstall visagent.") from error
    return Reader(load_network(folder), point, ModelIdentity(id=NAME, digest=weights_digest(folder)))
