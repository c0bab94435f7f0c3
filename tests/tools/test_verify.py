"""The tool `verify`: same, different, unsure; abstains like every tool; its numbers come from the calibration."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from visagent.evaluation.verify_calibration import Comparisons, calibrate, distance_at_fmr, distance_at_fnmr, rate
from visagent.evidence import State
from visagent.media import PictureStore, load_picture, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models
from visagent.tools.verify import tool as verify_tool
from visagent.tools.verify.calibration import load_calibration
from visagent.tools.verify.tool import VERIFY
from visagent.vision.crop import resize
from visagent.weights import DLIB_MODELS


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
    assert swapped.scores[0].value == score.value


def test_the_same_picture_twice_is_said(context: ToolContext) -> None:
    finding = VERIFY.call({"image_a": "image_1", "image_b": "image_1"}, context)
    assert finding.answer == "same"
    assert finding.scores[0].value == 0
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


@pytest.mark.parametrize(("side", "answer"), [(-0.001, "same"), (0.001, "unsure"), (0.2, "different")])
def test_the_band_decides(context: ToolContext, monkeypatch: pytest.MonkeyPatch, side: float, answer: str) -> None:
    calibration = load_calibration()
    monkeypatch.setattr(verify_tool, "descriptor_distance", lambda one, other: calibration.same_up_to + side)
    finding = VERIFY.call({"image_a": "image_1", "image_b": "image_2"}, context)
    assert finding.answer == answer
    assert f"{calibration.same_up_to + side:.3f}" in finding.summary


def test_the_calibration_is_of_the_model_in_use_and_holds_what_it_promises() -> None:
    calibration = load_calibration()
    assert DLIB_MODELS[f"{calibration.model}.dat"].sha256.startswith(calibration.model_digest)
    assert calibration.test.fmr.rate < 3 * calibration.target_fmr
    assert calibration.test.fnmr.rate < 0.05
    assert calibration.test.different_people_called_same.rate < 0.005


# How the calibration chooses

def test_distances_are_chosen_at_their_error_rates() -> None:
    draw = np.random.default_rng(0)
    people, strangers = draw.normal(0.4, 0.05, 4000), draw.normal(0.8, 0.08, 40000)
    assert (strangers <= distance_at_fmr(strangers, 0.01)).mean() == pytest.approx(0.01, abs=1e-4)
    assert (people > distance_at_fnmr(people, 0.01)).mean() == pytest.approx(0.01, abs=1e-3)
    ties = np.array([0.5] * 10 + [0.9] * 90)
    assert (ties <= distance_at_fmr(ties, 0.05)).mean() == 0
    result = calibrate(Comparisons(people, strangers), Comparisons(people, strangers))
    assert float(str(result["same_up_to"])) <= float(str(result["threshold"])) <= float(str(result["different_over"]))


def test_the_wilson_interval_is_that_of_the_textbook() -> None:
    result = rate(10, 100)
    assert (result["low"], result["high"]) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    assert rate(0, 100)["low"] == 0


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
