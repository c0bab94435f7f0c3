"""Packed wide views, read back: what `python -m visagent.datasets.surroundings` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.errors import PictureError


@dataclass(frozen=True, slots=True, eq=False)
class WideViews:
    """Wide views of many scenes.

    Attributes:
        views: uint8 `[N, 96, 96, 3]`.
        kinds: Index into `visagent.datasets.surroundings.KINDS`, int64 `[N]`.
        masks: Share of each cell that is enclosed, float32 `[N, 12, 12]`.
        padded: Share of each view that lies outside of its picture, float32 `[N]`.
    """

    views: NDArray[np.uint8]
    kinds: NDArray[np.int64]
    masks: NDArray[np.float32]
    padded: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kinds)


def read_wide_views(folder: Path) -> WideViews:
    """All shards of a folder. Raises PictureError if there are none."""
    shards = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz")) if ".part" not in path.name]
    if not shards:
        raise PictureError(f"{folder.name} holds no wide views; make them with visagent.datasets.surroundings.")
    return WideViews(*(np.concatenate([shard[name] for shard in shards])
                       for name in ("views", "kinds", "masks", "padded")))
