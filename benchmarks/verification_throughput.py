"""Pictures a second, from file to embedding, beside the package `face_recognition` on the same pictures, in one run.

    pip install --no-deps face_recognition face_recognition_models setuptools
    python benchmarks/verification_throughput.py ../shared/data/lfw.parquet

Both find the faces of each picture and embed the biggest one, on as many cores as there are: visagent by
`embed_pictures`, `face_recognition` by a pool of processes, its own way of using several (its command line does so).
Both use dlib's embedding network with the chip as it is (face_recognition's default; visagent embeds the mirrored chip
too). Start-up of the processes is timed apart. Rounds alternate; the median of their ratios counts.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from visagent.datasets.labelled_faces import read_labelled
from visagent.vision.embedding import embed_pictures


def begin_peer() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import face_recognition

    face_recognition.face_encodings(np.zeros((64, 64, 3), np.uint8), [(0, 63, 63, 0)])


def embed_peer(file: bytes) -> np.ndarray | None:
    import face_recognition

    picture = face_recognition.load_image_file(io.BytesIO(file))
    found = face_recognition.face_locations(picture)
    if not found:
        return None
    biggest = max(found, key=lambda box: (box[2] - box[0]) * (box[1] - box[3]))
    return np.asarray(face_recognition.face_encodings(picture, [biggest])[0])


def time_ours(files: Sequence[bytes], warm: int) -> tuple[float, float, int]:
    """Seconds until the first pictures were done, seconds of the rest, pictures with a face."""
    started = time.perf_counter()
    stream = embed_pictures(files)
    first = [next(stream) for _ in range(warm)]
    begun = time.perf_counter()
    rest = list(stream)
    return begun - started, time.perf_counter() - begun, sum(bool(one.faces) for one in [*first, *rest])


def time_peer(files: Sequence[bytes], warm: int) -> tuple[float, float, int]:
    started = time.perf_counter()
    with get_context("spawn").Pool(len(os.sched_getaffinity(0)), begin_peer) as pool:
        stream: Any = pool.imap(embed_peer, files)
        first = [next(stream) for _ in range(warm)]
        begun = time.perf_counter()
        rest = list(stream)
        return begun - started, time.perf_counter() - begun, sum(one is not None for one in [*first, *rest])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    everything = read_labelled(options.data)
    chosen = np.random.default_rng(0).choice(len(everything), options.pictures, replace=False)
    files = [source if isinstance(source := everything[row].source, bytes) else Path(source).read_bytes()
             for row in chosen]
    warm = 16
    ratios, ours_rates, peer_rates = [], [], []
    for _ in range(options.rounds):
        ours_start, ours, ours_found = time_ours(files, warm)
        peer_start, peer, peer_found = time_peer(files, warm)
        ours_rates.append((len(files) - warm) / ours)
        peer_rates.append((len(files) - warm) / peer)
        ratios.append(peer / ours)
        print(f"visagent {ours_rates[-1]:.1f}/s ({ours_found} with a face, start {ours_start:.1f} s)   "
              f"face_recognition {peer_rates[-1]:.1f}/s ({peer_found}, start {peer_start:.1f} s)   "
              f"ratio {ratios[-1]:.2f}", flush=True)
    print(f"{options.pictures} pictures, {len(os.sched_getaffinity(0))} cores, medians of {options.rounds} rounds: "
          f"visagent {statistics.median(ours_rates):.1f}/s, face_recognition {statistics.median(peer_rates):.1f}/s, "
          f"ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
