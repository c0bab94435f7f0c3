"""Any ArcFace-type network as an encoder: an ONNX file of yours, run by onnxruntime.

The usual convention is taken: a chip of 112 pixels aligned by `ARCFACE_112`, RGB, `(value - 127.5) / 127.5`. A file
`NAME.json` beside `NAME.onnx` says otherwise:

    {"mean": 0.0, "scale": 1.0, "channels": "BGR", "mirror": false}

Nothing is downloaded, and nothing ships: most published ArcFace weights forbid commercial use. The file is read as one
piece and handed over as bytes, so that it cannot pull in other files of the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from visagent.errors import WeightsError
from visagent.vision.align import ARCFACE_112, ChipTemplate
from visagent.vision.crop import ByteImage
from visagent.vision.encoder import EmbeddingContract, Embeddings, of_length_one
from visagent.weights import sha256_of

MAX_BYTES: Final = 1_500_000_000
BATCH: Final = 32
DEPARTURE: Final = 1e-3
"""A chip's embedding alone and in a batch may differ by this much at most; a network that mixes faces differs more."""


class Preprocessing(BaseModel):
    """What is done to a chip before the network sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float = 127.5
    scale: float = Field(default=127.5, gt=0)
    channels: Literal["RGB", "BGR"] = "RGB"
    mirror: bool = True

    def __str__(self) -> str:
        mirror = "mean with the mirror image" if self.mirror else "no mirror image"
        return f"{self.channels}, (value - {self.mean:g}) / {self.scale:g}, {mirror}, scaled to length 1"


class OnnxEncoder:
    """An encoder from a file.

    Args:
        file: Ends in .onnx; takes `[N, 3, 112, 112]` float32 and gives `[N, D]`.

    Raises:
        WeightsError: No such file, no network of this kind, or a network that does not judge each face alone.
    """

    def __init__(self, file: Path) -> None:
        if file.suffix.lower() != ".onnx" or not file.is_file():
            raise WeightsError("The encoder is no .onnx file here; name one with `encoder`, or leave it out for "
                               "dlib's.")
        if file.stat().st_size > MAX_BYTES:
            raise WeightsError(f"The encoder's file is over {MAX_BYTES / 1e9:.1f} GB; take a smaller network.")
        self._preprocessing = _preprocessing_of(file)
        self._session = _open_session(file)
        self._input = self._session.get_inputs()[0].name
        try:
            probe = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
            together = self._run(list(probe))
            alone = self._run([probe[0]])
        except Exception:  # onnxruntime raises its own kinds, of no common base
            raise WeightsError("The encoder does not take pictures of 112 x 112 pixels as ArcFace-type networks do "
                               "([N, 3, 112, 112] float32).") from None
        if together.ndim != 2 or len(together) != 2 or not 2 <= together.shape[1] <= 4096 \
                or not np.isfinite(together).all():
            raise WeightsError("The encoder's output is no embedding ([N, D] finite numbers).")
        if np.abs(of_length_one(together)[0] - of_length_one(alone)[0]).max() > DEPARTURE:
            raise WeightsError("The encoder gives a face another embedding when a second face is beside it; export "
                               "the network in inference mode.")
        self._contract = EmbeddingContract(
            model=file.stem, digest=sha256_of(file)[:16], dimension=together.shape[1],
            alignment="arcface-112: eyes, nose tip and mouth corners of 68 landmarks",
            preprocessing=str(self._preprocessing))

    @property
    def contract(self) -> EmbeddingContract:
        """Pins the file and how it is used."""
        return self._contract

    @property
    def template(self) -> ChipTemplate:
        """InsightFace's chip."""
        return ARCFACE_112

    def encode(self, chips: Sequence[ByteImage]) -> Embeddings:
        """Embeddings `[N, D]` of chips, each uint8 `[112, 112, 3]`."""
        if not chips:
            return np.empty((0, self._contract.dimension), np.float32)
        if not self._preprocessing.mirror:
            return of_length_one(self._run(list(chips)))
        both = of_length_one(self._run([view for chip in chips for view in (chip, chip[:, ::-1])]))
        return of_length_one(both.reshape(len(chips), 2, -1).mean(axis=1))

    def _run(self, views: list[ByteImage]) -> Embeddings:
        parts = []
        for start in range(0, len(views), BATCH):
            pixels = np.stack(views[start:start + BATCH]).astype(np.float32)
            if self._preprocessing.channels == "BGR":
                pixels = pixels[..., ::-1]
            pixels = (pixels - self._preprocessing.mean) / self._preprocessing.scale
            batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32)
            parts.append(np.asarray(self._session.run(None, {self._input: batch})[0], dtype=np.float32))
        return np.concatenate(parts)


def _preprocessing_of(file: Path) -> Preprocessing:
    beside = file.with_suffix(".json")
    if not beside.is_file():
        return Preprocessing()
    try:
        return Preprocessing.model_validate(json.loads(beside.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        raise WeightsError(f"The .json beside the encoder is not as it should be; it may hold "
                           f"{', '.join(Preprocessing.model_fields)}.") from None


def _open_session(file: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise WeightsError("An .onnx encoder needs onnxruntime: pip install 'visagent[onnx]'.") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its complaints name paths; ours are below
    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception:  # as above
        raise WeightsError("The encoder's file is damaged, refers to other files, or needs operators that onnxruntime "
                           "does not have; export it in one piece.") from None
    if len(session.get_inputs()) != 1:
        raise WeightsError("The encoder takes several inputs; an ArcFace-type network takes one picture.")
    return session
