"""The video of a clip, as FFmpeg gives it: its packets, its good frames in order, and each of them upright.

Everything is refused as early as possible: container, coding, pixels, length and number of packets, all before a frame
is decoded. FFmpeg sees bytes in memory, never a name; it is told the container, may use no other, and may open nothing
else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from itertools import islice
from math import atan2, degrees
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from visagent.clips.files import container_of
from visagent.errors import ClipError, ClipTooCostly, ClipTooLarge, ClipTooSmall, DamagedClip, NotAClip
from visagent.media import MIN_SIDE

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

MAX_PACKETS: Final = 200_000  # ten minutes of 240 frames a second, with sound

# FFmpeg knows hundreds of codings, many seldom tested; these are what cameras, browsers and collections of clips use.
_DECODERS: Final = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "msmpeg4v3", "h263", "mjpeg",
                    "mpeg1video", "mpeg2video", "dvvideo", "prores", "ffv1", "huffyuv", "rawvideo")
_HIGH_DYNAMIC_RANGE: Final = (16, 18)  # PQ and HLG in ITU-T H.273


@dataclass(slots=True)
class Track:
    """The video track of an open clip.

    Attributes:
        lengths: How long each frame is shown by when it is, in ticks.
        tick: Seconds.
        notes: What was found that the reader should know; more come while frames are read.
    """

    opened: InputContainer
    stream: VideoStream
    packets: list[Packet[Any]]
    lengths: dict[int, int]
    whole: bool
    notes: list[str]
    shown: list[int] = field(default_factory=list)

    @property
    def tick(self) -> Fraction:
        """Seconds of the unit that times are told in."""
        return self.stream.time_base or Fraction(0)

    def frames(self) -> Iterator[tuple[int, VideoFrame]]:
        """The good frames with when each is shown, in ticks, rising."""
        begins = sorted(self.lengths)
        # AVI has no times, FFmpeg counts what is stored, and these two store frames in another order than they show
        # them.
        counted = self.opened.format.name == "avi" and self.stream.codec_context.name in ("h264", "hevc")
        for frame in _good_frames(self.stream, self.packets):
            stamp = begins[min(len(self.shown), len(begins) - 1)] if counted else frame.pts
            if stamp is None or (self.shown and stamp <= self.shown[-1]):
                continue
            self.shown.append(stamp)
            yield stamp, frame

    def seconds(self, stamp: int) -> float:
        """Seconds from the first frame that was shown."""
        return float((stamp - self.shown[0]) * self.tick)

    def length(self) -> float:
        """Seconds of all frames so far; notes what is odd about them."""
        gaps = np.diff(self.shown)
        last = self.lengths.get(self.shown[-1]) or (float(gaps.mean()) if gaps.size else 0.0)
        seconds = float((self.shown[-1] - self.shown[0] + last) * self.tick)
        if gaps.size and gaps.max() - gaps.min() > gaps.mean() / 2:
            self.notes.append("variable frame rate")
        if not self.whole or self.shown[-1] < max(self.lengths):
            self.notes.append(f"the last part of the clip is damaged: only the first {seconds:.1f} s were read")
        return seconds

    def upright(self, frame: VideoFrame, longest_side: int) -> NDArray[np.uint8]:
        """A frame as it is shown, RGB `[H, W, 3]`, reduced to a longest side. Raises ClipTooSmall."""
        return _upright(frame, self.stream, longest_side, self.notes)


@contextmanager
def open_track(data: bytes, max_pixels: int, max_seconds: float) -> Iterator[Track]:
    """Open a clip of an allowed container.

    Raises:
        ClipError: One of its kinds; also for whatever goes wrong in the block.
    """
    import av

    container = container_of(data)
    # No decoder at all: else FFmpeg would decode the first frames of all tracks before their size could be looked at.
    options = {"codec_whitelist": "none", "format_whitelist": str(container), "protocol_whitelist": "none"}
    av.logging.set_libav_level(av.logging.PANIC)  # it would write to the caller's terminal
    try:
        with av.open(BytesIO(data), "r", format=container, options=options, io_open=_open_nothing,
                     metadata_errors="replace") as opened:
            notes = ["sound ignored"] if opened.streams.audio else []
            stream = _video_track(opened, max_pixels, notes)
            yield Track(opened, stream, *_packets(opened, stream, max_seconds), notes)
    except ClipError:
        raise
    except MemoryError:
        raise ClipTooCostly("Reading the clip needs too much memory; save it smaller.") from None
    except Exception:
        # Demuxers and decoders raise anything on hostile bytes; whatever it was, the clip cannot be decoded.
        raise DamagedClip("The clip is truncated or corrupt; save it anew, or take another.") from None


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a clip may refer to nothing outside of it")


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
    except Exception:  # as in `open_track`; what came before may be good
        whole = False
    span = float((max(lengths) - min(lengths) + lengths[max(lengths)]) * (track.time_base or 0))
    if span > max_seconds or count >= MAX_PACKETS:
        raise ClipTooLarge(f"The clip is longer than {max_seconds / 60:.3g} minutes, or has over {MAX_PACKETS:,} "
                           "packets; cut it shorter.")
    # Sound may begin earlier or end later than the video, and the last frame may not say how long it lasts.
    return packets, lengths, whole and end + 0.25 + span / len(lengths) >= (opened.duration or 0) / 1e6


def _good_frames(track: VideoStream, packets: list[Packet[Any]]) -> Iterator[VideoFrame]:
    """Frames up to the first damage. What cannot be decoded before the first is passed over: its start is cut off."""
    begun = False
    waiting: list[Packet[Any] | None] = [None, *reversed(packets)]
    while waiting:
        try:
            frames = track.decode(waiting.pop())
        except MemoryError:
            raise
        except Exception:  # as in `open_track`
            if begun and waiting:
                waiting = [None]  # the decoder still holds back some frames from before
            continue
        for frame in frames:
            if not frame.is_corrupt:
                begun = True
                yield frame
            elif begun:
                return


def _upright(frame: VideoFrame, track: VideoStream, longest_side: int, notes: list[str]) -> NDArray[np.uint8]:
    width, height = frame.width, frame.height
    aspect = float(track.sample_aspect_ratio or track.codec_context.sample_aspect_ratio or 1)
    if 0.2 < aspect < 5 and abs(aspect - 1) > 0.01:  # beyond these it says nothing that one could believe
        width, height = round(width * max(aspect, 1)), round(height * max(1 / aspect, 1))
        notes.append("stretched to square pixels as the file says")
    scale = min(1.0, longest_side / max(width, height))
    size = round(width * scale), round(height * scale)
    if scale < 1:
        notes.append(f"reduced from {width} x {height} to {size[0]} x {size[1]} pixels")
    if min(size) < MIN_SIDE:
        raise ClipTooSmall(f"The clip's frames are {width} x {height} pixels; each side needs at least {MIN_SIDE}, "
                           f"also where the longer one is {longest_side}.")
    if frame.color_trc in _HIGH_DYNAMIC_RANGE:
        notes.append("high dynamic range, taken as it is: colours look flat")
    rgb = frame.reformat(*size, format="rgb24", interpolation="AREA" if scale < 1 else "BICUBIC").to_ndarray()
    return _turn(rgb.astype(np.uint8, copy=False), frame, notes)


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
