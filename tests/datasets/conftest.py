"""A face to attack: the public-domain portrait, a mirrored 'other person', and plausible landmarks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from visagent.datasets.attacks import scene_of
from visagent.datasets.surfaces import SCENE_SIDE


@pytest.fixture(scope="session")
def faces() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The portrait cropped to its face as a scene, a mirrored 'other person', and a frontal face of 68 points."""
    from skimage.data import astronaut

    scene = scene_of(astronaut()[60:210, 150:300])
    return scene, np.ascontiguousarray(scene[:, ::-1]), _landmarks()


def _landmarks() -> NDArray[np.float32]:
    points = np.zeros((68, 2), np.float32)
    turn = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([0.5 + 0.4 * np.cos(turn), 0.5 + 0.45 * np.sin(turn)], 1)
    points[17:27] = np.stack([np.linspace(0.2, 0.8, 10), np.full(10, 0.3)], 1)
    points[27:36] = np.stack([np.full(9, 0.5), np.linspace(0.4, 0.62, 9)], 1)
    for start, x in ((36, 0.33), (42, 0.67)):
        turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
        points[start:start + 6] = np.stack([x + 0.07 * np.cos(turn), 0.4 + 0.03 * np.sin(turn)], 1)
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    points[48:] = np.stack([0.5 + 0.13 * np.cos(turn), 0.75 + 0.05 * np.sin(turn)], 1)
    return points * SCENE_SIDE
