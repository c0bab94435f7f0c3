"""The packed views as training batches; see `visagent.datasets.spoof_views` for how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
from numpy.typing import NDArray

from visagent.datasets.attacks import ATTACK_TYPES, CLUES
from visagent.errors import PictureError
from visagent.tools.spoof.view import as_screened
from visagent.vision.crop import VIEW_DETAIL, VIEW_SIDE, limit_detail


@dataclass(frozen=True, slots=True)
class ViewSet:
    """Face views with their labels.

    Attributes:
        shards: Memory-mapped uint8 arrays `[n, 192, 192, 3]`.
        kinds: int64 `[N]`; 0 is live, then the attack types in order.
        boxes: float32 `[N, 4]`, pixels of the view; zeros for live.
        clues: float32 `[N, clues]`, 1 where the clue is present.
        sources: Set and person or picture of each view.
    """

    shards: tuple[NDArray[np.uint8], ...]
    kinds: NDArray[np.int64]
    boxes: NDArray[np.float32]
    clues: NDArray[np.float32]
    sources: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def pictures(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The views with these numbers, uint8 `[n, 192, 192, 3]`."""
        size = len(self.shards[0])
        return np.stack([self.shards[index // size][index % size] for index in chosen])

    def screened(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The same as the spoof tool shows them to its judges."""
        return np.stack([as_screened(view) for view in self.pictures(chosen)])

    def masks(self, chosen: NDArray[np.int64], grid: int) -> torch.Tensor:
        """How much of each cell of a grid the attacked box covers, float32 `[n, grid, grid]`, 0 to 1."""
        side = self.shards[0].shape[1]
        edges = np.linspace(0, side, grid + 1)
        box = self.boxes[chosen][:, :, None]
        across = np.clip(np.minimum(edges[1:], box[:, 2]) - np.maximum(edges[:-1], box[:, 0]), 0, None)
        down = np.clip(np.minimum(edges[1:], box[:, 3]) - np.maximum(edges[:-1], box[:, 1]), 0, None)
        return torch.from_numpy((down[:, :, None] * across[:, None, :] * (grid / side) ** 2).astype(np.float32))


def vary_detail(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Views, uint8 `[B, 192, 192, 3]`, resampled: three in five as the spoof tool does, the others to another size.

    Every picture from the world was resized by somebody before it is judged. What resampling leaves behind, and that
    a view is soft or crisp, must not speak for an attack.
    """
    details = np.where(rng.random(len(pictures)) < 0.6, VIEW_DETAIL, rng.integers(80, VIEW_SIDE + 1, len(pictures)))
    return np.stack([limit_detail(view, int(detail)) for view, detail in zip(pictures, details, strict=True)])


def vary_camera(inputs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Views `[B, 3, H, W]` (-1 to 1) as other cameras show them: none of it may speak for an attack.

    Brightness and contrast for all; a third becomes gray; a third is sharpened, as phones do.
    """
    luma = inputs.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    gray = (inputs * luma).sum(1, keepdim=True)
    inputs = torch.where(_each(rng.random(len(inputs)) < 0.33), gray, inputs)
    soft = torch.nn.functional.avg_pool2d(inputs, 3, 1, 1, count_include_pad=False)
    amount = _each((rng.random(len(inputs)) < 0.33) * rng.uniform(0.2, 2.0, len(inputs)))
    inputs = inputs + amount * (inputs - soft)
    contrast, light = _each(rng.uniform(0.8, 1.2, len(inputs))), _each(rng.normal(0, 0.06, len(inputs)))
    return (inputs * contrast + light).clamp(-1, 1)


def _each(values: NDArray[np.generic]) -> torch.Tensor:
    """One value per view, `[B, 1, 1, 1]`, in single precision where it is a number."""
    tensor = torch.from_numpy(values)
    return (tensor.float() if tensor.is_floating_point() else tensor)[:, None, None, None]


def open_views(folder: Path) -> ViewSet:
    """Open every complete shard of a split's folder. Raises PictureError if there is none."""
    shards, kinds, boxes, clues, sources = [], [], [], [], []
    for path in sorted(folder.glob("views-???.npy")):
        shards.append(np.load(path, mmap_mode="r"))
        for row in parquet.read_table(
            folder / path.name.replace("views", "labels").replace("npy", "parquet")
        ).to_pylist():
            kinds.append(0 if row["attack"] is None else 1 + ATTACK_TYPES.index(row["attack"]))
            boxes.append(row["box"] or [0.0] * 4)
            clues.append([clue in row["clues"] for clue in CLUES])
            sources.append((row["source"], row["key"]))
    if not shards:
        raise PictureError("No packed views are there; make them with python -m visagent.datasets.spoof_views.")
    return ViewSet(
        tuple(shards), np.array(kinds), np.array(boxes, np.float32), np.array(clues, np.float32), tuple(sources)
    )
