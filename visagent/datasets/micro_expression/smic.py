"""SMIC-HS (Li et al., 2013) as released: 100 frames a second, 16 subjects, three classes, no coding table.

```
HS/s1/micro/negative/s1_ne_01/image090823.bmp
```
"""

from __future__ import annotations

from pathlib import Path

from visagent.datasets.layout import LayoutError, found_in, require
from visagent.datasets.micro_expression.record import MicroExpressionClip, frames_in

CLASSES = ("negative", "positive", "surprise")


def read_smic(root: Path) -> list[MicroExpressionClip]:
    """All clips. Raises LayoutError if the folder is laid out in another way."""
    people = require(root / "HS", root, "SMIC's high-speed part")
    clips = []
    for subject in sorted(path for path in people.iterdir() if path.is_dir()):
        videos = require(subject / "micro", root, "the micro-expressions of a subject of SMIC")
        for label in CLASSES:
            for folder in sorted(videos.glob(f"{label}/*/")):
                clips.append(MicroExpressionClip(tuple(frames_in(folder).values()), folder.name, subject.name, label,
                                                 "smic", 100.0))
    if not clips:
        raise LayoutError(f"SMIC: expected 'HS/s1/micro/negative/...', but {found_in(people)}.")
    return clips
