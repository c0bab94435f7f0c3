"""Displays and prints photographed again: the physics against brute force, and what it must leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.datasets.recapture import display, grids, printer, sheet
from visagent.datasets.recapture.display import DISPLAYS, show_scene
from visagent.datasets.recapture.holding import add_fingers
from visagent.datasets.recapture.printer import PRINTERS, STOCKS, Printer, print_scene, separate
from visagent.datasets.surfaces import SCENE_SIDE

CELLS = {"stripes": grids.STRIPES, "lying": grids.LYING_STRIPES, "diamond": grids.DIAMOND, "delta": grids.DELTA,
         "led": grids.LED_WALL}


def _places(side: int, pitch: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axis = (np.arange(side, dtype=np.float32) + 0.37) / np.float32(pitch)
    return np.broadcast_to(axis, (side, side)).copy(), np.broadcast_to(axis[:, None], (side, side)).copy()


def _brute_force(cell: grids.Cell, side: int, pitch: float, steps: int = 48) -> NDArray[np.float64]:
    """The mean light over each photosite's square, by counting points that lie in a light of the cell."""
    offsets = (np.arange(steps) + 0.5) / steps - 0.5
    places = ((np.arange(side)[:, None] + 0.37 + offsets) / pitch % 1).ravel()
    seen = np.zeros((side, side, 3))
    for number, lights in enumerate(cell.lights):
        light = np.zeros((side * steps, side * steps))
        for x, y, width, height in lights:
            across = np.abs((places - x + 0.5) % 1 - 0.5) < width / 2
            down = np.abs((places - y + 0.5) % 1 - 0.5) < height / 2
            light += down[:, None] & across[None, :]
        area = sum(width * height for _, _, width, height in lights)
        seen[..., number] = light.reshape(side, steps, side, steps).mean((1, 3)) / area
    return seen


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("pitch", [0.83, 1.37, 2.6])
def test_the_light_on_the_photosites_is_the_mean_over_each(name: str, pitch: float) -> None:
    across, down = _places(16, pitch)
    seen = grids.light_on_photosites(CELLS[name], across, down, pitch=pitch, blur=0.0)
    right = _brute_force(CELLS[name], 16, pitch)
    # Three harmonics of each are summed: what is left out is the sharp corners of the lights.
    assert np.abs(seen - right).mean() < 0.04 + 0.12 * right.std()
    if right.std() > 0.1:
        assert np.corrcoef(seen.ravel(), right.ravel())[0, 1] > 0.9


def test_a_grid_finer_than_the_photosites_comes_out_as_slow_waves() -> None:
    """1.07 photosites to a cell: 1/1.07 of a wave per photosite cannot be told from 1 - 1/1.07, a wave of 15."""
    across, down = _places(150, 1.07)
    seen = grids.light_on_photosites(grids.STRIPES, across, down, pitch=1.07, blur=0.0)[..., 1]
    strength = np.abs(np.fft.rfft(seen[0] - seen[0].mean()))
    assert abs(150 / int(strength.argmax()) - 1 / (1 - 1 / 1.07)) < 1.0


def test_a_blurred_lens_leaves_nothing_of_the_grid() -> None:
    across, down = _places(40, 1.6)
    seen = grids.light_on_photosites(grids.DIAMOND, across, down, pitch=1.6, blur=3.0)
    assert np.allclose(seen, 1, atol=1e-3)


def test_the_mosaic_keeps_an_even_light_and_only_fills_in() -> None:
    even = np.full((24, 24, 3), (0.4, 1.0, 1.7), np.float32)
    assert np.allclose(grids.mosaic(even), even, atol=1e-6)
    light = np.random.default_rng(0).random((24, 24, 3), np.float32)
    filled = grids.mosaic(light)
    assert np.allclose(filled[0::2, 0::2, 0], light[0::2, 0::2, 0], atol=1e-6)
    assert np.allclose(filled[1::2, 1::2, 2], light[1::2, 1::2, 2], atol=1e-6)
    assert np.allclose(filled[0::2, 1::2, 1], light[0::2, 1::2, 1], atol=1e-6)


@pytest.mark.parametrize("screen", ["clustered", "scattered"])
@pytest.mark.parametrize("tone", [0.15, 0.4, 0.75])
def test_dots_cover_as_much_as_the_tone_asks(screen: str, tone: float) -> None:
    inks = np.full((SCENE_SIDE, SCENE_SIDE, 4), tone, np.float32)
    machine = Printer("test", screen, (90, 90), (0.3, 0.3), 0.0)  # type: ignore[arg-type]
    dots = printer.screen(inks, machine, 90, np.random.default_rng(0))
    assert np.abs(dots.mean((0, 1)) - tone).max() < 0.03
    # They are dots: hardly any of the raster is gray where the ink is on or off.
    assert dots.std() > 0.2


