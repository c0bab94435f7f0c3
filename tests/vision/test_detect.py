"""Faces are found in photos, tight crops and small pictures, and nowhere else."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest

from visagent.media import load_picture
from visagent.tools.models import Models
from visagent.vision.crop import resize, take_view
from visagent.vision.detect import detect_faces, load_face_detector
from visagent.vision.encoder import embed_faces, open_encoder, similarity_of
from visagent.vision.quality import measure_quality


def test_the_face_is_where_it_is(astronaut: np.ndarray, specialists: Models) -> None:
    (face,) = detect_faces(astronaut, specialists.get(load_face_detector))
    assert face.box.x1 == pytest.approx(179, abs=15)
    assert face.box.y2 == pytest.approx(171, abs=15)
    assert face.landmarks68.shape == (68, 2)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks5
    assert face.box.x1 < left_eye[0] < nose[0] < right_eye[0] < face.box.x2
    assert left_eye[1] < nose[1] < left_mouth[1] < face.box.y2
    assert left_mouth[0] < right_mouth[0]


@pytest.mark.parametrize("crop", [(75, 180, 175, 275), (90, 165, 185, 262)])
def test_a_face_that_fills_the_picture_is_found(astronaut: np.ndarray, specialists: Models,
                                                crop: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = crop
    tight = np.ascontiguousarray(astronaut[top:bottom, left:right])
    (face,) = detect_faces(tight, specialists.get(load_face_detector))
    assert 0 <= face.box.x1 < face.box.x2 <= tight.shape[1]
    assert 0 <= face.box.y1 < face.box.y2 <= tight.shape[0]


def test_coordinates_are_those_of_the_picture_also_when_it_is_reduced(astronaut: np.ndarray,
                                                                      specialists: Models) -> None:
    detector = specialists.get(load_face_detector)
    (face,) = detect_faces(astronaut, detector)
    (large,) = detect_faces(resize(astronaut, 1536, 1536), detector)
    assert large.box.x1 / 3 == pytest.approx(face.box.x1, abs=12)
    assert np.abs(large.landmarks68 / 3 - face.landmarks68).mean() < 4


def test_faces_come_biggest_first_and_once_each(astronaut: np.ndarray, specialists: Models) -> None:
    row = np.hstack([np.vstack([resize(astronaut[:256, 60:360], 150, 128), np.zeros((128, 150, 3), np.uint8)]),
                     astronaut[:256, 60:360]])
    faces = detect_faces(np.ascontiguousarray(row), specialists.get(load_face_detector))
    assert len(faces) == 2
    assert faces[0].area > 2 * faces[1].area
    assert faces[0].box.x1 > 150 > faces[1].box.x2


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_picture_on_its_side_gives_the_same_face_turned(astronaut: np.ndarray, specialists: Models,
                                                          turns: int) -> None:
    """A phone's picture that lost its EXIF orientation; not square, so that swapped sides would show."""
    detector = specialists.get(load_face_detector)
    photo = np.ascontiguousarray(astronaut[:400])
    (upright,) = detect_faces(photo, detector)
    lying = np.ascontiguousarray(np.rot90(photo, -turns))
    (face,) = detect_faces(lying, detector)
    assert (upright.turns, face.turns) == (0, turns)
    height, width = photo.shape[:2]
    points = upright.landmarks68
    for _ in range(turns):
        points = np.stack([height - points[:, 1], points[:, 0]], 1)
        height, width = width, height
    assert np.abs(points - face.landmarks68).max() < 6
    centre = points.mean(0)
    assert face.box.x1 < centre[0] < face.box.x2 and face.box.y1 < centre[1] < face.box.y2
    quality, lying_quality = measure_quality(photo, upright), measure_quality(lying, face)
    assert lying_quality.yaw == pytest.approx(quality.yaw, abs=4)
    assert lying_quality.roll == pytest.approx(quality.roll, abs=4)
    view, turned = (take_view(rgb, one.box, size=96, turns=one.turns)
                    for rgb, one in ((photo, upright), (lying, face)))
    assert np.abs(view.rgb.astype(int) - turned.rgb).mean() < 12
    encoder = specialists.get(open_encoder)
    assert similarity_of(embed_faces(photo, [upright], encoder)[0], embed_faces(lying, [face], encoder)[0]) > 0.98


def test_no_face_is_seen_where_there_is_none(specialists: Models) -> None:
    from skimage.data import coins

    rgb = np.ascontiguousarray(np.stack([coins()] * 3, axis=2)[:200, :260])
    assert detect_faces(rgb, specialists.get(load_face_detector)) == ()
    assert detect_faces(np.full((64, 64, 3), 128, np.uint8), specialists.get(load_face_detector)) == ()


def test_other_arrays_are_refused(specialists: Models) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detect_faces(np.zeros((64, 64), np.uint8), specialists.get(load_face_detector))


@pytest.mark.data
@pytest.mark.parametrize("name", ["utkface", "lfw"])
def test_aligned_crops_are_found(data_folder: Path, specialists: Models, name: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    files = parquet.read_table(data_folder / f"{name}.parquet", columns=["image"])["image"]
    detector = specialists.get(load_face_detector)
    rows = random.Random(7).sample(range(len(files)), 15)
    missed = [row for row in rows
              if not detect_faces(load_picture(io.BytesIO(files[row]["bytes"].as_py())).rgb, detector)]
    assert not missed
