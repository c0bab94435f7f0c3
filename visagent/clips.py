"""Short video clips in, safely: a few upright frames, evenly spread.

As for pictures, everything is refused as early as possible: bytes over the cap, magic bytes of no allowed container,
then coding, pixels, length and number of packets, all before a frame is decoded. FFmpeg sees bytes in memory, never a
name; it is told the container, may use no other, and may open nothing else. A process that lives for one call does the
work within limits of time and memory, so that a hostile file neither hangs nor fills the caller.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from itertools import islice
from math import atan2, degrees
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from visagent.errors import ClipError, ClipTooCostly, ClipTooLarge, ClipTooSmall, DamagedClip, NotAClip
from visagent.media import MAX_PIXELS, MIN_SIDE, Picture, picture_from_array

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

MAX_BYTES: Final = 100_000_000
MAX_SECONDS: Final = 600.0
MAX_PACKETS: Final = 200_000  # ten minutes of 240 frames a second, with sound
MAX_WANTED: Final = 32  # 350 MB at most
LONGEST_SIDE: Final = 1920
PATIENCE_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 4 << 30  # address space, on top of what a worker starts with

# FFmpeg knows hundreds of codings, many seldom tested; these are what cameras, browsers and collections of clips use.
_DECODERS: Final = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "msmpeg4v3", "h263", "mjpeg",
                    "mpeg1video", "mpeg2video", "dvvideo", "prores", "ffv1", "huffyuv", "rawvideo")
_NO_CLIP_BRANDS: Final = re.compile(rb"hei|hev|mif1|msf1|avi|jp|crx |M4A |M4B |M4P ")  # HEIF, AVIF, JPEG 2000, sound
_HIGH_DYNAMIC_RANGE: Final = (16, 18)  # PQ and HLG in ITU-T H.273


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


def is_clip(data_start: bytes) -> bool:
    """Whether a file's first bytes (64 suffice) are those of an MP4, MOV, WebM, MKV or AVI clip."""
    return _container(data_start) is not None


def load_clip(source: str | os.PathLike[str] | bytes, *, frames: int = 8, max_bytes: int = MAX_BYTES,
              max_pixels: int = MAX_PIXELS, max_seconds: float = MAX_SECONDS,
              patience: float = PATIENCE_SECONDS) -> Clip:
    """Read frames of one MP4, MOV, WebM, MKV or AVI clip: those shown in the middle of equal parts of it.

    A worker process is started for the call and stopped after it, 0.3 s in all. As with all processes that Python
    spawns, a script must call this under `if __name__ == "__main__":`.

    Args:
        source: A file's path, or the bytes themselves.
        frames: How many, 1 to 32. Fewer come where the clip shows fewer, or where a part of it is damaged.
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
        ValueError: `frames` is out of range.
    """
    if not 1 <= frames <= MAX_WANTED:
        raise ValueError(f"from 1 to {MAX_WANTED} frames can be read of a clip")
    data = _read(source, max_bytes)
    if not is_clip(data):
        raise NotAClip("The file is no MP4, MOV, WebM, MKV or AVI clip; save the clip as one of these.")
    clip: Clip | ClipError = _in_worker(_work, data, frames, max_pixels, max_seconds, MEMORY_BYTES, patience=patience)
    if isinstance(clip, ClipError):
        raise clip
    for picture in clip.frames:
        picture.rgb.flags.writeable = False  # arrays forget it between processes
    return clip


def _container(start: bytes) -> str | None:
    """FFmpeg's name of the container; None if it is not allowed."""
    kind = start[4:8]
    if start[:3] == b"\0\0\0" and kind == b"ftyp":
        return None if _NO_CLIP_BRANDS.match(start[8:12]) else "mov"
    if start[:1] == b"\0" and kind in (b"moov", b"mdat", b"wide"):  # QuickTime from before there was `ftyp`
        return "mov"
    if start[:4] == b"\x1a\x45\xdf\xa3" and re.search(rb"\x42\x82.{1,8}(webm|matroska)", start[:64], re.DOTALL):
        return "matroska"
    return "avi" if start[:4] == b"RIFF" and start[8:12] == b"AVI " else None


