"""Any folder of pictures or clips with a CSV table: what a set of one's own needs.

    picture,label,subject,split,box
    prints/0001.jpg,print,anna,test,40 60 180 220
    live/0002.mp4,live,ben,test,

`picture` is a path within the folder, of a still or a clip; `label` is "live" or one of FaceShield's attack types
("print", "paper mask" ...); `split` is train, dev or test; `box`, which may be left out, is the attacked area
`x1 y1 x2 y2` in pixels.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import get_args

from visagent.datasets.attacks import ATTACK_TYPES
from visagent.datasets.layout import LayoutError, not_listed
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.pixels import CLIPS, sampled_frames
from visagent.datasets.spoof_benchmarks.record import Corners, SpoofPicture, require_pictures

EXPECTED = "A folder with a table"
COLUMNS = ("picture", "label", "subject", "split")
LIVE = "live"
_SPLITS: tuple[Split, ...] = get_args(Split)


def read_folder(root: Path, table: Path, *, frames: int = 5, source: str = "folder") -> list[SpoofPicture]:
    """The pictures that a table lists.

    Args:
        root: The folder; no picture outside it is read.
        table: The CSV file.
        frames: Frames of each clip, 1 to 5.
        source: What the set is called.

    Raises:
        LayoutError: A column, word, number or file that does not fit; the message names the line.
        PictureError: A clip is damaged.
    """
    try:
        reader = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig")))
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise LayoutError(f"{EXPECTED}: {table.name!r} is no CSV file that can be read.") from None
    names = reader.fieldnames or ()
    if not set(COLUMNS) <= set(names):
        raise LayoutError(f"{EXPECTED}: {table.name!r} needs the columns {', '.join(COLUMNS)} and may have box; it "
                          f"has {', '.join(names) or 'none'}.")
    pictures = []
    for number, row in enumerate(rows, 2):
        where = f"{EXPECTED}, line {number}"
        cells = {name: (row[name] or "").strip() for name in names if name is not None}
        attack = _label(cells["label"], where)
        split = next((split for split in _SPLITS if split == cells["split"]), None)
        if split is None:
            raise not_listed(cells["split"], _SPLITS, "split", where)
        if not cells["subject"]:
            raise LayoutError(f"{where}: the subject is missing; without it nobody can tell whether splits share "
                              "people.")
        path = _inside(root, cells["picture"], where)
        box = _box(cells.get("box", ""), where) if attack is not None else None
        taken: list[int | None] = [*sampled_frames(path, frames)] if path.suffix.lower() in CLIPS else [None]
        pictures += [SpoofPicture(path, frame, attack, cells["subject"], split, source, box=box) for frame in taken]
    return require_pictures(pictures, EXPECTED)


def _label(word: str, where: str) -> str | None:
    plain = word.lower().replace("_", " ")
    if plain == LIVE:
        return None
    if plain not in ATTACK_TYPES:
        raise not_listed(word, (LIVE, *ATTACK_TYPES), "label", where)
    return plain


def _inside(root: Path, place: str, where: str) -> Path:
    path = root / place
    if not path.resolve().is_relative_to(root.resolve()) or not path.is_file():
        raise LayoutError(f"{where}: there is no file {place!r} in the folder.")
    return path


def _box(text: str, where: str) -> Corners | None:
    if not text:
        return None
    try:
        x1, y1, x2, y2 = (float(word) for word in text.strip("[]()").replace(",", " ").split())
    except ValueError:
        raise LayoutError(f"{where}: a box is four numbers 'x1 y1 x2 y2', not {text!r}.") from None
    if not (math.isfinite(x1 + y1 + x2 + y2) and x1 < x2 and y1 < y2):
        raise LayoutError(f"{where}: a box needs x1 < x2 and y1 < y2, not {text!r}.")
    return x1, y1, x2, y2
