"""Simulated presentation attacks on live face pictures: one function per attack type.

Types follow FaceShield's taxonomy (`../papers`, section 6 of its fact sheet): print, replay, paper mask, rigid mask,
glasses, partial eye and partial mouth. Every sample carries its type, the box of the attacked area and the list of
clues that are really in it, so that reasons can be checked. Everything is a function of the random generator it is
given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.surfaces import (
    SCENE_SIDE,
    Scene,
    add_edge,
    add_natural_edge,
    add_natural_light,
    print_on_paper,
    show_on_screen,
    smooth_noise,
)

ATTACK_TYPES = ("print", "replay", "paper mask", "rigid mask", "glasses", "partial eye", "partial mouth")
LOCALISED = ("glasses", "partial eye", "partial mouth")
"""Types that cover only a part of the face; the others cover the whole face."""

CLUES = (
    "halftone dots",
    "paper grain",
    "a fold in the paper",
    "glossy reflection",
    "bent paper",
    "a paper edge",
    "moire pattern",
    "screen pixel grid",
    "brightness bands",
    "glare on a screen",
    "a screen edge",
    "a cut edge",
    "eye holes",
    "no skin texture",
    "plastic shine",
    "seams at eyes and mouth",
    "opaque lenses",
    "a thick paper frame",
    "eyes that do not match",
    "a mouth that does not match",
)
"""Everything that may give a simulated attack away."""

Landmarks = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Presentation:
    """What stands before the camera.

    Attributes:
        scene: float32 `[S, S, 3]`, 0 to 255.
        attack: One of `ATTACK_TYPES`, or None for a live face.
        box: The attacked area `(x1, y1, x2, y2)` in pixels of the scene; None for a live face.
        clues: What gives the attack away, sorted.
    """

    scene: Scene
    attack: str | None
    box: tuple[float, float, float, float] | None
    clues: tuple[str, ...]


def scene_of(rgb: NDArray[np.uint8]) -> Scene:
    """A square picture as a scene of the simulator's side."""
    shrink = rgb.shape[0] > SCENE_SIDE
    method = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (SCENE_SIDE, SCENE_SIDE), interpolation=method), np.float32)


def present_live(scene: Scene, behind: Scene, rng: np.random.Generator) -> Presentation:
    """A live face, with the straight edges and uneven light that live pictures have too."""
    if rng.random() < 0.25:
        scene = add_natural_edge(scene, behind, rng)
    if rng.random() < 0.5:
        scene = add_natural_light(scene, rng)
    return Presentation(scene, None, None, ())


def present_attack(
    kind: str, scene: Scene, landmarks: Landmarks, donor: Scene, donor_landmarks: Landmarks, rng: np.random.Generator
) -> Presentation:
    """Attack with one of `ATTACK_TYPES`.

    Args:
        kind: The attack type.
        scene: The live picture.
        landmarks: Its 68 points, float32 `[68, 2]`, pixels of the scene.
        donor: Another person's live picture: what is printed on partial attacks, or the person behind a mask.
        donor_landmarks: The donor's 68 points.
        rng: Source of all randomness.
    """
    clues: set[str] = set()
    whole = _bounds(landmarks, 0.06)
    if kind == "print":
        scene = print_on_paper(scene, rng, clues)
        if rng.random() < 0.4:
            scene = add_edge(scene, donor[::-1], rng, bezel=False)
            clues.add("a paper edge")
        box = (0.0, 0.0, float(SCENE_SIDE), float(SCENE_SIDE))
    elif kind == "replay":
        scene = show_on_screen(scene, rng, clues)
        if rng.random() < 0.4:
            scene = add_edge(scene, donor[::-1], rng, bezel=True)
            clues.add("a screen edge")
        box = (0.0, 0.0, float(SCENE_SIDE), float(SCENE_SIDE))
    elif kind == "paper mask":
        scene, box = _paper_mask(scene, landmarks, donor, donor_landmarks, rng, clues), whole
    elif kind == "rigid mask":
        scene, box = _rigid_mask(scene, landmarks, rng, clues), whole
    elif kind == "glasses":
        scene, box = _printed_glasses(scene, landmarks, rng, clues)
    else:
        scene, box = _partial(kind, scene, landmarks, donor, donor_landmarks, rng, clues)
    if rng.random() < 0.5:
        scene = add_natural_light(scene, rng)
    return Presentation(scene, kind, box, tuple(sorted(clues)))


