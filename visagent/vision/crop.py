"""The face view: a square around a face, and the way back from the view to the picture.

The view is what the small vision-language model and the specialist networks see. Its side is a multiple of the face
box, so that a face fills about the same part of every view, however large the picture is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from visagent.evidence import Box

ByteImage: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

FACE_VIEW_MARGIN: Final = 1.14
"""Side of a face view over the longer side of the face box: the training crops of LFW and UTKFace show the detector's
box with this margin."""

WIDE_MARGIN: Final = 3.2
"""The same of the wide view that shows what stands around a face."""

WIDE_SIDE: Final = 96
"""Side of a wide view in pixels."""

VIEW_SIDE: Final = 192
"""Side in pixels of the views that visagent's own networks look at."""

VIEW_DETAIL: Final = 104
"""Pixels along a view that hold the finest detail the spoof judges see. LFW's faces were about 110 pixels wide before
they were enlarged: to networks that learned from them the pores of a sharper photo are the texture of an attack. With
96, half of the view's side, fine dots and grids are lost too (docs/training.md)."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A square cut-out of a picture.

    Attributes:
        rgb: The pixels, uint8 `[size, size, 3]`.
        left: X of the view's left edge in the picture, in pixels; negative where the view is padded.
        top: Y of the view's upper edge in the picture; negative where the view is padded.
        side: Side of the square in pixels of the picture.
        turns: Quarter turns against the clock by which the cut-out was turned, so that its face is upright.
    """

    rgb: ByteImage
    left: int
    top: int
    side: int
    turns: int = 0

    @property
    def scale(self) -> float:
        """Pixels of the view per pixel of the picture."""
        return float(self.rgb.shape[0] / self.side)

    @property
    def place(self) -> Box:
        """What the view shows, in pixels of the picture; it reaches out of the picture where the view is padded."""
        return Box(x1=self.left, y1=self.top, x2=self.left + self.side, y2=self.top + self.side)

    def to_picture(self, box: Box) -> Box:
        """A box in pixels of this view, in pixels of the picture. Not clipped: padding lies outside the picture."""
        scale = self.scale
        box = turn_box(box, -self.turns, self.rgb.shape[0])
        return Box(x1=box.x1 / scale + self.left, y1=box.y1 / scale + self.top,
                   x2=box.x2 / scale + self.left, y2=box.y2 / scale + self.top)

    def from_picture(self, box: Box) -> Box:
        """A box in pixels of the picture, in pixels of this view. Not clipped: the box may reach out of the view."""
        scale = self.scale
        upright = Box(x1=(box.x1 - self.left) * scale, y1=(box.y1 - self.top) * scale,
                      x2=(box.x2 - self.left) * scale, y2=(box.y2 - self.top) * scale)
        return turn_box(upright, self.turns, self.rgb.shape[0])


def take_view(rgb: ByteImage, box: Box, margin: float = FACE_VIEW_MARGIN, size: int | None = None,
              detail: int | None = None, turns: int = 0) -> View:
    """Cut the square view around a box.

    The square is centred on the box and then shifted to stay inside the picture. Where the picture is narrower than
    the square, its edge pixels are repeated, equally on both sides.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`.
        box: The face, in pixels of the picture.
        margin: Side of the view over the longer side of the box.
        size: Side of `View.rgb` in pixels; None keeps the picture's resolution.
        detail: A square of more pixels than this is reduced to it before it gets its size; None keeps all detail.
        turns: Quarter turns against the clock that bring the face upright (`Face.turns`).

    Raises:
        ValueError: The picture is not uint8 `[H, W, 3]`, the margin is not positive, or a size is under 1.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError("a picture is uint8 [H, W, 3]")
    if margin <= 0 or any(pixels is not None and pixels < 1 for pixels in (size, detail)):
        raise ValueError("a view needs a positive margin and size")
    height, width = rgb.shape[:2]
    side = max(1, round(margin * max(box.x2 - box.x1, box.y2 - box.y1)))
    left = _start((box.x1 + box.x2) / 2, side, width)
    top = _start((box.y1 + box.y2) / 2, side, height)
    cut = rgb[max(0, top):top + side, max(0, left):left + side]
    above, before = max(0, -top), max(0, -left)
    below, after = side - above - cut.shape[0], side - before - cut.shape[1]
    if above or below or before or after:
        cut = np.pad(cut, ((above, below), (before, after), (0, 0)), mode="edge")
    if detail is not None and detail < side:
        cut = resize(cut, detail, detail)
    upright = np.ascontiguousarray(np.rot90(resize(cut, size or side, size or side), turns))
    return View(rgb=upright, left=left, top=top, side=side, turns=turns)


def cut_out(rgb: ByteImage, box: Box) -> ByteImage:
    """The pixels of a box, uint8 `[h, w, 3]`; the picture's edge is repeated where the box reaches out of it."""
    x1, y1, x2, y2 = box.rounded()
    rows = np.clip(np.arange(y1, max(y2, y1 + 1)), 0, rgb.shape[0] - 1)
    columns = np.clip(np.arange(x1, max(x2, x1 + 1)), 0, rgb.shape[1] - 1)
    return rgb[np.ix_(rows, columns)]


def turn_box(box: Box, turns: int, side: float) -> Box:
    """Where a box goes when its square picture is turned by quarter turns, against the clock if positive."""
    for _ in range(turns % 4):
        box = Box(x1=box.y1, y1=side - box.x2, x2=box.y2, y2=side - box.x1)
    return box


def limit_detail(rgb: ByteImage, detail: int) -> ByteImage:
    """A square picture, uint8 `[S, S, 3]`, without what needs more than `detail` pixels along a side; same size."""
    side = rgb.shape[0]
    return rgb if detail >= side else resize(resize(rgb, detail, detail), side, side)


def resize(rgb: ByteImage, width: int, height: int) -> ByteImage:
    """Resample: by area when shrinking (aliasing would look like a screen's moire), by cubic when enlarging.

    Args:
        rgb: uint8 `[H, W]` or `[H, W, 3]`.
        width: New width in pixels.
        height: New height in pixels.
    """
    import cv2

    if rgb.shape[:2] == (height, width):
        return np.ascontiguousarray(rgb)
    shrinks = width * height < rgb.shape[0] * rgb.shape[1]
    resized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def _start(centre: float, side: int, length: int) -> int:
    """First pixel of a stretch of `side` pixels around `centre`, inside `0..length` if it fits, else centred on it."""
    if side >= length:
        return -((side - length) // 2)
    return min(max(0, round(centre - side / 2)), length - side)
