"""CASME II (Yan et al., 2014) as released: 200 frames a second, 26 subjects.

```
CASME2-coding-20140508.xlsx     Subject, Filename, OnsetFrame, ApexFrame, OffsetFrame, Estimated Emotion
CASME2_RAW_selected/sub01/EP02_01f/img46.jpg
```
"""

from __future__ import annotations

from pathlib import Path

from visagent.datasets.layout import require
from visagent.datasets.micro_expression.record import MicroExpressionClip, as_number, cut, frames_in, read_coding

COLUMNS = ("subject", "filename", "onsetframe", "apexframe", "offsetframe", "estimatedemotion")


def read_casme2(root: Path) -> list[MicroExpressionClip]:
    """All clips of the coding table. Raises LayoutError if the folder is laid out in another way."""
    videos = require(root / "CASME2_RAW_selected", root, "CASME II's videos")
    clips = []
    for row in read_coding(root, "CASME2-coding*", COLUMNS):
        folder = require(videos / f"sub{int(row['subject']):02d}" / row["filename"], root, "a video of CASME II")
        numbers = list(frames_in(folder))
        onset = as_number(row["onsetframe"]) or numbers[0]
        frames = cut(folder, onset, as_number(row["offsetframe"]) or numbers[-1])
        apex = as_number(row["apexframe"])
        clips.append(MicroExpressionClip(frames, f"{row['subject']}_{row['filename']}", f"{int(row['subject']):02d}",
                                         row["estimatedemotion"].lower(), "casme2", 200.0,
                                         None if apex is None else min(max(apex - onset, 0), len(frames) - 1)))
    return clips
