"""Quality: what a person calls blurred, dark or small falls short, in words; size alone is not blur."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from visagent.tools.models import Models
from visagent.vision.crop import resize
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.quality import FaceQuality, QualityLimits, measure_quality, measure_sharpness

GOOD = FaceQuality(width_px=100, eye_distance_px=45, sharpness=0.7, brightness=130, contrast=45, black_fraction=0,
                   white_fraction=0, yaw=0, pitch=0, roll=0)


@pytest.fixture(scope="module")
def face_gray(astronaut: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(astronaut[83:171, 179:267], cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def test_a_good_portrait_has_no_shortcoming(astronaut: np.ndarray, specialists: Models) -> None:
    (face,) = detect_faces(astronaut, specialists.get(load_face_detector))
    quality = measure_quality(astronaut, face)
    assert quality.shortcomings(QualityLimits()) == ()
    assert 80 < quality.width_px < 100
    assert 35 < quality.eye_distance_px < 55
    assert abs(quality.yaw) < 15


def test_size_alone_does_not_move_the_sharpness(face_gray: np.ndarray) -> None:
    at_88 = measure_sharpness(face_gray)
    assert measure_sharpness(resize(face_gray, 64, 64)) == pytest.approx(at_88, rel=0.1)
    assert measure_sharpness(resize(face_gray, 44, 44)) == pytest.approx(at_88, rel=0.25)
    assert measure_sharpness(resize(face_gray, 264, 264)) == pytest.approx(at_88, rel=0.1)


def test_contrast_alone_does_not_move_the_sharpness(face_gray: np.ndarray) -> None:
    flat = (face_gray * 0.3 + 90).astype(np.uint8)
    assert measure_sharpness(flat) == pytest.approx(measure_sharpness(face_gray), rel=0.05)


def test_blur_lowers_the_sharpness_step_by_step(face_gray: np.ndarray) -> None:
    values = [measure_sharpness(np.asarray(cv2.GaussianBlur(face_gray, (0, 0), part * 88), dtype=np.uint8))
              for part in (0.01, 0.02, 0.03, 0.05)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.5
    assert values[-1] < QualityLimits().min_sharpness
    assert measure_sharpness(np.full((50, 50), 9, np.uint8)) == 0


@pytest.mark.parametrize(("change", "words"), [
    ({"width_px": 20.0}, "the face is 20 pixels wide, at least 40 are needed"),
    ({"sharpness": 0.3}, "too blurred"),
    ({"brightness": 10.0}, "too dark"),
    ({"brightness": 250.0}, "too bright"),
    ({"white_fraction": 0.5}, "50% of the face is white"),
    ({"black_fraction": 0.5}, "50% of the face is black"),
    ({"contrast": 3.0}, "too little contrast"),
    ({"yaw": -60.0}, "turned 60 degrees to the picture's left"),
    ({"pitch": 50.0}, "raised by 50 degrees"),
])
def test_each_shortcoming_is_said_with_its_limit(change: dict[str, float], words: str) -> None:
    import dataclasses

    (sentence,) = dataclasses.replace(GOOD, **change).shortcomings(QualityLimits())
    assert words in sentence
    assert GOOD.shortcomings(QualityLimits()) == ()
