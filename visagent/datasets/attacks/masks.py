"""Three-dimensional imitations of a face: rigid masks, flexible masks, heads of mannequins."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.composing import ellipse, face_outline, lay_over, polygon
from visagent.datasets.attacks.presentation import Landmarks
from visagent.datasets.attacks.techniques import Material
from visagent.datasets.surfaces import LUMA, SCENE_SIDE, Scene, smooth_noise

Mask = NDArray[np.float32]


def rigid_mask(
    scene: Scene, landmarks: Landmarks, material: Material, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, Mask]:
    """Resin, plaster or plastic: no pores, broad or hard shine, dark gaps round the eyes and the mouth."""
    mask = polygon(face_outline(landmarks, rng))
    worn = _made_of(scene, mask, material, rng, clues)
    gaps = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    openings = [landmarks[36:42], landmarks[42:48]] + ([landmarks[48:60]] if rng.random() < 0.7 else [])
    for part in openings:
        size = np.ptp(part, axis=0) * rng.uniform([0.55, 0.65], [0.75, 1.0]) + rng.uniform(2, 5, 2)
        outer, inner = ellipse(part.mean(0), size + rng.uniform(1.5, 4)), ellipse(part.mean(0), size)
        gaps = np.maximum(gaps, (outer - inner)[..., 0].clip(0, 1))
        see_through = inner * float(rng.random() < 0.75)
        # What lies behind an opening is in the mask's shadow.
        worn = worn * (1 - see_through) + scene * rng.uniform(0.55, 0.9) * see_through
    worn = worn * (1 - rng.uniform(0.4, 0.85) * gaps)[..., None]
    clues.add("seams at eyes and mouth")
    return lay_over(scene, np.asarray(worn, np.float32), mask, rng), mask


def flexible_mask(
    scene: Scene, landmarks: Landmarks, material: Material, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, Mask]:
    """Silicone or latex pulled over the head: dull even skin, folds where it bunches, gaps at the eyes, a hem."""
    outline = face_outline(landmarks, rng)
    centre = outline.mean(0)
    mask = polygon((centre + (outline - centre) * rng.uniform(1.04, 1.22)).astype(np.float32))
    worn = _made_of(scene, mask, material, rng, clues)
    if rng.random() < 0.75:
        worn = worn * (1 - _folds(landmarks, rng))[..., None]
        clues.add("rubber folds")
    edges = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    for part in (landmarks[36:42], landmarks[42:48], landmarks[48:60]):
        size = np.ptp(part, axis=0) * rng.uniform([0.52, 0.6], [0.66, 0.85]) + rng.uniform(1, 3.5, 2)
        inner = ellipse(part.mean(0), size)
        rim = ellipse(part.mean(0), size + rng.uniform(1.5, 4)) - inner
        edges = np.maximum(edges, rim[..., 0].clip(0, 1))
        worn = worn * (1 - inner) + scene * rng.uniform(0.6, 0.95) * inner
    worn = worn * (1 - rng.uniform(0.25, 0.65) * edges)[..., None]
    clues.add("seams at eyes and mouth")
    if rng.random() < 0.5:
        worn = worn * (1 - _neck_line(landmarks, rng))[..., None]
        clues.add("an edge at the neck")
    soft = cv2.GaussianBlur(mask[..., 0], (0, 0), rng.uniform(1, 4))[..., None]
    return np.asarray(scene * (1 - soft) + worn * soft, np.float32), mask


def fake_head(
    scene: Scene, landmarks: Landmarks, material: Material, rng: np.random.Generator, clues: set[str]
) -> tuple[Scene, Mask]:
    """A mannequin: the whole head of one material, eyes painted on, hair moulded, a joint at the neck."""
    everything = np.ones((SCENE_SIDE, SCENE_SIDE, 1), np.float32)
    face = polygon(face_outline(landmarks, rng))
    head = _made_of(scene, face, material, rng, clues)
    if rng.random() < 0.9:
        head = _painted_eyes(head, landmarks, rng)
        clues.add("painted eyes")
    lips = polygon(landmarks[48:60])
    paint = np.array([rng.uniform(120, 215), rng.uniform(50, 120), rng.uniform(55, 125)], np.float32)
    cover = lips * np.float32(rng.uniform(0, 0.6))
    head = head * (1 - cover) + paint * cover
    if rng.random() < 0.7:
        above = float(landmarks[17:27, 1].min()) - rng.uniform(0.16, 0.24) * float(np.ptp(landmarks[:, 1]))
        rows = np.arange(SCENE_SIDE, dtype=np.float32)[:, None]
        wave = smooth_noise(rng, 40) * 6
        hair = np.clip((above + wave - rows) / 3 + 0.5, 0, 1)[..., None]
        shade = rng.uniform(15, 110) * np.array([1.0, rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.9)])
        strands = (
            1 + 0.25 * np.sin(smooth_noise(rng, 60) * 9 + np.arange(SCENE_SIDE) * rng.uniform(0.2, 0.5))[..., None]
        )
        head = head * (1 - hair) + shade * strands * hair
        clues.add("moulded hair")
    if rng.random() < 0.5:
        head = head * (1 - _neck_line(landmarks, rng))[..., None]
        clues.add("an edge at the neck")
    return np.asarray(head, np.float32), everything


def _made_of(scene: Scene, mask: Mask, material: Material, rng: np.random.Generator, clues: set[str]) -> Scene:
    """The face in another material: detail lost, colours drawn together, its own shine."""
    width = rng.uniform(*material.smoothing)
    smooth = cv2.bilateralFilter(scene, 9, rng.uniform(30, 70), width)
    odd = 2 * int(width / 2) + 3
    smooth = cv2.medianBlur(np.clip(smooth, 0, 255).astype(np.uint8), min(odd, 11)).astype(np.float32)
    skin = (smooth * mask).sum((0, 1)) / max(float(mask.sum()), 1.0)
    level = float(skin @ LUMA)
    colour = skin if material.tint is None else np.asarray(material.tint, np.float32) * rng.normal(1, 0.05, 3)
    luma = (smooth @ LUMA)[..., None]
    share = rng.uniform(*material.one_colour)
    relief = (luma - level) * rng.uniform(0.6, 1.25)
    made = (1 - share) * smooth + share * (colour + relief)
    clues.add("no skin texture")
    strength = rng.uniform(*material.shine)
    if strength > 8:
        broad = cv2.GaussianBlur(luma[..., 0], (0, 0), rng.uniform(3, 8))
        high = float(np.quantile(broad[mask[..., 0] > 0.5], rng.uniform(0.55, 0.85))) if mask.max() > 0.5 else level
        shine = np.clip((broad - high) / material.shine_size, 0, 1)
        made = made + (shine * strength)[..., None]
        if strength > 25:
            clues.add("plastic shine")
    return np.asarray(made, np.float32)


def _folds(landmarks: Landmarks, rng: np.random.Generator) -> NDArray[np.float32]:
    """Darkness of the creases where a soft mask bunches: beside the nose and mouth, under the eyes, on the brow."""
    dark = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    face = float(np.ptp(landmarks[:, 0]))
    starts = [landmarks[31], landmarks[35], landmarks[41], landmarks[46], landmarks[21], landmarks[22], landmarks[57]]
    for number in rng.permutation(len(starts))[: int(rng.integers(2, 6))]:
        start = starts[number] + rng.normal(0, 0.02 * face, 2)
        angle, bend, length = rng.uniform(0, np.pi), rng.normal(0, 0.8), rng.uniform(0.12, 0.35) * face
        steps = np.linspace(-0.5, 0.5, 12)
        turn = angle + bend * steps
        points = start + length * np.stack([steps * np.cos(turn), steps * np.sin(turn)], 1)
        cv2.polylines(
            dark, [np.round(points * 8).astype(np.int32)], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA, 3
        )
    spread = rng.uniform(1.0, 2.2)
    lines = cv2.GaussianBlur(dark, (0, 0), spread)
    lit = cv2.warpAffine(lines, np.array([[1, 0, 0], [0, 1, 2.5]]), (SCENE_SIDE, SCENE_SIDE))
    return np.asarray(np.clip(lines * rng.uniform(0.5, 1.1) - lit * rng.uniform(0.1, 0.4), -0.3, 0.7), np.float32)


def _neck_line(landmarks: Landmarks, rng: np.random.Generator) -> NDArray[np.float32]:
    """Darkness of a hem or joint under the jaw."""
    jaw = landmarks[2:15].copy()
    jaw[:, 1] += rng.uniform(0.0, 0.05) * SCENE_SIDE
    centre = jaw.mean(0)
    jaw = centre + (jaw - centre) * rng.uniform(1.0, 1.08)
    line = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    cv2.polylines(line, [np.round(jaw * 8).astype(np.int32)], False, 1.0, int(rng.integers(2, 5)), cv2.LINE_AA, 3)
    return np.asarray(cv2.GaussianBlur(line, (0, 0), rng.uniform(0.8, 1.8)) * rng.uniform(0.35, 0.8), np.float32)


def _painted_eyes(head: Scene, landmarks: Landmarks, rng: np.random.Generator) -> Scene:
    """Flat eyes: an even white, a round iris that looks straight ahead, a black outline."""
    white = rng.uniform(190, 245)
    iris_colour = rng.uniform(20, 130, 3)
    for part in (landmarks[36:42], landmarks[42:48]):
        lid = polygon(part + (part - part.mean(0)) * rng.uniform(0.05, 0.35))
        width = float(np.ptp(part[:, 0]))
        line = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
        cv2.polylines(line, [np.round(part * 8).astype(np.int32)], True, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA, 3)
        iris = ellipse(part.mean(0), np.full(2, width * rng.uniform(0.2, 0.28)))
        pupil = ellipse(part.mean(0), np.full(2, width * rng.uniform(0.07, 0.12)))
        eye = np.full(3, white) * (1 - iris) + iris_colour * iris
        eye = eye * (1 - pupil) + 12 * pupil
        head = head * (1 - lid) + eye * lid
        head = head * (1 - 0.8 * line[..., None])
    return np.asarray(head, np.float32)
