"""Pack wide views of composed scenes for training and testing: half live, half attacks.

    python -m visagent.datasets.surroundings --data ../shared/data --out runs/surroundings --split train --count 20000

Heads are of UTKFace (LFW is monochrome). Shards that exist are skipped, so that a stopped run goes on where it was.
`--held-out` takes places and carriers that no training scene shows, and writes beside the others.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import cv2
import dlib
import numpy as np
from tqdm import tqdm

from visagent.datasets.sources import Split, face_pictures
from visagent.datasets.spoof_views import landmarks_of
from visagent.datasets.surroundings.people import Head, head_of
from visagent.datasets.surroundings.scenes import attack_scene, live_scene
from visagent.datasets.surroundings.shots import WideShot, wide_shot
from visagent.datasets.surroundings.stage import Share, Stage, set_stage
from visagent.errors import run_command
from visagent.weights import locate_dlib_model

SHARD = 1000


def read_heads(data: Path, split: Split, *, count: int, step: int = 5) -> list[Head]:
    """Heads of a split of UTKFace: every `step`-th picture, `count` at most.

    Raises:
        PictureError: The set is not in the folder.
        WeightsError: The landmark model is missing or altered.
    """
    predictor = dlib.shape_predictor(str(locate_dlib_model("shape_predictor_68_face_landmarks.dat")))
    pictures = itertools.islice(face_pictures(data, "utkface", split), 0, count * step, step)
    return [head_of(picture, landmarks_of(picture, predictor)) for picture in pictures]


def draw(stage: Stage, rng: np.random.Generator, *, attack: bool) -> tuple[WideShot, int]:
    """One wide view and its kind, an index into `KINDS`; drawn again until an attack's border is in view."""
    while True:
        scene = attack_scene(stage, rng) if attack else live_scene(stage, rng)
        shot = wide_shot(scene, rng)
        if shot is not None:
            return shot, scene.kind


def write_shard(path: Path, heads: Sequence[Head], share: Share, rng: np.random.Generator, count: int) -> None:
    """Write `count` views, their kinds, masks and padded shares; every second one is an attack."""
    stage = set_stage(heads, rng, share=share, people=min(150, count), places=min(100, count))
    drawn = [draw(stage, rng, attack=bool(number % 2)) for number in range(count)]
    part = path.with_suffix(".part.npz")
    np.savez(part, views=np.stack([shot.rgb for shot, _ in drawn]),
             kinds=np.array([kind for _, kind in drawn], np.int64), masks=np.stack([shot.mask for shot, _ in drawn]),
             padded=np.array([shot.padded for shot, _ in drawn], np.float32))
    part.rename(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", choices=["train", "dev", "test"], default="train")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--heads", type=int, default=1000, help="pictures of people to draw with, at most")
    parser.add_argument("--held-out", action="store_true", help="places and carriers that no training scene shows")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.held_out and options.split == "train":
        parser.error("held-out places and carriers are for testing: take --split dev or test")
    cv2.setNumThreads(1)
    out = options.out / f"{options.split}{'-held-out' if options.held_out else ''}"
    out.mkdir(parents=True, exist_ok=True)
    heads = read_heads(options.data, options.split, count=options.heads)
    for number in tqdm(range(-(-options.count // SHARD)), unit="shard"):
        path = out / f"{number:03d}.npz"
        if not path.exists():
            seed = [options.seed, number, ["train", "dev", "test"].index(options.split), int(options.held_out)]
            write_shard(path, heads, "held out" if options.held_out else "train", np.random.default_rng(seed),
                        min(SHARD, options.count - number * SHARD))


if __name__ == "__main__":
    run_command(main)