def _read(source: str | os.PathLike[str] | bytes, max_bytes: int) -> bytes:
    try:
        if isinstance(source, bytes):
            data, size = source, len(source)
        elif not Path(source).is_file():  # pipes and devices could block or never end
            raise ClipError("The clip cannot be read: there is no such file.")
        else:
            with Path(source).open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                data = stream.read(max_bytes) if size <= max_bytes else b""
    except (OSError, ValueError):  # ValueError: a name with a null byte
        # `from None`: the system's own message names the path.
        raise ClipError("The clip cannot be read: is it there, and may you open it?") from None
    if size > max_bytes:
        raise ClipTooLarge(f"The file is over {max_bytes / 1e6:.0f} MB, the most that is read; cut it shorter.")
    return data


def _in_worker(work: Callable[..., Any], *args: object, patience: float) -> Any:
    from pebble import ProcessPool

    # A pool of one: pebble 5.2 forks for `concurrent.process(mp_context=...)`, and a fork of threads may hang.
    pool = ProcessPool(max_workers=1, context=get_context("spawn"))
    try:
        return pool.schedule(work, args=args, timeout=patience).result()
    except TimeoutError:
        raise ClipTooCostly(f"Reading the clip took over {patience:g} s and was stopped; cut it shorter.") from None
    except (OSError, BrokenExecutor):  # pebble's ProcessExpired is an OSError
        raise ClipTooCostly("The process that read the clip died: the clip may be damaged, or too large for this "
                            "machine's memory. Save it anew, shorter or smaller.") from None
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _work(data: bytes, frames: int, max_pixels: int, max_seconds: float, memory: int) -> Clip | ClipError:
    """A refusal is returned, not raised: it would carry the worker's traceback, which names paths."""
    import resource

    import av  # noqa: F401  # now, as part of what the worker starts with

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave the clip on the disk
    status = Path("/proc/self/statm")
    if status.exists():  # Linux; elsewhere only the time is limited
        most = int(status.read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        return _decode(data, frames, max_pixels, max_seconds)
    except ClipError as error:
        return error


def _decode(data: bytes, frames: int, max_pixels: int, max_seconds: float) -> Clip:
    import av

    container = _container(data)
    # No decoder at all: else FFmpeg would decode the first frames of all tracks before their size could be looked at.
    options = {"codec_whitelist": "none", "format_whitelist": str(container), "protocol_whitelist": "none"}
    av.logging.set_libav_level(av.logging.PANIC)  # it would write to the caller's terminal
    try:
        with av.open(BytesIO(data), "r", format=container, options=options, io_open=_open_nothing,
                     metadata_errors="replace") as opened:
            return _take(opened, frames, max_pixels, max_seconds, hashlib.sha256(data).hexdigest())
    except ClipError:
        raise
    except MemoryError:
        raise ClipTooCostly("Reading the clip needs too much memory; save it smaller.") from None
    except Exception:
        # Demuxers and decoders raise anything on hostile bytes; whatever it was, the clip cannot be decoded.
        raise DamagedClip("The clip is truncated or corrupt; save it anew, or take another.") from None


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a clip may refer to nothing outside of it")


def _take(opened: InputContainer, wanted: int, max_pixels: int, max_seconds: float, digest: str) -> Clip:
    """Demux all, which is cheap and shows what there is; then decode all in order, and keep what is wanted."""
    notes = ["sound ignored"] if opened.streams.audio else []
    track = _video_track(opened, max_pixels, notes)
    tick = track.time_base or Fraction(0)
    packets, lengths, whole = _packets(opened, track, max_seconds)
    begins = sorted(lengths)
    targets = _middles(lengths, wanted)
    # AVI has no times, FFmpeg counts what is stored, and these two store frames in another order than they show them.
    counted = opened.format.name == "avi" and track.codec_context.name in ("h264", "hevc")
    kept: dict[int, Picture] = {}
    shown: list[int] = []
    previous: VideoFrame | None = None
    for frame in _good_frames(track, packets):
        stamp = begins[min(len(shown), len(begins) - 1)] if counted else frame.pts
        if stamp is None or (shown and stamp <= shown[-1]):
            continue
        while targets and targets[0] < stamp:
            # Not every packet gives a frame of its own; at any time the last frame before it is shown.
            if previous is not None and shown[-1] not in kept:
                kept[shown[-1]] = _upright(previous, track, notes)
            del targets[0]
        shown.append(stamp)
        previous = frame
    if previous is None:
        raise DamagedClip("No frame of the clip can be decoded; save it anew, or take another.")
    if shown[-1] in targets or not kept:
        kept[shown[-1]] = _upright(previous, track, notes)
    gaps = np.diff(shown)
    length = lengths.get(shown[-1]) or (float(gaps.mean()) if gaps.size else 0.0)
    seconds = float((shown[-1] - shown[0] + length) * tick)
    if gaps.size and gaps.max() - gaps.min() > gaps.mean() / 2:
        notes.append("variable frame rate")
    if not whole or shown[-1] < max(lengths):
        notes.append(f"the last part of the clip is damaged: only the first {seconds:.1f} s were read")
    frames = tuple(kept.values())
    return Clip(frames, tuple(float((stamp - shown[0]) * tick) for stamp in kept), digest, frames[0].width,
                frames[0].height, seconds, len(shown) / seconds if seconds else 0.0, tuple(dict.fromkeys(notes)))


def _video_track(opened: InputContainer, max_pixels: int, notes: list[str]) -> VideoStream:
    from av.codec.context import ThreadType
    from av.stream import Disposition

    tracks = [track for track in opened.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise NotAClip("The file has no video in it; take another.")
    if len(tracks) > 1:
        notes.append("several video tracks: only the first was read")
    coding = tracks[0].codec_context
    if not coding or coding.name not in _DECODERS:
        raise NotAClip("The clip's video is coded in a way that is not read; save it as H.264 in MP4.")
    if coding.width * coding.height > max_pixels:
        raise ClipTooLarge(f"The clip's frames are {coding.width} x {coding.height} pixels, over the limit of "
                           f"{max_pixels / 1e6:.0f} million; save it smaller.")
    coding.options = {"max_pixels": str(max_pixels)}  # frames may be larger than the container says
    coding.thread_type = ThreadType.FRAME | ThreadType.SLICE
    coding.thread_count = min(4, os.cpu_count() or 1)  # each takes memory
    return tracks[0]


def _packets(opened: InputContainer, track: VideoStream,
             max_seconds: float) -> tuple[list[Packet[Any]], dict[int, int], bool]:
    """A track's packets, how long each is shown by when it is (ticks), and whether the file is as long as it says."""
    packets: list[Packet[Any]] = []
    lengths: dict[int, int] = {}
    count, end, whole = 0, 0.0, True
    try:
        for packet in islice(opened.demux(), MAX_PACKETS):
            count += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.is_corrupt:
                whole = False
                break
            if stamp is not None:
                end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == track.index and packet.size:
                packets.append(packet)
                if stamp is not None and not packet.is_discard:
                    lengths[stamp] = packet.duration or 0
    except MemoryError:
        raise
    except Exception:  # as in `_decode`; what came before may be good
        whole = False
    span = float((max(lengths) - min(lengths) + lengths[max(lengths)]) * (track.time_base or 0))
    if span > max_seconds or count >= MAX_PACKETS:
        raise ClipTooLarge(f"The clip is longer than {max_seconds / 60:.3g} minutes, or has over {MAX_PACKETS:,} "
                           "packets; cut it shorter.")
    # Sound may begin earlier or end later than the video, and the last frame may not say how long it lasts.
    return packets, lengths, whole and end + 0.25 + span / len(lengths) >= (opened.duration or 0) / 1e6


def _middles(lengths: dict[int, int], wanted: int) -> list[int]:
    """When those frames begin, in ticks, that are shown in the middle of equal parts."""
    begins = sorted(lengths)
    span = begins[-1] + lengths[begins[-1]] - begins[0]
    middles = [begins[0] + (2 * part + 1) * span / (2 * wanted) for part in range(wanted)]
    return sorted({begins[bisect_right(begins, middle) - 1] for middle in middles}) if wanted < len(begins) else begins


def _good_frames(track: VideoStream, packets: list[Packet[Any]]) -> Iterator[VideoFrame]:
    """Frames up to the first damage. What cannot be decoded before the first is passed over: its start is cut off."""
    begun = False
    waiting: list[Packet[Any] | None] = [None, *reversed(packets)]
    while waiting:
        try:
            frames = track.decode(waiting.pop())
        except MemoryError:
            raise
        except Exception:  # as in `_decode`
            if begun and waiting:
                waiting = [None]  # the decoder still holds back some frames from before
            continue
        for frame in frames:
            if not frame.is_corrupt:
                begun = True
                yield frame
            elif begun:
                return


def _upright(frame: VideoFrame, track: VideoStream, notes: list[str]) -> Picture:
    width, height = frame.width, frame.height
    aspect = float(track.sample_aspect_ratio or track.codec_context.sample_aspect_ratio or 1)
    if 0.2 < aspect < 5 and abs(aspect - 1) > 0.01:  # beyond these it says nothing that one could believe
        width, height = round(width * max(aspect, 1)), round(height * max(1 / aspect, 1))
        notes.append("stretched to square pixels as the file says")
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    size = round(width * scale), round(height * scale)
    if scale < 1:
        notes.append(f"reduced from {width} x {height} to {size[0]} x {size[1]} pixels")
    if min(size) < MIN_SIDE:
        raise ClipTooSmall(f"The clip's frames are {width} x {height} pixels; each side needs at least {MIN_SIDE}, "
                           f"also where the longer one is {LONGEST_SIDE}.")
    if frame.color_trc in _HIGH_DYNAMIC_RANGE:
        notes.append("high dynamic range, taken as it is: colours look flat")
    rgb = frame.reformat(*size, format="rgb24", interpolation="AREA" if scale < 1 else "BICUBIC").to_ndarray()
    return picture_from_array(_turn(rgb.astype(np.uint8, copy=False), frame, notes))


def _turn(rgb: NDArray[np.uint8], frame: VideoFrame, notes: list[str]) -> NDArray[np.uint8]:
    """Turn and mirror by the file's display matrix: stored `(x, y)` is shown at `(a x + c y, b x + d y)`."""
    from av.sidedata.sidedata import Type

    side_data: Any = frame.side_data  # PyAV's types do not know that it is a mapping
    matrix = side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return rgb
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    lying = min(abs(b), abs(c)) > 50 * max(abs(a), abs(d))
    if not lying and min(abs(a), abs(d)) <= 50 * max(abs(b), abs(c)):
        notes.append("not turned: the file asks for an angle that is no quarter turn")
        return rgb
    angle = round(degrees(atan2(b, a)) / 90) * 90 % 360
    if a * d - b * c < 0:
        notes.append("mirrored as the file says")
    elif angle:
        notes.append(f"turned by {angle} degrees as the file says")
    to_left, to_top = (c < 0, b < 0) if lying else (a < 0, d < 0)
    shown = rgb.transpose(1, 0, 2) if lying else rgb
    return shown[::-1 if to_top else 1, ::-1 if to_left else 1]
