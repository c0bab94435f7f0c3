"""The optical renderer: all eleven types, labelled truly, reproducible, and given away by no file statistics."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from visagent.datasets import attacks, camera
from visagent.datasets.attacks import ATTACK_TYPES, CLUES, LOCALISED, everyday, optical, techniques
from visagent.datasets.sources import FacePicture
from visagent.datasets.spoof_views import LAYERED_SHARES, OPTICAL_SHARES, make_view, renderer_of
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.evaluation import shortcuts
from visagent.tools.spoof.view import as_screened
from visagent.tools.spoof.words import ALIASES
from visagent.vision.crop import VIEW_SIDE

Faces = tuple[NDArray[np.float32], ...]


def _attack(
    kind: str, faces: Faces, seed: int, known: techniques.Techniques = techniques.TRAIN
) -> attacks.Presentation:
    scene, other, points = faces
    mirrored = (points * [-1, 1] + [SCENE_SIDE, 0]).astype(np.float32)
    rng = np.random.default_rng(seed)
    return optical.present_attack(kind, scene, points, other, mirrored, rng, techniques=known)


@pytest.mark.parametrize("known", [techniques.TRAIN, techniques.HELD_OUT], ids=["train", "held-out"])
@pytest.mark.parametrize("kind", ATTACK_TYPES)
def test_an_attack_carries_its_type_box_mask_and_clues(
    kind: str, known: techniques.Techniques, faces: Faces
) -> None:
    for seed in range(6):
        shown = _attack(kind, faces, seed, known)
        assert shown.attack == kind
        assert shown.clues == tuple(sorted(shown.clues)) and set(shown.clues) <= set(CLUES)
        assert shown.box is not None and shown.mask is not None
        x1, y1, x2, y2 = shown.box
        assert 0 <= x1 < x2 <= SCENE_SIDE and 0 <= y1 < y2 <= SCENE_SIDE
        assert shown.scene.shape == (SCENE_SIDE, SCENE_SIDE, 3) and np.isfinite(shown.scene).all()
        assert shown.mask.shape == (SCENE_SIDE, SCENE_SIDE) and shown.mask.min() >= 0 and 0.3 < shown.mask.max() <= 1


@pytest.mark.parametrize("kind", ATTACK_TYPES)
def test_nearly_every_attack_shows_something(kind: str, faces: Faces) -> None:
    assert sum(bool(_attack(kind, faces, seed).clues) for seed in range(12)) >= 11


@pytest.mark.parametrize("kind", LOCALISED)
def test_a_localised_attack_changes_its_box_and_little_else(kind: str, faces: Faces) -> None:
    for seed in range(5):
        shown = _attack(kind, faces, seed)
        assert shown.box is not None and shown.mask is not None
        x1, y1, x2, y2 = (round(v) for v in shown.box)
        inside = np.zeros((SCENE_SIDE, SCENE_SIDE), bool)
        inside[y1:y2, x1:x2] = True
        change = np.abs(shown.scene - faces[0]).mean(-1)
        assert change[shown.mask > 0.5].mean() > 1.5 * np.median(change[~inside])
        assert inside.mean() < 0.65
        assert shown.mask[inside].sum() > 0.9 * shown.mask.sum()


def test_where_the_tattoo_is_there_is_ink(faces: Faces) -> None:
    for seed in range(8):
        shown = _attack("tattoo", faces, seed)
        assert shown.mask is not None
        change = np.abs(faces[0] - shown.scene).mean(-1)
        assert change[shown.mask > 0.5].mean() > 10


@pytest.mark.parametrize("kind", ATTACK_TYPES)
def test_the_same_seed_gives_the_same_picture(kind: str, faces: Faces) -> None:
    first, second, third = _attack(kind, faces, 5), _attack(kind, faces, 5), _attack(kind, faces, 6)
    assert np.array_equal(first.scene, second.scene) and first.clues == second.clues
    assert not np.array_equal(first.scene, third.scene)


def test_live_faces_meet_what_attacks_meet_and_stay_live(faces: Faces) -> None:
    changed = 0
    for seed in range(40):
        shown = optical.present_live(faces[0], faces[2], faces[1], np.random.default_rng(seed))
        assert (shown.attack, shown.box, shown.clues, shown.mask) == (None, None, (), None)
        assert np.isfinite(shown.scene).all()
        changed += not np.array_equal(shown.scene, faces[0])
    assert 25 <= changed <= 39


def test_everyday_make_up_leaves_the_face_its_own(faces: Faces) -> None:
    """Less than what an attack's make-up changes, and next to nothing beyond the face."""
    scene, _, points = faces
    worn = [np.abs(everyday.everyday_make_up(scene, points, np.random.default_rng(seed)) - scene).mean(-1)
            for seed in range(12)]
    painted = [np.abs(_attack("makeup", faces, seed).scene - scene).mean(-1) for seed in range(12)]
    assert 0.1 < np.mean(worn) < 0.5 * np.mean(painted)
    assert np.mean(worn, 0)[:12].max() < 1
    lips = np.round(points[48:60].mean(0)).astype(int)
    assert np.mean(worn, 0)[lips[1] - 8:lips[1] + 8, lips[0] - 15:lips[0] + 15].max() > 8


