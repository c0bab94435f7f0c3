"""A few frames of a clip: evenly spread, or those shown at given times."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from visagent.clips.files import MAX_BYTES, is_clip, is_clip_file, read_bytes
from visagent.clips.track import Track, open_track
from visagent.clips.worker import MEMORY_BYTES, PATIENCE_SECONDS, in_worker, limit_memory
from visagent.errors import ClipError, DamagedClip
from visagent.media import MAX_PIXELS, Picture, load_picture, picture_from_array

if TYPE_CHECKING:
    from av import VideoFrame

MAX_SECONDS: Final = 600.0
MAX_WANTED: Final = 32  # 350 MB at most
LONGEST_SIDE: Final = 1920


@dataclass(frozen=True, slots=True)
class Clip:
    """Some frames of one video clip.

    Attributes:
        frames: Upright RGB pictures, the earliest first; the longer side is at most 1920 pixels.
        times: When each is shown first: seconds from the clip's first frame, rising.
        digest: SHA-256 of the file's bytes, 64 hex digits.
        width: Of the first of `frames`, pixels.
        height: The same.
        seconds: Length of what could be read; 0 for a single frame that does not say how long it lasts.
        frames_per_second: Mean over `seconds`; 0 where those are 0.
        notes: What was done or found that the reader should know ("sound ignored", "variable frame rate").
    """

    frames: tuple[Picture, ...] = field(repr=False)
    times: tuple[float, ...]
    digest: str
    width: int
    height: int
    seconds: float
    frames_per_second: float
    notes: tuple[str, ...] = ()


def load_clip(source: str | os.PathLike[str] | bytes, *, frames: int = 8, at: Sequence[float] = (),
              max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS, max_seconds: float = MAX_SECONDS,
              patience: float = PATIENCE_SECONDS) -> Clip:
    """Read frames of one MP4, MOV, WebM, MKV or AVI clip: those shown in the middle of equal parts of it.

    A worker process is started for the call and stopped after it, 0.3 s in all. As with all processes that Python
    spawns, a script must call this under `if __name__ == "__main__":`.

    Args:
        source: A file's path, or the bytes themselves.
        frames: How many, 1 to 32. Fewer come where the clip shows fewer, or where a part of it is damaged.
        at: Seconds from the first frame, at most 32: read what is shown then, in place of `frames`.
        max_bytes: Refuse longer files.
        max_pixels: Refuse clips whose frames have more; checked before they are decoded.
        max_seconds: Refuse longer clips; checked likewise.
        patience: Seconds that the worker may take once it has started; stopping it may take 3 more.

    Raises:
        NotAClip: No clip, or a container or coding that is not allowed.
        ClipTooLarge: Too many bytes, pixels, frames or seconds.
        ClipTooSmall: A side under 16 pixels.
        ClipTooCostly: The worker took too long, needed too much memory, or died.
        DamagedClip: So truncated or corrupt that no frame could be read.
        ClipError: The file cannot be read. No message names a path.
        ValueError: `frames`, or the number of times, is out of range.
    """
    if not 1 <= (len(at) or frames) <= MAX_WANTED:
        raise ValueError(f"from 1 to {MAX_WANTED} frames can be read of a clip")
    data = read_bytes(source, max_bytes)
    clip: Clip | ClipError = in_worker(work, data, frames, tuple(at), max_pixels, max_seconds, MEMORY_BYTES,
                                       patience=patience)
    if isinstance(clip, ClipError):
        raise clip
    for picture in clip.frames:
        picture.rgb.flags.writeable = False  # arrays forget it between processes
    return clip


def clip_frames(data: bytes, count: int) -> list[tuple[Picture, float]]:
    """A few frames of a clip as pictures that know their clip, each with its time in seconds.

    Args:
        data: The clip, as `read_bytes` gives it.
        count: How many frames.

    Raises:
        ClipError: As `load_clip`.
    """
    clip = load_clip(data, frames=count)
    return [(replace(frame, clip=data), seconds) for frame, seconds in zip(clip.frames, clip.times, strict=True)]


def pictures_in(source: str | os.PathLike[str] | bytes, count: int) -> list[tuple[Picture, float | None]]:
    """A picture, or a few frames of a clip with their times in seconds, whichever the file is.

    Args:
        source: A file's path, or the bytes themselves.
        count: How many frames of a clip.

    Raises:
        PictureError: As `load_picture` and `load_clip`.
    """
    if is_clip(source[:64]) if isinstance(source, bytes) else is_clip_file(source):
        return list(clip_frames(read_bytes(source), count))
    return [(load_picture(source), None)]


def work(data: bytes, frames: int, at: Sequence[float], max_pixels: int, max_seconds: float, memory: int
         ) -> Clip | ClipError:
    """In the worker. A refusal is returned, not raised: it would carry the worker's traceback, which names paths."""
    limit_memory(memory)
    try:
        return decode(data, frames, at, max_pixels, max_seconds)
    except ClipError as error:
        return error


def decode(data: bytes, frames: int, at: Sequence[float], max_pixels: int, max_seconds: float) -> Clip:
    """What the worker does, in this process. Raises ClipError."""
    with open_track(data, max_pixels, max_seconds) as track:
        return _take(track, _times(track, at) if at else _middles(track.lengths, frames),
                     hashlib.sha256(data).hexdigest())


def _take(track: Track, targets: list[int], digest: str) -> Clip:
    """Decode all frames in order, and keep those that are shown at the targets, in ticks and rising."""
    kept: dict[int, Picture] = {}

    def keep(stamp: int, frame: VideoFrame) -> None:
        if stamp not in kept:
            kept[stamp] = picture_from_array(track.upright(frame, LONGEST_SIDE))

    previous: tuple[int, VideoFrame] | None = None
    for stamp, frame in track.frames():
        while targets and targets[0] < stamp:
            # Not every packet gives a frame of its own; at any time the last frame before it is shown.
            if previous is not None:
                keep(*previous)
            del targets[0]
        previous = stamp, frame
    if previous is None:
        raise DamagedClip("No frame of the clip can be decoded; save it anew, or take another.")
    if previous[0] in targets or not kept:
        keep(*previous)
    seconds = track.length()
    pictures = tuple(kept.values())
    return Clip(pictures, tuple(track.seconds(stamp) for stamp in kept), digest, pictures[0].width, pictures[0].height,
                seconds, len(track.shown) / seconds if seconds else 0.0, tuple(dict.fromkeys(track.notes)))


def _middles(lengths: dict[int, int], wanted: int) -> list[int]:
    """When those frames begin, in ticks, that are shown in the middle of equal parts."""
    begins = sorted(lengths)
    if wanted >= len(begins):
        return begins
    span = begins[-1] + lengths[begins[-1]] - begins[0]
    return _shown_at(begins, [begins[0] + (2 * part + 1) * span / (2 * wanted) for part in range(wanted)])


def _times(track: Track, at: Sequence[float]) -> list[int]:
    begins = sorted(track.lengths)
    half = 0.5  # of a tick: seconds of a frame, as they were told, are of that frame again
    return _shown_at(begins, [begins[0] + max(0.0, seconds) / float(track.tick) + half for seconds in at])


def _shown_at(begins: list[int], ticks: list[float]) -> list[int]:
    return sorted({begins[bisect_right(begins, tick) - 1] for tick in ticks})
