"""The packed training set of face views: live and simulated attacks, ready to be memory-mapped.

    python -m visagent.datasets.spoof_views --data ../shared/data --out runs/views --split train --count 36000

writes `views.npy` (uint8 `[N, 192, 192, 3]`) and `labels.parquet` (attack type, box, clues, source and key of the
person or picture) in shards that are skipped when they exist, so that a stopped run goes on where it was. Half of the
views are live. Live and attack views come from the same pictures and go through the same camera
(`visagent.datasets.camera`).

Two renderers draw the attacks (`visagent.datasets.attacks`). `--renderer both` (the default) takes the layered one
for every third shard and writes into a folder named as the split; one renderer alone writes into `test-optical` or
`test-layered`, and `--held-out`, the optical one with techniques that no training picture shows, into
`test-held-out`.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
from pathlib import Path
from typing import Literal

import cv2
import dlib
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from tqdm import tqdm

from visagent.datasets import attacks, camera
from visagent.datasets.attacks import layered, optical, techniques
from visagent.datasets.sources import FACE_BOXES, FacePicture, Split, face_pictures
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.errors import run_command
from visagent.vision.crop import VIEW_SIDE
from visagent.weights import locate_dlib_model

SHARD = 1000
Renderer = Literal["layered", "optical", "held-out"]
LAYERED_SHARES = {
    "print": 0.24, "replay": 0.24, "paper mask": 0.12, "rigid mask": 0.1, "glasses": 0.1, "partial eye": 0.1,
    "partial mouth": 0.1,
}  # fmt: skip
OPTICAL_SHARES = {
    "print": 0.17, "replay": 0.17, "paper mask": 0.09, "rigid mask": 0.08, "glasses": 0.07, "partial eye": 0.08,
    "partial mouth": 0.08, "flexible mask": 0.07, "fakehead": 0.06, "makeup": 0.07, "tattoo": 0.06,
}  # fmt: skip
"""How often each type is drawn; prints and displays are what a deployment meets most."""


def landmarks_of(picture: FacePicture, predictor: dlib.shape_predictor) -> attacks.Landmarks:
    """The 68 points of an aligned crop in pixels of a scene, float32 `[68, 2]`."""
    side = picture.rgb.shape[0]
    x1, y1, x2, y2 = (round(fraction * side) for fraction in FACE_BOXES[picture.source])
    shape = predictor(picture.rgb, dlib.rectangle(x1, y1, x2, y2))
    points = np.array([[point.x, point.y] for point in shape.parts()], np.float32)
    return np.asarray(points * (SCENE_SIDE / side), np.float32)


def make_view(
    pictures: list[FacePicture],
    landmarks: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    live: bool,
    renderer: Renderer = "optical",
    kind: str | None = None,
) -> tuple[camera.Shot, attacks.Presentation, FacePicture]:
    """One view: draw a person (and, for what is printed or stands behind, another), present, photograph.

    Args:
        pictures: Live pictures to draw from, at least two.
        landmarks: Their points, `[N, 68, 2]` in pixels of a scene.
        rng: Source of all randomness.
        live: Show the person live; else attack.
        renderer: Who draws; "held-out" is the optical one with the techniques kept from training.
        kind: The attack type; None draws one in the renderer's shares.
    """
    first, second = rng.choice(len(pictures), 2, replace=False)
    picture, donor = pictures[first], pictures[second]
    scene, behind = attacks.scene_of(picture.rgb), attacks.scene_of(donor.rgb)
    shares = LAYERED_SHARES if renderer == "layered" else OPTICAL_SHARES
    if not live and kind is None:
        kind = str(rng.choice(list(shares), p=list(shares.values())))
    if renderer == "layered":
        shown = (
            layered.present_live(scene, behind, rng)
            if live or kind is None
            else layered.present_attack(kind, scene, landmarks[first], behind, landmarks[second], rng)
        )
    elif live or kind is None:
        shown = optical.present_live(scene, landmarks[first], behind, rng)
    else:
        known = techniques.HELD_OUT if renderer == "held-out" else techniques.TRAIN
        shown = optical.present_attack(kind, scene, landmarks[first], behind, landmarks[second], rng, techniques=known)
    shot = camera.take(shown.scene, rng, size=VIEW_SIDE, box=shown.box, gray=picture.monochrome)
    return shot, shown, picture


def renderer_of(wanted: Literal["both"] | Renderer, number: int) -> Renderer:
    """Who draws a shard."""
    if wanted == "both":
        return "layered" if number % 3 == 2 else "optical"
    return wanted


def write_shard(arguments: tuple[Path, Path, Split, int, int, Renderer]) -> None:
    """Make one shard, unless it is there already."""
    data, out, split, number, seed, renderer = arguments
    target = out / f"views-{number:03d}.npy"
    if target.exists() and (out / f"labels-{number:03d}.parquet").exists():
        return
    cv2.setNumThreads(1)
    pictures, landmarks = people_of(data, split)
    entropy = [seed, number, {"train": 0, "dev": 1, "test": 2}[split]]
    rng = np.random.default_rng(entropy + {"layered": [], "optical": [1], "held-out": [2]}[renderer])
    views = np.empty((SHARD, VIEW_SIDE, VIEW_SIDE, 3), np.uint8)
    rows = []
    for index in range(SHARD):
        shot, shown, picture = make_view(pictures, landmarks, rng, live=index % 2 == 0, renderer=renderer)
        views[index] = shot.rgb
        rows.append(
            {
                "attack": shown.attack,
                "box": None if shot.box is None else list(shot.box),
                "clues": list(shown.clues),
                "source": picture.source,
                "key": picture.key,
                "renderer": renderer,
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
    parser.add_argument("--renderer", choices=["both", "layered", "optical"], default="both")
    parser.add_argument("--held-out", action="store_true", help="techniques that no training picture shows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.held_out and options.split == "train":
        parser.error("held-out techniques are for testing: take --split dev or test")
    renderer: Literal["both"] | Renderer = "held-out" if options.held_out else options.renderer
    out = options.out / (options.split if renderer == "both" else f"{options.split}-{renderer}")
    out.mkdir(parents=True, exist_ok=True)
    work = [
        (options.data, out, options.split, number, options.seed, renderer_of(renderer, number))
        for number in range(-(-options.count // SHARD))
    ]
    with multiprocessing.Pool(options.workers) as pool:
        for _ in tqdm(pool.imap_unordered(write_shard, work), total=len(work), unit="shard"):
            pass


if __name__ == "__main__":
    run_command(main)
