"""Short simulated windows for training and testing MOL: eight aligned frames, their emotion, true flow and landmarks.

A window is cut from a life that goes on before and after it: its movement may have begun earlier and end later.
Windows without an emotion show everything else that moves a face: blinks, a drifting head, slow expressions, or
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from visagent.datasets.micro_expression.action_units import COMBINATIONS, ONE_SIDED, UNITS
from visagent.datasets.micro_expression.drawing import Draw
from visagent.datasets.micro_expression.motion import (
    envelope,
    fields_of,
    inverse,
    sample,
    shown_points,
    transform,
    true_flow,
    where_seen,
)
from visagent.datasets.micro_expression.recording import draw_cameras
from visagent.vision.micro_expression import EMOTIONS, FRAMES, INTERVAL_SECONDS, NONE, SIDE, THREE, class_of

SHARE_WITHOUT = 0.35
AMPLITUDES = (0.3, 3.0)
"""Pixels that the strongest place moves at the apex, drawn evenly on a logarithmic scale."""
LONGEST_SECONDS = 0.5
"""Of a micro-expression; what lasts longer is none."""


@dataclass(frozen=True, slots=True)
class Windows:
    """A batch.

    Attributes:
        clips: Gray values `[B, 8, 128, 128]`, 0 to 255.
        emotions: Numbers of `EMOTIONS`, `NONE` for none, int64 `[B]`.
        amplitudes: Pixels at the apex, `[B]`; 0 for none.
        landmarks: `[B, 8, 68, 2]` in pixels.
        flow: From the first to the second frame of each pair asked for, `[B, P, 2, 128, 128]` in pixels; None if none
            was.
    """

    clips: torch.Tensor
    emotions: torch.Tensor
    amplitudes: torch.Tensor
    landmarks: torch.Tensor
    flow: torch.Tensor | None


def simulate(faces: torch.Tensor, marks: torch.Tensor, draw: Draw, *, emotions: torch.Tensor | None = None,
             amplitudes: torch.Tensor | None = None, larger: float = 1.0, pairs: Sequence[int] = range(FRAMES - 1)
             ) -> Windows:
    """Make one window of each face.

    Args:
        faces: Gray photos of aligned faces, `[B, S, S]` with S of at least 144, 0 to 255.
        marks: Their 68 landmarks in pixels, `[B, 68, 2]`.
        draw: Source of all randomness, on the faces' device.
        emotions: Which to show, int64 `[B]`; drawn if None.
        amplitudes: Of the movement, `[B]`; drawn if None.
        larger: Factor of drawn amplitudes, for the beginning of a training.
        pairs: Of which pairs of frames the true flow is worked out, which takes longer than all else.
    """
    batch = len(faces)
    if emotions is None:
        without = draw.even(0, 1, batch) < SHARE_WITHOUT
        emotions = torch.where(without, NONE, _emotions(batch, draw))
    if amplitudes is None:
        low, high = map(math.log, AMPLITUDES)
        amplitudes = larger * draw.even(low, high, batch).exp()
    amplitudes = torch.where(emotions == NONE, 0.0, amplitudes)
    seconds = _times(batch, draw)
    base = _camera_place(faces, draw)
    still = transform(inverse(base), marks)  # the landmarks in the frame, before anything moves
    moved = _skin(still, emotions, amplitudes, seconds, draw)
    placing = _with_drift(base, seconds, draw)
    points = shown_points(placing.flatten(0, 1), moved.flatten(0, 1))
    photos = faces[:, None].expand(-1, FRAMES, -1, -1).flatten(0, 1)[:, None]
    frames = sample(photos, points, mode="bicubic").reshape(batch, FRAMES, SIDE, SIDE)
    repeated = marks[:, None].expand(-1, FRAMES, -1, -1).flatten(0, 1)[:, None]
    seen = where_seen(repeated, placing.flatten(0, 1), moved.flatten(0, 1))[:, 0].unflatten(0, (batch, FRAMES))
    clips = draw_cameras(batch, draw).film(frames.clamp(0, 255), seconds, draw)
    flow = [true_flow(placing[:, pair : pair + 2], moved[:, pair : pair + 2]) for pair in pairs]
    return Windows(clips, emotions, amplitudes, seen, torch.cat(flow, 1) if flow else None)


def _emotions(batch: int, draw: Draw) -> torch.Tensor:
    """Emotions of which the three classes of MEGC are alike many."""
    shares = torch.tensor([1 / len(THREE[class_of(name, "3")]) for name in EMOTIONS])
    return torch.multinomial(shares.to(draw.generator.device), batch, True, generator=draw.generator)


def _times(batch: int, draw: Draw) -> torch.Tensor:
    """When the frames are taken, from 0, with a little jitter of the clock."""
    interval = INTERVAL_SECONDS * draw.even(0.95, 1.05, batch, 1)
    steps = torch.arange(FRAMES, device=interval.device) + 0.05 * draw.even(-1, 1, batch, FRAMES)
    return interval * steps


def _camera_place(faces: torch.Tensor, draw: Draw) -> torch.Tensor:
    """From pixels of the frame to those of the photo: a turn, a scale and a shift, never by whole pixels."""
    batch, side = len(faces), faces.shape[1]
    angle, scale = 0.05 * draw.normal(batch), 1 + 0.04 * draw.normal(batch)
    shift = draw.even(-8, 8, batch, 2)
    return similarities(angle, scale, shift + (side - 1) / 2, (SIDE - 1) / 2)


def similarities(angle: torch.Tensor, scale: torch.Tensor, target: torch.Tensor, pivot: float) -> torch.Tensor:
    """`[N, 2, 3]`: turn and scale about the pivot, which goes to the target `[N, 2]`."""
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    linear = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    return torch.cat([linear, target[:, :, None] - linear.sum(2, keepdim=True) * pivot], 2)


def _with_drift(base: torch.Tensor, seconds: torch.Tensor, draw: Draw) -> torch.Tensor:
    """The placing of each frame, `[B, 8, 2, 3]`: what is left of the head's motion after alignment, which is slow, and
    the alignment's own trembling, which is not."""
    batch, count = seconds.shape

    def wave(size: torch.Tensor) -> torch.Tensor:
        frequency, phase = draw.even(0.1, 1.5, batch, 1), draw.even(0, 1, batch, 1)
        return size[:, None] * torch.sin(2 * torch.pi * (frequency * seconds + phase))

    size = draw.even(0, 1, batch).square()
    tremble = 0.12 * draw.even(0, 1, batch, 1).square()
    shift = torch.stack([wave(1.5 * size) + tremble * draw.normal(batch, count) for _ in range(2)], 2)
    angle = wave(0.012 * size) + 0.02 * tremble * draw.normal(batch, count)
    scale = 1 + wave(0.008 * size) + 0.01 * tremble * draw.normal(batch, count)
    middle = (SIDE - 1) / 2
    moving = similarities(angle.flatten(), scale.flatten(), shift.flatten(0, 1) + middle, middle)
    moving = torch.cat([moving, torch.tensor([0.0, 0.0, 1.0], device=base.device).expand(len(moving), 1, 3)], 1)
    return (base[:, None].expand(-1, count, -1, -1).flatten(0, 1) @ moving).reshape(batch, count, 2, 3)


