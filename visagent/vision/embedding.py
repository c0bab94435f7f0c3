"""Faces and embeddings of many pictures, by worker processes: a bad picture never blocks or kills the others.

Detection is the dear part (20 ms of a core for a clear face in a small picture, a second for a picture without one),
and dlib lets only one thread work at a time. So each worker is a process with its own detector and encoder. A worker
that dies or hangs on a picture costs that picture only: it is reported, and a new worker takes the rest.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from visagent.errors import VisagentError
from visagent.media import load_picture
from visagent.vision.detect import Face, FaceDetector, detect_faces, load_face_detector
from visagent.vision.encoder import Embeddings, Encoder, embed_faces, open_encoder
from visagent.vision.quality import FaceQuality, measure_quality

PATIENCE_SECONDS: Final = 120.0
"""A picture that takes longer is given up; the largest allowed with a crowd in it takes about ten seconds."""
WAITING_PER_WORKER: Final = 4
"""Pictures that are handed to a worker in advance: enough to keep it busy, few enough to bound memory."""

PictureFile = str | Path | bytes


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedFace:
    """A face, its quality, and its embedding, float32 `[D]` of length 1."""

    face: Face
    quality: FaceQuality
    embedding: Embeddings


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPicture:
    """What was found in one picture.

    Attributes:
        index: Its place among those given, from 0.
        faces: The biggest first; empty if there is none or the picture could not be read.
        digest: SHA-256 of the file, 64 hex digits; empty if it could not be read.
        problem: Why it could not be read or judged; None if it could.
    """

    index: int
    faces: tuple[EmbeddedFace, ...] = ()
    digest: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Worker:
    """What a worker process holds."""

    detector: FaceDetector
    encoder: Encoder

    def look(self, source: PictureFile) -> tuple[str, tuple[EmbeddedFace, ...]]:
        picture = load_picture(source)
        faces = detect_faces(picture.rgb, self.detector)
        embeddings = embed_faces(picture.rgb, faces, self.encoder)
        return picture.digest, tuple(EmbeddedFace(face, measure_quality(picture.rgb, face), embedding)
                                     for face, embedding in zip(faces, embeddings, strict=True))


_worker: _Worker | None = None


def embed_pictures(sources: Iterable[PictureFile], *, encoder: Path | None = None, workers: int | None = None,
                   patience: float = PATIENCE_SECONDS) -> Iterator[EmbeddedPicture]:
    """Find and embed the faces of many pictures, in the order given.

    Args:
        sources: Paths or bytes; drawn as they are needed.
        encoder: An ONNX file; dlib's network if None.
        workers: Processes; as many as the process may use cores if None.
        patience: Seconds that one picture may take.

    Raises:
        WeightsError: The encoder or a detector cannot be loaded; before the first picture.
    """
    from pebble import ProcessPool

    open_encoder(encoder)  # a wrong file is one clear error, not one in each worker
    count = workers or len(os.sched_getaffinity(0))
    pool = ProcessPool(max_workers=count, initializer=_begin, initargs=(encoder,), context=get_context("spawn"))
    waiting: deque[tuple[int, Future[Any]]] = deque()
    try:
        for index, source in enumerate(sources):
            waiting.append((index, pool.schedule(_look, args=[source], timeout=patience)))
            if len(waiting) >= count * WAITING_PER_WORKER:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _begin(encoder: Path | None) -> None:
    """Prepare a worker: one thread each, since there are as many workers as cores."""
    global _worker
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # NumPy is loaded by now, and no longer reads OPENBLAS_NUM_THREADS
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _worker = _Worker(load_face_detector(), open_encoder(encoder))


def _look(source: PictureFile) -> tuple[str, tuple[EmbeddedFace, ...]]:
    assert _worker is not None
    return _worker.look(source)


def _result(index: int, future: Future[Any]) -> EmbeddedPicture:
    from pebble import ProcessExpired

    try:
        digest, faces = future.result()
    except VisagentError as error:
        return EmbeddedPicture(index, problem=str(error))
    except TimeoutError:
        return EmbeddedPicture(index, problem="The picture took too long; save it smaller.")
    except ProcessExpired:
        return EmbeddedPicture(index, problem="The process that looked at the picture died; the picture may be too "
                                              "large for this machine's memory.")
    return EmbeddedPicture(index, faces, digest)
