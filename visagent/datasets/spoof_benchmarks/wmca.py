"""WMCA, Wide Multi-Channel presentation Attack (George et al., IEEE TIFS 2019; Idiap, signed licence), colour channel.

Layout, as Idiap releases the pre-processed set and as Bob's `bob.pad.face` reads the names:

    preprocessed-face-station_RGB/[face-station/]<DD.MM.YY>/<client>_<session>_<presenter>_<type>_<pai>.hdf5
    .../PROTOCOL-grandtest.csv, PROTOCOL-LOO_<attack>.csv     anywhere below the root

Each HDF5 file holds `Frame_<n>/array`, uint8 `[3, 128, 128]` RGB, faces already cropped. A protocol's first column is
the file without its ending, its last one the group: train, dev or eval (here: test). Labels are read from the names,
not from the columns between. Subjects are clients: the groups of `grandtest` are disjoint in them.
"""

from __future__ import annotations

import re
from pathlib import Path

from visagent.datasets.layout import LayoutError, find_one, found_in, not_listed, read_lines, require
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.pixels import sampled_frames
from visagent.datasets.spoof_benchmarks.record import SpoofPicture, require_pictures

EXPECTED = "WMCA"
GROUPS: dict[str, Split] = {"train": "train", "dev": "dev", "eval": "test"}
ATTACKS: dict[int, dict[str, tuple[int, ...]]] = {
    1: {"glasses": (1, 3, 4, 5, 6, 7, 15, 16), "rigid mask": (2, 13, 14)},
    2: {"fakehead": tuple(range(1, 8)), "paper mask": tuple(range(8, 12)), "rigid mask": tuple(range(12, 18)),
        "flexible mask": (18, *range(75, 100))},
    3: {"print": (1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14), "replay": (5, 10, 15)},
    4: {"replay": tuple(range(1, 19))},
    5: {"makeup": tuple(range(1, 140))},
}
"""FaceShield's class by type and instrument (PAI) number. The numbers and groups are those of Bob's converter
(bob.pad.face, lists/batl/idiap_converter_v2.json); its prints, replay, fakehead, papermask, rigidmask, flexiblemask,
glasses and makeup are the classes of the same names here. Type 0 is bona fide, also with ordinary glasses."""

WIGS = tuple(range(8, 13))
"""Instruments of type 1 that are wigs: FaceShield has no such class, so they are left out."""

_NAME = re.compile(r"(?P<client>\d+)_\d+_\d+_(?P<type>\d)_(?P<pai>\d+)")
_FOLDER = "preprocessed-face-station_RGB"


def read_wmca(root: Path, *, protocol: str = "grandtest", frames: int = 5) -> list[SpoofPicture]:
    """The frames of one protocol.

    Args:
        root: The folder of the release.
        protocol: "grandtest" or "LOO_<attack>", e.g. "LOO_fakehead".
        frames: Frames of each clip, 1 to 5.

    Raises:
        LayoutError: Another layout, or h5py is not installed.
        PictureError: A file is damaged.
    """
    table = find_one(root, f"PROTOCOL-{protocol}.csv", EXPECTED)
    folder = require(root / _FOLDER, root, EXPECTED)
    pictures = []
    for number, line in enumerate(read_lines(table, EXPECTED)):
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if cells[-1] not in GROUPS:
            if number == 0:
                continue  # a heading
            raise not_listed(cells[-1], GROUPS, "group", f"{EXPECTED}, {table.name}, line {number + 1}")
        clip = _clip_of(folder, cells[0])
        labelled = label_of(clip.stem)
        if labelled is None:
            continue
        attack = None if labelled == "bona fide" else labelled
        client = clip.stem.split("_")[0]
        pictures += [SpoofPicture(clip, frame, attack, client, GROUPS[cells[-1]], "wmca")
                     for frame in sampled_frames(clip, frames)]
    return require_pictures(pictures, EXPECTED)


def label_of(stem: str) -> str | None:
    """FaceShield's class of a file's name, "bona fide", or None for a wig. Raises LayoutError for another name."""
    match = _NAME.fullmatch(stem)
    if match is None:
        raise LayoutError(f"{EXPECTED}: a file is named <client>_<session>_<presenter>_<type>_<pai>, not {stem!r}.")
    kind, instrument = int(match["type"]), int(match["pai"])
    if kind == 0:
        return "bona fide"
    if kind == 1 and instrument in WIGS:
        return None
    for attack, instruments in ATTACKS.get(kind, {}).items():
        if instrument in instruments:
            return attack
    raise LayoutError(f"{EXPECTED}: {stem!r} has type {kind} and instrument {instrument}, which are in no list.")


def _clip_of(folder: Path, listed: str) -> Path:
    """The file of a protocol's line, whose path may start with further folders."""
    place = Path(*Path(listed.removesuffix(".hdf5")).parts[-2:])
    for start in (folder, folder / "face-station"):
        clip = (start / place).with_name(place.name + ".hdf5")
        if clip.is_file():
            return clip
    raise LayoutError(f"{EXPECTED}: expected '{_FOLDER}/{place.as_posix()}.hdf5', which a protocol lists, but "
                      f"{found_in(folder)}.")
