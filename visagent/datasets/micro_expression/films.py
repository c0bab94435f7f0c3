"""Long simulated clips: a face that lives for some seconds, with micro-expressions whose times are known.

Beside them, as distractors: blinks, a head that drifts, a slow expression, changing light, noise; and the codec of the
file that the film is written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray

from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.motion import envelope, fields_of, sample, shown_points
from visagent.datasets.micro_expression.recording import Camera, Wave, draw_cameras, draw_waves
from visagent.datasets.micro_expression.windows import LONGEST_SECONDS, draw_strengths, only, similarities
from visagent.vision.micro_expression import EMOTIONS, NONE
from visagent.vision.steady_crop import crop_placing

if TYPE_CHECKING:
    from av import VideoStream

SIDE = 288
"""Of a film's frames, pixels."""
APART_SECONDS = 1.0
"""From the end of a micro-expression to the beginning of the next."""
CHUNK = 32
REPEATABLE = "mbtree=0"
"""With its macroblock tree x264 writes another file each time, on any number of threads."""


@dataclass(frozen=True, slots=True)
class Event:
    """A micro-expression: which, when (seconds), and the pixels of MOL's crop that its strongest place moves."""

    emotion: str
    onset: float
    apex: float
    offset: float
    amplitude: float


@dataclass(frozen=True, slots=True)
class _Movement:
    """A field that rises and falls: pixels of the film `[2, H, W]`, and onset, apex, release, offset in seconds."""

    field: torch.Tensor
    times: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Film:
    """A film that can be played: the same each time.

    Attributes:
        events: The micro-expressions, in order.
        seconds: Its length.
    """

    events: tuple[Event, ...]
    seconds: float
    photo: torch.Tensor
    base: torch.Tensor
    movements: tuple[_Movement, ...]
    drift: tuple[Wave, Wave, Wave, Wave]
    camera: Camera
    seed: int

    def frames(self, frames_per_second: float) -> Iterator[NDArray[np.uint8]]:
        """The gray frames `[288, 288]`, in order."""
        draw = Draw.of(self.seed)
        times = torch.arange(round(self.seconds * frames_per_second)) / frames_per_second
        for chunk in times.split(CHUNK):
            yield from self._filmed(chunk, draw)

    def _filmed(self, seconds: torch.Tensor, draw: Draw) -> NDArray[np.uint8]:
        moved = torch.zeros(len(seconds), 2, SIDE, SIDE)
        for movement in self.movements:
            onset, apex, release, offset = (torch.tensor(time) for time in movement.times)
            amount = envelope(seconds, onset, apex, release, offset)
            if amount.any():
                moved += amount[:, None, None, None] * movement.field
        points = shown_points(self._placing(seconds), moved)
        photos = self.photo.expand(len(seconds), 1, *self.photo.shape)
        frames = sample(photos, points, mode="bicubic").clamp(0, 255)
        filmed = self.camera.film(frames[None, :, 0], seconds[None], draw)[0]
        return np.asarray(filmed.numpy(), np.float32).astype(np.uint8)

    def _placing(self, seconds: torch.Tensor) -> torch.Tensor:
        x, y, angle, scale = (wave.at(seconds[None])[0] for wave in self.drift)
        middle = (SIDE - 1) / 2
        moving = similarities(angle, 1 + scale, torch.stack([x, y], 1) + middle, middle)
        last = torch.tensor([0.0, 0.0, 1.0]).expand(len(moving), 1, 3)
        return self.base.expand(len(moving), 2, 3) @ torch.cat([moving, last], 1)


