"""The pictures of the instruction data with their labels: shards of a split, drawn in parallel, skipped if they exist.

Every picture has a random generator of its own (build seed, split, number), so it does not depend on how the work was
shared out. Half of the pictures are live; live and attack pictures come from the same people through the same camera
(`visagent.datasets.spoof_views`).
"""

from __future__ import annotations

import io
import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from visagent.datasets.instructions.answers import Corners, PictureLabel
from visagent.datasets.instructions.filters import difference_hash
from visagent.datasets.sources import FacePicture, Split
from visagent.datasets.spoof_views import Renderer, make_view, people_of
from visagent.errors import PictureError

SHARD: Final = 100
"""Pictures in one file."""

SHARES: Final = {"train": 0.8, "dev": 0.08, "test": 0.12}
"""How the pictures are shared out; the same shares as the people of `visagent.datasets.sources.split_of`."""

SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "test")
FEWEST_PEOPLE: Final = 60
"""Pictures of each set to draw from at least, so that a small build has several people."""

_GRAY, _COLOURED = 1.0, 5.0
"""Mean distance of a channel from the pixel's mean, up to which a picture is gray, and from which it has colours."""

People = tuple[list[FacePicture], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What pictures to draw.

    Attributes:
        pictures: In all splits together.
        seed: Seed of everything.
        renderer: Who draws the attacks, see `visagent.datasets.spoof_views.make_view`.
    """

    pictures: int
    seed: int
    renderer: Renderer = "optical"

    def count(self, split: Split) -> int:
        """Pictures of one split; they add up."""
        train, dev = (round(self.pictures * SHARES[name]) for name in ("train", "dev"))
        return {"train": train, "dev": dev, "test": self.pictures - train - dev}[split]


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """One picture.

    Attributes:
        number: Its place in the split.
        png: The picture, losslessly stored: maps of its texture must not see a second compression.
        label: What is known of it.
        source: Set of the live picture it was made from, "lfw" or "utkface".
        key: Person (LFW) or content (UTKFace), what splits are made by.
        digest: `filters.difference_hash` of its pixels.
    """

    number: int
    png: bytes
    label: PictureLabel
    source: str
    key: str
    digest: int


def draw(people: People, split: Split, number: int, plan: Plan) -> DrawnPicture:
    """One picture: even numbers are live, odd ones attacks."""
    rng = np.random.default_rng([plan.seed, SPLITS.index(split), number])
    shot, shown, source = make_view(*people, rng, live=number % 2 == 0, renderer=plan.renderer)
    file = io.BytesIO()
    Image.fromarray(shot.rgb).save(file, "PNG")
    label = PictureLabel(shown.attack, shown.clues, shot.box, shot.rgb.shape[0], _has_colours(shot.rgb))
    return DrawnPicture(number, file.getvalue(), label, source.source, source.key, difference_hash(shot.rgb))


def draw_split(data: Path, parts: Path, split: Split, plan: Plan, workers: int) -> list[Path]:
    """Draw the shards of a split that are missing, and give the paths of all.

    Args:
        data: Folder of the picture sets (docs/data.md).
        parts: Folder of the shards.
        split: Which people.
        plan: What to draw.
        workers: Processes.

    Raises:
        PictureError: A set is not in the folder, or the shards in `parts` are of another plan.
        WeightsError: The landmark model is missing or altered.
    """
    _claim(parts, plan)
    count = plan.count(split)
    starts = range(0, count, SHARD)
    shards = [parts / f"{split}-{start // SHARD:04d}.parquet" for start in starts]
    work = [
        (data, shard, split, start, min(start + SHARD, count), plan)
        for shard, start in zip(shards, starts, strict=True)
        if not shard.exists()
    ]
    if not work:
        return shards
    bar = tqdm(total=len(work), unit="shard", desc=f"pictures, {split}")
    if workers == 1 or len(work) == 1:
        for job in work:
            _draw_shard(job)
            bar.update()
    else:
        cv2.setNumThreads(1)
        _people(data, split, plan)  # read once; forked processes share it
        with multiprocessing.Pool(min(workers, len(work))) as pool:
            for _ in pool.imap_unordered(_draw_shard, work):
                bar.update()
    bar.close()
    return shards


def read_shards(shards: list[Path]) -> Iterator[DrawnPicture]:
    """The pictures of shards, a few in memory at a time."""
    for shard in shards:
        for batch in parquet.ParquetFile(shard).iter_batches(16):
            for row in batch.to_pylist():
                label = PictureLabel(**row["label"] | {"clues": tuple(row["label"]["clues"]), "box": _corners(row)})
                yield DrawnPicture(**row | {"label": label, "digest": int(row["digest"], 16)})


def _draw_shard(job: tuple[Path, Path, Split, int, int, Plan]) -> None:
    data, shard, split, start, stop, plan = job
    people = _people(data, split, plan)
    drawn = (draw(people, split, number, plan) for number in range(start, stop))
    rows = [asdict(picture) | {"digest": f"{picture.digest:016x}"} for picture in drawn]
    unfinished = shard.with_suffix(".part")
    parquet.write_table(arrow.Table.from_pylist(rows, schema=_SCHEMA), unfinished)
    unfinished.rename(shard)


def _people(data: Path, split: Split, plan: Plan) -> People:
    return people_of(data, split, max(FEWEST_PEOPLE, plan.count(split)))


def _claim(parts: Path, plan: Plan) -> None:
    """Shards of different plans must not meet in one data set."""
    parts.mkdir(parents=True, exist_ok=True)
    stamp, mine = parts / "plan.json", json.dumps(asdict(plan), sort_keys=True)
    if stamp.exists() and stamp.read_text(encoding="utf-8") != mine:
        raise PictureError(
            "The folder holds pictures of another --pictures, --seed or --renderer; name another "
            "folder with --out, or delete its `parts`."
        )
    stamp.write_text(mine, encoding="utf-8")


def _has_colours(rgb: NDArray[np.uint8]) -> bool | None:
    pixels = rgb.astype(np.float32)
    pixels -= pixels.mean((0, 1))  # a cast of the whole picture is no colour of the scene
    spread = float(np.abs(pixels - pixels.mean(-1, keepdims=True)).mean())
    return False if spread <= _GRAY else True if spread >= _COLOURED else None


def _corners(row: dict[str, dict[str, list[float] | None]]) -> Corners | None:
    box = row["label"]["box"]
    return None if box is None else (box[0], box[1], box[2], box[3])


_SCHEMA: Final = arrow.schema(
    [
        ("number", arrow.int64()),
        ("png", arrow.binary()),
        (
            "label",
            arrow.struct(
                [
                    ("attack", arrow.string()),
                    ("clues", arrow.list_(arrow.string())),
                    ("box", arrow.list_(arrow.float64())),
                    ("side", arrow.int64()),
                    ("colour", arrow.bool_()),
                ]
            ),
        ),
        ("source", arrow.string()),
        ("key", arrow.string()),
        ("digest", arrow.string()),
    ]
)
