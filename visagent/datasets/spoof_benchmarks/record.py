"""One labelled picture of an anti-spoofing set, and what every reader asks of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.layout import LayoutError
from visagent.datasets.sources import Split

Corners = tuple[float, float, float, float]

MOST_FRAMES = 5
"""Frames of a clip at most: more of the same seconds add little (FaceShield's 12,091 images are of over 3,000 clips
and stills, its fact sheet, section 6)."""


@dataclass(frozen=True, slots=True)
class SpoofPicture:
    """One picture, or one frame of a clip.

    Attributes:
        path: The file.
        frame: Which frame of it, from 0; None for a still.
        attack: One of `ATTACK_TYPES`, None for a live face.
        subject: The person as the set numbers them; where a set names nobody, the clip.
        split: "train", "dev" or "test" of the set's own protocol.
        source: The set, e.g. "wmca".
        box: The attacked area `(x1, y1, x2, y2)` in pixels of the picture, None if the set does not give it.
        face: The face's box in the same pixels, None if the set does not give it.
    """

    path: Path
    frame: int | None
    attack: str | None
    subject: str
    split: Split
    source: str
    box: Corners | None = None
    face: Corners | None = None

    def __post_init__(self) -> None:
        if self.attack is not None and self.attack not in ATTACK_TYPES:
            raise ValueError(f"{self.attack!r} is none of the attack types {', '.join(ATTACK_TYPES)}")


def even_frames(length: int, count: int) -> list[int]:
    """The middles of `count` equal stretches of a clip of `length` frames, in order; all frames of a shorter clip.

    Raises:
        ValueError: Fewer than 1 or more than `MOST_FRAMES` frames are asked for.
    """
    if not 1 <= count <= MOST_FRAMES:
        raise ValueError(f"a clip gives 1 to {MOST_FRAMES} frames")
    taken = min(count, length)
    return [(2 * number + 1) * length // (2 * taken) for number in range(taken)]


def require_pictures(pictures: Sequence[SpoofPicture], expected: str) -> list[SpoofPicture]:
    """The pictures as a list. Raises LayoutError if there is none."""
    if not pictures:
        raise LayoutError(f"{expected}: the lists name no picture that can be used.")
    return list(pictures)
