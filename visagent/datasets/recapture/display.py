"""A display photographed: its pixels and tones, what its glass mirrors, and the beat of its light with the shutter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visagent.datasets.recapture import grids
from visagent.datasets.surfaces import SCENE_SIDE, Scene, smooth_noise, wave, window_reflection

SENSOR_SIDE = 2 * SCENE_SIDE
"""Photosites of the camera along a face view; the stored picture has half as many pixels."""
VISIBLE_FRINGES = 2.0
"""Gray values of spread from which on fringes that are wider than five pixels of the scene count as a clue."""
VISIBLE_GRID = 5.0
"""The same for finer lines."""


@dataclass(frozen=True, slots=True)
class Display:
    """A kind of display.

    Attributes:
        name: What it is.
        cell: Its pixels.
        pixels: Least and most pixels of it across a face view.
        glow: Least and most light of its black, 0 to 1: backlights leak, OLEDs do not.
        mirror: Chance that its glass mirrors the room.
        flicker: Chance that its light beats with the shutter.
    """

    name: str
    cell: grids.Cell
    pixels: tuple[float, float]
    glow: tuple[float, float]
    mirror: float
    flicker: float


DISPLAYS: Mapping[str, tuple[Display, ...]] = {
    "train": (
        Display("notebook", grids.STRIPES, (150, 520), (0.02, 0.09), 0.3, 0.25),
        Display("tablet on its side", grids.LYING_STRIPES, (220, 700), (0.01, 0.06), 0.5, 0.15),
        Display("OLED phone", grids.DIAMOND, (160, 480), (0.0, 0.01), 0.55, 0.4),
        Display("monitor", grids.STRIPES, (110, 330), (0.03, 0.1), 0.1, 0.3),
    ),
    "held out": (
        Display("television", grids.DELTA, (90, 300), (0.02, 0.1), 0.35, 0.3),
        Display("LED wall", grids.LED_WALL, (80, 200), (0.0, 0.03), 0.0, 0.6),
        Display("old phone", grids.LYING_STRIPES, (80, 160), (0.05, 0.14), 0.6, 0.1),
    ),
}


def show_scene(scene: Scene, room: Scene, rng: np.random.Generator, clues: set[str], *, display: Display) -> Scene:
    """The scene on a display, photographed.

    Args:
        scene: float32 `[S, S, 3]`, 0 to 255.
        room: What the glass may mirror, the same shape.
        rng: Source of all randomness.
        clues: What can be seen of it is added here.
        display: The kind of display.
    """
    pixels = rng.uniform(*display.pixels)
    shown = _tones(_resolved(scene, pixels), rng, display)
    pitch = SENSOR_SIDE / pixels
    light = grids.light_on_photosites(display.cell, *_places(pixels, rng), pitch=pitch, blur=rng.uniform(0.25, 0.75))
    grid: Scene = cv2.resize(grids.mosaic(light), (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_AREA)
    photographed: Scene = shown * grid
    _name_what_shows(photographed - shown, clues)
    if rng.random() < display.flicker:
        bands = wave(rng, rng.uniform(14, 150), rng.normal(np.pi / 2, 0.03))
        photographed = photographed * (1 + rng.uniform(0.04, 0.16) * np.sign(bands) * np.abs(bands) ** 0.5)[..., None]
        clues.add("brightness bands")
    if rng.random() < display.mirror:
        photographed = photographed + _mirrored(room, rng)
        clues.add("glare on a screen")
    if rng.random() < 0.25:
        smear = np.clip(smooth_noise(rng, rng.uniform(25, 70)) - 0.6, 0, 1)
        photographed = photographed + (smear * rng.uniform(6, 28))[..., None]
    return np.asarray(photographed, np.float32)


def _resolved(scene: Scene, pixels: float) -> Scene:
    """No more detail than the display has pixels, and the compression of what was sent to it."""
    side = int(np.clip(pixels, 40, SCENE_SIDE))
    small = cv2.resize(scene, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def _tones(scene: Scene, rng: np.random.Generator, display: Display) -> Scene:
    light = (np.clip(scene, 0, 255) / 255) ** rng.uniform(0.8, 1.4)
    primaries = np.eye(3) + rng.normal(0, 0.035, (3, 3))
    cold = np.array([rng.uniform(0.86, 1.0), rng.uniform(0.95, 1.02), rng.uniform(0.98, 1.12)])
    light = (light @ primaries.T) * cold * rng.uniform(0.85, 1.15)
    light = light + rng.uniform(*display.glow)
    bloom = cv2.GaussianBlur(light.astype(np.float32), (0, 0), rng.uniform(6, 14))
    light = light + rng.uniform(0, 0.14) * bloom
    rows, columns = np.ogrid[-1 : 1 : SCENE_SIDE * 1j, -1 : 1 : SCENE_SIDE * 1j]
    turn = rng.uniform(0, 2 * np.pi)
    light = light * (1 + rng.uniform(0, 0.16) * (np.cos(turn) * columns + np.sin(turn) * rows))[..., None]
    # The camera's own shoulder: displays are brighter than what they stand before, and clip.
    return np.asarray(255 * np.clip(light, 0, None) / (1 + np.clip(light - 0.85, 0, None) * 0.8), np.float32)


def _places(pixels: float, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each photosite looks on the display, in its pixels: turned, from the side, through a lens that bends."""
    axis = np.linspace(-0.5, 0.5, SENSOR_SIDE, dtype=np.float32)
    x, y = axis[None, :], axis[:, None]
    angle = np.deg2rad(rng.normal(0, 7))
    across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    tilt = rng.normal(0, 0.06, 2)
    depth = 1 + tilt[0] * across + tilt[1] * down
    radius = across**2 + down**2
    bend = 1 + rng.normal(0, 0.035) * radius
    # Hands shake and sensors roll while they read: a little waviness down the rows.
    roll = rng.uniform(0, 0.0012) * np.sin(2 * np.pi * rng.uniform(0.5, 3) * y + rng.uniform(0, 6))
    across, down = across / depth * bend + roll, down / depth * bend
    start = rng.random(2)
    return (across * pixels + start[0]).astype(np.float32), (down * pixels + start[1]).astype(np.float32)


def _name_what_shows(change: Scene, clues: set[str]) -> None:
    coarse = cv2.GaussianBlur(change, (0, 0), 1.8)
    coarse = coarse - cv2.GaussianBlur(coarse, (0, 0), 28)
    if coarse.std() > VISIBLE_FRINGES:
        clues.add("moire pattern")
    if (change - cv2.GaussianBlur(change, (0, 0), 1.8)).std() > VISIBLE_GRID:
        clues.add("screen pixel grid")


def _mirrored(room: Scene, rng: np.random.Generator) -> Scene:
    """A lamp or window on the glass, or the room dimly."""
    if rng.random() < 0.35:
        blurred = cv2.GaussianBlur(room[:, ::-1], (0, 0), rng.uniform(3, 12))
        return np.asarray(blurred * rng.uniform(0.1, 0.3), np.float32)
    tint = rng.normal(1, 0.05, 3)
    return np.asarray(window_reflection(rng)[..., None] * rng.uniform(40, 150) * tint, np.float32)