def _skin(still: torch.Tensor, emotions: torch.Tensor, amplitudes: torch.Tensor, seconds: torch.Tensor, draw: Draw
          ) -> torch.Tensor:
    """What the skin has moved in each frame, `[B, 8, 2, 128, 128]`."""
    batch = len(still)
    shown = fields_of(still, draw_strengths(emotions, draw), (SIDE, SIDE)) * amplitudes[:, None, None, None]
    moved = _brief(seconds, draw)[:, :, None, None, None] * shown[:, None]
    eyes = (still[:, 36:42].mean(1) - still[:, 42:48].mean(1)).norm(dim=1)
    blinks = fields_of(still, only(45, batch, draw), (SIDE, SIDE))
    size = torch.where(draw.even(0, 1, batch) < 0.3, eyes * draw.even(0.01, 0.1, batch), 0.0)
    moved = moved + (_blinking(seconds, draw) * size[:, None])[:, :, None, None, None] * blinks[:, None]
    # A slow expression is none: it lasts seconds, so that a window sees a part of its rise, or nothing of it.
    slow = fields_of(still, draw_strengths(draw.whole(NONE, batch), draw), (SIDE, SIDE))
    size = torch.where((draw.even(0, 1, batch) < 0.3) & (emotions == NONE), draw.even(0.5, 5, batch), 0.0)
    return moved + (_slow(seconds, draw) * size[:, None])[:, :, None, None, None] * slow[:, None]


