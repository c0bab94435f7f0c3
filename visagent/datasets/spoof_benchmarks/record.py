"""One labelled picture of an anti-spoofing set, and what every reader asks of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.sources import Split
from visagent.errors import PictureError

Corners = tuple[float, float, float, float]

MOST_FRAMES = 5
"""Frames of a clip at most: more of the same seconds add little (FaceShield's 12,091 images are of over 3,000 clips
and stills, its fact sheet, section 6)."""


class LayoutError(PictureError):
    """A folder is not laid out as the set is released; the message says what was expected and what is there."""


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


def found_in(folder: Path) -> str:
    """What is in a folder, for a message: at most eight names; no path of the host."""
    if not folder.is_dir():
        return f"{folder.name!r} is no folder"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return f"{folder.name!r} is empty"
    return f"{folder.name!r} holds " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def require(path: Path, root: Path, expected: str) -> Path:
    """The path, if it is there. Raises LayoutError, which names the path within `root` and what `root` holds."""
    if not path.exists():
        raise LayoutError(f"{expected}: expected {path.relative_to(root).as_posix()!r}, but {found_in(root)}.")
    return path


def find_one(root: Path, name: str, expected: str) -> Path:
    """The file of this name anywhere under `root`. Raises LayoutError if there is none, or several that differ."""
    found = sorted(root.rglob(name)) if root.is_dir() else []
    if not found:
        raise LayoutError(f"{expected}: expected a file {name!r}, but {found_in(root)} and nothing below it has that "
                          "name.")
    if len({path.read_bytes() for path in found}) > 1:
        raise LayoutError(f"{expected}: expected one file {name!r}, but there are {len(found)} that differ.")
    return found[0]


def read_lines(path: Path, expected: str) -> list[str]:
    """The lines of a list that are not blank, stripped. Raises LayoutError for a list without any, or no text."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise LayoutError(f"{expected}: {path.name!r} is no text file that can be read.") from None
    kept = [line for line in lines if line]
    if not kept:
        raise LayoutError(f"{expected}: {path.name!r} is empty.")
    return kept


def not_listed(name: str, listed: Iterable[str], what: str, expected: str) -> LayoutError:
    """The error for a word that a reader does not know: it names the words that it does."""
    return LayoutError(f"{expected}: {name!r} is no known {what}; known are {', '.join(listed)}.")


def require_pictures(pictures: Sequence[SpoofPicture], expected: str) -> list[SpoofPicture]:
    """The pictures as a list. Raises LayoutError if there is none."""
    if not pictures:
        raise LayoutError(f"{expected}: the lists name no picture that can be used.")
    return list(pictures)
