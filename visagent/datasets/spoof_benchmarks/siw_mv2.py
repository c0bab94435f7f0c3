"""SiW-Mv2, Spoof in the Wild with Multiple attacks, version 2 (Guo et al., ECCV 2022; MSU, signed agreement).

Layout, as the authors' repository describes it (CHELSEA234/Multi-domain-learning-FAS, source_SiW_Mv2/README.md):

    Live/Live_<n>.mov ...           785 clips
    Spoof/<folder>/<Type>_<n>.mov   14 folders of clips
    .../trainlist_live.txt, trainlist_all.txt, testlist_live.txt, testlist_all.txt   (its folder pro_3_text)

The lists hold names of clips without endings; `all` means spoofs. Names that are repeated there (to balance the
classes) are read once. Only Protocol I (known attacks) is read.

The release does not say who is in a clip, so every clip is its own subject: that people differ between train and test
is the authors' word and cannot be checked. There is no development split; `protocols.with_development` makes one.
"""

from __future__ import annotations

import logging
from pathlib import Path

from visagent.datasets.layout import LayoutError, find_one, not_listed, read_lines, require
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.pixels import CLIPS, sampled_frames
from visagent.datasets.spoof_benchmarks.record import SpoofPicture, require_pictures

_LOG = logging.getLogger(__name__)
EXPECTED = "SiW-Mv2"
ATTACKS = {
    "Makeup_Co": "makeup", "Makeup_Im": "makeup", "Makeup_Ob": "makeup",
    "Mask_Mann": "fakehead", "Mask_Silicone": "flexible mask", "Mask_Half": "rigid mask", "Mask_Trans": "rigid mask",
    "Mask_Paper": "paper mask",
    "Paper": "print", "Print": "print", "Replay": "replay",
    "Partial_Funnyeye": "glasses", "Partial_Paperglass": "glasses",
    "Partial_Eye": "partial eye", "Partial_Mouth": "partial mouth",
}
"""FaceShield's class by the start of a clip's name. The names are those of the authors' lists and config_siwm.py
(prints are called Paper in some copies); which class each belongs to is our reading of FaceShield's twelve names, as
the paper's own table of it was not found (fact sheet, section 6). Half and transparent masks are of hard plastic."""

MOST_MISSING = 0.05
"""Share of listed clips that may be absent: the published lists name a few clips that the release does not hold."""

_LISTS: dict[str, Split] = {"trainlist_live.txt": "train", "trainlist_all.txt": "train",
                            "testlist_live.txt": "test", "testlist_all.txt": "test"}


def read_siw_mv2(root: Path, *, frames: int = 5) -> list[SpoofPicture]:
    """The frames of Protocol I.

    Args:
        root: The folder that holds `Live`, `Spoof` and, anywhere below, the four lists.
        frames: Frames of each clip, 1 to 5.

    Raises:
        LayoutError: Another layout, or over 5 % of the listed clips are absent.
        PictureError: A clip is damaged.
    """
    lists = {find_one(root, name, EXPECTED): split for name, split in _LISTS.items()}
    clips = {path.stem: path for part in ("Live", "Spoof")
             for path in sorted(require(root / part, root, EXPECTED).rglob("*")) if path.suffix.lower() in CLIPS}
    splits: dict[str, Split] = {}
    for path, split in lists.items():
        for name in read_lines(path, EXPECTED):
            if splits.setdefault(name, split) != split:
                raise LayoutError(f"{EXPECTED}: the clip {name!r} is in a train list and in a test list.")
    missing = sorted(set(splits) - set(clips))
    if len(missing) > MOST_MISSING * len(splits):
        raise LayoutError(f"{EXPECTED}: {len(missing)} of the {len(splits)} listed clips are not below Live and Spoof "
                          f"(the first is {missing[0]!r}); {len(clips)} clips are there.")
    if missing:
        _LOG.warning("%s: %d listed clips are not in the release and are left out", EXPECTED, len(missing))
    return require_pictures([
        SpoofPicture(clips[name], frame, label_of(name), name, split, "siw-mv2")
        for name, split in splits.items() if name in clips for frame in sampled_frames(clips[name], frames)], EXPECTED)


def label_of(name: str) -> str | None:
    """FaceShield's class of a clip's name, None for a live one. Raises LayoutError."""
    kind = name.rpartition("_")[0]
    if kind == "Live":
        return None
    if kind not in ATTACKS:
        raise not_listed(kind, ("Live", *ATTACKS), "kind of clip", EXPECTED)
    return ATTACKS[kind]
