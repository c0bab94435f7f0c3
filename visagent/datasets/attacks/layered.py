"""The layered renderer: seven attack types drawn as effects laid over a live face picture.

Print, replay, paper mask, rigid mask, glasses, partial eye and partial mouth. Fast and plain: dots, fringes and folds
are patterns added to the picture. The optical renderer (`visagent.datasets.attacks.optical`) works out instead how
they come about; each shows what a model trained on the other has really learned. Everything is a function of the
random generator it is given.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.attacks.composing import bounds, ellipse, face_outline, lay_over, polygon, rectangle
from visagent.datasets.attacks.presentation import ATTACK_TYPES, Landmarks, Presentation
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

LAYERED_TYPES = ATTACK_TYPES[:7]
"""What this renderer can draw."""


def present_live(scene: Scene, behind: Scene, rng: np.random.Generator) -> Presentation:
    """A live face, with the straight edges and uneven light that live pictures have too."""
    if rng.random() < 0.25:
        scene = add_natural_edge(scene, behind, rng)
    if rng.random() < 0.5:
        scene = add_natural_light(scene, rng)
    return Presentation(scene, None, None, (), None)


def present_attack(
    kind: str, scene: Scene, landmarks: Landmarks, donor: Scene, donor_landmarks: Landmarks, rng: np.random.Generator
) -> Presentation:
    """Attack with one of `LAYERED_TYPES`.

    Args:
        kind: The attack type.
        scene: The live picture.
        landmarks: Its 68 points, float32 `[68, 2]`, pixels of the scene.
        donor: Another person's live picture: what is printed on partial attacks, or the person behind a mask.
        donor_landmarks: The donor's 68 points.
        rng: Source of all randomness.
    """
    clues: set[str] = set()
    whole = bounds(landmarks, 0.06)
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
    return Presentation(scene, kind, box, tuple(sorted(clues)), None)


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
    mask = polygon(face_outline(landmarks, rng))
    holes = rng.random() < 0.55
    if holes:
        for eye in (landmarks[36:42], landmarks[42:48]):
            mask = mask * (1 - ellipse(eye.mean(0), np.ptp(eye, axis=0) * [0.6, 0.9] + 2))
        clues.add("eye holes")
    worn = cv2.estimateAffinePartial2D(donor_landmarks, landmarks)[0]
    wearer = (
        donor
        if worn is None
        else cv2.warpAffine(donor, worn, (SCENE_SIDE, SCENE_SIDE), borderMode=cv2.BORDER_REFLECT_101)
    )
    clues.add("a cut edge")
    return lay_over(wearer, printed, mask, rng)


def _rigid_mask(scene: Scene, landmarks: Landmarks, rng: np.random.Generator, clues: set[str]) -> Scene:
    """Resin or plaster: no pores, one colour, broad shine, dark seams round the eyes and the mouth."""
    smooth = cv2.bilateralFilter(scene, 9, rng.uniform(30, 70), rng.uniform(5, 11))
    smooth = cv2.medianBlur(np.clip(smooth, 0, 255).astype(np.uint8), int(rng.choice([5, 7, 9]))).astype(np.float32)
    mask = polygon(face_outline(landmarks, rng))
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
        outer, inner = ellipse(part.mean(0), size + rng.uniform(1.5, 3.5)), ellipse(part.mean(0), size)
        ring = np.maximum(ring, (outer - inner)[..., 0].clip(0, 1))
        keep = inner * (rng.random() < 0.7)
        smooth = smooth * (1 - keep) + scene * keep
    smooth = smooth * (1 - rng.uniform(0.35, 0.8) * ring)[..., None]
    clues.add("seams at eyes and mouth")
    return lay_over(scene, smooth, mask, rng)


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
            outer, inner = ellipse(eye, size + rim), ellipse(eye, size)
        else:
            outer, inner = rectangle(eye, size + rim), rectangle(eye, size)
        frame, lens = np.maximum(frame, outer), np.maximum(lens, inner)
    bridge = np.zeros_like(frame)
    cv2.line(bridge, tuple(map(int, eyes[0])), tuple(map(int, eyes[1])), 1.0, max(2, int(rim)))
    frame = np.maximum(frame, bridge) * (1 - lens)
    colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(5, 60))
    paper = np.broadcast_to(colour.astype(np.float32), scene.shape) + smooth_noise(rng, 2)[..., None] * 4
    out = lay_over(scene, np.asarray(paper, np.float32), frame, rng)
    shade = rng.uniform(60, 235, 3).astype(np.float32)
    opacity = rng.uniform(0.55, 1.0)
    pattern = smooth_noise(rng, rng.uniform(2, 12))[..., None] * rng.uniform(0, 15)
    out = out * (1 - lens * opacity) + (shade + pattern) * lens * opacity
    clues.update(("opaque lenses", "a thick paper frame"))
    extent = np.stack([np.minimum(*eyes) - size - rim, np.maximum(*eyes) + size + rim])
    return np.asarray(out, np.float32), bounds(extent.astype(np.float32), 0)


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
        rectangle((low + high) / 2, (high - low) / 2)
        if rng.random() < 0.7
        else ellipse((low + high) / 2, (high - low) / 2)
    )
    clues.add("a cut edge")
    clues.add("eyes that do not match" if kind == "partial eye" else "a mouth that does not match")
    return lay_over(scene, strip, mask, rng), bounds(np.stack([low, high]).astype(np.float32), 0)
