"""Which way a head is turned: yaw, pitch and roll from the 68 landmarks and a generic head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visagent.vision.detect import FloatImage

HEAD_MARKS = (17, 21, 22, 26, 36, 39, 42, 45, 31, 35, 48, 54, 8)
"""Marks of the 68-point scheme used: brow ends, eye corners, nose wings, mouth corners, chin."""

HEAD_POINTS = np.array([
    (-6.825897, -6.760612, -4.402142), (-1.330353, -7.122144, -6.903745), (1.330353, -7.122144, -6.903745),
    (6.825897, -6.760612, -4.402142), (-5.311432, -5.485328, -3.987654), (-1.789930, -5.393625, -4.413414),
    (1.789930, -5.393625, -4.413414), (5.311432, -5.485328, -3.987654), (-2.005628, -1.409845, -6.165652),
    (2.005628, -1.409845, -6.165652), (-2.774015, 2.080775, -5.048531), (2.774015, 2.080775, -5.048531),
    (0.0, 7.415691, -4.070434),
])
"""The same marks on an anthropometric mean head, in centimetres: x to the picture's right, y down, z away from the
camera. The numbers are those of `glAnthropometric3DModel` (AIFI, University of Coimbra), which many landmark pose
estimators use, with the axes turned to the camera's."""

CAMERA_DISTANCE = 6.0
"""Distance to the camera in face widths; about 90 cm, a usual portrait. The focal length of a picture is unknown, and
a crop has lost its centre, so every face is taken as the centre of such a portrait."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a head is turned, in degrees; all 0 when it looks straight into the camera.

    Attributes:
        yaw: Positive when the face is turned to the picture's right.
        pitch: Positive when the face is raised.
        roll: Positive when the head is tilted clockwise in the picture.
    """

    yaw: float
    pitch: float
    roll: float


def estimate_pose(landmarks68: FloatImage) -> Pose:
    """The pose of the generic head that fits the landmarks best (cv2.solvePnP).

    Good to some 5 degrees for faces up to 40 degrees from frontal; a face is no generic head, so differences between
    people of a few degrees mean nothing.

    Args:
        landmarks68: (x, y) in pixels, `[68, 2]`, not all the same.

    Raises:
        ValueError: Not `[68, 2]`, or the points do not span a face.
    """
    import cv2

    if landmarks68.shape != (68, 2):
        raise ValueError("the pose needs 68 (x, y) landmarks")
    points = landmarks68[list(HEAD_MARKS)].astype(np.float64)
    spread = float(np.ptp(points, axis=0).max())
    if not np.isfinite(points).all() or spread <= 0:
        raise ValueError("the landmarks do not span a face")
    points = (points - (points.min(0) + points.max(0)) / 2) / spread
    camera = np.array([[CAMERA_DISTANCE, 0.0, 0.0], [0.0, CAMERA_DISTANCE, 0.0], [0.0, 0.0, 1.0]])
    head_size = float(np.ptp(HEAD_POINTS, axis=0).max())
    # Starting in front of the camera keeps the solver from the mirrored solution behind it.
    found, turn, _ = cv2.solvePnP(HEAD_POINTS, points, camera, None, np.zeros((3, 1)),
                                  np.array([[0.0], [0.0], [CAMERA_DISTANCE * head_size]]), True,
                                  cv2.SOLVEPNP_ITERATIVE)
    if not found:
        raise ValueError("the landmarks do not fit a head")
    matrix = np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64)
    return pose_of_rotation(matrix)


def pose_of_rotation(matrix: np.ndarray) -> Pose:
    """Angles of a rotation `[3, 3]` of the head that first raises it, then turns it, and last tilts it in the picture.

    In this order a tilted head keeps its yaw and pitch.
    """
    yaw = np.degrees(np.arcsin(np.clip(matrix[2, 0], -1.0, 1.0)))
    pitch = np.degrees(np.arctan2(-matrix[2, 1], matrix[2, 2]))
    roll = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return Pose(yaw=float(yaw), pitch=float(pitch), roll=float(roll))
