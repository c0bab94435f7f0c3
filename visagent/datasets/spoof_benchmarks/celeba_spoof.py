"""CelebA-Spoof (Zhang et al., ECCV 2020; non-commercial agreement).

Layout, as released:

    Data/<train|test>/<subject>/<live|spoof>/<n>.<png|jpg>
    Data/<train|test>/<subject>/<live|spoof>/<n>_BB.txt     x y w h score: the face's box on a 224 x 224 scale
    metas/<protocol>/<train|test>_label.json                path of a picture -> 44 numbers

Of the 44 numbers the first 40 are CelebA's attributes; then come spoof type (0 live, 1 to 10), illumination,
environment, and live (0) or spoof (1). The main protocol is `intra_test`. There is no development split;
`protocols.with_development` makes one.
"""

from __future__ import annotations

import json
from pathlib import Path

from visagent.datasets.layout import LayoutError, not_listed, require
from visagent.datasets.sources import Split
from visagent.datasets.spoof_benchmarks.record import Corners, SpoofPicture, require_pictures

EXPECTED = "CelebA-Spoof"
ATTACKS = {1: "print", 2: "print", 3: "print", 4: "paper mask", 5: "paper mask", 6: "paper mask", 7: "replay",
           8: "replay", 9: "replay", 10: "rigid mask"}
"""FaceShield's class by spoof type, in the paper's order (its section 3): photo, poster, A4; face, upper-body and
region mask, which are cut from paper; PC, pad, phone; 3D mask."""

NUMBERS = 44
SPOOF_TYPE = 40
IS_SPOOF = 43
BOX_SCALE = 224.0
_SPLITS: tuple[Split, ...] = ("train", "test")


def read_celeba_spoof(root: Path, *, protocol: str = "intra_test") -> list[SpoofPicture]:
    """The pictures of one protocol.

    Args:
        root: The folder that holds `Data` and `metas`.
        protocol: A folder of `metas`, with a `train_label.json` and a `test_label.json`.

    Raises:
        LayoutError: Another layout.
    """
    require(root / "Data", root, EXPECTED)
    pictures = []
    for split in _SPLITS:
        labels = require(root / "metas" / protocol / f"{split}_label.json", root, EXPECTED)
        for place, numbers in _labels(labels).items():
            parts = Path(place).parts
            if len(parts) != 5 or parts[0] != "Data" or parts[3] not in ("live", "spoof"):
                raise LayoutError(f"{EXPECTED}: a picture lies at 'Data/<split>/<subject>/<live|spoof>/<n>', not at "
                                  f"{place!r}.")
            attack = label_of(numbers)
            if (attack is None) != (parts[3] == "live"):
                raise LayoutError(f"{EXPECTED}: {place!r} is labelled {attack or 'live'}, against its folder.")
            pictures.append(SpoofPicture(require(root / place, root, EXPECTED), None, attack, parts[2], split,
                                         "celeba-spoof", face=_face_of(root / place)))
    return require_pictures(pictures, EXPECTED)


def label_of(numbers: list[int]) -> str | None:
    """FaceShield's class of the 44 numbers of a picture, None for a live one. Raises LayoutError."""
    if len(numbers) != NUMBERS:
        raise LayoutError(f"{EXPECTED}: a picture has {NUMBERS} numbers, not {len(numbers)}.")
    kind = numbers[SPOOF_TYPE]
    if (kind == 0) != (numbers[IS_SPOOF] == 0):
        raise LayoutError(f"{EXPECTED}: spoof type {kind} does not go with {numbers[IS_SPOOF]} for live or spoof.")
    if kind != 0 and kind not in ATTACKS:
        raise not_listed(str(kind), [str(known) for known in ATTACKS], "spoof type", EXPECTED)
    return None if kind == 0 else ATTACKS[kind]


def _labels(path: Path) -> dict[str, list[int]]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise LayoutError(f"{EXPECTED}: {path.name!r} is no JSON that can be read.") from None
    if not isinstance(labels, dict) or not all(isinstance(numbers, list) for numbers in labels.values()):
        raise LayoutError(f"{EXPECTED}: {path.name!r} is not a table from pictures to lists of numbers.")
    return labels


def _face_of(picture: Path) -> Corners | None:
    """The face's box in pixels of the picture; None without a file, or with one that holds no box."""
    from PIL import Image

    text = picture.with_name(picture.stem + "_BB.txt")
    if not text.is_file():
        return None
    try:
        x, y, width, height = (float(word) for word in text.read_text(encoding="utf-8").split()[:4])
        with Image.open(picture) as image:  # reads the header only
            across, down = image.width / BOX_SCALE, image.height / BOX_SCALE
    except (OSError, ValueError):
        return None
    if width <= 0 or height <= 0:
        return None
    return x * across, y * down, (x + width) * across, (y + height) * down
