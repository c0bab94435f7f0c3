"""All frames of a clip, one after another, in bounded memory: for tools that look at motion.

The worker decodes a few frames ahead and waits; it ends with the block that reads it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visagent.clips.track import open_track
from visagent.clips.worker import DIED, MEMORY_BYTES, PATIENCE_SECONDS, limit_memory, too_slow
from visagent.errors import ClipError, ClipTooCostly, DamagedClip
from visagent.media import MAX_PIXELS

GONE_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class MovingFrame:
    """One frame.

    Attributes:
        gray: Upright, uint8 `[H, W]`; all frames of a clip have one size.
        seconds: When it is shown first, from the clip's first frame.
    """

    gray: NDArray[np.uint8]
    seconds: float


@dataclass(frozen=True, slots=True)
class Whole:
    """What is known of a clip once all of it was read.

    Attributes:
        digest: SHA-256 of the file's bytes, 64 hex digits.
        seconds: Length of what could be read.
        frames_per_second: Mean over `seconds`; 0 where those are 0.
        notes: What was done or found that the reader should know.
    """

    digest: str
    seconds: float
    frames_per_second: float
    notes: tuple[str, ...]


class FrameStream:
    """The frames of an open clip, to be read once; made by `open_frames`.

    Attributes:
        whole: What is known at the end; None before.
    """

    def __init__(self, receiver: Connection, patience: float) -> None:
        self._receiver = receiver
        self._patience = self._left = patience
        self.whole: Whole | None = None

    def __iter__(self) -> Iterator[MovingFrame]:
        """The frames, in order.

        Raises:
            ClipTooCostly: The worker took too long (only time in which the reader waits counts), or died.
            ClipError: One of its other kinds: what the worker found.
        """
        while True:
            message = self._next()
            if isinstance(message, ClipError):
                raise message
            if isinstance(message, Whole):
                self.whole = message
                return
            yield message

    def _next(self) -> Any:
        begun = time.monotonic()
        try:
            if not self._receiver.poll(max(0.0, self._left)):
                raise too_slow(self._patience)
            return self._receiver.recv()
        except (EOFError, OSError):
            raise ClipTooCostly(DIED) from None
        finally:
            self._left -= time.monotonic() - begun


@contextmanager
def open_frames(data: bytes, *, most_per_second: float, most_frames: int, longest_side: int, max_seconds: float,
                max_pixels: int = MAX_PIXELS, patience: float = PATIENCE_SECONDS) -> Iterator[FrameStream]:
    """Begin to read a clip. Its frames come from a worker process, which is started here and stopped at the end.

    Args:
        data: The clip, as `clips.files.read_bytes` gives it.
        most_per_second: Frames that follow each other faster are passed over.
        most_frames: Of a clip with more, evenly as many are read.
        longest_side: Frames are reduced to it.
        max_seconds: Refuse longer clips, before a frame is decoded.
        max_pixels: Refuse clips whose frames have more; likewise.
        patience: Seconds that the reader waits for the worker in all.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=work, daemon=True, args=(
        sender, data, most_per_second, most_frames, longest_side, max_pixels, max_seconds, MEMORY_BYTES))
    worker.start()
    sender.close()  # the worker has its own end: once it dies, the reader is told
    try:
        yield FrameStream(receiver, patience)
    finally:
        receiver.close()
        worker.terminate()
        worker.join(GONE_SECONDS)
        if worker.is_alive():
            worker.kill()
            worker.join()
        worker.close()


def work(sender: Connection, data: bytes, most_per_second: float, most_frames: int, longest_side: int,
         max_pixels: int, max_seconds: float, memory: int) -> None:
    """In the worker: send the frames, and what is known at the end, or why there are none."""
    limit_memory(memory)
    try:
        for message in decode(data, most_per_second, most_frames, longest_side, max_pixels, max_seconds):
            sender.send(message)  # waits while the pipe is full
    except ClipError as error:
        sender.send(error)
    except OSError:
        pass  # the reader has enough


def decode(data: bytes, most_per_second: float, most_frames: int, longest_side: int, max_pixels: int,
           max_seconds: float) -> Iterator[MovingFrame | Whole]:
    """What the worker does, in this process. Raises ClipError."""
    with open_track(data, max_pixels, max_seconds) as track:
        span = float((max(track.lengths) - min(track.lengths)) * track.tick)
        per_second = min(most_per_second, (most_frames - 1) / max(span, 1e-6))
        due, shape = 0.0, None
        for stamp, frame in track.frames():
            seconds = track.seconds(stamp)
            if seconds < due - 0.25 / per_second:  # a clock that trembles loses no frame
                continue
            due = max(due, seconds - 0.5 / per_second) + 1 / per_second
            gray = as_gray(track.upright(frame, longest_side))
            if shape is not None and gray.shape != shape:
                raise DamagedClip("The clip changes the size of its frames; save it anew.")
            shape = gray.shape
            yield MovingFrame(gray, seconds)
        if shape is None:
            raise DamagedClip("No frame of the clip can be decoded; save it anew, or take another.")
        seconds = track.length()
        yield Whole(hashlib.sha256(data).hexdigest(), seconds, len(track.shown) / seconds if seconds else 0.0,
                    tuple(dict.fromkeys(track.notes)))


def as_gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightness of a picture, uint8 `[H, W]`, by the weights of ITU-R BT.601."""
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), np.uint8)
