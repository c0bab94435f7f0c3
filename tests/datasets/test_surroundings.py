"""Composed surroundings: what is drawn lies where it is said to lie, and live and attack differ only in a border."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.datasets.sources import FacePicture
from visagent.datasets.surroundings import (
    KINDS,
    SIDE,
    UNIT,
    Head,
    Scene,
    Stage,
    attack_scene,
    head_of,
    live_scene,
    set_stage,
    wide_shot,
)
from visagent.datasets.surroundings.canvas import MIDDLE, Layer, blend, lay, polygon
from visagent.datasets.surroundings.carriers import CARRIERS, PAD, Carrier, carry, draw_window
from visagent.datasets.surroundings.people import figure_of, moved
from visagent.datasets.surroundings.places import PLACES
from visagent.datasets.surroundings.shots import WIDE_GRID, seen_part
from visagent.tools.spoof.surroundings import padded_share
from visagent.tools.spoof.surroundings_network import ENCLOSURES
from visagent.vision.crop import WIDE_MARGIN, WIDE_SIDE, View

ALL_CARRIERS = [*CARRIERS["train"], *CARRIERS["held out"]]
Faces = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture(scope="module")
def head(astronaut: np.ndarray, faces: Faces) -> Head:
    return head_of(FacePicture(np.ascontiguousarray(astronaut[60:210, 150:300]), "utkface", "one", False), faces[2])


@pytest.fixture(scope="module")
def stage(head: Head) -> Stage:
    return set_stage([head], np.random.default_rng(0), people=6, places=8)


def test_the_network_names_the_kinds_that_are_composed() -> None:
    assert KINDS == ENCLOSURES


def test_layers_are_laid_over_by_the_usual_formula() -> None:
    rng = np.random.default_rng(1)
    canvas, over = (rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cover[20:90, 30:140] = rng.integers(0, 256, (70, 110), dtype=np.uint8)
    share = cover[..., None] / 255.0
    right = canvas * (1 - share) + over * share
    assert np.abs(blend(canvas.copy(), over, cover) - right).max() < 1.01
    multiplied = np.round(over * share).astype(np.uint8)
    assert np.abs(lay(canvas.copy(), Layer(multiplied, cover)) - right).max() < 2.01
    assert (blend(canvas.copy(), over, cover * 0) == canvas).all()


def test_a_figure_is_what_was_drawn_before_any_background(head: Head) -> None:
    """Cut out and laid over white, over black: the two agree where it covers, and show the background elsewhere."""
    figure = figure_of(head, np.random.default_rng(3))
    white = lay(np.full((SIDE, SIDE, 3), 255, np.uint8), figure).astype(int)
    black = lay(np.zeros((SIDE, SIDE, 3), np.uint8), figure).astype(int)
    assert np.abs((white - black) - (255 - figure.cover[..., None].astype(int))).max() <= 2
    middle = slice(SIDE // 2 - 8, SIDE // 2 + 8)
    assert (figure.cover[middle, middle] > 240).all()
    assert (figure.cover[:4] == 0).all() and figure.cover[-1, SIDE // 2] == 255


def test_a_moved_figure_has_its_face_where_it_was_sent() -> None:
    cover = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(cover, (SIDE // 2, SIDE // 2), 10, 255, -1)
    dot = Layer(np.repeat(cover[..., None], 3, 2), cover)
    for mirror in (False, True):
        there = moved(dot, centre=(40.0, 120.0), scale=0.5, tilt=30.0, mirror=mirror).cover
        rows, columns = np.nonzero(there > 127)
        assert abs(columns.mean() - 40) < 1 and abs(rows.mean() - 120) < 1
        assert 0.2 < len(rows) / (cover > 127).sum() < 0.3


@pytest.mark.parametrize(("share", "kind"), [(share, kind) for share in PLACES for kind in PLACES[share]])
def test_every_place_is_a_canvas_that_the_seed_decides(share: str, kind: str) -> None:
    drawn = [PLACES[share][kind](np.random.default_rng(seed)) for seed in (4, 4, 5, 6)]
    assert all(one.shape == (SIDE, SIDE, 3) and one.dtype == np.uint8 for one in drawn)
    assert (drawn[0] == drawn[1]).all() and any((drawn[0] != other).any() for other in drawn[2:])


def test_nothing_held_out_is_also_trained_on() -> None:
    assert not set(PLACES["train"]) & set(PLACES["held out"])
    assert not {one.name for one in CARRIERS["train"]} & {one.name for one in CARRIERS["held out"]}
    assert {one.screen for one in CARRIERS["train"]} == {one.screen for one in CARRIERS["held out"]} == {True, False}


@pytest.mark.parametrize("carrier", ALL_CARRIERS, ids=lambda carrier: carrier.name)
def test_a_carrier_shows_the_content_in_its_window_only(carrier: Carrier) -> None:
    """Black and white shown by the same draws differ inside of the window, and nowhere else."""
    for seed in range(8):
        window = draw_window(carrier, np.random.default_rng(seed))
        assert min(window) >= 0.58  # the face itself is never cut by the border
        dark, light = (carry(np.full((SIDE, SIDE, 3), level, np.uint8), window, carrier, np.random.default_rng(seed))
                       for level in (0, 255))
        change = np.abs(light.rgb.astype(int) - dark.rgb).max(2)
        inside = polygon(light.window, SIDE + 2 * PAD)
        slack = np.ones((27, 27), np.uint8)  # a bowed sheet moves by up to 11 pixels, and its corners are round
        assert (change[cv2.dilate(inside, slack) == 0] == 0).all()
        assert (change[cv2.erode(inside, slack) > 0] > 60).mean() > 0.5
        assert (light.cover[cv2.erode(inside, slack) > 0] == 255).all()
        assert (light.cover == dark.cover).all()


@pytest.mark.parametrize("share", ["train", "held out"])
def test_live_scenes_have_no_window_and_attacks_have_one_around_the_face(head: Head, share: str) -> None:
    stage = set_stage([head], np.random.default_rng(2), share=share, people=3, places=4)  # type: ignore[arg-type]
    kinds = set()
    for seed in range(24):
        live, attack = (make(stage, np.random.default_rng(seed)) for make in (live_scene, attack_scene))
        assert live.kind == 0 and live.window is None and live.rgb.shape == attack.rgb.shape == (SIDE, SIDE, 3)
        assert attack.window is not None
        face = polygon(np.asarray(MIDDLE) + UNIT * np.array([[-0.4, -0.4], [0.4, -0.4], [0.4, 0.4], [-0.4, 0.4]]))
        assert (polygon(attack.window)[face == 255] > 0).mean() > 0.97
        kinds.add(attack.kind)
    assert kinds == {1, 2}


def test_a_scene_leaves_the_stage_as_it_was(stage: Stage) -> None:
    before = [one.copy() for one in stage.places], [one.rgb.copy() for one in stage.figures]
    for seed in range(12):
        live_scene(stage, np.random.default_rng(seed))
        attack_scene(stage, np.random.default_rng(seed))
    assert all((one == now).all() for one, now in zip(before[0], stage.places, strict=True))
    assert all((one == now.rgb).all() for one, now in zip(before[1], stage.figures, strict=True))


def test_the_same_seed_takes_the_same_picture(stage: Stage) -> None:
    shots = []
    for _ in range(2):
        rng = np.random.default_rng(9)
        shot = wide_shot(live_scene(stage, rng), rng)
        assert shot is not None and shot.rgb.shape == (WIDE_SIDE, WIDE_SIDE, 3) and not shot.mask.any()
        shots.append(shot.rgb)
    assert (shots[0] == shots[1]).all()


def test_the_face_has_the_size_in_the_view_that_the_tool_gives_it() -> None:
    """A white disc as wide as the face's box: its diameter in the view is 96 / 3.2, but for the detector's scatter."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    cv2.circle(canvas, (SIDE // 2, SIDE // 2), round(UNIT / 2), (255, 255, 255), -1, cv2.LINE_AA)
    widths, away = [], []
    for seed in range(40):
        shot = wide_shot(Scene(canvas, 0, None), np.random.default_rng(seed))
        assert shot is not None
        gray = cv2.GaussianBlur(shot.rgb.mean(2).astype(np.float32), (0, 0), 1.5)
        bright = gray > (gray.max() + np.median(gray)) / 2
        if shot.padded == 0:
            widths.append(2 * np.sqrt(bright.sum() / np.pi))
            away.append(float(np.linalg.norm(np.argwhere(bright).mean(0) - WIDE_SIDE / 2)))
    assert len(widths) > 10
    # A picture that ends close to the face shifts its view; in the others the face is in the middle.
    assert np.quantile(away, 0.3) < 4
    assert abs(np.median(widths) / (WIDE_SIDE / WIDE_MARGIN) - 1) < 0.08


