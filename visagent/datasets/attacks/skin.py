"""Attacks that change one's own skin: make-up that redraws a face, and ink on it."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.composing import bounds, ellipse, face_outline, polygon
from visagent.datasets.attacks.presentation import Landmarks
from visagent.datasets.surfaces import LUMA, SCENE_SIDE, Scene, smooth_noise

Mask = NDArray[np.float32]
VISIBLE_INK = 18.0
"""Gray values by which ink must differ from the skin to be a clue; dark ink on dark skin hides."""


def make_up(scene: Scene, landmarks: Landmarks, rng: np.random.Generator, clues: set[str]) -> tuple[Scene, Mask]:
    """Heavy make-up that imitates another face: even foundation, contours, false brows, lashes, lips."""
    face = polygon(face_outline(landmarks, rng))
    smooth = cv2.bilateralFilter(scene, 9, rng.uniform(25, 55), rng.uniform(3, 6))
    skin = (smooth * face).sum((0, 1)) / max(float(face.sum()), 1.0)
    foundation = skin * rng.uniform(0.85, 1.2) * rng.normal(1, 0.05, 3)
    cover = cv2.GaussianBlur(face[..., 0], (0, 0), 4)[..., None] * rng.uniform(0.35, 0.7)
    out = (
        scene * (1 - cover) + (0.45 * smooth + 0.55 * (foundation + (smooth @ LUMA - skin @ LUMA)[..., None])) * cover
    )
    clues.add("no skin texture")
    height, width = float(np.ptp(landmarks[:, 1])), float(np.ptp(landmarks[:, 0]))
    if rng.random() < 0.8:
        out = _contours(out, landmarks, width, height, rng)
        clues.add("painted contours")
    if rng.random() < 0.8:
        out = _brows(out, landmarks, height, rng)
        clues.add("drawn brows")
    out = _eyes_and_lips(out, landmarks, rng)
    return np.asarray(out, np.float32), face


def _contours(out: Scene, landmarks: Landmarks, width: float, height: float, rng: np.random.Generator) -> Scene:
    """Painted shadows at cheeks and nose, painted light on its ridge; harder than real ones."""
    paint = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    hardness = rng.uniform(1.5, 5)
    for side, (jaw, corner) in enumerate(((3, 48), (13, 54))):
        start, end = landmarks[jaw], landmarks[corner] * 0.55 + landmarks[jaw] * 0.45
        start = start - [0, height * rng.uniform(0.12, 0.2)]
        cv2.line(paint, _point(start), _point(end), -1.0, int(rng.integers(7, 18)), cv2.LINE_AA, 3)
        nose = landmarks[27:31] + np.array([(-1 if side == 0 else 1) * 0.055 * width, 0])
        cv2.polylines(
            paint, [np.round(nose * 8).astype(np.int32)], False, -0.8, int(rng.integers(3, 7)), cv2.LINE_AA, 3
        )
    cv2.polylines(
        paint, [np.round(landmarks[27:31] * 8).astype(np.int32)], False, 1.0, int(rng.integers(3, 6)), cv2.LINE_AA, 3
    )
    tone = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.7, 1.0)])
    soft = cv2.GaussianBlur(paint, (0, 0), hardness) * rng.uniform(35, 85)
    return np.asarray(out + soft[..., None] * tone, np.float32)


def _brows(out: Scene, landmarks: Landmarks, height: float, rng: np.random.Generator) -> Scene:
    """Brows drawn anew, at another height and with a clean edge."""
    lift = rng.uniform(-0.045, 0.02) * height
    colour = rng.uniform(15, 75) * np.array([1.1, 0.95, 0.85])
    for brow in (landmarks[17:22], landmarks[22:27]):
        drawn = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
        points = brow + np.array([0, lift])
        cv2.polylines(
            drawn, [np.round(points * 8).astype(np.int32)], False, 1.0, int(rng.integers(4, 9)), cv2.LINE_AA, 3
        )
        drawn = cv2.GaussianBlur(drawn, (0, 0), 0.7)[..., None] * np.float32(rng.uniform(0.6, 0.95))
        out = out * (1 - drawn) + colour * drawn
    return np.asarray(out, np.float32)


def _eyes_and_lips(out: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    shadow = rng.uniform(30, 170, 3)
    strength = np.float32(rng.uniform(0.3, 0.75))
    for eye in (landmarks[36:42], landmarks[42:48]):
        size = np.ptp(eye, axis=0) * [0.75, 1.2] + [2, 5]
        lid = cv2.GaussianBlur(ellipse(eye.mean(0) - [0, size[1] * 0.35], size)[..., 0], (0, 0), 2)[..., None]
        keep = polygon(eye)
        cover = lid * strength * (1 - keep)
        out = out * (1 - cover) + shadow * cover
        line = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
        cv2.polylines(line, [np.round(eye * 8).astype(np.int32)], True, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA, 3)
        out = out * (1 - 0.75 * line[..., None])
    mouth = landmarks[48:60]
    grown = mouth.mean(0) + (mouth - mouth.mean(0)) * rng.uniform(1.0, 1.2)
    lips = polygon(grown.astype(np.float32)) * np.float32(rng.uniform(0.4, 0.8))
    colour = np.array([rng.uniform(90, 220), rng.uniform(10, 90), rng.uniform(20, 110)])
    return np.asarray(out * (1 - lips) + colour * lips, np.float32)


def tattoo(
    scene: Scene, landmarks: Landmarks, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, Mask, tuple[float, float, float, float]]:
    """Ink in the skin of one part of the face: lines, letters or a filled ornament; skin shows through."""
    place, half = _place(landmarks, rng)
    ink = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    kind = rng.random()
    if kind < 0.4:
        _strokes(ink, place, half, rng)
    elif kind < 0.6:
        _letters(ink, place, half, rng)
    else:
        _ornament(ink, place, half, rng)
    rows, columns = np.nonzero(ink > 0.3)
    extent = np.stack([np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1])
    soaked = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.7, 1.5))[..., None] * np.float32(rng.uniform(0.8, 0.97))
    dark = rng.random() < 0.8
    colour = rng.uniform(10, 60) * np.array([0.8, 1.0, 1.15]) if dark else rng.uniform(10, 180, 3)
    # Ink lies under the skin: the skin's shading goes on above it.
    shading = np.clip((scene @ LUMA)[..., None] / max(float((scene @ LUMA).mean()), 1.0), 0.4, 1.6)
    out = scene * (1 - soaked) + colour * shading * soaked
    if float(np.abs(out - scene).mean(-1)[soaked[..., 0] > 0.5].mean()) > VISIBLE_INK:
        clues.add("ink lines on the skin" if kind < 0.6 else "an ink pattern")
    return np.asarray(out, np.float32), soaked, bounds(extent.astype(np.float32), 0.04)


def _place(landmarks: Landmarks, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where on the face, and how large: forehead, a cheek, a temple, the chin."""
    width, height = float(np.ptp(landmarks[:, 0])), float(np.ptp(landmarks[:, 1]))
    left = rng.random() < 0.5
    jaw, eye, corner = (
        (landmarks[3], landmarks[36], landmarks[48]) if left else (landmarks[13], landmarks[45], landmarks[54])
    )
    spot = int(rng.integers(4))
    centre = (
        landmarks[19:25].mean(0) - [0, 0.11 * height],
        (jaw + eye + corner) / 3,
        eye * 0.75 + (landmarks[0] if left else landmarks[16]) * 0.25 + [0, 0.02 * height],
        landmarks[8] * 0.6 + landmarks[57] * 0.4,
    )[spot]
    size = ([0.3, 0.11], [0.18, 0.21], [0.15, 0.19], [0.22, 0.12])[spot]
    half = np.array([width, height]) * size * rng.uniform(0.8, 1.35)
    return np.clip(centre, half + 2, SCENE_SIDE - half - 2), half


