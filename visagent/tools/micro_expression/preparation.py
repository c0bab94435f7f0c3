"""From a clip to the aligned crops of its face, in bounded memory.

Frames come one after another; of each only the part around the face is kept, no larger than the crops need. At the
end the landmarks of all frames are known, and each part is cut to its crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visagent.clips import MovingFrame, Whole, open_frames
from visagent.tools.subject import DOMINANCE
from visagent.vision.crop import resize
from visagent.vision.detect import Face, FaceDetector
from visagent.vision.steady_crop import cut, placed, placings
from visagent.vision.track import FaceTracker, first_faces, glimpse

MOST_SECONDS: Final = 120.0
MOST_FRAMES: Final = 3000
MOST_PER_SECOND: Final = 120.0
LONGEST_SIDE: Final = 1280
EYES_PIXELS: Final = 66.0
"""Faces whose eyes are further apart are reduced to this: the crop has some 55."""
LEAST_EYES_PIXELS: Final = 28.0
LEAST_FRAMES_PER_SECOND: Final = 20.0
LEAST_FRAMES: Final = 8
LOOK_SECONDS: Final = 0.25
"""Between two looks for a first face."""
THOROUGH_LOOKS: Final = (0, 4)
"""Of these looks, the ones that also find dark, turned and covered faces, and take a second each."""
PART_EYES: Final = 3.6
"""Side of the part that is kept of a frame, in distances between the eyes."""
GAP_SECONDS: Final = 0.12
"""A longer time without the face ends a stretch."""
MOST_STEP: Final = 0.06
"""Motion of the head from frame to frame of 1/15 s, in distances between the eyes, over which it hides the skin's."""


class CannotJudge(Exception):
    """The clip does not allow a verdict; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A time in which the face is there, cut to crops.

    Attributes:
        crops: uint8 `[T, 128, 128]`.
        seconds: When each frame is shown, `[T]`.
        landmarks: In pixels of the crops, float64 `[T, 68, 2]`.
        restless: Whether the head moves too fast to see the skin, at each frame `[T]`.
    """

    crops: NDArray[np.uint8]
    seconds: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    restless: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedClip:
    """A clip, ready to be looked at.

    Attributes:
        stretches: In order, none overlapping.
        whole: What is known of the clip.
    """

    stretches: tuple[Stretch, ...]
    whole: Whole


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The surroundings of the face in a frame: cut at `corner` (x, y), reduced by `factors` (along x, along y)."""

    gray: NDArray[np.uint8]
    corner: NDArray[np.float64]
    factors: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    seconds: float

    def crop(self, placing: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Cut by a placing of the frame's pixels."""
        # Pixel p of the part is pixel (p + 1/2) / factors - 1/2 + corner of the frame.
        shift = placing[:, 2] + placing[:, :2] @ (self.corner + 0.5 / self.factors - 0.5)
        return cut(self.gray, np.hstack([placing[:, :2] / self.factors, shift[:, None]]))


def prepare(data: bytes, detector: FaceDetector, *, number: int | None = None,
            told: Callable[[float], None] = lambda seconds: None) -> PreparedClip:
    """Read a clip and cut its face.

    Args:
        data: The clip's file.
        detector: From `load_face_detector`.
        number: Which face of the first frame that shows one, from the left, from 1; the only or clearly biggest if
            None.
        told: How many seconds of the clip are read.

    Raises:
        CannotJudge: No face, several, a small one, too few frames, or too few a second.
        ClipError: The clip cannot be read; it is over two minutes long; one of the other kinds.
    """
    with open_frames(data, most_per_second=MOST_PER_SECOND, most_frames=MOST_FRAMES, longest_side=LONGEST_SIDE,
                     max_seconds=MOST_SECONDS) as stream:
        reading = _Reading(detector, number)
        for frame in stream:
            reading.add(frame)
            told(frame.seconds)
    assert stream.whole is not None
    return reading.prepared(stream.whole)