def _paper_mask(
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    rng: np.random.Generator,
    clues: set[str],
) -> Scene:
    """A printed face cut out along the jaw and worn by the donor, often with holes for the eyes."""
    printed = print_on_paper(scene, rng, clues)
    mask = _polygon(_face_outline(landmarks, rng))
    holes = rng.random() < 0.55
    if holes:
        for eye in (landmarks[36:42], landmarks[42:48]):
            mask = mask * (1 - _ellipse(eye.mean(0), np.ptp(eye, axis=0) * [0.6, 0.9] + 2))
        clues.add("eye holes")
    worn = cv2.estimateAffinePartial2D(donor_landmarks, landmarks)[0]
    wearer = (
        donor
        if worn is None
        else cv2.warpAffine(donor, worn, (SCENE_SIDE, SCENE_SIDE), borderMode=cv2.BORDER_REFLECT_101)
    )
    clues.add("a cut edge")
    return _lay_over(wearer, printed, mask, rng)


def _rigid_mask(scene: Scene, landmarks: Landmarks, rng: np.random.Generator, clues: set[str]) -> Scene:
    """Resin or plaster: no pores, one colour, broad shine, dark seams round the eyes and the mouth."""
    smooth = cv2.bilateralFilter(scene, 9, rng.uniform(30, 70), rng.uniform(5, 11))
    smooth = cv2.medianBlur(np.clip(smooth, 0, 255).astype(np.uint8), int(rng.choice([5, 7, 9]))).astype(np.float32)
    mask = _polygon(_face_outline(landmarks, rng))
    skin = (smooth * mask).sum((0, 1)) / mask.sum()
    luma = smooth.mean(-1, keepdims=True)
    plastic = rng.uniform(0.3, 0.85)
    smooth = (1 - plastic) * smooth + plastic * (skin + (luma - skin.mean()) * rng.uniform(0.7, 1.2))
    clues.add("no skin texture")
    shine = np.clip((cv2.GaussianBlur(luma[..., 0], (0, 0), 6) - skin.mean() * rng.uniform(0.95, 1.1)) / 30, 0, 1)
    if rng.random() < 0.7:
        smooth = smooth + (shine * rng.uniform(30, 90))[..., None]
        clues.add("plastic shine")
    ring = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    for part in (landmarks[36:42], landmarks[42:48], landmarks[48:60]):
        size = np.ptp(part, axis=0) * [0.62, 0.75] + rng.uniform(2, 5, 2)
        outer, inner = _ellipse(part.mean(0), size + rng.uniform(1.5, 3.5)), _ellipse(part.mean(0), size)
        ring = np.maximum(ring, (outer - inner)[..., 0].clip(0, 1))
        keep = inner * (rng.random() < 0.7)
        smooth = smooth * (1 - keep) + scene * keep
    smooth = smooth * (1 - rng.uniform(0.35, 0.8) * ring)[..., None]
    clues.add("seams at eyes and mouth")
    return _lay_over(scene, smooth, mask, rng)


def _printed_glasses(
    scene: Scene, landmarks: Landmarks, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, tuple[float, float, float, float]]:
    """Paper or plastic glasses with a thick frame and lenses that hide the eyes."""
    eyes = (landmarks[36:42].mean(0), landmarks[42:48].mean(0))
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    size = np.array([apart * rng.uniform(0.36, 0.46), apart * rng.uniform(0.26, 0.42)])
    frame, lens = np.zeros((2, SCENE_SIDE, SCENE_SIDE, 1), np.float32)
    rim = apart * rng.uniform(0.06, 0.12)
    for eye in eyes:
        if rng.random() < 0.5:
            outer, inner = _ellipse(eye, size + rim), _ellipse(eye, size)
        else:
            outer, inner = _rectangle(eye, size + rim), _rectangle(eye, size)
        frame, lens = np.maximum(frame, outer), np.maximum(lens, inner)
    bridge = np.zeros_like(frame)
    cv2.line(bridge, tuple(map(int, eyes[0])), tuple(map(int, eyes[1])), 1.0, max(2, int(rim)))
    frame = np.maximum(frame, bridge) * (1 - lens)
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(5, 60))
    paper = np.broadcast_to(colour.astype(np.float32), scene.shape) + smooth_noise(rng, 2)[..., None] * 4
    out = _lay_over(scene, np.asarray(paper, np.float32), frame, rng)
    shade = rng.uniform(60, 235, 3).astype(np.float32)
    opacity = rng.uniform(0.55, 1.0)
    pattern = smooth_noise(rng, rng.uniform(2, 12))[..., None] * rng.uniform(0, 15)
    out = out * (1 - lens * opacity) + (shade + pattern) * lens * opacity
    clues.update(("opaque lenses", "a thick paper frame"))
    extent = np.stack([np.minimum(*eyes) - size - rim, np.maximum(*eyes) + size + rim])
    return np.asarray(out, np.float32), _bounds(extent.astype(np.float32), 0)


