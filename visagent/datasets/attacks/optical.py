"""The optical renderer: all eleven attack types, each worked out from what makes its traces.

Displays and prints come from `visagent.datasets.recapture`, masks and paint from the modules beside. A presentation
without any visible clue is drawn again, a few times: a label nobody could see teaches nothing but noise.
"""

from __future__ import annotations

import numpy as np

from visagent.datasets.attacks.composing import bounds
from visagent.datasets.attacks.cutouts import paper_glasses, paper_mask, partial
from visagent.datasets.attacks.everyday import everyday_make_up, freckles, soft_skin
from visagent.datasets.attacks.masks import fake_head, flexible_mask, rigid_mask
from visagent.datasets.attacks.presentation import Landmarks, Presentation
from visagent.datasets.attacks.skin import make_up, tattoo
from visagent.datasets.attacks.techniques import Techniques, choose
from visagent.datasets.recapture.display import show_scene
from visagent.datasets.recapture.holding import add_fingers
from visagent.datasets.recapture.printer import print_scene
from visagent.datasets.surfaces import (
    SCENE_SIDE,
    Scene,
    add_edge,
    add_natural_edge,
    add_natural_light,
    smooth_noise,
    wave,
    window_reflection,
)

TRIES = 4
EVERYTHING = (0.0, 0.0, float(SCENE_SIDE), float(SCENE_SIDE))


def present_live(scene: Scene, landmarks: Landmarks, behind: Scene, rng: np.random.Generator) -> Presentation:
    """A live face among what makes live pictures look like attacks.

    That is make-up and freckles, edges, light, glare, stripes, hands, filters.

    Args:
        scene: The live picture.
        landmarks: Its 68 points, float32 `[68, 2]`, pixels of the scene.
        behind: Another picture, of which an edge may come into view.
        rng: Source of all randomness.
    """
    drawn = rng.random(9)
    if drawn[7] < 0.3:
        scene = everyday_make_up(scene, landmarks, rng)
    if drawn[8] < 0.1:
        scene = freckles(scene, landmarks, rng)
    if drawn[0] < 0.15:
        scene = soft_skin(scene, rng)
    if drawn[1] < 0.25:
        scene = add_natural_edge(scene, behind, rng)
    if drawn[2] < 0.5:
        scene = add_natural_light(scene, rng)
    if drawn[3] < 0.1:
        scene = scene + window_reflection(rng)[..., None] * rng.uniform(15, 70)
    if drawn[4] < 0.07:
        scene = _blinds(scene, rng)
    if drawn[5] < 0.06:
        scene = add_fingers(scene, rng)
    if drawn[6] < 0.12:
        scene = _hazy(scene, rng)
    return Presentation(np.asarray(scene, np.float32), None, None, (), None)


def present_attack(
    kind: str,
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    rng: np.random.Generator,
    *,
    techniques: Techniques,
) -> Presentation:
    """Attack with one of `ATTACK_TYPES`.

    Args:
        kind: The attack type.
        scene: The live picture.
        landmarks: Its 68 points, float32 `[68, 2]`, pixels of the scene.
        donor: Another person's live picture: what is printed on partial attacks, the person behind a mask, or what
            stands behind a sheet.
        donor_landmarks: The donor's 68 points.
        rng: Source of all randomness.
        techniques: Printers, papers, displays and materials to choose from.
    """
    for _ in range(TRIES):
        shown = _attacked(kind, scene, landmarks, donor, donor_landmarks, rng, techniques)
        if shown.clues:
            break
    if rng.random() < 0.4:
        lit = add_natural_light(shown.scene, rng)
        return Presentation(lit, shown.attack, shown.box, shown.clues, shown.mask)
    return shown


def _attacked(
    kind: str,
    scene: Scene,
    landmarks: Landmarks,
    donor: Scene,
    donor_landmarks: Landmarks,
    rng: np.random.Generator,
    techniques: Techniques,
) -> Presentation:
    clues: set[str] = set()
    mask = np.ones((SCENE_SIDE, SCENE_SIDE, 1), np.float32)
    box: tuple[float, float, float, float] | None = None
    if kind == "print":
        printer, stock = choose(techniques.printers, rng), choose(techniques.stocks, rng)
        scene = print_scene(scene, rng, clues, printer=printer, stock=stock)
        scene = _held(scene, donor, rng, clues, bezel=False)
        box = EVERYTHING
    elif kind == "replay":
        scene = show_scene(scene, donor, rng, clues, display=choose(techniques.displays, rng))
        scene = _held(scene, donor, rng, clues, bezel=True)
        box = EVERYTHING
    elif kind == "paper mask":
        scene, mask = paper_mask(scene, landmarks, donor, donor_landmarks, techniques, rng, clues)
    elif kind == "rigid mask":
        scene, mask = rigid_mask(scene, landmarks, choose(techniques.rigid, rng), rng, clues)
    elif kind == "flexible mask":
        scene, mask = flexible_mask(scene, landmarks, choose(techniques.flexible, rng), rng, clues)
    elif kind == "fakehead":
        scene, mask = fake_head(scene, landmarks, choose(techniques.heads, rng), rng, clues)
        box = EVERYTHING
    elif kind == "makeup":
        scene, mask = make_up(scene, landmarks, rng, clues)
    elif kind == "tattoo":
        scene, mask, box = tattoo(scene, landmarks, rng, clues)
    elif kind == "glasses":
        scene, mask, box = paper_glasses(scene, landmarks, techniques, rng, clues)
    else:
        scene, mask, box = partial(kind, scene, landmarks, donor, donor_landmarks, techniques, rng, clues)
    return Presentation(scene, kind, box or bounds(landmarks, 0.06), tuple(sorted(clues)), mask[..., 0])


def _held(scene: Scene, behind: Scene, rng: np.random.Generator, clues: set[str], *, bezel: bool) -> Scene:
    """The border of the sheet or display, and the fingers that hold it, where they come into view."""
    if rng.random() < 0.42:
        scene = add_edge(scene, behind[::-1], rng, bezel=bezel)
        clues.add("a screen edge" if bezel else "a paper edge")
        if rng.random() < 0.3:
            scene = add_fingers(scene, rng)
            clues.add("a hand that holds it")
    return scene


def _blinds(scene: Scene, rng: np.random.Generator) -> Scene:
    """Light through blinds or leaves: broad soft stripes or patches."""
    if rng.random() < 0.5:
        pattern = 0.5 + 0.5 * np.tanh(2 * wave(rng, rng.uniform(30, 90), warp=rng.uniform(0, 0.8)))
    else:
        pattern = np.clip(0.5 + smooth_noise(rng, rng.uniform(25, 70)), 0, 1)
    return np.asarray(scene * (1 - rng.uniform(0.1, 0.4) * pattern)[..., None], np.float32)


def _hazy(scene: Scene, rng: np.random.Generator) -> Scene:
    """A backlit or misted lens: washed out, and still live."""
    return np.asarray(scene * rng.uniform(0.6, 0.9) + rng.uniform(20, 70), np.float32)
