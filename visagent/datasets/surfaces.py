"""What paper and screens do to a picture that is shown on them: the physics behind print and replay attacks.

Each function takes a scene (float32 `[S, S, 3]`, 0 to 255) and returns the changed scene; what it did is written down
as clues (`halftone dots`, `moire pattern`, ...) that the reasons of an answer may name. Frequencies are in pixels of
the scene, whose side is `SCENE_SIDE`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Scene: TypeAlias = NDArray[Any]
"""float32 `[S, S, 3]`, 0 to 255; OpenCV's stubs do not keep the type of the pixels."""
SCENE_SIDE = 288
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_ROWS, _COLUMNS = (axis.astype(np.float32) for axis in np.mgrid[0:SCENE_SIDE, 0:SCENE_SIDE])


def smooth_noise(rng: np.random.Generator, cell: float) -> NDArray[np.float32]:
    """Noise of about unit spread whose features are `cell` pixels wide, `[S, S]`."""
    coarse = max(2, int(np.ceil(SCENE_SIDE / cell)))
    small = rng.standard_normal((coarse + 2, coarse + 2)).astype(np.float32)
    return np.asarray(cv2.resize(small, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def wave(
    rng: np.random.Generator, period: float, angle: float | None = None, warp: float = 0.0
) -> NDArray[np.float32]:
    """A sinusoidal grating, -1 to 1, with a phase that `warp` bends over the picture."""
    angle = rng.uniform(0, np.pi) if angle is None else angle
    phase = 2 * np.pi / period * (np.cos(angle) * _COLUMNS + np.sin(angle) * _ROWS) + rng.uniform(0, 2 * np.pi)
    if warp:
        phase = phase + warp * smooth_noise(rng, SCENE_SIDE / 2.5)
    return np.asarray(np.sin(phase), np.float32)


def print_on_paper(scene: Scene, rng: np.random.Generator, clues: set[str]) -> Scene:
    """Ink on paper: gamut, halftone or dither, fibres, folds, gloss, a bent sheet."""
    scene = _ink_gamut(scene, rng)
    marks = rng.random(5)
    if marks[0] < 0.72:
        scene = _halftone(scene, rng)
        clues.add("halftone dots")
    if marks[1] < 0.5 or marks[0] >= 0.72:
        grain = smooth_noise(rng, rng.uniform(1.2, 3)) * rng.uniform(3, 9) + smooth_noise(rng, 9) * rng.uniform(1, 4)
        scene = scene + grain[..., None]
        clues.add("paper grain")
    if marks[2] < 0.3:
        scene = _fold(scene, rng)
        clues.add("a fold in the paper")
    if marks[3] < 0.35:
        scene = scene + _blob(rng, streak=True)[..., None] * rng.uniform(40, 120)
        clues.add("glossy reflection")
    if marks[4] < 0.4:
        scene = _bend(scene, rng)
        clues.add("bent paper")
    return scene


def show_on_screen(scene: Scene, rng: np.random.Generator, clues: set[str]) -> Scene:
    """A display photographed: its tone curve, pixel grid, moire with the camera's grid, banding, glare."""
    scene = 255 * (np.clip(scene, 0, 255) / 255) ** rng.uniform(0.75, 1.35)
    scene = scene * rng.uniform(0.8, 1.05, 3).astype(np.float32) + rng.uniform(0, 26)
    glow = cv2.GaussianBlur(scene, (0, 0), 9)
    scene = scene + rng.uniform(0, 0.25) * (glow - scene.mean((0, 1)))
    marks = rng.random(4)
    if marks[0] < 0.62:
        scene = scene + _moire(rng)
        clues.add("moire pattern")
    if marks[1] < 0.5 or marks[0] >= 0.62:
        scene = _pixel_grid(scene, rng)
        clues.add("screen pixel grid")
    if marks[2] < 0.3:
        angle = rng.normal(np.pi / 2, 0.12)
        bands = wave(rng, rng.uniform(10, 90), angle) * rng.uniform(6, 20)
        scene = scene + bands[..., None]
        clues.add("brightness bands")
    if marks[3] < 0.4:
        scene = scene + window_reflection(rng)[..., None] * rng.uniform(40, 130)
        clues.add("glare on a screen")
    return np.asarray(scene, np.float32)


def add_edge(scene: Scene, behind: Scene, rng: np.random.Generator, *, bezel: bool) -> Scene:
    """Let the border of the sheet or screen come into the view on one to three sides."""
    low = np.zeros(2)
    high = np.full(2, float(SCENE_SIDE))
    for side in rng.permutation(4)[: int(rng.integers(1, 4))]:
        depth = rng.uniform(0.04, 0.17) * SCENE_SIDE
        if side < 2:
            low[side] = depth
        else:
            high[side - 2] = SCENE_SIDE - depth
    angle = np.deg2rad(rng.normal(0, 5))
    x = (_COLUMNS - SCENE_SIDE / 2) * np.cos(angle) + (_ROWS - SCENE_SIDE / 2) * np.sin(angle) + SCENE_SIDE / 2
    y = (_ROWS - SCENE_SIDE / 2) * np.cos(angle) - (_COLUMNS - SCENE_SIDE / 2) * np.sin(angle) + SCENE_SIDE / 2
    # A side that is not in view is pushed far out, so that the tilt does not bring its corner in.
    far = SCENE_SIDE
    left, top = (value if value > 0 else -far for value in low)
    right, bottom = (value if value < SCENE_SIDE else 2 * far for value in high)
    inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    width = rng.uniform(5, 20) if bezel or rng.random() < 0.6 else 0.0
    frame = rng.uniform(4, 40, 3) if bezel else np.full(3, rng.uniform(205, 250))
    shadow = 1 - rng.uniform(0.1, 0.5) * np.exp(-np.maximum(-width - inside, 0) / rng.uniform(2, 9))
    outside = behind * shadow[..., None].astype(np.float32)
    rim = _step(inside + width)
    picture = outside * (1 - rim) + frame.astype(np.float32) * rim
    body = _step(inside)
    return np.asarray(picture * (1 - body) + scene * body, np.float32)


def add_natural_edge(scene: Scene, behind: Scene, rng: np.random.Generator) -> Scene:
    """A wall corner, door frame or dark hair at one side: straight edges that live pictures also show."""
    angle = rng.choice([0, np.pi / 2, np.pi, 3 * np.pi / 2]) + rng.normal(0, 0.15)
    offset = SCENE_SIDE * rng.uniform(0.33, 0.48)
    distance = np.cos(angle) * (_COLUMNS - SCENE_SIDE / 2) + np.sin(angle) * (_ROWS - SCENE_SIDE / 2) - offset
    mask = _step(distance / rng.uniform(0.8, 4))
    fill = behind if rng.random() < 0.6 else np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), scene.shape)
    return np.asarray(scene * (1 - mask) + fill * mask, np.float32)


