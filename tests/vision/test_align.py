"""Chips: the points land on the template, and the descriptor tells people apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.tools.models import Models
from visagent.vision.align import ARCFACE_112, DLIB_150, ChipTemplate, align_face, similarity
from visagent.vision.crop import resize
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.encoder import embed_faces, open_encoder, similarity_of


@given(angle=st.floats(-3, 3), scale=st.floats(0.1, 10), dx=st.floats(-100, 100), dy=st.floats(-100, 100))
def test_a_similarity_is_recovered_exactly(angle: float, scale: float, dx: float, dy: float) -> None:
    source = np.array(ARCFACE_112.points)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(source, source @ turn.T + [dx, dy])
    assert np.allclose(matrix, np.hstack([turn, [[dx], [dy]]]), atol=1e-6)


def test_a_similarity_never_mirrors() -> None:
    source = np.array(ARCFACE_112.points)
    assert np.linalg.det(similarity(source, source * [-1, 1])[:, :2]) >= 0


def test_points_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="all the same"):
        similarity(np.ones((5, 2)), np.array(ARCFACE_112.points))


@pytest.mark.parametrize("template", [ARCFACE_112, DLIB_150])
@pytest.mark.parametrize("side", [512, 1024])
def test_the_chip_has_the_eyes_at_the_templates_place(astronaut: np.ndarray, specialists: Models,
                                                      template: ChipTemplate, side: int) -> None:
    rgb = resize(astronaut, side, side)
    (face,) = detect_faces(rgb, specialists.get(load_face_detector))
    chip = align_face(rgb, face, template)
    assert chip.shape == (template.size, template.size, 3)
    found = detect_faces(chip, specialists.get(load_face_detector))[0]
    points = np.stack([found.landmarks68[list(marks)].mean(0) for marks in template.marks])
    assert np.abs(points - np.array(template.points)).mean() < 0.05 * template.size


def test_an_embedding_survives_a_resize_and_a_mirror(astronaut: np.ndarray, specialists: Models) -> None:
    detector, encoder = specialists.get(load_face_detector), specialists.get(open_encoder)
    pictures = [astronaut, resize(astronaut, 900, 900), np.ascontiguousarray(astronaut[:, ::-1])]
    one, larger, mirrored = (embed_faces(rgb, detect_faces(rgb, detector)[:1], encoder)[0] for rgb in pictures)
    assert one.shape == (128,)
    assert one.dtype == np.float32
    assert similarity_of(one, one) == pytest.approx(1)
    assert similarity_of(one, larger) > 0.97
    assert similarity_of(one, mirrored) > 0.97