def _partial(
    kind: str,
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    rng: np.random.Generator,
    clues: set[str],
) -> tuple[Scene, tuple[float, float, float, float]]:
    """A printed strip with another person's eyes, or mouth, held or glued over one's own."""
    points = slice(36, 48) if kind == "partial eye" else slice(48, 68)
    margin = rng.uniform(0.25, 0.6, 2) * np.array([0.35, 1.0]) * float(np.ptp(landmarks[points, 0]))
    if kind == "partial mouth":
        margin = margin * [2.2, 0.75]
    low, high = landmarks[points].min(0) - margin, landmarks[points].max(0) + margin
    fit: NDArray[Any] | None = cv2.estimateAffinePartial2D(donor_landmarks[points], landmarks[points])[0]
    if fit is None:  # OpenCV's stubs promise a matrix, its manual does not
        fit = np.eye(2, 3)
    strip = cv2.warpAffine(donor, fit, (SCENE_SIDE, SCENE_SIDE), borderMode=cv2.BORDER_REFLECT_101)
    strip = print_on_paper(np.asarray(strip, np.float32), rng, clues)
    mask = (
        _rectangle((low + high) / 2, (high - low) / 2)
        if rng.random() < 0.7
        else _ellipse((low + high) / 2, (high - low) / 2)
    )
    clues.add("a cut edge")
    clues.add("eyes that do not match" if kind == "partial eye" else "a mouth that does not match")
    return _lay_over(scene, strip, mask, rng), _bounds(np.stack([low, high]).astype(np.float32), 0)


def _lay_over(under: Scene, over: Scene, mask: NDArray[np.float32], rng: np.random.Generator) -> Scene:
    """Put a flat thing over the scene: it throws a small shadow, and may show a pale cut."""
    dx, dy, spread = rng.normal(0, 3), rng.uniform(0, 5), rng.uniform(1.5, 6)
    cast = cv2.GaussianBlur(
        cv2.warpAffine(mask[..., 0], np.array([[1, 0, dx], [0, 1, dy]]), (SCENE_SIDE, SCENE_SIDE)), (0, 0), spread
    )
    under = under * (1 - rng.uniform(0.15, 0.6) * cast)[..., None]
    out = under * (1 - mask) + over * mask
    if rng.random() < 0.5:
        width = rng.uniform(0.8, 2.0)
        rim = np.clip(mask[..., 0] - cv2.GaussianBlur(mask[..., 0], (0, 0), width), 0, 1) * 2
        out = out + (rim * rng.uniform(20, 90))[..., None]
    return np.asarray(out, np.float32)


def _face_outline(landmarks: Landmarks, rng: np.random.Generator) -> Landmarks:
    """Jaw line and a forehead arc above the brows."""
    brows = landmarks[17:27][::-1].copy()
    height = np.ptp(landmarks[:, 1])
    brows[:, 1] -= height * rng.uniform(0.08, 0.28)
    centre = landmarks.mean(0)
    outline = np.concatenate([landmarks[:17], brows])
    return np.asarray(centre + (outline - centre) * rng.uniform(0.9, 1.02), np.float32)


def _bounds(points: Landmarks, margin: float) -> tuple[float, float, float, float]:
    low, high = points.min(0), points.max(0)
    grow = margin * (high - low)
    x1, y1 = np.clip(low - grow, 0, SCENE_SIDE - 2)
    x2, y2 = np.clip(high + grow, 2, SCENE_SIDE)
    return float(x1), float(y1), float(x2), float(y2)


def _polygon(points: Landmarks) -> NDArray[np.float32]:
    mask = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1.0, lineType=cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.8), np.float32)[..., None]


def _ellipse(centre: NDArray[np.floating], half: NDArray[np.floating]) -> NDArray[np.float32]:
    y, x = np.ogrid[0:SCENE_SIDE, 0:SCENE_SIDE]
    radius = np.sqrt(((x - centre[0]) / max(half[0], 1)) ** 2 + ((y - centre[1]) / max(half[1], 1)) ** 2)
    return np.asarray(np.clip((1 - radius) * min(half) + 0.5, 0, 1), np.float32)[..., None]


def _rectangle(centre: NDArray[np.floating], half: NDArray[np.floating]) -> NDArray[np.float32]:
    y, x = np.ogrid[0:SCENE_SIDE, 0:SCENE_SIDE]
    inside = np.minimum(half[0] - np.abs(x - centre[0]), half[1] - np.abs(y - centre[1]))
    return np.asarray(np.clip(inside + 0.5, 0, 1), np.float32)[..., None]
