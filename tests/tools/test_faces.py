"""The tool `faces`: the count, where each face is, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.evidence import Box, State
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.faces import tool as faces_tool
from visagent.tools.faces.tool import FACES, SPELLED_OUT
from visagent.tools.models import Models
from visagent.vision.crop import resize
from visagent.vision.detect import Face


@pytest.fixture(scope="module")
def context(astronaut: np.ndarray, specialists: Models) -> ToolContext:
    """image_1 two faces, the right one too small to compare; image_2 none."""
    portrait = astronaut[:256, 60:360]
    small = np.full((256, 100, 3), 90, np.uint8)
    small[:85] = resize(portrait, 100, 85)
    store = PictureStore()
    for rgb in (np.hstack([portrait, small]), np.full((80, 80, 3), 120, np.uint8)):
        store.add(picture_from_array(np.ascontiguousarray(rgb)))
    return ToolContext(pictures=store, models=specialists, settings=Settings())


def test_faces_are_counted_placed_and_judged(context: ToolContext) -> None:
    finding = FACES.call({"image": "image_1"}, context)
    assert finding.answer == "2"
    assert finding.summary.startswith("2 faces in image_1. Face 1 (left) at [")
    assert "px wide, good enough for all tools" in finding.summary
    assert "Face 2 (right)" in finding.summary
    assert "pixels wide, at least" in finding.summary
    assert [region.label for region in finding.regions] == ["face 1", "face 2"]
    assert str(finding.regions[0].box) in finding.summary


def test_no_face_is_a_count_too(context: ToolContext) -> None:
    finding = FACES.call({"image": "image_2"}, context)
    assert (finding.state, finding.answer, finding.regions) == (State.answered, "0", ())
    assert "No face" in finding.summary
    assert any("missed" in caveat for caveat in finding.caveats)


def test_forty_faces_are_all_in_the_regions_but_not_in_the_summary(context: ToolContext,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    marks = np.random.default_rng(0).uniform(0, 50, (68, 2)).astype(np.float32)
    crowd = tuple(Face(Box(x1=x, y1=0, x2=x + 50, y2=50), 1.0, marks) for x in range(40))
    monkeypatch.setattr(faces_tool, "find_faces", lambda image_id, context: crowd)
    finding = FACES.call({"image": "image_1"}, context)
    assert finding.answer == "40"
    assert len(finding.regions) == 40
    assert finding.summary.count(" px wide") == SPELLED_OUT
    assert f"The other {40 - SPELLED_OUT}" in finding.summary


def test_an_unknown_picture_is_not_possible(context: ToolContext) -> None:
    assert FACES.call({"image": "image_99"}, context).state is State.not_possible
    assert FACES.call({"image": "image_1", "colour": "red"}, context).state is State.not_possible
