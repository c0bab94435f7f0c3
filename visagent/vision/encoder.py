"""Encoders: from an aligned face chip to an embedding. One protocol for all, and one way to compare.

An embedding is float32 of length 1; two are compared by their cosine similarity, higher is more alike. Which encoder,
weights, alignment and preprocessing made an embedding is its `EmbeddingContract`: only embeddings of one contract may
be compared, and what stores them refuses others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from visagent.vision.align import ChipTemplate, align_face
from visagent.vision.crop import ByteImage
from visagent.vision.detect import Face

Embeddings: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
"""float32 `[N, D]`, or `[D]` for one."""


class EmbeddingContract(BaseModel):
    """What two embeddings must share to be comparable.

    Attributes:
        model: Id of the network.
        digest: SHA-256 of its weights, first 16 hex digits.
        dimension: Numbers in an embedding.
        alignment: Name of the chip template.
        preprocessing: What is done to a chip before, and to the network's output after, in words.
        metric: How two are compared; one convention for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    digest: str = Field(pattern=r"^[0-9a-f]{16}$")
    dimension: int = Field(ge=2, le=4096)
    alignment: str
    preprocessing: str
    metric: Literal["cosine similarity"] = "cosine similarity"

    @property
    def id(self) -> str:
        """SHA-256 of the whole contract, first 16 hex digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.model} ({self.digest})"


class Encoder(Protocol):
    """A network that tells people apart."""

    @property
    def contract(self) -> EmbeddingContract:
        """What its embeddings may be compared with."""
        ...

    @property
    def template(self) -> ChipTemplate:
        """How its chips are aligned."""
        ...

    def encode(self, chips: Sequence[ByteImage]) -> Embeddings:
        """Embeddings of chips, each uint8 `[size, size, 3]`; float32 `[N, D]` of length 1. Thread-safe."""
        ...


def embed_faces(rgb: ByteImage, faces: Sequence[Face], encoder: Encoder) -> Embeddings:
    """Embeddings of faces found in a picture, float32 `[N, D]` of length 1.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`.
        faces: From `detect_faces` on it.
        encoder: The network.
    """
    if not faces:
        return np.empty((0, encoder.contract.dimension), np.float32)
    return encoder.encode([align_face(rgb, face, encoder.template) for face in faces])


def similarity_of(one: Embeddings, other: Embeddings) -> float:
    """Cosine similarity of two embeddings of length 1: 1 for the same picture, under 0.9 for most pairs of people."""
    return float(np.dot(one.astype(np.float64), other.astype(np.float64)))


def of_length_one(values: NDArray[np.floating[Any]]) -> Embeddings:
    """The rows scaled to length 1, float32 `[N, D]`. A row of zeros stays one: it is like nothing."""
    lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), dtype=np.float32)


def open_encoder(file: Path | None = None, fairness_module: Path | None = None) -> Encoder:
    """The encoder of the settings; give it to `Models.get` with its arguments.

    Args:
        file: ONNX file of an ArcFace-type network; dlib's network if None.
        fairness_module: Folder of a module that changes its embeddings; none if None.

    Raises:
        WeightsError: Something is missing, damaged, or does not fit.
    """
    encoder: Encoder
    if file is None:
        from visagent.vision.dlib_encoder import DlibEncoder

        encoder = DlibEncoder()
    else:
        from visagent.vision.onnx_encoder import OnnxEncoder

        encoder = OnnxEncoder(file)
    if fairness_module is None:
        return encoder
    from visagent.vision.fairness_module import FairEncoder, load_fairness_module

    return FairEncoder(encoder, load_fairness_module(fairness_module))
