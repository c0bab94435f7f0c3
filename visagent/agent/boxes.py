"""Boxes as each family of vision-language models writes them, in pixels of the view that the model was shown.

| family | what the numbers mean |
|---|---|
| qwen2_vl, qwen3_vl | relative, 0 to 1000 |
| qwen2_5_vl | pixels of the resized picture, whose sides are multiples of 28 |
| llava and relatives | fractions, 0 to 1 |
| `box_scale` in a model's visagent.json | relative, 0 to `box_scale` |
| anything else | pixels of the picture as it was sent |
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from visagent.tools.contract import Look

PixelBox = tuple[float, float, float, float]

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_PATTERN = re.compile(
    rf"(?:<\|box_start\|>|<box>)?\s*"
    rf"(?:\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]|\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\))"
    rf"\s*(?:<\|box_end\|>|</box>)?"
)
OUTSIDE = "[outside the picture]"


@dataclass(frozen=True, slots=True)
class BoxSpace:
    """The coordinate space of one model's boxes.

    Attributes:
        scale: Boxes run from 0 to this number along each side; null if they are pixels.
        factor: Pixels of a picture resized so that each side is a multiple of this; 1 if it is not resized.
        min_pixels: Fewest pixels of the resized picture.
        max_pixels: Most pixels of the resized picture.
    """

    scale: float | None = None
    factor: int = 1
    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 16384

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The extent of the model's coordinates, `(x, y)`, for a view of `width` x `height` pixels."""
        if self.scale is not None:
            return self.scale, self.scale
        if self.factor == 1:
            return width, height
        return self._resized(width, height)

    def to_view(self, box: PixelBox, width: int, height: int) -> PixelBox | None:
        """A box of the model in pixels of the view, clipped to it; None if nothing is left of it."""
        across, down = self.size(width, height)
        x1, x2 = (min(max(x * width / across, 0.0), float(width)) for x in (box[0], box[2]))
        y1, y2 = (min(max(y * height / down, 0.0), float(height)) for y in (box[1], box[3]))
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    def from_view(self, box: PixelBox, width: int, height: int) -> PixelBox:
        """A box in pixels of the view as the model would write it, unrounded."""
        across, down = self.size(width, height)
        x1, y1, x2, y2 = box
        return x1 * across / width, y1 * down / height, x2 * across / width, y2 * down / height

    def read(self, text: str, width: int, height: int) -> Look:
        """What a model wrote about a view of `width` x `height`, its boxes turned into pixels of that view."""
        boxes: list[PixelBox] = []

        def rewrite(match: re.Match[str]) -> str:
            x1, y1, x2, y2 = (float(number) for number in match.groups() if number is not None)
            box = self.to_view((x1, y1, x2, y2), width, height)
            lead = " " if match.group()[0].isspace() else ""
            trail = " " if match.group()[-1].isspace() else ""
            if box is None:
                return f"{lead}{OUTSIDE}{trail}"
            boxes.append(box)
            return lead + "[{}, {}, {}, {}]".format(*(round(side) for side in box)) + trail

        return Look(text=_PATTERN.sub(rewrite, text), boxes=tuple(boxes))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """The size that Qwen2.5-VL's processor gives a picture (its `smart_resize`)."""
        across = max(self.factor, round(width / self.factor) * self.factor)
        down = max(self.factor, round(height / self.factor) * self.factor)
        if across * down > self.max_pixels:
            shrink = math.sqrt(width * height / self.max_pixels)
            across = max(self.factor, math.floor(width / shrink / self.factor) * self.factor)
            down = max(self.factor, math.floor(height / shrink / self.factor) * self.factor)
        elif across * down < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (width * height))
            across = math.ceil(width * grow / self.factor) * self.factor
            down = math.ceil(height * grow / self.factor) * self.factor
        return across, down


_FAMILIES = {
    "qwen2_vl": BoxSpace(scale=1000.0),
    "qwen3_vl": BoxSpace(scale=1000.0),
    "qwen3_vl_moe": BoxSpace(scale=1000.0),
    "qwen2_5_vl": BoxSpace(factor=28),
    "llava": BoxSpace(scale=1.0),
    "llava_next": BoxSpace(scale=1.0),
    "llava_onevision": BoxSpace(scale=1.0),
}


def box_space(family: str, *, box_scale: float | None = None) -> BoxSpace:
    """The box space of a model family.

    Args:
        family: The `model_type` of the model's configuration, or a served model's name ("Qwen2.5-VL-7B-Instruct").
        box_scale: The model's own statement that its boxes are relative, 0 to this; it wins over the family.
    """
    if box_scale is not None:
        return BoxSpace(scale=float(box_scale))
    if family in _FAMILIES:
        return _FAMILIES[family]
    plain = re.sub(r"[^a-z0-9]+", "_", family.lower())
    matches = [name for name in _FAMILIES if name in plain]
    return _FAMILIES[max(matches, key=len)] if matches else BoxSpace()