def test_freckles_darken_small_spots_of_the_face(faces: Faces) -> None:
    scene, _, points = faces
    for seed in range(6):
        change = (scene - everyday.freckles(scene, points, np.random.default_rng(seed))).mean(-1)
        assert change.min() > -1e-3 and change.max() > 3
        assert (change > 2).mean() < 0.02


def test_the_held_out_techniques_are_others() -> None:
    for kind in fields(techniques.Techniques):
        known = {one.name for one in getattr(techniques.TRAIN, kind.name)}
        new = {one.name for one in getattr(techniques.HELD_OUT, kind.name)}
        assert known and new and not known & new, kind.name


@pytest.mark.slow
def test_every_clue_can_be_seen_somewhere(faces: Faces) -> None:
    seen = {clue for kind in ATTACK_TYPES for seed in range(20) for clue in _attack(kind, faces, 100 + seed).clues}
    assert seen == set(CLUES)


def test_the_types_are_the_ones_that_words_are_read_as() -> None:
    assert set(ATTACK_TYPES) == set(ALIASES)


def test_shares_name_every_type_once() -> None:
    assert set(OPTICAL_SHARES) == set(ATTACK_TYPES) and set(LAYERED_SHARES) < set(ATTACK_TYPES)
    for shares in (OPTICAL_SHARES, LAYERED_SHARES):
        assert abs(sum(shares.values()) - 1) < 1e-9


def test_a_view_is_drawn_by_the_renderer_asked_for(faces: Faces) -> None:
    pictures = [FacePicture(np.clip(scene, 0, 255).astype(np.uint8), "lfw", str(number), False)
                for number, scene in enumerate(faces[:2])]
    points = np.stack([faces[2], faces[2]])
    for renderer in ("layered", "optical", "held-out"):
        shot, shown, _ = make_view(pictures, points, np.random.default_rng(4), live=False, renderer=renderer)
        assert shot.rgb.shape == (VIEW_SIDE, VIEW_SIDE, 3) and shot.box is not None
        assert (shown.mask is None) == (renderer == "layered")
    shot, shown, _ = make_view(pictures, points, np.random.default_rng(4), live=False, kind="tattoo")
    assert shown.attack == "tattoo"
    assert make_view(pictures, points, np.random.default_rng(4), live=True)[1].attack is None


def test_both_renderers_draw_the_training_set() -> None:
    assert {renderer_of("both", number) for number in range(6)} == {"layered", "optical"}
    assert {renderer_of("held-out", number) for number in range(6)} == {"held-out"}


@pytest.mark.slow
def test_brightness_and_sharpness_alone_do_not_tell_attack_from_live(faces: Faces) -> None:
    """The shortcut check in small: 240 shots of one face, hence wide limits; docs/measured.md has the real one."""
    rng = np.random.default_rng(0)
    views, attacked = [], np.arange(240) % 2
    for number in range(240):
        shown = (
            _attack(str(rng.choice(ATTACK_TYPES)), faces, number)
            if attacked[number]
            else optical.present_live(faces[0], faces[2], faces[1], np.random.default_rng(number))
        )
        views.append(as_screened(camera.take(shown.scene, rng, size=VIEW_SIDE).rgb))
    for measure in (shortcuts.brightness, shortcuts.sharpness, shortcuts.contrast):
        assert 0.4 < roc_auc_score(attacked, [measure(view) for view in views]) < 0.6, measure.__name__
