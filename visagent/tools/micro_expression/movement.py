"""Brief movements of the skin: which rise and fall explains best what the optical flow of a clip does.

Around a moment, dense flow leads from the mean of all frames to each of them. What moves all of the face alike (the
head: an affine field) and what changes slowly (a parabola over time) is taken out. The rest is compared with a
thousand courses that rise, hold and fall: the flow's sum along a course is the movement's field, and the energy of
that field says how much of the flow the course explains. So every pixel has a say in when the movement began and
ended, and no place has to be chosen first. The eyes have none: they blink. What the best course explains is then taken
out, too, and the next one looked for: beside a blink there may be a smile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from visagent.vision.micro_expression import SIDE

if TYPE_CHECKING:
    import cv2

AROUND_SECONDS: Final = 0.7
"""Before and after a moment, the flow is looked at."""
HOP_SECONDS: Final = 0.3
"""Between two moments; a course has its apex within 0.2 s of one."""
GRID: Final = 32
"""Places along a side at which the flow is compared: it is smooth, and four pixels say the same."""
LENGTHS: Final = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8)
"""Of courses in seconds. Without those that are too long for a micro-expression, a slower movement cut short is taken
for one of half a second: so were nearly all false finds."""
LONGEST_SECONDS: Final = 0.5
"""Of a brief movement."""
EACH: Final = 2
"""Movements around a moment."""
RISES: Final = (0.3, 0.45)
"""Shares of the length until the apex."""
HOLDS: Final = (0.1, 0.2)
APEX_STEP: Final = 1 / 60
SLOW_DEGREE: Final = 2
ROUNDS: Final = 3
"""Of fitting what the head does."""
LEAST_OWN: Final = 0.3
"""Part of a course that must be left once what is slow is taken out of it; as a length."""
EYE_REACH: Final = 0.24
LIDS_REACH: Final = (0.3, 0.22)
"""Half-axes of what is close around an eye: across and down."""
BLINK_SHARE: Final = 0.25
"""On the development films 0.9 % of the micro-expressions are above, and 23 % of the other brief movements."""
FACE_REACH: Final = 1.15
"""In distances between the eyes."""

Crops = NDArray[np.uint8]
Course = tuple[float, float, float, float]
"""Onset, apex, release and offset in seconds from the middle."""


@dataclass(frozen=True, slots=True, eq=False)
class Movement:
    """One movement that rises and falls.

    Attributes:
        onset, apex, offset: Seconds.
        explained: Share of what moves meanwhile that it explains, 0 to 1: of the flow's energy, without what the head
            does, what is slow, and what a stronger movement explains. It is the same at any frame rate.
        field: How the skin has moved at the apex, in pixels of the crop, float32 `[32, 32, 2]` as (x, y), each of a
            square of four pixels; without what moves all of the face, and without the eyes.
        around_eyes: Share of the field's energy close around the eyes.
    """

    onset: float
    apex: float
    offset: float
    explained: float
    field: NDArray[np.float32]
    around_eyes: float

    @property
    def is_brief(self) -> bool:
        """Whether it is over as soon as a micro-expression is."""
        return self.offset - self.onset < LONGEST_SECONDS + 0.01

    @property
    def is_blink(self) -> bool:
        """Whether it is what the eyelids do."""
        return self.around_eyes > BLINK_SHARE

    @property
    def pixels(self) -> float:
        """How far its strongest place moves."""
        return float(np.linalg.norm(self.field, axis=2).max())

    @property
    def flow(self) -> NDArray[np.float32]:
        """The same for every pixel, `[128, 128, 2]`."""
        import cv2

        return np.asarray(cv2.resize(self.field, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def movements(crops: Crops, seconds: NDArray[np.float64], landmarks: NDArray[np.float64]) -> Iterator[Movement]:
    """The strongest movements around each of many moments, from moment to moment.

    Args:
        crops: Aligned frames, uint8 `[T, 128, 128]`.
        seconds: When each is shown, `[T]`.
        landmarks: In pixels of the crops, `[T, 68, 2]`.
    """
    first, last = float(seconds[0]) + AROUND_SECONDS / 2, float(seconds[-1]) - AROUND_SECONDS / 2
    for middle in np.arange(first, max(last, first + 1e-6), HOP_SECONDS).tolist():
        near = np.flatnonzero(np.abs(seconds - middle) <= AROUND_SECONDS)
        for found in strongest_movements(crops[near], seconds[near] - middle, landmarks[near]):
            yield replace(found, onset=found.onset + middle, apex=found.apex + middle, offset=found.offset + middle)


def strongest_movements(crops: Crops, times: NDArray[np.float64], landmarks: NDArray[np.float64]
                        ) -> Iterator[Movement]:
    """The movements that explain most of what some frames do, the strongest first; none if they are too few for any.

    Args:
        crops: `[T, 128, 128]`.
        times: Seconds from the middle, `[T]`.
        landmarks: `[T, 68, 2]`.
    """
    courses = [course for course in _courses() if times[0] <= course[0] - 0.02 and course[3] + 0.02 <= times[-1]]
    if not courses or len(times) < SLOW_DEGREE + 4:
        return
    slow = _slow(times)
    shapes = np.stack([envelope_of(course, times) for course in courses])
    own = shapes - (shapes @ slow) @ slow.T
    lengths = np.linalg.norm(own, axis=1)
    usable = np.flatnonzero(lengths > LEAST_OWN)
    if not len(usable):
        return
    own = (own[usable] / lengths[usable, None]).astype(np.float32)
    marks = landmarks.mean(0)
    flows = (without_head(flows_from_mean(crops)) * skin_mask(marks)[..., None]).reshape(len(crops), -1)
    flows = flows - (slow @ (slow.T @ flows)).astype(np.float32)
    for _ in range(EACH):
        fields = own @ flows
        energy = (fields**2).sum(1)
        best = int(energy.argmax())
        total = float((flows**2).sum())
        onset, apex, release, offset = courses[int(usable[best])]
        # Along its own part of unit length the course has the field; the whole course at its apex is 1.
        field = fields[best].reshape(GRID, GRID, 2) / lengths[usable[best]]
        yield Movement(onset, (apex + release) / 2, offset, float(energy[best]) / max(total, 1e-9),
                       field.astype(np.float32), _around_eyes(field, marks))
        flows = flows - own[best][:, None] * fields[best]


def flows_from_mean(crops: Crops) -> NDArray[np.float32]:
    """Dense flow from the mean of some frames to each, on the grid, `[T, 32, 32, 2]` in pixels of the crop."""
    import cv2

    mean = np.asarray(crops.mean(0).round(), np.uint8)
    return np.stack([cv2.resize(dense_flow(mean, crop), (GRID, GRID), interpolation=cv2.INTER_AREA)
                     for crop in crops]).astype(np.float32)


def dense_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Dense optical flow of two crops in pixels, `[128, 128, 2]`, by DIS (Kroeger et al., 2016)."""
    empty: Any = None
    return np.asarray(_dis().calc(first, second, empty), np.float32)


