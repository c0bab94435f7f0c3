"""Following one face through frames."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visagent.media import load_picture
from visagent.vision.detect import FaceDetector, load_face_detector
from visagent.vision.track import FaceTracker, first_faces

PORTRAIT = "astronaut.jpg"


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return load_face_detector()


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    from pathlib import Path

    import visagent

    rgb = load_picture(Path(visagent.__file__).parent / "assets" / PORTRAIT).rgb
    return np.asarray(Image.fromarray(rgb).convert("L"))


def shifted(gray: NDArray[np.uint8], dx: int, dy: int) -> NDArray[np.uint8]:
    return np.roll(gray, (dy, dx), (0, 1))


def test_the_landmarks_go_where_the_face_goes(portrait: NDArray[np.uint8], detector: FaceDetector) -> None:
    (face,) = first_faces(portrait, detector)
    tracker = FaceTracker(detector, face, 0.0)
    for step in range(1, 31):
        points = tracker.follow(shifted(portrait, 3 * step, step), step / 25)
        assert points is not None
        moved = np.median(points - face.landmarks68, 0)
        np.testing.assert_allclose(moved, [3 * step, step], atol=2)


def test_a_face_that_goes_is_gone_and_is_found_again_elsewhere(portrait: NDArray[np.uint8], detector: FaceDetector
                                                              ) -> None:
    (face,) = first_faces(portrait, detector)
    tracker = FaceTracker(detector, face, 0.0)
    nobody = np.full_like(portrait, 120)
    seen = [tracker.follow(nobody, step / 25) is not None for step in range(1, 26)]
    assert not seen[-1] and not any(seen[14:]), "half a second after it left at the latest"
    back = [tracker.follow(shifted(portrait, 120, 60), 1 + step / 25) for step in range(1, 13)]
    assert back[-1] is not None
    np.testing.assert_allclose(np.median(back[-1] - face.landmarks68, 0), [120, 60], atol=3)


def test_a_face_that_fills_the_frame_is_followed(portrait: NDArray[np.uint8], detector: FaceDetector) -> None:
    (face,) = first_faces(portrait, detector)
    x1, y1, x2, y2 = face.box.rounded()
    tight = np.ascontiguousarray(portrait[y1 - 5:y2 + 5, x1 - 5:x2 + 5])
    (close,) = first_faces(tight, detector)
    tracker = FaceTracker(detector, close, 0.0)
    assert all(tracker.follow(tight, step / 25) is not None for step in range(1, 26))


def test_somebody_else_is_not_taken_for_the_face(portrait: NDArray[np.uint8], detector: FaceDetector) -> None:
    two = np.concatenate([portrait, portrait], 1)
    left, right = first_faces(two, detector)
    tracker = FaceTracker(detector, right, 0.0)
    for step in range(1, 16):
        points = tracker.follow(two, step / 25)
        assert points is not None and abs(float(np.median(points - right.landmarks68))) < 2
    assert left.box.x2 < right.box.x1