def add_natural_light(scene: Scene, rng: np.random.Generator) -> Scene:
    """Uneven light and skin highlights as live faces have them: soft, broad, and following the bright parts."""
    slope = np.cos(angle := rng.uniform(0, 2 * np.pi)) * _COLUMNS + np.sin(angle) * _ROWS
    slope = (slope - slope.mean()) / slope.std()
    scene = scene * (1 + rng.uniform(0, 0.25) * slope[..., None])
    if rng.random() < 0.3:
        bright = np.clip((scene @ LUMA - 150) / 80, 0, 1)
        scene = scene + (cv2.GaussianBlur(bright, (0, 0), 4) * rng.uniform(10, 60))[..., None]
    return np.asarray(scene, np.float32)


def _ink_gamut(scene: Scene, rng: np.random.Generator) -> Scene:
    gray = (scene @ LUMA)[..., None]
    scene = gray + (scene - gray) * rng.uniform(0.55, 1.05)
    black, white = rng.uniform(15, 60), rng.uniform(210, 250)
    tint = rng.normal(1, 0.04, 3).astype(np.float32)
    return np.asarray((black + np.clip(scene, 0, 255) / 255 * (white - black)) * tint, np.float32)


def _halftone(scene: Scene, rng: np.random.Generator) -> Scene:
    """Screened ink: a rosette of three rotated dot screens, or one screen for a laser print."""
    period = rng.uniform(2.6, 6.5)
    strength = rng.uniform(0.18, 0.7)
    base = rng.uniform(0, np.pi)
    angles = [base, base + np.deg2rad(30), base + np.deg2rad(60)] if rng.random() < 0.6 else [base] * 3
    paper = float(scene.max())
    out = np.empty_like(scene)
    for channel, angle in enumerate(angles):
        screen = wave(rng, period, angle) + wave(rng, period, angle + np.pi / 2)
        tone = scene[..., channel] / max(paper, 1) * 2 - 1
        dots = 1 / (1 + np.exp(-(tone * 1.6 - screen) * rng.uniform(1.5, 4)))
        out[..., channel] = (1 - strength) * scene[..., channel] + strength * dots * paper
    return out