@cache
def _dis() -> cv2.DISOpticalFlow:
    import cv2

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def without_head(flows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flows `[T, 32, 32, 2]` without the affine field that most of the places follow.

    Least squares alone would take a part of an expression for motion of the head, and show its opposite elsewhere: so
    places that do not follow count less in two further rounds.
    """
    flat = flows.reshape(len(flows), -1, 2).astype(np.float64)
    columns = _affine()
    weights = np.ones(flat.shape[:2])
    for _ in range(ROUNDS):
        weighted = columns[None] * weights[..., None]
        fitted = columns @ np.linalg.solve(weighted.transpose(0, 2, 1) @ columns, weighted.transpose(0, 2, 1) @ flat)
        off = np.linalg.norm(flat - fitted, axis=2)
        usual = np.maximum(np.median(off, 1, keepdims=True), 1e-6)
        weights = 1 / (1 + (off / (2 * usual)) ** 2)
    return np.asarray((flat - fitted).reshape(flows.shape), np.float32)


@cache
def _affine() -> NDArray[np.float64]:
    """A column of ones, and the places' coordinates, `[1024, 3]`."""
    x, y = _places()
    return np.stack([np.ones(GRID * GRID), (x / SIDE - 0.5).ravel(), (y / SIDE - 0.5).ravel()], 1)


def _places() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles of the squares of the grid, in pixels of the crop."""
    middles = (np.arange(GRID) + 0.5) * (SIDE / GRID) - 0.5
    x, y = np.meshgrid(middles, middles)
    return x, y


def _around_eyes(field: NDArray[np.floating], landmarks: NDArray[np.float64]) -> float:
    """The share of a field's energy close around the eyes: `[32, 32, 2]` and `[68, 2]` in pixels of the crop."""
    x, y = _places()
    left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    apart = np.linalg.norm(left - right)
    close = np.zeros((GRID, GRID), bool)
    for eye in (left, right):
        close |= np.hypot((x - eye[0]) / LIDS_REACH[0], (y - eye[1]) / LIDS_REACH[1]) <= apart
    energy = (field**2).sum(2)
    return float(energy[close].sum() / max(energy.sum(), 1e-12))


def skin_mask(landmarks: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 on the face and 0 on the eyes and beside it, `[32, 32]`."""
    x, y = _places()
    left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    eyes = float(np.linalg.norm(right - left))
    cx, cy = landmarks[27:36].mean(0)
    inside = (x - cx) ** 2 + (y - cy - 0.2 * eyes) ** 2 <= (FACE_REACH * eyes) ** 2
    for ex, ey in (left, right):
        inside &= (x - ex) ** 2 + (1.3 * (y - ey)) ** 2 >= (EYE_REACH * eyes) ** 2
    return np.asarray(inside, np.float32)


@cache
def _courses() -> tuple[Course, ...]:
    return tuple((apex - rise * length, apex, apex + hold * length, apex + (1 - rise) * length)
                 for apex in np.arange(-0.2, 0.2, APEX_STEP).tolist() for length in LENGTHS for rise in RISES
                 for hold in HOLDS)


def envelope_of(course: Course, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """A course at some times, 0 to 1: it rises and falls like a cosine."""
    onset, apex, release, offset = course
    share = np.clip(np.minimum((times - onset) / (apex - onset), (offset - times) / (offset - release)), 0, 1)
    return np.asarray((1 - np.cos(np.pi * share)) / 2)


def _slow(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis of the parabolas over some times, `[T, 3]`."""
    unit = (times - times.mean()) / max(float(np.ptp(times)), 1e-6)
    return np.asarray(np.linalg.qr(np.stack([unit**power for power in range(SLOW_DEGREE + 1)], 1))[0])