def test_separated_inks_give_the_colour_back() -> None:
    scene = np.random.default_rng(3).uniform(20, 235, (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.float32)
    inks = separate(scene, np.random.default_rng(1))
    assert inks.shape == (SCENE_SIDE, SCENE_SIDE, 4) and inks.min() >= 0 and inks.max() <= 1
    again = 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])
    assert np.abs(again - scene).max() < 0.5


def test_a_flat_matt_sheet_leaves_the_print_as_it_is() -> None:
    scene = np.random.default_rng(0).uniform(0, 255, (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.float32)
    flat = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    assert np.allclose(sheet.light_up(scene, flat, np.random.default_rng(5), gloss=0.0), scene, atol=1e-2)


def test_a_fold_lights_its_two_sides_differently() -> None:
    scene = np.full((SCENE_SIDE, SCENE_SIDE, 3), 150, np.float32)
    columns = np.broadcast_to(np.abs(np.arange(SCENE_SIDE) - SCENE_SIDE / 2), (SCENE_SIDE, SCENE_SIDE))
    heights = -0.4 * columns.astype(np.float32)
    steps = [
        abs(float(lit[:, :140].mean() - lit[:, 150:].mean()))
        for lit in (sheet.light_up(scene, heights, np.random.default_rng(seed), gloss=0.0) for seed in range(12))
    ]
    assert np.median(steps) > 8


def test_a_glossy_sheet_shines() -> None:
    scene = np.full((SCENE_SIDE, SCENE_SIDE, 3), 90, np.float32)
    flat = np.zeros((SCENE_SIDE, SCENE_SIDE), np.float32)
    peaks = [float(sheet.light_up(scene, flat, np.random.default_rng(seed), gloss=1.0).max()) for seed in range(10)]
    assert min(peaks) > 150


@pytest.mark.parametrize("share", ["train", "held out"])
def test_white_paper_stays_brighter_than_black_ink(share: str) -> None:
    for machine in PRINTERS[share]:
        for stock in STOCKS[share]:
            scene = np.zeros((SCENE_SIDE, SCENE_SIDE, 3), np.float32)
            scene[:, SCENE_SIDE // 2:] = 255
            printed = print_scene(scene, np.random.default_rng(7), set(), printer=machine, stock=stock, flat=True)
            assert printed.shape == scene.shape and np.isfinite(printed).all()
            assert printed[:, SCENE_SIDE // 2 + 8:].mean() > printed[:, : SCENE_SIDE // 2 - 8].mean() + 60


@pytest.mark.parametrize("share", ["train", "held out"])
def test_a_display_shows_the_picture_and_names_only_what_it_did(share: str) -> None:
    rng = np.random.default_rng(11)
    ramp = np.linspace(30, 220, SCENE_SIDE, dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(ramp, (SCENE_SIDE, SCENE_SIDE, 3))
    for kind in DISPLAYS[share]:
        clues: set[str] = set()
        shown = show_scene(scene.copy(), scene.copy(), rng, clues, display=kind)
        assert np.isfinite(shown).all()
        assert shown[-60:].mean() > shown[:60].mean() + 20
        assert clues <= {"moire pattern", "screen pixel grid", "brightness bands", "glare on a screen"}


def test_fringes_are_named_when_they_are_there() -> None:
    rows = np.arange(SCENE_SIDE, dtype=np.float32)[:, None, None]
    coarse = np.broadcast_to(12 * np.sin(rows / 3.5), (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.float32)
    fine = np.broadcast_to(20 * np.sin(rows * 2.4), (SCENE_SIDE, SCENE_SIDE, 3)).astype(np.float32)
    for change, right in ((coarse, {"moire pattern"}), (fine, {"screen pixel grid"}), (coarse * 0, set())):
        clues: set[str] = set()
        display._name_what_shows(change, clues)
        assert clues == right


def test_nothing_held_out_is_also_trained_on() -> None:
    for kinds in (PRINTERS, STOCKS, DISPLAYS):
        names = [{one.name for one in kinds[share]} for share in ("train", "held out")]
        assert names[0] and names[1] and not names[0] & names[1]


def test_fingers_come_in_from_a_border_and_leave_the_middle() -> None:
    scene = np.full((SCENE_SIDE, SCENE_SIDE, 3), 100, np.float32)
    for seed in range(20):
        held = add_fingers(scene, np.random.default_rng(seed))
        change = np.abs(held - scene).max(-1)
        border = np.concatenate([change[0], change[-1], change[:, 0], change[:, -1]])
        assert border.max() > 10
        assert change[110:180, 110:180].max() < 60