def _strokes(
    ink: NDArray[np.float32], place: NDArray[np.float64], half: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Tapered curves that cross each other."""
    for _ in range(int(rng.integers(3, 8))):
        knots = place + half * rng.uniform(-1, 1, (4, 2))
        t = np.linspace(0, 1, 24)[:, None]
        curve = (
            (1 - t) ** 3 * knots[0] + 3 * (1 - t) ** 2 * t * knots[1] + 3 * (1 - t) * t**2 * knots[2] + t**3 * knots[3]
        )
        thick = int(rng.integers(4, 9))
        for number, (start, end) in enumerate(itertools.pairwise(curve)):
            taper = max(1, round(thick * np.sin(np.pi * (number + 1) / len(curve))))
            cv2.line(ink, _point(start), _point(end), 1.0, taper, cv2.LINE_AA, 3)


def _letters(
    ink: NDArray[np.float32], place: NDArray[np.float64], half: NDArray[np.float64], rng: np.random.Generator
) -> None:
    text = "".join(rng.choice(list("ABCDEFGHKLMNORSTVWXZ0123456789"), int(rng.integers(3, 8))))
    font = int(rng.choice([cv2.FONT_HERSHEY_SCRIPT_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SIMPLEX]))
    (wide, tall), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = max(0.35, min(2 * half[0] / wide, 2 * half[1] / tall))
    start = (int(place[0] - wide * scale / 2), int(place[1] + tall * scale / 2))
    drawn = np.zeros(ink.shape, np.uint8)
    cv2.putText(drawn, text, start, font, scale, 255, int(rng.integers(3, 6)), cv2.LINE_AA)
    ink[:] = drawn / np.float32(255)


def _ornament(
    ink: NDArray[np.float32], place: NDArray[np.float64], half: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """A filled shape with arms, or noise cut at a level: solid black work."""
    if rng.random() < 0.5:
        arms = int(rng.integers(4, 10))
        turn = np.linspace(0, 2 * np.pi, 2 * arms, endpoint=False) + rng.uniform(0, 1)
        reach = np.where(
            np.arange(2 * arms) % 2 == 0, rng.uniform(0.75, 1.0, 2 * arms), rng.uniform(0.25, 0.55, 2 * arms)
        )
        points = place + half * reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
        cv2.fillPoly(ink, [np.round(points * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
        if rng.random() < 0.5:
            cv2.ellipse(
                ink,
                (int(place[0]), int(place[1])),
                (int(half[0] * 0.3) + 1, int(half[1] * 0.3) + 1),
                0,
                0,
                360,
                0.0,
                -1,
                cv2.LINE_AA,
            )
        return
    noise = smooth_noise(rng, rng.uniform(7, 16))
    inside = ellipse(place, half)[..., 0]
    level = float(np.quantile(noise[inside > 0.5], rng.uniform(0.4, 0.65)))
    ink[:] = np.clip((noise - level) * 6 + 0.5, 0, 1) * inside


def _point(place: NDArray[np.floating]) -> tuple[int, int]:
    """In eighths of a pixel, as OpenCV's `shift` of 3 wants it."""
    return round(float(place[0]) * 8), round(float(place[1]) * 8)
