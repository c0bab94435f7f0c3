"""Made-up people for the tools that recognise: pictures of one real face, and an encoder that reads who it is.

The astronaut's face is found, measured and screened for real; only the encoder is a double. It reads a person's number
from the tint of the chip, so that many people can be enrolled without pictures of many people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visagent.vision.align import DLIB_150, ChipTemplate
from visagent.vision.crop import ByteImage
from visagent.vision.dlib_encoder import DlibEncoder
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one

TINTS = {"ada": (0, 0, 0), "bob": (40, 0, 0), "eve": (0, 0, 45), "twin": (38, 0, 0), "stranger": (0, 40, 0)}
"""What is added to red, green and blue."""


def portrait(astronaut: np.ndarray, who: str, *, light: float = 1.0) -> np.ndarray:
    """The astronaut's head as somebody's picture."""
    head = astronaut[:256, 60:360].astype(np.float32) * light
    return np.ascontiguousarray(np.clip(head + np.array(TINTS[who], np.float32), 0, 255).astype(np.uint8))


class TintEncoder:
    """Embeds a chip by its mean tint: the same person in other light is near, another tint is far."""

    contract: EmbeddingContract = DlibEncoder().contract  # the shipped calibration is of this one
    template: ChipTemplate = DLIB_150

    def encode(self, chips: Sequence[ByteImage]) -> Embeddings:
        rows = []
        for chip in chips:
            red, green, blue = chip.reshape(-1, 3).astype(np.float64).mean(axis=0)
            gray = (red + green + blue) / 3
            tint = np.array([red - gray, green - gray, blue - gray]) / gray * 12
            rows.append(np.concatenate([[np.cos(k + 3 * value) for value in tint for k in range(20)],
                                        [np.sin(k + 3 * value) for value in tint for k in range(20)], np.zeros(8)]))
        return of_length_one(np.array(rows))
