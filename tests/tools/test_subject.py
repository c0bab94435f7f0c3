"""Which face is meant: the only one, the clearly biggest, or the numbered one; else an abstention that says why."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from visagent.evidence import Finding, State
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models
from visagent.tools.subject import ChosenFace, choose_face
from visagent.vision.crop import resize


@pytest.fixture(scope="module")
def context(astronaut: np.ndarray, specialists: Models) -> ToolContext:
    """One face; two alike; a big and a small one; none; a tiny one; a smeared one: image_1 to image_6."""
    portrait = astronaut[:256, 60:360]
    small = np.full((256, 150, 3), 90, np.uint8)
    small[:128] = resize(portrait, 150, 128)
    tiny = resize(portrait, 90, 77)
    smeared = np.asarray(cv2.GaussianBlur(portrait, (0, 0), 4.5), dtype=np.uint8)
    store = PictureStore()
    for rgb in (portrait, np.hstack([portrait, portrait]), np.hstack([small, portrait]),
                np.full((80, 80, 3), 120, np.uint8), tiny, smeared):
        store.add(picture_from_array(np.ascontiguousarray(rgb)))
    return ToolContext(pictures=store, models=specialists, settings=Settings())


def test_the_only_face_is_meant(context: ToolContext) -> None:
    chosen = choose_face("image_1", None, context, "verify")
    assert isinstance(chosen, ChosenFace)
    assert (chosen.number, chosen.count, chosen.name) == (1, 1, "the face")
    assert chosen.region("live").box == chosen.face.box


def test_two_alike_are_asked_about_and_numbered_from_the_left(context: ToolContext) -> None:
    found = choose_face("image_2", None, context, "verify")
    assert isinstance(found, Finding)
    assert found.state is State.abstained
    assert "2 faces" in str(found.reason)
    assert "number" in str(found.reason)
    assert [region.label for region in found.regions] == ["face 1", "face 2"]
    assert found.regions[0].box.x2 < 300 < found.regions[1].box.x1


def test_a_number_picks_from_the_left(context: ToolContext) -> None:
    for number in (1, 2):
        chosen = choose_face("image_2", number, context, "verify")
        assert isinstance(chosen, ChosenFace)
        assert (chosen.face.box.x1 > 300) == (number == 2)
        assert chosen.name == f"face {number} of 2"


def test_the_clearly_biggest_is_meant(context: ToolContext) -> None:
    chosen = choose_face("image_3", None, context, "verify")
    assert isinstance(chosen, ChosenFace)
    assert chosen.number == 2
    assert chosen.face.box.x1 > 150


@pytest.mark.parametrize(("image", "number", "words"), [
    ("image_4", None, "no face was found"),
    ("image_1", 2, "no face 2"),
    ("image_5", None, "pixels wide, at least"),
    ("image_6", None, "too blurred"),
])
def test_an_abstention_says_why(context: ToolContext, image: str, number: int | None, words: str) -> None:
    found = choose_face(image, number, context, "verify")
    assert isinstance(found, Finding)
    assert found.state is State.abstained
    assert words in str(found.reason)
