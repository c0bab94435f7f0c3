"""The spoof tool: two voices, one answer or "unsure", and boxes that come back to the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visagent.errors import WeightsError
from visagent.evidence import Box, Finding, State
from visagent.media import picture_from_array
from visagent.tools.contract import ToolContext
from visagent.tools.spoof.specialist import (
    NAME,
    OperatingPoint,
    attacked_box,
    load_specialist,
    read_specialist,
    sigmoid,
)
from visagent.tools.spoof.tool import SPOOF, SPOOF_QUESTION
from visagent.tools.spoof.verdict import decide
from visagent.weights import WEIGHTS

from .conftest import BORDER_SOURCE, SOURCE

Through = Callable[..., ToolContext]
LIVE_WORDS = "Live. The skin texture, the light and the depth look natural."
PRINT_WORDS = "Spoof: print attack. I see halftone dots and paper grain. Attacked area: [10, 20, 100, 150]."
needs_weights = pytest.mark.skipif(all(row.name != NAME for row in WEIGHTS), reason="the weights are not shipped yet")


def ask(context: ToolContext, image: str = "image_1", **more: object) -> Finding:
    return SPOOF.call({"image": image, **more}, context)


def labels(finding: Finding) -> list[str]:
    return [region.label for region in finding.regions]


def test_both_say_live(install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=False)
    model = witness(says=LIVE_WORDS)
    finding = ask(through(model))
    assert finding.answer == "live"
    assert finding.summary.startswith("Live. The skin texture, the light and the depth look natural. Attack score ")
    assert labels(finding) == ["face"]
    assert model.asked == [(SPOOF_QUESTION, (192, 192, 3))]
    score, border = finding.scores
    assert score.name == "attack score"
    assert border.name == "border score"
    assert border.passes is False
    assert border.threshold_source == BORDER_SOURCE
    assert score.passes is False
    assert score.threshold_source == SOURCE
    assert f"{score.value:.2f}, threshold {score.threshold:.2f} (higher means attack)" in finding.summary
    assert finding.model is not None
    assert finding.model.id == "spoof-specialist"
    assert finding.model.digest
    assert [witness.id for witness in finding.witnesses] == ["witness", "spoof-surroundings"]
    assert "Presentation-attack screening of one picture, not certified liveness." in finding.caveats


def test_both_say_spoof(install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=True, attack="print")
    finding = ask(through(witness(says=PRINT_WORDS, boxes=((10.0, 20.0, 100.0, 150.0),))))
    assert finding.answer == "spoof"
    assert finding.summary.startswith("Spoof: print attack. I see halftone dots and paper grain. Attack score ")
    assert labels(finding) == ["face", "attacked area", "attacked area (specialist)"]
    assert finding.summary.endswith(f"Attacked area {finding.regions[1].box} in image_1.")
    assert finding.scores[0].passes
    assert [score.name for score in finding.scores[1:]] == [
        "border score", "clue: halftone dots", "clue: glare on a screen"]


def test_a_box_of_the_view_lies_where_it_belongs_in_the_picture(install: Callable[..., Path], through: Through,
                                                                witness: Any) -> None:
    install(spoof=True)
    half = ask(through(witness(says=PRINT_WORDS, boxes=((0.0, 0.0, 96.0, 192.0),))))
    face, area = half.regions[0].box, half.regions[1].box
    middle = (face.x1 + face.x2) / 2
    assert area.x2 == pytest.approx(middle, abs=2)
    assert middle - area.x1 == pytest.approx(1.14 / 2 * max(face.x2 - face.x1, face.y2 - face.y1), abs=2)


def test_boxes_outside_the_view_are_clipped_or_dropped(install: Callable[..., Path], through: Through,
                                                       witness: Any) -> None:
    install(spoof=True, attacked=False)
    boxes = ((-50.0, -50.0, 9e6, 9e6), (5.0, 5.0, 5.0, 9.0), (300.0, 300.0, 400.0, 400.0))
    finding = ask(through(witness(says=PRINT_WORDS, boxes=boxes)))
    assert labels(finding) == ["face", "attacked area"]
    area = finding.regions[1].box
    assert area.x1 >= 0 <= area.y1
    assert area.x2 <= 512 >= area.y2


@pytest.mark.parametrize(("spoof", "says"), [(True, LIVE_WORDS), (False, PRINT_WORDS)])
def test_disagreement_is_reported_and_not_averaged(install: Callable[..., Path], through: Through, witness: Any,
                                                   spoof: bool, says: str) -> None:
    install(spoof=spoof)
    finding = ask(through(witness(says=says, boxes=((10.0, 20.0, 100.0, 150.0),))))
    assert finding.answer == "unsure"
    own, other = ("spoof", "live") if spoof else ("live", "spoof")
    assert f"the specialist says {own}" in finding.summary
    assert f"the language model says {other}" in finding.summary
    assert f"attack score {finding.scores[0].value:.2f}" in finding.summary
    assert finding.scores[0].passes is spoof
    assert labels(finding)[1:] == [f"attacked area ({'specialist' if spoof else 'language model'})"]


def test_types_that_differ_are_both_named(install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=True, attack="replay")
    finding = ask(through(witness(says=PRINT_WORDS)))
    assert finding.answer == "spoof"
    assert "print attack by the language model, replay attack by the specialist" in finding.summary


@pytest.mark.parametrize(("see", "caveat"), [
    (None, "No language model was asked"), ({}, "The language model failed"),
    ({"says": "A portrait in front of a flag."}, "no clear verdict"),
])
@pytest.mark.parametrize("spoof", [True, False])
def test_without_clear_words_the_specialist_decides_and_says_so(
        install: Callable[..., Path], through: Through, witness: Any, spoof: bool, see: dict[str, str] | None,
        caveat: str) -> None:
    install(spoof=spoof)
    finding = ask(through(None if see is None else witness(**see)))
    assert finding.answer == ("spoof" if spoof else "live")
    assert any(caveat in text and "specialist's alone" in text for text in finding.caveats)
    assert "portrait" not in finding.summary
    if spoof:
        assert "Spoof: replay attack. The specialist sees halftone dots and glare on a screen." in finding.summary
        assert labels(finding) == ["face", "attacked area (specialist)"]
        assert str(finding.regions[1].box) in finding.summary


def test_a_spoof_without_area_or_clues_names_the_face(install: Callable[..., Path], through: Through) -> None:
    install(spoof=True, attacked=False, clues=False)
    finding = ask(through())
    assert labels(finding) == ["face"]
    assert finding.summary.endswith(f"Face at {finding.regions[0].box} in image_1.")
    assert [score.name for score in finding.scores] == ["attack score", "border score"]


@pytest.mark.parametrize(("own", "said", "border", "answer"), [
    ("live", "live", "none", "live"), ("live", None, "none", "live"), ("spoof", None, "none", "spoof"),
    ("spoof", "spoof", "none", "spoof"), ("spoof", "live", "none", "unsure"), ("live", "spoof", "none", "unsure"),
    ("live", "live", "likely", "unsure"), ("live", None, "likely", "unsure"), ("spoof", "live", "likely", "spoof"),
    ("live", "spoof", "likely", "spoof"), ("live", "live", "certain", "spoof"), ("live", None, "certain", "spoof"),
])
def test_a_border_raises_an_alarm_and_never_lifts_one(own: Any, said: Any, border: Any, answer: str) -> None:
    assert decide(own, said, border) == answer


def test_a_certain_border_is_an_attack_however_live_the_face_looks(install: Callable[..., Path], through: Through,
                                                                   witness: Any) -> None:
    install(spoof=False, border="certain")
    finding = ask(through(witness(says=LIVE_WORDS)))
    assert finding.answer == "spoof"
    assert finding.summary.startswith("Spoof: replay attack. The border of a screen encloses the face (border score ")
    assert "In the face itself nobody sees an attack. Attack score " in finding.summary
    assert "look natural" not in finding.summary
    assert labels(finding) == ["face", "enclosed by a screen"]
    face, window = (region.box for region in finding.regions)
    assert window.x1 <= face.x1 and window.x2 >= face.x2 and window.y2 >= face.y2
    assert finding.summary.endswith(f"Attacked area {window} in image_1.")


def test_a_border_that_is_only_likely_leaves_it_open_unless_somebody_agrees(
        install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=False, border="likely")
    alone = ask(through(witness(says=LIVE_WORDS)))
    assert alone.answer == "unsure"
    assert "The border of a screen may enclose the face (border score 0.73, suspicious from 0.50, certain from 0.95)" \
        in alone.summary
    assert labels(alone) == ["face", "enclosed by a screen"]
    together = ask(through(witness(says=PRINT_WORDS, boxes=((10.0, 20.0, 100.0, 150.0),))))
    assert together.answer == "spoof"
    assert together.summary.startswith("Spoof: replay attack. The border of a screen may enclose the face")
    assert "halftone dots" in together.summary
    assert labels(together) == ["face", "enclosed by a screen", "attacked area (language model)"]


def test_a_picture_that_ends_at_the_face_says_that_its_surroundings_are_missing(
        install: Callable[..., Path], through: Through, astronaut: np.ndarray) -> None:
    install(spoof=False, border="certain")
    context = through()
    face = ask(context).regions[0].box
    x1, y1, x2, y2 = (round(value) for value in (face.x1 - 20, face.y1 - 25, face.x2 + 20, face.y2 + 15))
    tight = context.pictures.add(picture_from_array(np.ascontiguousarray(astronaut[y1:y2, x1:x2])))
    finding = ask(context, tight)
    assert finding.answer == "live"
    assert [score.name for score in finding.scores] == ["attack score"] and finding.witnesses == ()
    assert any("ends close to the face" in caveat for caveat in finding.caveats)


def test_simulated_attacks_are_said_of_who_learned_from_them(install: Callable[..., Path], through: Through,
                                                             witness: Any) -> None:
    install(spoof=False)
    bundled = ask(through(witness(says=LIVE_WORDS, name="visagent-nano")))
    other = ask(through(witness(says=LIVE_WORDS)))
    assert "The models were trained on simulated attacks." in bundled.caveats
    assert "The specialist was trained on simulated attacks." in other.caveats


def test_no_face_and_two_alike_abstain_without_asking(through: Through, witness: Any) -> None:
    model = witness(says=LIVE_WORDS)
    for image in ("image_3", "image_2"):
        assert ask(through(model), image).state is State.abstained
    assert model.asked == []


def test_one_of_two_faces_is_named(install: Callable[..., Path], through: Through, witness: Any) -> None:
    install(spoof=False)
    finding = ask(through(witness(says=LIVE_WORDS)), "image_2", face=2)
    assert finding.summary.startswith("Live (face 2 of 2).")
    assert finding.regions[0].box.x1 > 512


@pytest.mark.parametrize(("spoof", "says"), [(True, PRINT_WORDS), (False, LIVE_WORDS), (True, LIVE_WORDS)])
def test_an_answer_may_repeat_the_summary(install: Callable[..., Path], through: Through, witness: Any, spoof: bool,
                                          says: str) -> None:
    from visagent.agent.grounding import ungrounded

    for border in ("none", "likely", "certain"):
        install(spoof=spoof, border=border)
        finding = ask(through(witness(says=says, boxes=((10.0, 20.0, 100.0, 150.0),))))
        assert ungrounded(finding.summary, [finding]) == []


# The specialist

def test_a_view_and_its_mirror_image_are_judged_alike(install: Callable[..., Path]) -> None:
    view = np.random.default_rng(0).integers(0, 256, (192, 192, 3), dtype=np.uint8)
    specialist = read_specialist(install(spoof=True))
    one, other = specialist.look(view), specialist.look(np.ascontiguousarray(view[:, ::-1]))
    assert one.score == pytest.approx(other.score, abs=1e-5)
    assert one.attack == other.attack


def test_the_mask_of_the_mirror_image_is_turned_back(install: Callable[..., Path]) -> None:
    import torch

    from visagent.tools.spoof.network import Output

    class BrightIsAttacked(torch.nn.Module):
        vocabulary = read_specialist(install(spoof=True)).network.vocabulary

        def forward(self, views: torch.Tensor) -> Output:
            mask = torch.nn.functional.avg_pool2d(views.mean(1), 16) * 9
            return Output(torch.zeros(len(views), 3), torch.zeros(len(views), 2), mask, views)

    view = np.zeros((192, 192, 3), np.uint8)
    view[48:96, :64] = 255
    specialist = replace(read_specialist(install(spoof=True)), network=BrightIsAttacked())  # type: ignore[arg-type]
    assert specialist.look(view).box == Box(x1=0, y1=48, x2=64, y2=96)


def test_score_and_threshold_are_calibrated_alike(install: Callable[..., Path]) -> None:
    specialist = read_specialist(install(spoof=True, threshold=0.25, scale=2.0, offset=-1.0))
    opinion = specialist.look(np.zeros((192, 192, 3), np.uint8))
    log_odds = float(np.log(np.exp(1) + np.exp(2)))
    assert opinion.score == pytest.approx(1 / (1 + np.exp(-(2 * log_odds - 1))), abs=1e-3)
    assert opinion.threshold == pytest.approx(1 / (1 + np.exp(0.5)))


def test_the_biggest_connected_area_is_boxed() -> None:
    mask = np.zeros((12, 12), np.float32)
    mask[1, 1] = mask[3:6, 4:9] = 0.9
    mask[6, 9] = 0.9  # touches by a corner only
    mask[8:12, 0:12] = 0.49
    assert attacked_box(mask, 192) == Box(x1=64, y1=48, x2=144, y2=96)
    assert attacked_box(np.full((12, 12), 0.5, np.float32), 192) is None
    assert attacked_box(np.ones((12, 12), np.float32), 192) == Box(x1=0, y1=0, x2=192, y2=192)


@pytest.mark.parametrize("shape", [(192, 191, 3), (96, 96, 3), (192, 192)])
def test_another_view_is_refused(install: Callable[..., Path], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="192"):
        read_specialist(install(spoof=True)).look(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("changes", [{"scale": -1.0}, {"scale": "x"}, {"source": ""}, {"threshold": None}])
def test_an_operating_point_that_means_nothing_is_refused(install: Callable[..., Path],
                                                          changes: dict[str, object]) -> None:
    folder = install(spoof=True, **changes)
    with pytest.raises(WeightsError, match="operating point"):
        read_specialist(folder)


def test_missing_weights_are_a_finding(install: Callable[..., Path], through: Through) -> None:
    (install(spoof=True) / "model.safetensors").unlink()
    assert ask(through()).state is State.not_possible


@pytest.mark.parametrize("value", [-1e9, -5.0, 0.0, 5.0, 1e9])
def test_the_sigmoid_never_overflows(value: float) -> None:
    assert sigmoid(value) + sigmoid(-value) == pytest.approx(1)
    assert OperatingPoint(threshold=0, scale=1, offset=0, source=SOURCE).probability(value) == sigmoid(value)


@needs_weights
@pytest.mark.weights
def test_the_shipped_specialist_lets_the_astronaut_pass(through: Through) -> None:
    finding = ask(through())
    assert finding.answer == "live"
    assert 0 <= finding.scores[0].value < finding.scores[0].threshold <= 1  # type: ignore[operator]


@needs_weights
@pytest.mark.weights
def test_the_shipped_specialist_names_faceshield_types() -> None:
    from visagent.tools.spoof.words import ALIASES

    assert set(load_specialist().network.vocabulary.attacks) <= set(ALIASES)
