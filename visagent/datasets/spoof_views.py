"""The packed training set of face views: live and simulated attacks, ready to be memory-mapped.

    python -m visagent.datasets.spoof_views --data ../shared/data --out runs/views --split train --count 36000

writes `views.npy` (uint8 `[N, 192, 192, 3]`) and `labels.parquet` (attack type, box, clues, source and key of the
person or picture) in shards that are skipped when they exist, so that a stopped run goes on where it was. Half of the
views are live. Live and attack views come from the same pictures and go through the same camera
(`visagent.datasets.camera`).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
from pathlib import Path

import cv2
import dlib
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from tqdm import tqdm

from visagent.datasets import attacks, camera
from visagent.datasets.sources import FACE_BOXES, FacePicture, Split, face_pictures
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.errors import run_command
from visagent.vision.crop import VIEW_SIDE
from visagent.weights import locate_dlib_model

SHARD = 1000


def landmarks_of(picture: FacePicture, predictor: dlib.shape_predictor) -> attacks.Landmarks:
    """The 68 points of an aligned crop in pixels of a scene, float32 `[68, 2]`."""
    side = picture.rgb.shape[0]
    x1, y1, x2, y2 = (round(fraction * side) for fraction in FACE_BOXES[picture.source])
    shape = predictor(picture.rgb, dlib.rectangle(x1, y1, x2, y2))
    points = np.array([[point.x, point.y] for point in shape.parts()], np.float32)
    return np.asarray(points * (SCENE_SIDE / side), np.float32)


def make_view(
    pictures: list[FacePicture], landmarks: NDArray[np.float32], rng: np.random.Generator, *, live: bool
) -> tuple[camera.Shot, attacks.Presentation, FacePicture]:
    """One view: draw a person (and, for what is printed or stands behind, another), present, photograph."""
    first, second = rng.choice(len(pictures), 2, replace=False)
    picture, donor = pictures[first], pictures[second]
    scene, behind = attacks.scene_of(picture.rgb), attacks.scene_of(donor.rgb)
    if live:
        shown = attacks.present_live(scene, behind, rng)
    else:
        kind = str(rng.choice(attacks.ATTACK_TYPES, p=[0.24, 0.24, 0.12, 0.1, 0.1, 0.1, 0.1]))
        shown = attacks.present_attack(kind, scene, landmarks[first], behind, landmarks[second], rng)
    shot = camera.take(shown.scene, rng, size=VIEW_SIDE, box=shown.box, gray=picture.monochrome)
    return shot, shown, picture


def write_shard(arguments: tuple[Path, Path, Split, int, int]) -> None:
    """Make one shard, unless it is there already."""
    data, out, split, number, seed = arguments
    target = out / f"views-{number:03d}.npy"
    if target.exists() and (out / f"labels-{number:03d}.parquet").exists():
        return
    cv2.setNumThreads(1)
    pictures, landmarks = people_of(data, split)
    rng = np.random.default_rng([seed, number, {"train": 0, "dev": 1, "test": 2}[split]])
    views = np.empty((SHARD, VIEW_SIDE, VIEW_SIDE, 3), np.uint8)
    rows = []
    for index in range(SHARD):
        shot, shown, picture = make_view(pictures, landmarks, rng, live=index % 2 == 0)
        views[index] = shot.rgb
        rows.append(
            {
                "attack": shown.attack,
                "box": None if shot.box is None else list(shot.box),
                "clues": list(shown.clues),
                "source": picture.source,
                "key": picture.key,
            }
        )
    parquet.write_table(arrow.Table.from_pylist(rows), out / f"labels-{number:03d}.parquet")
    np.save(target.with_suffix(".part.npy"), views)
    target.with_suffix(".part.npy").rename(target)


@functools.lru_cache(maxsize=1)
def people_of(data: Path, split: Split, limit: int | None = None) -> tuple[list[FacePicture], NDArray[np.float32]]:
    """The pictures of a split (the first `limit` of each set) and their landmarks, once per worker process.

    Raises:
        PictureError: A set is not in the folder.
        WeightsError: The landmark model is missing or altered.
    """
    predictor = dlib.shape_predictor(str(locate_dlib_model("shape_predictor_68_face_landmarks.dat")))
    pictures = [
        picture for name in ("lfw", "utkface") for picture in itertools.islice(face_pictures(data, name, split), limit)
    ]
    return pictures, np.stack([landmarks_of(picture, predictor) for picture in pictures])


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=["train", "dev", "test"], default="train")
    parser.add_argument("--count", type=int, default=36_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    out = options.out / options.split
    out.mkdir(parents=True, exist_ok=True)
    work = [(options.data, out, options.split, number, options.seed) for number in range(-(-options.count // SHARD))]
    with multiprocessing.Pool(options.workers) as pool:
        for _ in tqdm(pool.imap_unordered(write_shard, work), total=len(work), unit="shard"):
            pass


if __name__ == "__main__":
    run_command(main)
