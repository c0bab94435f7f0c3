"""The tool `verify` with the real encoder, and what its calibration says."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.errors import CalibrationError
from visagent.evidence import ArtifactKind, State
from visagent.media import PictureStore, load_picture, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models
from visagent.tools.recognition.calibration import Calibration, open_calibration
from visagent.tools.verify import tool as verify_tool
from visagent.tools.verify.tool import VERIFY
from visagent.vision.crop import resize
from visagent.vision.dlib_encoder import DlibEncoder


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return open_calibration(DlibEncoder().contract, None)


@pytest.fixture(scope="module")
def context(astronaut: np.ndarray, specialists: Models) -> ToolContext:
    """image_1 a portrait, image_2 the same in other light and size, image_3 no face, image_4 two faces alike."""
    portrait = np.ascontiguousarray(astronaut[:256, 60:360])
    other = (resize(portrait, 360, 307) * 0.7 + 20).astype(np.uint8)
    store = PictureStore()
    for rgb in (portrait, other, np.full((80, 80, 3), 120, np.uint8), np.hstack([portrait, portrait])):
        store.add(picture_from_array(np.ascontiguousarray(rgb)))
    return ToolContext(pictures=store, models=specialists, settings=Settings())


def test_one_person_in_two_pictures_is_the_same(context: ToolContext) -> None:
    finding = VERIFY.call({"image_a": "image_1", "image_b": "image_2"}, context)
    assert finding.answer == "same"
    (score,) = finding.scores
    assert score.passes
    assert "FMR" in str(score.threshold_source)
    assert {region.image for region in finding.regions} == {"image_1", "image_2"}
    assert not any("same picture" in caveat for caveat in finding.caveats)
    swapped = VERIFY.call({"image_a": "image_2", "image_b": "image_1"}, context)
    assert swapped.scores[0].value == pytest.approx(score.value, abs=1e-6)


def test_what_was_compared_is_shown_to_the_pixel(context: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[np.ndarray] = []
    encode = DlibEncoder.encode

    def watched(self: DlibEncoder, chips: Sequence[np.ndarray]) -> np.ndarray:
        compared.extend(chips)
        return encode(self, chips)

    monkeypatch.setattr(DlibEncoder, "encode", watched)
    finding = VERIFY.call({"image_a": "image_1", "image_b": "image_2"}, replace(context, draws=True))
    (artifact,) = finding.artifacts
    shown = context.pictures.artifact(artifact.handle)
    assert artifact.kind is ArtifactKind.picture and shown.shape == (150, 308, 3)
    assert len(compared) == 2
    assert np.array_equal(shown[:, :150], compared[0]) and np.array_equal(shown[:, -150:], compared[1])
    assert "left the face in image_1, right the face in image_2" in artifact.description
    assert DlibEncoder().contract.model in artifact.description


def test_the_same_picture_twice_is_said(context: ToolContext) -> None:
    finding = VERIFY.call({"image_a": "image_1", "image_b": "image_1"}, context)
    assert finding.answer == "same"
    assert finding.scores[0].value == pytest.approx(1, abs=1e-6)
    assert finding.images == ("image_1",)
    assert any("same face of the same picture" in caveat for caveat in finding.caveats)


def test_two_faces_of_one_picture_can_be_compared_by_number(context: ToolContext) -> None:
    finding = VERIFY.call({"image_a": "image_4", "image_b": "image_4", "face_a": 1, "face_b": 2}, context)
    assert finding.answer == "same"
    assert any("in the same picture" in caveat for caveat in finding.caveats)


@pytest.mark.parametrize(("image", "words"), [("image_3", "no face"), ("image_4", "2 faces")])
def test_it_abstains_where_the_face_is_not_clear(context: ToolContext, image: str, words: str) -> None:
    finding = VERIFY.call({"image_a": "image_1", "image_b": image}, context)
    assert finding.state is State.abstained
    assert words in str(finding.reason)
    assert finding.images == ("image_1", image)


def test_the_band_decides(context: ToolContext, calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    same, different = calibration.at_fmr(1e-3).value, calibration.different_below
    assert different < same
    for similarity, answer in ((same, "same"), (same - 1e-4, "unsure"), (different, "unsure"),
                               (different - 1e-4, "different")):
        monkeypatch.setattr(verify_tool, "similarity_of", lambda one, other, value=similarity: value)
        finding = VERIFY.call({"image_a": "image_1", "image_b": "image_2"}, context)
        assert finding.answer == answer
        assert f"{similarity:.3f}" in finding.summary


def test_a_stricter_rate_asks_for_more(context: ToolContext) -> None:
    loose, strict = (VERIFY.call({"image_a": "image_1", "image_b": "image_2"},
                                 ToolContext(context.pictures, context.models, Settings(wanted_fmr=rate))).scores[0]
                     for rate in (1e-2, 1e-4))
    assert loose.threshold is not None and strict.threshold is not None and loose.threshold < strict.threshold


# The shipped calibration

def test_the_calibration_holds_what_it_promises(calibration: Calibration) -> None:
    assert [point.target_fmr for point in calibration.points] == [1e-2, 1e-3, 1e-4, 1e-5]
    for point in calibration.points:
        assert point.low <= point.threshold <= point.high
        assert point.fmr.low <= 2 * point.target_fmr and point.fmr.rate < 2 * point.target_fmr
        assert point.fnmr.low <= point.fnmr.rate <= point.fnmr.high
    assert calibration.points[0].fnmr.rate < 0.05
    assert calibration.failure_to_enrol.rate < 0.015
    assert calibration.wrongly_different.rate < 0.03
    assert calibration.command.startswith("visagent calibrate")
    assert {group.group for group in calibration.groups} == {"female", "male"}


@given(st.floats(1e-9, 0.15), st.floats(1e-9, 0.15))
def test_smaller_rates_have_higher_thresholds_up_to_one(one: float, other: float) -> None:
    calibration = open_calibration(DlibEncoder().contract, None)
    low, high = sorted((one, other))
    assert calibration.at_fmr(high).value <= calibration.at_fmr(low).value + 1e-9 < 1
    assert calibration.at_fmr(low).extrapolated == (low < calibration.curve[-1][0])


def test_the_curve_meets_the_points_and_the_tail(calibration: Calibration) -> None:
    for point in calibration.points:
        assert calibration.at_fmr(point.target_fmr).value == pytest.approx(point.threshold, abs=2e-3)
    end = calibration.curve[-1][0]
    assert calibration.at_fmr(end * 0.999).value == pytest.approx(calibration.at_fmr(end).value, abs=4e-3)


@pytest.mark.parametrize("templates", [1, 10, 1000, 10**6])
def test_the_threshold_of_a_search_is_that_of_its_fpir(calibration: Calibration, templates: int) -> None:
    """FPIR = 1 - (1 - FMR)^N: put in, and taken out again."""
    threshold = calibration.for_search(templates, 0.01)
    assert 1 - (1 - threshold.fmr) ** templates == pytest.approx(0.01, rel=1e-6)
    assert threshold.value >= calibration.for_search(max(1, templates // 10), 0.01).value
    assert threshold.extrapolated == (templates > 1000)
    assert math.isclose(calibration.for_search(1, 1e-3).value, calibration.at_fmr(1e-3).value)


def test_a_calibration_of_another_encoder_or_none_is_refused(tmp_path: Path, calibration: Calibration) -> None:
    other = calibration.contract.model_copy(update={"model": "another"})
    with pytest.raises(CalibrationError, match="calibration is of dlib"):
        open_calibration(other, None)
    file = tmp_path / "mine.json"
    file.write_text(calibration.model_dump_json())
    assert open_calibration(calibration.contract, file) == calibration
    with pytest.raises(CalibrationError, match="another"):
        open_calibration(other, file)
    for content in ("", "{}", calibration.model_dump_json().replace('"curve":[[', '"curve":[[0.0,0.0],[', 1)):
        file.write_text(content)
        with pytest.raises(CalibrationError, match="damaged"):
            open_calibration(calibration.contract, file)
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        calibration.at_fmr(0)
    with pytest.raises(CalibrationError, match="no operating point"):
        calibration.point(0.5)


# Real photographs, where they are there

@pytest.mark.data
@pytest.mark.slow
def test_everyday_pairs_are_told_apart(data_folder: Path, specialists: Models) -> None:
    with (data_folder / "photos" / "pairs.csv").open(newline="") as stream:
        pairs = list(csv.DictReader(stream))[::9]
    store = PictureStore()
    names = {name for pair in pairs for name in (pair["file_x"], pair["file_y"])}
    ids = {name: store.add(load_picture(data_folder / "photos" / name)) for name in sorted(names)}
    context = ToolContext(store, specialists, Settings())
    answers = [(VERIFY.call({"image_a": ids[pair["file_x"]], "image_b": ids[pair["file_y"]]}, context).answer,
                pair["Decision"]) for pair in pairs]
    wrong = [pair for pair in answers if pair in (("same", "No"), ("different", "Yes"))]
    assert len(wrong) <= 1
    assert sum(answer in ("same", "different") for answer, _ in answers) >= 0.6 * len(answers)
