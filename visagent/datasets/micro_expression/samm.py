"""SAMM (Davison et al., 2018) as released: 200 frames a second, 32 subjects.

```
SAMM_Micro_FACS_Codes_v2.xlsx   notes, then Subject, Filename, Onset Frame, Apex Frame, Offset Frame, Estimated Emotion
006/006_1_2/006_05562.jpg
```
"""

from __future__ import annotations

from pathlib import Path

from visagent.datasets.layout import require
from visagent.datasets.micro_expression.record import MicroExpressionClip, as_number, cut, frames_in, read_coding

COLUMNS = ("subject", "filename", "onsetframe", "apexframe", "offsetframe", "estimatedemotion")
_OTHER = {"other": "others"}


def read_samm(root: Path) -> list[MicroExpressionClip]:
    """All clips of the coding table. Raises LayoutError if the folder is laid out in another way."""
    clips = []
    for row in read_coding(root, "SAMM_Micro_FACS_Codes*", COLUMNS):
        subject = f"{int(row['subject']):03d}"
        folder = require(root / subject / row["filename"], root, "a video of SAMM")
        numbers = list(frames_in(folder))
        onset = as_number(row["onsetframe"]) or numbers[0]
        frames = cut(folder, onset, as_number(row["offsetframe"]) or numbers[-1])
        apex, label = as_number(row["apexframe"]), row["estimatedemotion"].lower()
        clips.append(MicroExpressionClip(frames, row["filename"], subject, _OTHER.get(label, label), "samm", 200.0,
                                         None if apex is None else min(max(apex - onset, 0), len(frames) - 1)))
    return clips