def _fold(scene: Scene, rng: np.random.Generator) -> Scene:
    angle = rng.uniform(0, np.pi)
    distance = (
        np.cos(angle) * (_COLUMNS - SCENE_SIDE / 2)
        + np.sin(angle) * (_ROWS - SCENE_SIDE / 2)
        - rng.uniform(-0.3, 0.3) * SCENE_SIDE
    )
    step = np.tanh(distance / 3) * rng.uniform(4, 16) * np.exp(-np.abs(distance) / 90)
    crease = np.exp(-((distance / rng.uniform(1, 2.2)) ** 2)) * rng.uniform(15, 55) * rng.choice([-1, 1])
    return np.asarray(scene + (step + crease)[..., None], np.float32)


def _bend(scene: Scene, rng: np.random.Generator) -> Scene:
    axis = _COLUMNS if rng.random() < 0.6 else _ROWS
    bow = np.cos((axis / SCENE_SIDE - rng.uniform(0.3, 0.7)) * np.pi * rng.uniform(0.6, 1.3))
    shift = bow * rng.uniform(-14, 14)
    maps = (_COLUMNS + shift, _ROWS) if axis is _ROWS else (_COLUMNS, _ROWS + shift)
    warped = cv2.remap(scene, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped * (1 + 0.12 * (bow - bow.mean()))[..., None], np.float32)


def _blob(rng: np.random.Generator, *, streak: bool) -> NDArray[np.float32]:
    x0, y0 = rng.uniform(0.1, 0.9, 2) * SCENE_SIDE
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * (_COLUMNS - x0) + np.sin(angle) * (_ROWS - y0)
    across = -np.sin(angle) * (_COLUMNS - x0) + np.cos(angle) * (_ROWS - y0)
    length = rng.uniform(40, 160) if streak else rng.uniform(8, 25)
    return np.asarray(np.exp(-((along / length) ** 2) - (across / rng.uniform(8, 30)) ** 2), np.float32)


def _moire(rng: np.random.Generator) -> Scene:
    """Beats between the screen's and the camera's grid: low-frequency, coloured, gently bent fringes."""
    period, warp = rng.uniform(5, 34), rng.uniform(0.2, 2.5)
    angle = rng.uniform(0, np.pi)
    fringe = np.stack(
        [wave(rng, period * rng.uniform(0.95, 1.05), angle + rng.normal(0, 0.03), warp) for _ in range(3)], axis=-1
    )
    if rng.random() < 0.4:
        fringe = fringe * (0.5 + 0.5 * wave(rng, rng.uniform(40, 120), None, warp))[..., None]
    if rng.random() < 0.4:
        fringe = fringe.mean(-1, keepdims=True).repeat(3, -1)
    return np.asarray(fringe * rng.uniform(5, 18), np.float32)


def _pixel_grid(scene: Scene, rng: np.random.Generator) -> Scene:
    period = rng.uniform(2.3, 5.5)
    angle = rng.normal(0, 0.08)
    depth = rng.uniform(0.06, 0.24)
    rows = wave(rng, period, angle + np.pi / 2)
    stripes = np.stack([wave(rng, period, angle)] * 3, -1)
    if rng.random() < 0.6:
        shift = period / 3
        phase = 2 * np.pi / period * (np.cos(angle) * _COLUMNS + np.sin(angle) * _ROWS)
        stripes = np.stack([np.sin(phase + 2 * np.pi / period * shift * k) for k in range(3)], -1)
    return np.asarray(scene * (1 + depth * (0.7 * stripes + 0.5 * rows[..., None])), np.float32)


def window_reflection(rng: np.random.Generator) -> NDArray[np.float32]:
    """A lamp or a window as glass mirrors it, 0 to 1, `[S, S]`."""
    if rng.random() < 0.4:
        return _blob(rng, streak=False)
    centre = rng.uniform(0.15, 0.85, 2) * SCENE_SIDE
    half = rng.uniform(0.08, 0.3, 2) * SCENE_SIDE
    corners = centre + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + rng.normal(0, 8, (4, 2))
    mask = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    cv2.fillConvexPoly(mask, corners.astype(np.int32), 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(1.5, 8)), np.float32)


def _step(distance: NDArray[np.floating]) -> NDArray[np.float32]:
    """0 outside, 1 inside, one pixel soft; `[S, S, 1]`."""
    return np.asarray(np.clip(distance + 0.5, 0, 1), np.float32)[..., None]
