"""The layered renderer and the camera: labelled truly, reproducible, and given away by no file statistics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from visagent.datasets import attacks, camera
from visagent.datasets.attacks import CLUES, LOCALISED, layered
from visagent.datasets.attacks.layered import LAYERED_TYPES
from visagent.datasets.surfaces import SCENE_SIDE
from visagent.evaluation import shortcuts
from visagent.tools.spoof.view import as_screened
from visagent.vision.crop import VIEW_SIDE


def _attack(kind: str, faces: tuple[NDArray[np.float32], ...], seed: int) -> attacks.Presentation:
    scene, other, points = faces
    mirrored = points * [-1, 1] + [SCENE_SIDE, 0]
    return layered.present_attack(kind, scene, points, other, mirrored.astype(np.float32), np.random.default_rng(seed))


@pytest.mark.parametrize("kind", LAYERED_TYPES)
def test_an_attack_carries_its_type_box_and_clues(kind: str, faces: tuple[NDArray[np.float32], ...]) -> None:
    for seed in range(8):
        shown = _attack(kind, faces, seed)
        assert shown.attack == kind
        assert shown.clues and set(shown.clues) <= set(CLUES)
        assert shown.box is not None
        x1, y1, x2, y2 = shown.box
        assert 0 <= x1 < x2 <= SCENE_SIDE and 0 <= y1 < y2 <= SCENE_SIDE
        assert shown.scene.shape == (SCENE_SIDE, SCENE_SIDE, 3) and np.isfinite(shown.scene).all()


@pytest.mark.parametrize("kind", [kind for kind in LOCALISED if kind in LAYERED_TYPES])
def test_a_localised_attack_changes_its_box_and_little_else(kind: str, faces: tuple[NDArray[np.float32], ...]) -> None:
    shown = _attack(kind, faces, 3)
    assert shown.box is not None
    x1, y1, x2, y2 = (round(v) for v in shown.box)
    change = np.abs(shown.scene - faces[0]).mean(-1)
    inside = np.zeros(change.shape, bool)
    inside[y1:y2, x1:x2] = True
    assert change[inside].mean() > 2 * np.median(change[~inside])
    assert inside.mean() < 0.65


def test_the_eye_attack_is_above_the_mouth_attack(faces: tuple[NDArray[np.float32], ...]) -> None:
    eye, mouth = _attack("partial eye", faces, 1).box, _attack("partial mouth", faces, 1).box
    assert eye is not None and mouth is not None
    assert (eye[1] + eye[3]) / 2 < (mouth[1] + mouth[3]) / 2


def test_a_live_presentation_has_no_attack_label(faces: tuple[NDArray[np.float32], ...]) -> None:
    shown = layered.present_live(faces[0], faces[1], np.random.default_rng(0))
    assert (shown.attack, shown.box, shown.clues) == (None, None, ())


@pytest.mark.parametrize("kind", LAYERED_TYPES)
def test_the_same_seed_gives_the_same_picture(kind: str, faces: tuple[NDArray[np.float32], ...]) -> None:
    first, second, third = _attack(kind, faces, 5), _attack(kind, faces, 5), _attack(kind, faces, 6)
    assert np.array_equal(first.scene, second.scene) and first.clues == second.clues
    assert not np.array_equal(first.scene, third.scene)


def test_the_camera_carries_the_box_along() -> None:
    """A bright square on dark ground is where its box is, after the camera has turned, zoomed and mirrored it."""
    scene = np.full((SCENE_SIDE, SCENE_SIDE, 3), 40, np.float32)
    scene[60:120, 150:230] = 220
    for seed in range(12):
        shot = camera.take(scene, np.random.default_rng(seed), size=192, box=(150, 60, 230, 120))
        assert shot.rgb.shape == (192, 192, 3) and shot.rgb.dtype == np.uint8
        assert shot.box is not None
        x1, y1, x2, y2 = (round(v) for v in shot.box)
        gray = cv2.cvtColor(shot.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
        inside = np.zeros(gray.shape, bool)
        inside[y1 + 3:y2 - 3, x1 + 3:x2 - 3] = True
        near = np.zeros(gray.shape, bool)
        near[max(0, y1 - 3):y2 + 3, max(0, x1 - 3):x2 + 3] = True
        # The camera adds grain: compare means, which it does not move.
        assert gray[inside].mean() > gray[~near].mean() + 60


def test_the_camera_is_deterministic(faces: tuple[NDArray[np.float32], ...]) -> None:
    shots = [camera.take(faces[0], np.random.default_rng(seed), size=192).rgb for seed in (1, 1, 2)]
    assert np.array_equal(shots[0], shots[1]) and not np.array_equal(shots[0], shots[2])


def test_gray_sources_stay_nearly_gray(faces: tuple[NDArray[np.float32], ...]) -> None:
    for seed in range(6):
        rgb = camera.take(faces[0], np.random.default_rng(seed), size=192, gray=True).rgb.astype(np.int16)
        assert np.abs(rgb - rgb.mean(-1, keepdims=True)).mean() < 14


@pytest.mark.parametrize("dotted", [False, True])
def test_the_camera_draws_the_sharpness_whatever_the_scene_was(
    dotted: bool, faces: tuple[NDArray[np.float32], ...]
) -> None:
    """A halftone is many times as sharp as skin before the camera, and no sharper in the picture it stores."""
    soft = cv2.GaussianBlur(faces[0], (0, 0), 3)
    rows, columns = np.mgrid[:SCENE_SIDE, :SCENE_SIDE]
    scene = soft * (1 - 0.5 * ((rows // 3 + columns // 3) % 2))[..., None].astype(np.float32) if dotted else soft
    sharpness = [
        np.log(shortcuts.sharpness(as_screened(camera.take(scene, np.random.default_rng(seed), size=VIEW_SIDE).rgb)))
        for seed in range(80)
    ]
    assert abs(np.mean(sharpness) - 4.1) < 0.4 and 0.6 < np.std(sharpness) < 1.1


@pytest.mark.slow
def test_brightness_and_sharpness_alone_do_not_tell_attack_from_live(faces: tuple[NDArray[np.float32], ...]) -> None:
    """The shortcut check in small: 240 shots of one face, hence wide limits; docs/measured.md has the real one."""
    rng = np.random.default_rng(0)
    views, attacked = [], np.arange(240) % 2
    for number in range(240):
        if attacked[number]:
            shown = _attack(str(rng.choice(LAYERED_TYPES)), faces, number)
        else:
            shown = layered.present_live(faces[0], faces[1], np.random.default_rng(number))
        views.append(as_screened(camera.take(shown.scene, rng, size=VIEW_SIDE).rgb))
    for measure in (shortcuts.brightness, shortcuts.sharpness, shortcuts.contrast):
        assert 0.4 < roc_auc_score(attacked, [measure(view) for view in views]) < 0.6, measure.__name__
