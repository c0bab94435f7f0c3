"""The licensed sets as MOL takes them: aligned crops, landmarks and TV-L1 flow of each clip, worked out once.

    python -m visagent.datasets.micro_expression.prepared --set casme2 --root ~/CASME2 --out runs/casme2

As the paper prepares them: the 68 landmarks of every frame, crops of 144 pixels around eyes, nose and mouth, and dense
TV-L1 flow between the frames of each short clip. A clip of N frames gives s = N // 8 short clips, the j-th of frames
j, s + j, 2s + j, ... One file for each clip; what is there is not worked out again.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from visagent.datasets.micro_expression.casme2 import read_casme2
from visagent.datasets.micro_expression.record import MicroExpressionClip
from visagent.datasets.micro_expression.samm import read_samm
from visagent.datasets.micro_expression.smic import read_smic
from visagent.errors import PictureError, run_command
from visagent.media import load_picture
from visagent.vision.micro_expression import FRAMES
from visagent.vision.steady_crop import ALIGNED_SIDE, crop_placing, cut, placed, placings

READERS: Final[dict[str, Callable[[Path], list[MicroExpressionClip]]]] = {
    "casme2": read_casme2, "samm": read_samm, "smic": read_smic}


@dataclass(frozen=True, slots=True, eq=False)
class PreparedClip:
    """One clip of a set.

    Attributes:
        name, subject, label, source: As in `MicroExpressionClip`.
        crops: uint8 `[T, 144, 144]`.
        landmarks: In their pixels, float32 `[T, 68, 2]`.
        flow: Of the short clips, float16 `[s, 7, 2, 144, 144]` in pixels.
    """

    name: str
    subject: str
    label: str
    source: str
    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    flow: NDArray[np.float16]

    @property
    def short_clips(self) -> NDArray[np.int64]:
        """The frames of each short clip, `[s, 8]`."""
        return short_clips(len(self.crops))


def short_clips(frames: int) -> NDArray[np.int64]:
    """The frames of the s short clips of a clip, `[s, 8]`; none of one with under eight frames."""
    stride = frames // FRAMES
    return np.arange(stride)[:, None] + stride * np.arange(FRAMES)


def tvl1(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dense TV-L1 flow (Zach et al., 2007) from one crop to another, `[2, H, W]` as (x, y) in pixels."""
    from skimage.registration import optical_flow_tvl1

    down, right = optical_flow_tvl1(  # type: ignore[no-untyped-call]
        first.astype(np.float32) / 255, second.astype(np.float32) / 255)
    return np.stack([right, down]).astype(np.float32)


def prepare_clip(clip: MicroExpressionClip, *, each_frame: bool = False) -> PreparedClip | None:
    """Align a clip and work out its flow; None if a frame shows no face, or there are under eight.

    Args:
        clip: From a reader.
        each_frame: Align each frame by its own landmarks, as released, which trembles; else all by one place.
    """
    from visagent.vision.detect import detect_faces, load_face_detector
    from visagent.vision.track import FaceTracker

    if len(clip.frames) < FRAMES:
        return None
    detector = load_face_detector()
    grays, landmarks = [], []
    tracker = None
    for number, path in enumerate(clip.frames):
        rgb = load_picture(path).rgb
        gray = np.asarray(rgb @ np.array([0.299, 0.587, 0.114]), np.float32).round().astype(np.uint8)
        seconds = number / clip.frames_per_second
        if tracker is None:
            faces = detect_faces(rgb, detector)
            if not faces:
                return None
            tracker, points = FaceTracker(detector, faces[0], seconds), faces[0].landmarks68
        else:
            found = tracker.follow(gray, seconds)
            if found is None:
                return None
            points = found
        grays.append(gray)
        landmarks.append(points.astype(np.float64))
    marks = np.stack(landmarks)
    where = np.stack([crop_placing(points, ALIGNED_SIDE) for points in marks]) if each_frame else \
        placings(marks, clip.frames_per_second, ALIGNED_SIDE)
    crops = np.stack([cut(gray, placing, ALIGNED_SIDE) for gray, placing in zip(grays, where, strict=True)])
    flow = np.stack([np.stack([tvl1(crops[one], crops[other]) for one, other in pairwise(row)])
                     for row in short_clips(len(crops)).tolist()])
    in_crops = np.stack([placed(points, placing) for points, placing in zip(marks, where, strict=True)])
    return PreparedClip(clip.name, clip.subject, clip.label, clip.source, crops, in_crops.astype(np.float32),
                        flow.astype(np.float16))


def save_prepared(clip: PreparedClip, folder: Path) -> Path:
    """Write one clip, whole or not at all."""
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', clip.name)}.npz"
    words = json.dumps({"name": clip.name, "subject": clip.subject, "label": clip.label, "source": clip.source})
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, crops=clip.crops, landmarks=clip.landmarks, flow=clip.flow,
                            words=np.frombuffer(words.encode(), np.uint8))
    part.replace(path)
    return path


def load_prepared(folder: Path) -> list[PreparedClip]:
    """The clips of a folder, by name. Raises PictureError if there is none, or one is no file of `save_prepared`."""
    clips = []
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                words = json.loads(arrays["words"].tobytes())
                clips.append(PreparedClip(**words, crops=arrays["crops"], landmarks=arrays["landmarks"],
                                          flow=arrays["flow"]))
        except (OSError, KeyError, ValueError, TypeError):
            raise PictureError(f"{path.name} is no prepared clip; delete it and prepare the set again.") from None
    if not clips:
        raise PictureError("The folder holds no prepared clip; make some with "
                           "`python -m visagent.datasets.micro_expression.prepared`.")
    return clips


def prepare_set(clips: Sequence[MicroExpressionClip], folder: Path, *, each_frame: bool = False, workers: int = 2
                ) -> list[str]:
    """Prepare the clips that are not there yet; the names of those that cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in folder.glob("*.npz")}
    left = [clip for clip in clips if re.sub(r"[^A-Za-z0-9]+", "-", clip.name) not in there]
    failed = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs: dict[Any, str] = {pool.submit(_prepare_into, clip, folder, each_frame): clip.name for clip in left}
        for job in tqdm(as_completed(jobs), total=len(jobs), mininterval=10):
            if not job.result():
                failed.append(jobs[job])
    return sorted(failed)


def _prepare_into(clip: MicroExpressionClip, folder: Path, each_frame: bool) -> bool:
    prepared = prepare_clip(clip, each_frame=each_frame)
    if prepared is None:
        return False
    save_prepared(prepared, folder)
    return True


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--set", choices=sorted(READERS), required=True)
    parser.add_argument("--root", type=Path, required=True, help="the set's folder, as released")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--each-frame", action="store_true", help="align each frame by its own landmarks, as released")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    clips = READERS[options.set](options.root)
    failed = prepare_set(clips, options.out, each_frame=options.each_frame, workers=options.workers)
    tqdm.write(f"{len(clips) - len(failed)} of {len(clips)} clips are prepared"
               + (f"; no face, or too few frames: {', '.join(failed)}" if failed else "") + ".")


if __name__ == "__main__":
    run_command(main)