def draw_strengths(emotions: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Strengths of the action units of a way in which each emotion shows, `[B, U, 2]`; zero for none."""
    batch, device = len(emotions), emotions.device
    ways, first, count = (table.to(device) for table in _ways())
    way = first[emotions] + (draw.even(0, 1, batch) * count[emotions]).long()
    strengths = ways[way][..., None] * draw.even(0.6, 1, batch, len(UNITS), 2)
    # Some show on one side of the face always, others more on one side now and then.
    one_sided = torch.tensor([name in ONE_SIDED for name in (*EMOTIONS, "none")], device=device)[emotions]
    leaning = draw.even(0, 1, batch) < 0.12
    other = torch.where(one_sided, 0.0, torch.where(leaning, draw.even(0.1, 0.6, batch), 1.0))
    is_left = (draw.even(0, 1, batch) < 0.5)[:, None]
    sides = torch.where(is_left, torch.stack([torch.ones_like(other), other], 1),
                        torch.stack([other, torch.ones_like(other)], 1))
    return strengths * sides[:, None]


@cache
def _ways() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The action units of every way `[W, U]`; of each emotion the first way and how many; none has one without any."""
    rows: list[list[float]] = []
    first, count = [], []
    for name in (*EMOTIONS, "none"):
        ways = COMBINATIONS.get(name, ((),))
        first.append(len(rows))
        count.append(len(ways))
        rows += [[float(unit in way) for unit in UNITS] for way in ways]
    return torch.tensor(rows), torch.tensor(first), torch.tensor(count)


def only(unit: int, batch: int, draw: Draw) -> torch.Tensor:
    """Strengths of one action unit, much the same on both sides, `[B, U, 2]`."""
    strengths = torch.zeros(batch, len(UNITS), 2, device=draw.generator.device)
    strengths[:, UNITS.index(unit)] = draw.even(0.9, 1, batch, 2)
    return strengths


def _brief(seconds: torch.Tensor, draw: Draw) -> torch.Tensor:
    """The envelope of a micro-expression whose apex lies within the window."""
    batch = len(seconds)
    length = draw.even(0.12, LONGEST_SECONDS, batch)
    rise, hold = draw.even(0.25, 0.5, batch) * length, draw.even(0.05, 0.25, batch) * length
    span = seconds[:, -1]
    apex = span * draw.even(0.12, 0.88, batch)
    start = apex - rise
    return envelope(seconds, start, apex, apex + hold, start + length)


def _blinking(seconds: torch.Tensor, draw: Draw) -> torch.Tensor:
    batch = len(seconds)
    length = draw.even(0.1, 0.4, batch)
    start = draw.even(-0.3, 0.6, batch)
    return envelope(seconds, start, start + 0.35 * length, start + 0.45 * length, start + length)


def _slow(seconds: torch.Tensor, draw: Draw) -> torch.Tensor:
    batch = len(seconds)
    rise = draw.even(0.8, 3.0, batch)
    start = draw.even(-3.0, 0.5, batch)
    later = start + rise + draw.even(0.5, 2.0, batch)
    return envelope(seconds, start, start + rise, later, later + rise)
