"""Readers of the picture sets in `../shared/data`: LFW, UTKFace, FER+ as parquet files, and their fixed splits.

Splits are functions of the identity (LFW) or of the picture's content (UTKFace, which has no identities), so they are
the same on every machine and never mix one person's, or one picture's, copies. FER+ keeps its official splits.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from PIL import Image

from visagent.errors import PictureError

Split = Literal["train", "dev", "test"]
EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""The eight classes, in the order of FER+'s votes."""

FACE_BOXES = {"lfw": (0.059, 0.127, 0.930, 0.998), "utkface": (0.034, 0.040, 0.915, 0.920)}
"""Where dlib's detector finds the face in these aligned crops, as fractions; mean over 80 pictures of each set."""


@dataclass(frozen=True, slots=True)
class FacePicture:
    """One picture of one face.

    Attributes:
        rgb: uint8 `[H, W, 3]`.
        source: "lfw", "utkface" or "ferplus".
        key: Person (LFW) or picture digest (others): what splits are made by.
        monochrome: Whether the set is monochrome.
    """

    rgb: NDArray[np.uint8]
    source: str
    key: str
    monochrome: bool


@dataclass(frozen=True, slots=True)
class ExpressionPicture:
    """One FER+ picture: uint8 `[48, 48]`, the share of votes of the eight classes, and the class with most votes."""

    gray: NDArray[np.uint8]
    votes: NDArray[np.float32]
    label: str


def split_of(key: str) -> Split:
    """The split a person or picture belongs to: 80 % train, 8 % dev, 12 % test, by SHA-256 of the key."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return "train" if number < 80 else "dev" if number < 88 else "test"


def face_pictures(data: Path, source: Literal["lfw", "utkface"], split: Split) -> Iterator[FacePicture]:
    """The live faces of one set and split. Raises PictureError if the file is not there."""
    path = data / f"{source}.parquet"
    _require(path)
    columns = ["image", "identity"] if source == "lfw" else ["image"]
    for batch in parquet.ParquetFile(path).iter_batches(256, columns=columns):
        for row in batch.to_pylist():
            raw = row["image"]["bytes"]
            key = str(row["identity"]) if source == "lfw" else _content_key(raw)
            if split_of(key) == split:
                yield FacePicture(np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")), source, key, source == "lfw")


def expression_pictures(data: Path, split: Split) -> Iterator[ExpressionPicture]:
    """FER+ pictures of one official split whose label is one of the eight classes."""
    path = data / "ferplus.parquet"
    _require(path)
    official = {"train": "train", "dev": "validation", "test": "test"}[split]
    for batch in parquet.ParquetFile(path).iter_batches(512, columns=["image", "split", "votes", "label"]):
        for row in batch.to_pylist():
            if row["split"] != official or row["label"] not in EXPRESSIONS:
                continue
            votes = np.asarray(row["votes"], np.float32)[:8]
            gray = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("L"))
            yield ExpressionPicture(gray, votes / max(float(votes.sum()), 1.0), row["label"])


def _content_key(raw: bytes) -> str:
    """A key that near-copies share: the sign pattern of the 8x8 gray picture's horizontal differences (dHash)."""
    small = np.asarray(Image.open(io.BytesIO(raw)).convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes().hex()


def _require(path: Path) -> None:
    if not path.is_file():
        raise PictureError(f"{path.name} is not in the data folder; see docs/data.md for where it comes from.")
