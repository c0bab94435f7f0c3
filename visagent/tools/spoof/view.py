"""What the spoof tool shows its two judges: the face view, with no more detail than they learned from."""

from __future__ import annotations

from visagent.evidence import Box
from visagent.vision.crop import VIEW_DETAIL, VIEW_SIDE, ByteImage, View, limit_detail, take_view


def screening_view(rgb: ByteImage, face: Box, turns: int = 0) -> View:
    """The square view around a face, uint8 `[192, 192, 3]`, upright after so many quarter turns (`Face.turns`)."""
    return take_view(rgb, face, size=VIEW_SIDE, detail=VIEW_DETAIL, turns=turns)


def as_screened(view: ByteImage) -> ByteImage:
    """A ready-made face view, uint8 `[S, S, 3]`, with the detail that the tool would leave it."""
    return limit_detail(view, VIEW_DETAIL)
