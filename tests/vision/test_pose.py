"""Pose: known turns of the generic head come back with the documented signs."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.vision.pose import CAMERA_DISTANCE, HEAD_MARKS, HEAD_POINTS, estimate_pose


def landmarks_of(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The generic head, raised, then turned to the picture's right, then tilted clockwise; seen by a camera."""
    a, b, c = np.radians([yaw, pitch, roll])
    # y points down and the face looks along -z: raising it moves -z towards -y.
    raise_it = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    turn_it = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    tilt_it = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    points = HEAD_POINTS @ (tilt_it @ turn_it @ raise_it).T
    depth = points[:, 2] + CAMERA_DISTANCE * np.ptp(HEAD_POINTS, axis=0).max()
    marks = np.zeros((68, 2), np.float32)
    marks[list(HEAD_MARKS)] = 300 + 700 * points[:, :2] / depth[:, None]
    return marks


def test_raising_and_turning_point_where_the_signs_say() -> None:
    chin, brow = HEAD_MARKS.index(8), HEAD_MARKS.index(21)
    straight = landmarks_of(0, 0, 0)
    assert landmarks_of(0, 0, 10)[17, 1] < straight[17, 1]  # clockwise: the left brow goes up
    assert landmarks_of(25, 0, 0)[31:36, 0].max() > straight[31:36, 0].max()  # the nose goes right
    assert chin != brow


@pytest.mark.parametrize(("yaw", "pitch", "roll"),
                         [(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 15), (20, 0, -15)])
def test_known_turns_are_recovered(yaw: float, pitch: float, roll: float) -> None:
    pose = estimate_pose(landmarks_of(yaw, pitch, roll))
    assert pose.yaw == pytest.approx(yaw, abs=4)
    assert pose.pitch == pytest.approx(pitch, abs=4)
    assert pose.roll == pytest.approx(roll, abs=4)


def test_neither_place_nor_size_moves_the_pose() -> None:
    marks = landmarks_of(15, 5, 5)
    one, other = estimate_pose(marks), estimate_pose(marks * 7 - 500)
    assert (one.yaw, one.pitch, one.roll) == pytest.approx((other.yaw, other.pitch, other.roll), abs=0.1)


def test_points_that_are_no_face_are_refused() -> None:
    with pytest.raises(ValueError, match="span"):
        estimate_pose(np.ones((68, 2), np.float32))
    with pytest.raises(ValueError, match="68"):
        estimate_pose(np.ones((5, 2), np.float32))
