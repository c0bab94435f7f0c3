"""OULU-NPU (Boulkenafet et al., FG 2017; University of Oulu, signed agreement).

Layout, as released:

    Train_files/, Dev_files/, Test_files/     <phone>_<session>_<user>_<file>.avi
    Protocols/Protocol_<1..4>/Train.txt, Dev.txt, Test.txt       protocols 1 and 2
    Protocols/Protocol_<3|4>/Train_<1..6>.txt ...                protocols 3 and 4

A line is `<label>,<clip>`, the label +1 for a real face and negative for an attack. The last number of a clip's name
says what it is: 1 real, 2 and 3 prints (two printers), 4 and 5 replays (two displays). Users are disjoint between the
three folders.
"""

from __future__ import annotations

import re
from pathlib import Path

from visagent.datasets.layout import LayoutError, not_listed, read_lines, require
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.pixels import sampled_frames
from visagent.datasets.spoof_benchmarks.record import SpoofPicture, require_pictures

EXPECTED = "OULU-NPU"
ATTACKS: dict[int, str | None] = {1: None, 2: "print", 3: "print", 4: "replay", 5: "replay"}
"""FaceShield's class by the last number of a clip's name (the paper's section 3), None for a real face."""

PROTOCOLS = ("1", "2", *(f"{number}.{phone}" for number in (3, 4) for phone in range(1, 7)))
"""Protocols 3 and 4 leave out one of six phones: "3.1" to "3.6", "4.1" to "4.6"."""

_CLIP = re.compile(r"\d_\d_(?P<user>\d+)_(?P<file>\d)")
_SPLITS: dict[str, Split] = {"Train": "train", "Dev": "dev", "Test": "test"}


def read_oulu_npu(root: Path, *, protocol: str = "1", frames: int = 5) -> list[SpoofPicture]:
    """The frames of one protocol.

    Args:
        root: The folder of the release.
        protocol: One of `PROTOCOLS`.
        frames: Frames of each clip, 1 to 5.

    Raises:
        LayoutError: Another layout, or a protocol that does not exist.
        PictureError: A clip is damaged.
    """
    if protocol not in PROTOCOLS:
        raise not_listed(protocol, PROTOCOLS, "protocol", EXPECTED)
    number, _, phone = protocol.partition(".")
    pictures = []
    for name, split in _SPLITS.items():
        table = require(root / "Protocols" / f"Protocol_{number}" / (f"{name}_{phone}.txt" if phone else
                                                                     f"{name}.txt"), root, EXPECTED)
        for line in read_lines(table, EXPECTED):
            label, _, clip = (part.strip() for part in line.partition(","))
            match = _CLIP.fullmatch(clip)
            if match is None or int(match["file"]) not in ATTACKS or not re.fullmatch(r"[+-]?\s*\d", label):
                raise LayoutError(f"{EXPECTED}: a line of {table.name!r} is '+1,1_1_01_1', not {line!r}.")
            attack = ATTACKS[int(match["file"])]
            if (attack is None) == label.startswith("-"):
                raise LayoutError(f"{EXPECTED}: {line!r} labels a clip against its name.")
            path = require(root / f"{name}_files" / f"{clip}.avi", root, EXPECTED)
            pictures += [SpoofPicture(path, frame, attack, match["user"], split, "oulu-npu")
                         for frame in sampled_frames(path, frames)]
    return require_pictures(pictures, EXPECTED)
