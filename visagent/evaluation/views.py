"""The packed face views of one split as the runners read them; `visagent.datasets.spoof_views` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from visagent.errors import PictureError
from visagent.evaluation.boxes import BoxCorners
from visagent.tools.spoof.view import as_screened


@dataclass(frozen=True, slots=True, eq=False)
class LabelledView:
    """One face view with all that is known of it.

    Attributes:
        rgb: uint8 `[192, 192, 3]`, with the detail that the spoof tool leaves it.
        attack: The attack type, None for a live face.
        box: The attacked area in pixels of the view, None for a live face.
        clues: What gives the attack away.
        person: Set and person (or picture, where a set names no people).
    """

    rgb: NDArray[np.uint8]
    attack: str | None
    box: BoxCorners | None
    clues: frozenset[str]
    person: tuple[str, str]


def read_views(folder: Path, split: str, *, limit: int | None = None, seed: int = 0) -> list[LabelledView]:
    """The views of a split's complete shards, at most `limit` of them, drawn by the seed.

    Raises:
        PictureError: There are none.
    """
    labels = [(shard, place, row) for shard in sorted((folder / split).glob("views-???.npy"))
              for place, row in enumerate(parquet.read_table(_labels_of(shard)).to_pylist())]
    if not labels:
        raise PictureError(f"No packed views of the split {split!r} are there; make them with "
                           "python -m visagent.datasets.spoof_views.")
    chosen: Sequence[int] = range(len(labels))
    if limit is not None and limit < len(labels):
        chosen = np.sort(np.random.default_rng(seed).choice(len(labels), limit, replace=False)).tolist()
    opened = {shard: np.load(shard, mmap_mode="r", allow_pickle=False) for shard in {labels[i][0] for i in chosen}}
    views = []
    for index in chosen:
        shard, place, row = labels[index]
        box = row["box"]
        views.append(LabelledView(
            as_screened(np.array(opened[shard][place])), row["attack"],
            None if box is None or row["attack"] is None else (box[0], box[1], box[2], box[3]),
            frozenset(row["clues"]), (row["source"], row["key"])))
    return views


def _labels_of(shard: Path) -> Path:
    return shard.with_name(shard.name.replace("views", "labels")).with_suffix(".parquet")
