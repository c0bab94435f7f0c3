"""All frames of a clip: which come, in what order, how the worker ends, and that its memory is bounded."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from contextlib import AbstractContextManager
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest

from visagent.clip_shelf import ClipShelf
from visagent.clips import FrameStream, MovingFrame, Whole, clip_frames, load_clip, open_frames
from visagent.clips.stream import decode
from visagent.errors import ClipTooCostly, ClipTooLarge, DamagedClip, UnknownPicture
from visagent.media import MAX_PIXELS, PictureStore


def film(count: int = 50, rate: int = 25, size: tuple[int, int] = (64, 48), times: list[int] | None = None) -> bytes:
    """A clip whose gray level tells the frame's number; `times` in milliseconds."""
    stream = BytesIO()
    with av.open(stream, "w", format="mp4") as opened:
        track = opened.add_stream("libx264", rate=rate)
        track.width, track.height, track.pix_fmt = *size, "yuv420p"
        if times:
            track.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            level = np.full((size[1], size[0], 3), 20 + 4 * (number % 50), np.uint8)
            frame = av.VideoFrame.from_ndarray(level, "rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            opened.mux(track.encode(frame))
        opened.mux(track.encode())
    return stream.getvalue()


def read(data: bytes, *, most_per_second: float = 120, most_frames: int = 3000, longest_side: int = 640,
         max_seconds: float = 60) -> tuple[list[MovingFrame], Whole]:
    """Everything, without a worker."""
    *frames, whole = decode(data, most_per_second, most_frames, longest_side, MAX_PIXELS, max_seconds)
    return frames, whole  # type: ignore[return-value]


def test_every_frame_comes_once_in_order_with_its_time() -> None:
    frames, whole = read(film())
    assert [round((frame.gray.mean() - 20) / 4) for frame in frames] == list(range(50))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(50) / 25, atol=1e-3)
    assert frames[0].gray.shape == (48, 64) and frames[0].gray.dtype == np.uint8
    assert (whole.seconds, whole.frames_per_second) == (pytest.approx(2), pytest.approx(25))


@pytest.mark.parametrize(("per_second", "most", "about"), [
    (10, 3000, 20), (120, 20, 20), (25, 3000, 50), (20, 3000, 40)])
def test_a_faster_or_longer_clip_is_thinned_evenly(per_second: float, most: int, about: int) -> None:
    frames, whole = read(film(), most_per_second=per_second, most_frames=most)
    assert abs(len(frames) - about) <= 1
    gaps = np.diff([frame.seconds for frame in frames])
    assert gaps.max() - gaps.min() <= 0.041, "one frame of 25 a second"
    assert whole.frames_per_second == pytest.approx(25)


def test_a_clock_that_trembles_loses_no_frame() -> None:
    times = [int(40 * number + (7 if number % 2 else -7)) + 10 for number in range(50)]
    assert len(read(film(times=times), most_per_second=25)[0]) == 50


def test_large_frames_are_reduced() -> None:
    frames, whole = read(film(count=8, size=(1280, 720)), longest_side=320)
    assert frames[0].gray.shape == (180, 320)
    assert any("reduced" in note for note in whole.notes)


def test_a_corrupt_tail_gives_what_came_before_and_says_so() -> None:
    data = bytearray(film(count=50, size=(320, 240)))
    place = data.index(b"mdat")
    length = int.from_bytes(data[place - 4:place], "big")
    start = place + length * 2 // 3
    data[start:place + length - 4] = os.urandom(place + length - 4 - start)
    frames, whole = read(bytes(data))
    assert 8 <= len(frames) < 50
    assert any("damaged" in note for note in whole.notes)


def test_too_long_a_clip_is_refused_before_a_frame_is_decoded() -> None:
    with pytest.raises(ClipTooLarge, match="longer than"):
        read(film(), max_seconds=1)
    with pytest.raises(DamagedClip):
        read(film()[:400])


def open_it(data: bytes, **settings: float) -> AbstractContextManager[FrameStream]:
    return open_frames(data, most_per_second=120, most_frames=3000, longest_side=640, max_seconds=60, **settings)


def test_frames_come_from_a_worker_that_is_gone_afterwards() -> None:
    with open_it(film()) as stream:
        frames = list(stream)
        assert stream.whole is not None and stream.whole.seconds == pytest.approx(2)
    assert len(frames) == 50 and multiprocessing.active_children() == []


def test_a_reader_who_has_enough_leaves_no_worker() -> None:
    with open_it(film(count=90, size=(640, 480))) as stream:
        assert next(iter(stream)).seconds == 0
        assert stream.whole is None
    assert multiprocessing.active_children() == []


def test_what_the_worker_finds_is_raised_here() -> None:
    with open_it(film()[:400]) as stream, pytest.raises(DamagedClip):
        list(stream)


def test_a_worker_that_dies_or_hangs_is_told() -> None:
    with open_it(film(count=90, size=(1280, 720))) as stream:
        reader = iter(stream)
        next(reader)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(ClipTooCostly, match="died"):
            list(reader)
    begun = time.monotonic()
    with open_it(film(), patience=0.01) as stream, pytest.raises(ClipTooCostly, match="took over"):
        list(stream)
    assert time.monotonic() - begun < 10


def test_frames_at_given_times_are_those_that_are_shown_then() -> None:
    clip = load_clip(film(), at=(0.0, 0.5, 1.01, 99.0))
    assert [round((picture.rgb.mean() - 20) / 4) for picture in clip.frames] == [0, 12, 25, 49]
    with pytest.raises(ValueError, match="32"):
        load_clip(film(), at=[0.0] * 33)


def test_the_frames_of_a_clip_bring_their_clip_into_a_session() -> None:
    data = film()
    store = PictureStore()
    ids = store.add_all([picture for picture, _ in clip_frames(data, 3)])
    assert ids == ["image_1", "image_2", "image_3"] and store.clip_ids() == ("clip_1",)
    assert store.clip("clip_1") == data and store.frames_of("clip_1") == tuple(ids)
    store.clear()
    assert store.clip_ids() == ()


def test_clips_of_all_sessions_share_one_room() -> None:
    shelf = ClipShelf(max_bytes=250)
    one, other = PictureStore(shelf=shelf), PictureStore(shelf=shelf)
    assert one.add_clip(b"1" * 100) == "clip_1" and other.add_clip(b"2" * 100) == "clip_1"
    other.add_clip(b"3" * 100)
    with pytest.raises(UnknownPicture, match="attach it again"):
        one.clip("clip_1")  # the oldest of all went
    assert one.clip_ids() == ("clip_1",) and one.frames_of("clip_1") == (), "the session still knows of it"
    assert other.clip("clip_1") == b"2" * 100 and other.clip("clip_2") == b"3" * 100
    del other  # a session that is dropped leaves nothing behind, nor does one that is cleared
    gc.collect()
    last = PictureStore(shelf=shelf)
    kept = [last.add_clip(b"4" * 100), last.add_clip(b"5" * 100)]
    assert [len(last.clip(clip)) for clip in kept] == [100, 100]
    last.clear()
    one.add_clip(b"6" * 250)
    assert one.clip("clip_2") == b"6" * 250
    huge = one.add_clip(b"7" * 400)
    assert len(one.clip(huge)) == 400, "one that is larger than the room is kept alone"
