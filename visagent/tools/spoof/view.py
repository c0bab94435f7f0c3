"""What the spoof tool shows its two judges: the face view, with no more detail than they learned from."""

from __future__ import annotations

from typing import Final

from visagent.evidence import Box
from visagent.vision.crop import ByteImage, View, limit_detail, take_view

VIEW_SIDE: Final = 192
VIEW_DETAIL: Final = 128
"""Pixels along a view that hold its finest detail. LFW's faces were about 110 pixels wide before they were enlarged,
UTKFace's at most 170: to networks that learned from them the pores of a sharper photo are the texture of an attack.
Two thirds of the view's own side: at 3/4 resampling itself leaves a faint grid, which looks like a screen's."""


def screening_view(rgb: ByteImage, face: Box) -> View:
    """The square view around a face, uint8 `[192, 192, 3]`."""
    return take_view(rgb, face, size=VIEW_SIDE, detail=VIEW_DETAIL)


def as_screened(view: ByteImage) -> ByteImage:
    """A ready-made face view, uint8 `[S, S, 3]`, with the detail that the tool would leave it."""
    return limit_detail(view, VIEW_DETAIL)
