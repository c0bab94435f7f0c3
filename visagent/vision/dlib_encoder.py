"""The default encoder: dlib's face recognition network, 128 numbers a face, from the wheels alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from visagent.vision.align import DLIB_150, ChipTemplate
from visagent.vision.crop import ByteImage
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one
from visagent.weights import DLIB_MODELS, locate_dlib_model

if TYPE_CHECKING:
    from visagent.vision.dlib_resnet import DlibResNet

MODEL: Final = "dlib_face_recognition_resnet_model_v1"
FEW_CHIPS: Final = 6
"""Up to this many chips dlib itself is asked where torch is not loaded: it takes 0.06 s for each pass, and loading
torch takes 0.8 s. Both give the same numbers to six decimals."""
BATCH: Final = 32


class DlibEncoder:
    """Length-1 mean of the descriptors of a chip and of its mirror image.

    On half of LFW's people that neither was chosen on, length 1 and cosine similarity miss 10.4 % of same-person pairs
    at a false-match rate of 0.1 %, where Euclidean distances of the same means miss 13.6 % and of single descriptors
    16.9 % (docs/recognition.md).

    Raises:
        WeightsError: dlib's model is missing or altered.
    """

    def __init__(self) -> None:
        self._path = locate_dlib_model(f"{MODEL}.dat")
        self._dlib: Any = None
        self._network: DlibResNet | None = None
        self._lock = threading.Lock()

    @property
    def contract(self) -> EmbeddingContract:
        """Pins the model file and how it is used."""
        return EmbeddingContract(
            model=MODEL, digest=DLIB_MODELS[f"{MODEL}.dat"].sha256[:16], dimension=128,
            alignment="dlib-150: eye corners and nose base of 68 landmarks",
            preprocessing="mean of the chip's and its mirror image's descriptor, scaled to length 1")

    @property
    def template(self) -> ChipTemplate:
        """dlib's own chip."""
        return DLIB_150

    def encode(self, chips: Sequence[ByteImage]) -> Embeddings:
        """Embeddings `[N, 128]` of chips, each uint8 `[150, 150, 3]`."""
        if not chips:
            return np.empty((0, 128), np.float32)
        both = [view for chip in chips for view in (chip, chip[:, ::-1])]
        with self._lock:
            few = len(chips) <= FEW_CHIPS and self._network is None and "torch" not in sys.modules
            descriptors = self._by_dlib(both) if few else self._by_torch(both)
        return of_length_one(descriptors.reshape(len(chips), 2, 128).mean(axis=1))

    def _by_dlib(self, views: Sequence[ByteImage]) -> Embeddings:
        if self._dlib is None:
            import dlib

            self._dlib = dlib.face_recognition_model_v1(str(self._path))
        return np.array([self._dlib.compute_face_descriptor(np.ascontiguousarray(view)) for view in views],
                        dtype=np.float32)

    def _by_torch(self, views: Sequence[ByteImage]) -> Embeddings:
        import torch

        if self._network is None:
            from visagent.vision.dlib_resnet import read_dlib_resnet

            self._network = read_dlib_resnet(self._path)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(views), BATCH):
                pixels = torch.from_numpy(np.stack(views[start:start + BATCH])).permute(0, 3, 1, 2).float()
                parts.append(self._network(pixels).numpy())
        return np.concatenate(parts)
