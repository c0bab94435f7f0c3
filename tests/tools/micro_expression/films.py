"""Films of the portrait for tests of the tool, and a stand-in for the network that knows when to speak."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import visagent
from visagent.datasets.micro_expression.films import REPEATABLE, Film, make_film
from visagent.evidence import ModelIdentity
from visagent.tools.micro_expression.reader import OperatingPoint
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.micro_expression import EMOTIONS, NONE

Gray = NDArray[np.uint8]
SIDE = 288


@cache
def portrait() -> tuple[Gray, NDArray[np.float32]]:
    """The head of the public-domain portrait, gray, 224 pixels, and its landmarks."""
    rgb = Image.open(Path(visagent.__file__).parent / "assets" / "astronaut.jpg").convert("RGB")
    head = np.asarray(rgb.crop((135, 30, 315, 210)).resize((224, 224), Image.Resampling.BICUBIC))
    (face,) = detect_faces(np.ascontiguousarray(head), load_face_detector())
    return np.asarray(Image.fromarray(head).convert("L")), face.landmarks68


def film(seed: int = 3, *, seconds: float = 3.0, events: int = 1, size: float = 3.0, distracts: bool = False) -> Film:
    """A film of the portrait whose expressions move by `size` pixels of the crop."""
    photo, landmarks = portrait()
    return make_film(photo, landmarks, seed, seconds=seconds, events=events, amplitudes=(size, size + 1e-3),
                     distracts=distracts)


def as_file(frames: Sequence[Gray] | Iterator[Gray], rate: int = 30, times: Sequence[float] | None = None,
            quality: int = 12) -> bytes:
    """Gray frames as an MP4 file, shown at a rate or at given seconds."""
    stream = BytesIO()
    with av.open(stream, "w", format="mp4") as opened:
        track = opened.add_stream("libx264", rate=rate, options={"crf": str(quality), "preset": "veryfast",
                                                              "x264-params": REPEATABLE})
        track.pix_fmt = "yuv420p"
        track.codec_context.time_base = Fraction(1, 1000)
        for number, gray in enumerate(frames):
            if number == 0:
                track.height, track.width = gray.shape
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            frame.pts = round(1000 * (times[number] if times else number / rate))
            frame.time_base = Fraction(1, 1000)
            opened.mux(track.encode(frame))
        opened.mux(track.encode())
    return stream.getvalue()


class ScriptedReader:
    """Stands in for MOL: says what it is told at the moments it is told, and none else.

    Args:
        moments: Seconds at which there is an expression, with its name.
        rate: Frames a second of the clip, as read.
    """

    identity = ModelIdentity(id="scripted", digest=None)
    operating_point = OperatingPoint(threshold=0.5, explained=0.01, source="set by hand for a test, not measured")

    def __init__(self, moments: dict[float, str], rate: float) -> None:
        self._moments = moments
        self._rate = rate

    def look(self, crops: Gray, windows: NDArray[np.int64], told: Callable[[int, int], None] = lambda done, of: None
             ) -> NDArray[np.float32]:
        """As `Reader.look`."""
        assert crops.shape[1:] == (128, 128) and crops.dtype == np.uint8
        said = np.full((len(windows), NONE + 1), 0.02, np.float32)
        said[:, NONE] = 1 - 0.02 * NONE
        for row, window in enumerate(windows):
            middle = window.mean() / self._rate
            for moment, emotion in self._moments.items():
                if abs(middle - moment) < 0.1:
                    said[row] = 0.01
                    said[row, EMOTIONS.index(emotion)] = 1 - 0.01 * NONE
            told(row + 1, len(windows))
        return said
