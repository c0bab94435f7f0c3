"""Show evidence: labelled boxes on a picture, masks laid over it, and two pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visagent.evidence import Box, Region
from visagent.vision.crop import ByteImage, resize

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
"""The palette of Okabe and Ito, which people with any colour vision can tell apart; repeated after seven regions."""
SMALLEST_SIDE = 480
"""Smaller pictures are enlarged to this longer side, since no label is readable on 48 pixels."""

LAYER_OPACITY = 0.5
"""Of the strongest part of a mask: what is under it must stay to be seen."""

_Rectangle = tuple[float, float, float, float]


def annotate(rgb: ByteImage, regions: Sequence[Region], captions: Sequence[str] | None = None) -> ByteImage:
    """Draw regions as labelled boxes.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`; it is not changed.
        regions: Regions of this picture.
        captions: Text for each box; None takes the region's label, with its score if it has one.

    Returns:
        uint8 RGB; of the picture's size, or enlarged to a longer side of 480 pixels.

    Raises:
        ValueError: Not as many captions as regions.
    """
    from PIL import Image, ImageDraw

    texts = [caption_of(region) for region in regions] if captions is None else list(captions)
    if len(texts) != len(regions):
        raise ValueError("every region needs one caption")
    scale = max(1.0, SMALLEST_SIDE / max(rgb.shape[:2]))
    enlarged = resize(rgb, round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    image = Image.fromarray(enlarged)
    draw = ImageDraw.Draw(image)
    thickness = max(2, round(max(image.size) / 250))
    height = max(14, round(max(image.size) / 40))
    corners = [_inside((r.box.x1 * scale, r.box.y1 * scale, r.box.x2 * scale, r.box.y2 * scale), image.size)
               for r in regions]
    for index, box in enumerate(corners):
        # A dark rim keeps a box visible on a background of its own colour.
        draw.rectangle(_grown(box, 1, image.size), outline=(0, 0, 0), width=thickness + 2)
        draw.rectangle(box, outline=COLOURS[index % len(COLOURS)], width=thickness)
    taken: list[_Rectangle] = []
    for index, (box, text) in enumerate(zip(corners, texts, strict=True)):
        _write_label(draw, text, box, COLOURS[index % len(COLOURS)], height, image.size, taken)
    return np.asarray(image, dtype=np.uint8).copy()


def side_by_side(left: ByteImage, right: ByteImage, gap: int = 8) -> ByteImage:
    """Two pictures beside each other at the same height, with a white gap; the lower one is enlarged.

    Args:
        left: uint8 `[H, W, 3]`.
        right: uint8 `[H, W, 3]`.
        gap: Pixels between them.
    """
    height = max(left.shape[0], right.shape[0])
    parts = [resize(part, max(1, round(part.shape[1] * height / part.shape[0])), height) for part in (left, right)]
    white = np.full((height, gap, 3), 255, dtype=np.uint8)
    return np.hstack([parts[0], white, parts[1]])


def as_layer(mask: ByteImage) -> ByteImage:
    """A mask as a layer that can be seen through, uint8 RGBA `[H, W, 4]`.

    Args:
        mask: uint8 `[H, W, 3]`; the brighter, the less is seen of what is under it. A gray one gets the colours of
            heat, which people with any colour vision can tell apart; another keeps its own.
    """
    import cv2

    strength = mask.max(axis=2)
    if (mask == strength[..., None]).all():
        coloured = cv2.cvtColor(cv2.applyColorMap(strength, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    else:
        coloured = np.rint(mask * (255.0 / np.maximum(strength, 1)[..., None])).astype(np.uint8)
    return np.dstack([coloured, np.rint(strength * LAYER_OPACITY).astype(np.uint8)])


def lay_over(rgb: ByteImage, mask: ByteImage, box: Box | None = None) -> ByteImage:
    """A picture with a mask over a place of it, uint8 `[H, W, 3]`.

    Args:
        rgb: The picture, uint8 `[H, W, 3]`; it is not changed.
        mask: As for `as_layer`, of any size.
        box: The place, in pixels of the picture; the whole picture if None. It may reach out of the picture.
    """
    import cv2

    height, width = rgb.shape[:2]
    x1, y1, x2, y2 = (0, 0, width, height) if box is None else box.rounded()
    size = max(1, x2 - x1), max(1, y2 - y1)
    layer = np.asarray(cv2.resize(as_layer(mask), size, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = layer[max(0, -y1):max(0, height - y1), max(0, -x1):max(0, width - x1)]
    out = rgb.astype(np.float32)
    under = out[max(0, y1):max(0, y1) + inside.shape[0], max(0, x1):max(0, x1) + inside.shape[1]]
    under += (inside[..., :3] - under) * (inside[..., 3:] / 255)
    return np.asarray(np.rint(out), np.uint8)


def caption_of(region: Region) -> str:
    """The label, with the score if there is one."""
    return region.label if region.score is None else f"{region.label} {region.score:.2f}"


def _inside(box: _Rectangle, size: tuple[int, int]) -> _Rectangle:
    """The box with its corners on pixels of the picture."""
    x1, x2 = (min(max(0.0, x), size[0] - 1.0) for x in (box[0], box[2] - 1))
    y1, y2 = (min(max(0.0, y), size[1] - 1.0) for y in (box[1], box[3] - 1))
    return x1, y1, max(x1, x2), max(y1, y2)


def _grown(box: _Rectangle, by: float, size: tuple[int, int]) -> _Rectangle:
    return _inside((box[0] - by, box[1] - by, box[2] + by + 1, box[3] + by + 1), size)


def _write_label(draw: ImageDraw.ImageDraw, text: str, box: _Rectangle, colour: tuple[int, int, int], height: int,
                 size: tuple[int, int], taken: list[_Rectangle]) -> None:
    """Write the text on a plate of the box's colour, smaller if the picture is too narrow, off the earlier labels."""
    font, (width, tall) = _fitting_font(draw, text, height, size[0])
    pad = max(2, height // 6)
    plate_width, plate_height = width + 2 * pad, tall + 2 * pad
    x = min(max(0.0, box[0]), max(0.0, size[0] - plate_width))
    # Over the box, else under it, else inside; where all are taken, over the earlier label.
    tries = (box[1] - plate_height, box[3] + 1, box[1], box[3] - plate_height)
    options = [(x, y, x + plate_width, y + plate_height) for y in tries if 0 <= y <= size[1] - plate_height]
    free = [option for option in options if not any(_overlap(option, other) for other in taken)]
    top = max(0.0, min(box[1], size[1] - plate_height))
    plate = (free or options or [(x, top, x + plate_width, top + plate_height)])[0]
    taken.append(plate)
    draw.rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=colour, outline=(0, 0, 0))
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 128
    draw.text((plate[0] + pad, plate[1] + pad), text, font=font, anchor="lt",
              fill=(255, 255, 255) if dark else (0, 0, 0), stroke_width=1 if dark else 0, stroke_fill=(0, 0, 0))


def _fitting_font(draw: ImageDraw.ImageDraw, text: str, height: int, room: int,
                  ) -> tuple[ImageFont.ImageFont | ImageFont.FreeTypeFont, tuple[float, float]]:
    """The font of this height, or the highest that lets the text fit, down to 9 pixels; and the text's size."""
    from PIL import ImageFont

    while True:
        font = ImageFont.load_default(height)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font, anchor="lt", stroke_width=1)
        if right - left + 6 <= room or height <= 9:
            return font, (right - left, bottom - top)
        height -= 1


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