def test_the_mask_marks_the_window_and_is_nothing_where_the_picture_ends() -> None:
    canvas = np.full((SIDE, SIDE, 3), 20, np.uint8)
    window = np.asarray(MIDDLE) + UNIT * np.array([[-0.8, -0.9], [0.9, -0.9], [0.9, 1.0], [-0.8, 1.0]])
    cv2.fillPoly(canvas, [window.astype(np.int32)], (230, 230, 230))
    agree = []
    for seed in range(30):
        shot = wide_shot(Scene(canvas, 1, window), np.random.default_rng(seed))
        if shot is None or shot.padded > 0:
            continue
        gray = cv2.resize(shot.rgb.mean(2), (WIDE_GRID, WIDE_GRID), interpolation=cv2.INTER_AREA)
        agree.append(np.corrcoef(gray.ravel(), shot.mask.ravel())[0, 1])
    assert len(agree) > 5 and np.median(agree) > 0.95


def test_an_attack_whose_border_is_out_of_view_is_not_shown() -> None:
    canvas = np.full((SIDE, SIDE, 3), 90, np.uint8)
    everything = np.asarray(MIDDLE) + SIDE * np.array([[-9.0, -9], [9, -9], [9, 9], [-9, 9]])
    shots = [wide_shot(Scene(canvas, 2, everything), np.random.default_rng(seed)) for seed in range(10)]
    # Bars that a program adds lie outside of the window too: those may stay.
    assert sum(shot is None for shot in shots) >= 8


def test_padding_occurs_in_live_and_attack_alike(stage: Stage) -> None:
    rng = np.random.default_rng(12)
    padded: list[list[float]] = [[], []]
    for number in range(160):
        make = attack_scene if number % 2 else live_scene
        shot = wide_shot(make(stage, rng), rng)
        if shot is not None:
            padded[number % 2].append(shot.padded)
    shares = [float(np.mean(np.array(one) > 0.05)) for one in padded]
    assert min(shares) > 0.1 and abs(shares[0] - shares[1]) < 0.2


def test_the_seen_part_is_counted_as_the_view_is_cut() -> None:
    for left, top, side in itertools.product((-30, 0, 12), (-7, 5), (40, 96)):
        view = View(rgb=np.zeros((48, 48, 3), np.uint8), left=left, top=top, side=side)
        seen = seen_part(view, 60, 50)
        assert abs(1 - float(seen.mean()) - padded_share(view, 60, 50)) < 0.03
