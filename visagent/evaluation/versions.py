"""Versions of a picture that show the same face: what is done to pictures on their way, and must not matter."""

from __future__ import annotations

import numpy as np

from visagent.vision.crop import ByteImage, resize


def as_jpeg(rgb: ByteImage, quality: int = 40) -> ByteImage:
    """Saved once as a JPEG of a quality, 1 to 100."""
    import cv2

    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def as_gray(rgb: ByteImage) -> ByteImage:
    """Without colour."""
    import cv2

    return np.repeat(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., None], 3, 2)


def as_half_size(rgb: ByteImage) -> ByteImage:
    """Half as wide and half as high."""
    return resize(rgb, max(1, rgb.shape[1] // 2), max(1, rgb.shape[0] // 2))


def blurred(rgb: ByteImage, share: float = 0.002) -> ByteImage:
    """Out of focus: a Gaussian whose width is a share of the longer side."""
    import cv2

    return np.ascontiguousarray(np.asarray(cv2.GaussianBlur(rgb, (0, 0), share * max(rgb.shape[:2])), np.uint8))


def mirrored(rgb: ByteImage) -> ByteImage:
    """Left and right exchanged."""
    return np.ascontiguousarray(rgb[:, ::-1])