class _Reading:
    """The parts of the frames so far."""

    def __init__(self, detector: FaceDetector, number: int | None) -> None:
        self._detector = detector
        self._number = number
        self._tracker: FaceTracker | None = None
        self._looks = 0
        self._next_look = 0.0
        self._parts: list[_Part] = []
        self._unconfirmed: list[_Part] = []
        self._frames = 0
        self._scale = 1.0

    def add(self, frame: MovingFrame) -> None:
        """Take the next frame. Raises CannotJudge."""
        self._frames += 1
        tracker = self._tracker
        points = self._first(frame) if tracker is None else tracker.follow(frame.gray, frame.seconds)
        if points is None or self._tracker is None:
            self._unconfirmed.clear()
            return
        self._unconfirmed.append(_cut_part(frame, points.astype(np.float64), self._scale))
        if self._tracker.confirmed >= frame.seconds:
            self._parts += self._unconfirmed
            self._unconfirmed.clear()

    def _first(self, frame: MovingFrame) -> NDArray[np.floating] | None:
        """The landmarks of the face that will be followed, if this frame shows it. Raises CannotJudge."""
        if frame.seconds < self._next_look:
            return None
        look, self._looks, self._next_look = self._looks, self._looks + 1, frame.seconds + LOOK_SECONDS
        if look not in THOROUGH_LOOKS and not glimpse(frame.gray, self._detector):
            return None
        face = self._chosen(first_faces(frame.gray, self._detector))
        if face is None:
            return None
        self._scale = min(1.0, EYES_PIXELS / _eyes(face.landmarks68))
        self._tracker = FaceTracker(self._detector, face, frame.seconds)
        return face.landmarks68

    def _chosen(self, faces: tuple[Face, ...]) -> Face | None:
        upright = [face for face in faces if face.turns == 0]
        if not upright:
            return None
        if self._number is not None:
            if self._number > len(upright):
                raise CannotJudge(f"the clip shows {_count(len(upright))}, so there is no face {self._number}; faces "
                                  "are counted from the left, beginning with 1.")
            return upright[self._number - 1]
        by_area = sorted(upright, key=lambda face: -face.area)
        if len(by_area) > 1 and by_area[0].area < DOMINANCE * by_area[1].area:
            raise CannotJudge(f"the clip shows {_count(len(upright))} and none is clearly the biggest; say which one "
                              f"is meant by its number, from 1 (left) to {len(upright)} (right).")
        return by_area[0]

    def prepared(self, whole: Whole) -> PreparedClip:
        """Cut everything that was kept. Raises CannotJudge."""
        self._parts += self._unconfirmed
        if self._frames < LEAST_FRAMES:
            raise CannotJudge(f"the clip has {self._frames} frames; at least {LEAST_FRAMES} are needed.")
        if whole.frames_per_second < LEAST_FRAMES_PER_SECOND:
            raise CannotJudge(f"the clip has {whole.frames_per_second:.0f} frames a second; at least "
                              f"{LEAST_FRAMES_PER_SECOND:.0f} are needed, a micro-expression may last a tenth of one.")
        if not self._parts:
            raise CannotJudge("no face was found in the clip.")
        eyes = float(np.median([_eyes(part.landmarks) for part in self._parts]))
        if eyes < LEAST_EYES_PIXELS:
            raise CannotJudge(f"the eyes are {eyes:.0f} pixels apart; at least {LEAST_EYES_PIXELS:.0f} are needed to "
                              "see so small a motion.")
        stretches = tuple(_stretch(parts) for parts in _unbroken(self._parts) if len(parts) >= LEAST_FRAMES)
        if not stretches:
            raise CannotJudge("the face is never seen for eight frames in a row.")
        return PreparedClip(stretches, whole)


def _count(faces: int) -> str:
    return "one face" if faces == 1 else f"{faces} faces"


def _eyes(points: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0)))


def _cut_part(frame: MovingFrame, points: NDArray[np.float64], scale: float) -> _Part:
    reach = PART_EYES / 2 * _eyes(points)
    cx, cy = points[27:36].mean(0)
    height, width = frame.gray.shape
    left, top = min(max(0, int(cx - reach)), width - 1), min(max(0, int(cy - reach)), height - 1)
    part = frame.gray[top:max(top + 1, int(cy + reach)), left:max(left + 1, int(cx + reach))]
    kept = resize(part, max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    # Whole pixels: the factors are not quite the scale, and differ from frame to frame.
    factors = np.array([kept.shape[1] / part.shape[1], kept.shape[0] / part.shape[0]])
    return _Part(kept.copy(), np.array([left, top], np.float64), factors, points, frame.seconds)


def _unbroken(parts: list[_Part]) -> list[list[_Part]]:
    """The parts in runs without a gap."""
    runs = [[parts[0]]]
    for before, part in pairwise(parts):
        if part.seconds - before.seconds > GAP_SECONDS:
            runs.append([])
        runs[-1].append(part)
    return runs


def _stretch(parts: list[_Part]) -> Stretch:
    seconds = np.array([part.seconds for part in parts])
    landmarks = np.stack([part.landmarks for part in parts])
    per_second = (len(parts) - 1) / max(float(seconds[-1] - seconds[0]), 1e-6)
    where = placings(landmarks, per_second)
    crops = np.stack([part.crop(placing) for part, placing in zip(parts, where, strict=True)])
    in_crops = np.stack([placed(points, placing) for points, placing in zip(landmarks, where, strict=True)])
    return Stretch(crops, seconds, in_crops, _restless(where, landmarks, per_second))


def _restless(where: NDArray[np.float64], landmarks: NDArray[np.float64], per_second: float) -> NDArray[np.bool_]:
    """Where the head moves or grows too fast from one frame of 1/15 s to the next."""
    step = max(1, round(per_second / 15))
    middle = landmarks[:, 27:36].mean(1)
    moves = np.zeros(len(where))
    travel = np.linalg.norm(middle[step:] - middle[:-step], axis=1)
    eyes = float(np.median([_eyes(points) for points in landmarks]))
    moves[step:] = travel / eyes
    kernel = np.ones(max(1, round(per_second * 0.25)))
    smooth = np.convolve(moves, kernel / len(kernel), "same")
    return np.asarray(smooth > MOST_STEP)