def make_film(photo: NDArray[np.uint8], landmarks: NDArray[np.floating], seed: int, *, seconds: float = 10.0,
              events: int | None = None, amplitudes: tuple[float, float] = (0.5, 3.0), distracts: bool = True) -> Film:
    """Plan a film.

    Args:
        photo: Gray photo of a face, uint8 `[S, S]`.
        landmarks: Its 68 landmarks in pixels of the photo, `[68, 2]`.
        seed: Of everything that is drawn.
        seconds: Its length.
        events: Micro-expressions; 0 to 3 if None.
        amplitudes: Pixels of MOL's crop that these move, drawn evenly on a logarithmic scale.
        distracts: Whether it has distractors; noise and light it has anyway.
    """
    draw = Draw.of(seed)
    scale = photo.shape[0] / SIDE
    base = torch.tensor([[scale, 0.0, (scale - 1) / 2], [0.0, scale, (scale - 1) / 2]])
    still = (torch.as_tensor(landmarks, dtype=torch.float32) - (scale - 1) / 2) / scale
    of_crop = float(np.hypot(*crop_placing(still.double().numpy())[0, :2]))  # pixels of the crop for one of the film
    count = int(draw.whole(4, 1)) if events is None else events
    found, movements = [], []
    for start, length in _moments(count, seconds, draw):
        emotion = int(draw.whole(NONE, 1))
        amplitude = float(draw.even(*np.log(amplitudes).tolist(), 1).exp())
        rise, hold = float(draw.even(0.25, 0.5, 1)) * length, float(draw.even(0.05, 0.25, 1)) * length
        field = fields_of(still[None], draw_strengths(torch.tensor([emotion]), draw), (SIDE, SIDE))[0]
        times = (start, start + rise, start + rise + hold, start + length)
        movements.append(_Movement(field * amplitude / of_crop, times))
        found.append(Event(EMOTIONS[emotion], start, start + rise + hold / 2, start + length, amplitude))
    if distracts:
        movements += _distractors(still, seconds, draw)
    size = 1.0 if distracts else 0.0
    drift = (draw_waves(5.0 * size, (0.05, 0.5), 1, draw), draw_waves(5.0 * size, (0.05, 0.5), 1, draw),
             draw_waves(0.03 * size, (0.05, 0.4), 1, draw), draw_waves(0.02 * size, (0.05, 0.4), 1, draw))
    return Film(tuple(found), seconds, torch.tensor(photo, dtype=torch.float32), base, tuple(movements), drift,
                draw_cameras(1, draw, compresses=False), seed)


def _moments(count: int, seconds: float, draw: Draw) -> list[tuple[float, float]]:
    """Beginnings and lengths, in order, apart from each other and from the film's ends."""
    lengths = draw.even(0.15, LONGEST_SECONDS, count).tolist()
    free = seconds - 1.0 - sum(lengths) - APART_SECONDS * max(count - 1, 0)
    if count and free < 0:
        raise ValueError("the film is too short for so many micro-expressions")
    gaps = (draw.even(0, 1, count).sort().values * free).tolist()
    moments, before = [], 0.5
    for gap, length in zip(gaps, lengths, strict=True):
        moments.append((before + gap, length))
        before += length + APART_SECONDS
    return moments


def _distractors(still: torch.Tensor, seconds: float, draw: Draw) -> list[_Movement]:
    """A blink every two to five seconds, and a slow expression in every second film."""
    eyes = float((still[36:42].mean(0) - still[42:48].mean(0)).norm())
    found = []
    time = float(draw.even(0.2, 3.0, 1))
    while time < seconds:
        field = fields_of(still[None], only(45, 1, draw), (SIDE, SIDE))[0] * eyes * float(draw.even(0.05, 0.1, 1))
        length = float(draw.even(0.15, 0.4, 1))
        found.append(_Movement(field, (time, time + 0.35 * length, time + 0.45 * length, time + length)))
        time += float(draw.even(2.0, 5.0, 1))
    if float(draw.even(0, 1, 1)) < 0.5:
        field = fields_of(still[None], draw_strengths(draw.whole(NONE, 1), draw), (SIDE, SIDE))[0]
        start, rise = float(draw.even(0, 0.6 * seconds, 1)), float(draw.even(1.0, 3.0, 1))
        later = start + rise + float(draw.even(0.5, 2.0, 1))
        found.append(_Movement(field * float(draw.even(1, 5, 1)), (start, start + rise, later, later + rise)))
    return found


def encode(film: Film, frames_per_second: int, *, quality: int = 16, coding: str = "libx264") -> bytes:
    """The film as an MP4 file.

    Args:
        film: Which.
        frames_per_second: Of the file.
        quality: Constant rate factor of H.264; 16 is hard to tell from the original.
        coding: FFmpeg's name of the codec.
    """
    import av

    stream = BytesIO()
    with av.open(stream, "w", format="mp4") as opened:
        options = {"crf": str(quality), "preset": "fast", "x264-params": REPEATABLE}
        track = cast("VideoStream", opened.add_stream(coding, rate=frames_per_second, options=options))
        track.width = track.height = SIDE
        track.pix_fmt = "yuv420p"
        track.codec_context.time_base = Fraction(1, frames_per_second)
        for frame in film.frames(frames_per_second):
            opened.mux(track.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        opened.mux(track.encode())
    return stream.getvalue()
