"""Printed things worn or held on a face: paper masks, strips with another's eyes or mouth, paper glasses."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.composing import bounds, ellipse, face_outline, lay_over, polygon, rectangle
from visagent.datasets.attacks.presentation import Landmarks
from visagent.datasets.attacks.techniques import Techniques, choose
from visagent.datasets.recapture.printer import print_scene
from visagent.datasets.recapture.sheet import bent, folded, light_up
from visagent.datasets.surfaces import SCENE_SIDE, Scene, smooth_noise

Mask = NDArray[np.float32]


def paper_mask(
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    techniques: Techniques,
    rng: np.random.Generator,
    clues: set[str],
) -> tuple[Scene, Mask]:
    """A printed face cut out along the jaw, bent round the donor's head, often with holes for the eyes."""
    stock = choose(techniques.stocks, rng)
    printed = print_scene(scene, rng, clues, printer=choose(techniques.printers, rng), stock=stock, flat=True)
    heights = bent(rng) if rng.random() < 0.7 else folded(rng)
    printed = light_up(printed, heights, rng, gloss=rng.uniform(*stock.gloss) * 0.7)
    mask = polygon(face_outline(landmarks, rng))
    if rng.random() < 0.6:
        for eye in (landmarks[36:42], landmarks[42:48]):
            mask = mask * (1 - ellipse(eye.mean(0), np.ptp(eye, axis=0) * rng.uniform([0.5, 0.7], [0.75, 1.3]) + 2))
        clues.add("eye holes")
        if rng.random() < 0.3:
            mouth = landmarks[48:60]
            mask = mask * (1 - ellipse(mouth.mean(0), np.ptp(mouth, axis=0) * [0.45, 0.5] + 1))
    clues.add("a cut edge")
    return lay_over(_worn_by(donor, donor_landmarks, landmarks), printed, mask, rng), mask


def partial(
    kind: str,
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    techniques: Techniques,
    rng: np.random.Generator,
    clues: set[str],
) -> tuple[Scene, Mask, tuple[float, float, float, float]]:
    """A printed strip with another person's eyes ("partial eye") or mouth, held or glued over one's own."""
    points = slice(36, 48) if kind == "partial eye" else slice(48, 68)
    margin = rng.uniform(0.25, 0.65, 2) * np.array([0.35, 1.0]) * float(np.ptp(landmarks[points, 0]))
    if kind == "partial mouth":
        margin = margin * [2.2, 0.75]
    low, high = landmarks[points].min(0) - margin, landmarks[points].max(0) + margin
    strip = _worn_by(donor, donor_landmarks[points], landmarks[points])
    stock = choose(techniques.stocks, rng)
    strip = print_scene(strip, rng, clues, printer=choose(techniques.printers, rng), stock=stock, flat=True)
    if rng.random() < 0.5:
        strip = light_up(strip, bent(rng), rng, gloss=rng.uniform(*stock.gloss) * 0.6)
    centre, half = (low + high) / 2, (high - low) / 2
    shape = rng.random()
    if shape < 0.5:
        mask = rectangle(centre, half)
    elif shape < 0.8:
        mask = polygon(_torn(centre, half, rng))
    else:
        mask = ellipse(centre, half)
    clues.add("a cut edge")
    clues.add("eyes that do not match" if kind == "partial eye" else "a mouth that does not match")
    return lay_over(scene, strip, mask, rng), mask, bounds(np.stack([low, high]).astype(np.float32), 0)


def paper_glasses(
    scene: Scene, landmarks: Landmarks, techniques: Techniques, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, Mask, tuple[float, float, float, float]]:
    """Glasses cut from paper or plastic: a thick frame, lenses that hide the eyes or show printed ones."""
    eyes = (landmarks[36:42].mean(0), landmarks[42:48].mean(0))
    apart = float(np.linalg.norm(eyes[1] - eyes[0]))
    size = np.array([apart * rng.uniform(0.34, 0.46), apart * rng.uniform(0.24, 0.42)])
    rim = apart * rng.uniform(0.06, 0.14)
    shape = ellipse if rng.random() < 0.5 else rectangle
    outer = np.maximum(*(shape(eye, size + rim) for eye in eyes))
    lens = np.maximum(*(shape(eye, size) for eye in eyes))
    bridge = np.zeros((SCENE_SIDE, SCENE_SIDE, 1), np.float32)
    cv2.line(bridge, tuple(map(int, eyes[0])), tuple(map(int, eyes[1])), 1.0, max(2, int(rim)))
    frame = np.maximum(outer, bridge) * (1 - lens)
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.choice([rng.uniform(5, 60), 235]))
    paper = colour + smooth_noise(rng, 2)[..., None] * rng.uniform(0, 6)
    out = lay_over(scene, np.asarray(paper, np.float32), frame, rng)
    if rng.random() < 0.45:
        stock = choose(techniques.stocks, rng)
        behind = print_scene(scene, rng, clues, printer=choose(techniques.printers, rng), stock=stock, flat=True)
        behind = behind + rng.uniform(-30, 60)
        opacity = 1.0
        clues.add("eyes that do not match")
    else:
        shade = rng.uniform(20, 235) + rng.normal(0, 25, 3)
        behind = shade + smooth_noise(rng, rng.uniform(2, 12))[..., None] * rng.uniform(0, 15)
        opacity = rng.uniform(0.6, 1.0)
        clues.add("opaque lenses")
    clues.add("a thick paper frame")
    cover = lens * np.float32(opacity)
    extent = np.stack([np.minimum(*eyes) - size - rim, np.maximum(*eyes) + size + rim]).astype(np.float32)
    picture = np.asarray(out * (1 - cover) + behind * cover, np.float32)
    return picture, np.maximum(frame, lens), bounds(extent, 0)


def _worn_by(donor: Scene, donor_landmarks: Landmarks, landmarks: Landmarks) -> Scene:
    """The donor's picture, moved so that the given points of the face lie on each other."""
    fit: NDArray[Any] | None = cv2.estimateAffinePartial2D(donor_landmarks, landmarks)[0]
    if fit is None:  # OpenCV's stubs promise a matrix, its manual does not
        fit = np.eye(2, 3)
    moved = cv2.warpAffine(donor, fit, (SCENE_SIDE, SCENE_SIDE), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32)


def _torn(centre: NDArray[np.floating], half: NDArray[np.floating], rng: np.random.Generator) -> Landmarks:
    """A rectangle cut by hand: turned a little, its corners off."""
    corners = np.array([[-1, -1], [0, -1], [1, -1], [1, 1], [0, 1], [-1, 1]]) * half * rng.normal(1, 0.05, (6, 2))
    angle = rng.normal(0, 0.06)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(centre + corners @ turn, np.float32)
