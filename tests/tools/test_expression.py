"""The expression tool: eight probabilities, a word that can be trusted, or "unsure"; and free answers mapped."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visagent.errors import EngineError
from visagent.evidence import Finding, State
from visagent.tools.contract import ToolContext
from visagent.tools.expression.synonyms import AMBIGUOUS, LABELS, SYNONYMS, map_answer, read_answer
from visagent.tools.expression.tool import EXPRESSION, EXPRESSION_QUESTION, OPTIONS, softmax

Through = Callable[..., ToolContext]


def weights(**probabilities: float) -> list[float]:
    """Log-likelihoods with these probabilities; what is left is shared by the others."""
    rest = (1 - sum(probabilities.values())) / (len(OPTIONS) - len(probabilities))
    return [math.log(probabilities.get(option, rest)) - 3 for option in OPTIONS]


def ask(context: ToolContext, image: str = "image_1", **more: object) -> Finding:
    return EXPRESSION.call({"image": image, **more}, context)


def test_the_question_lists_the_options_in_their_order() -> None:
    listed = EXPRESSION_QUESTION.split(":")[1].rstrip(".").replace(" or ", ", ").split(",")
    assert tuple(word.strip() for word in listed if word.strip()) == OPTIONS
    assert OPTIONS == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def test_the_likeliest_answer_with_all_probabilities(through: Through, witness: Any) -> None:
    model = witness(weighs=weights(happiness=0.8, neutral=0.1))
    finding = ask(through(model))
    assert finding.answer == "happiness"
    scores = {score.name: score for score in finding.scores}
    assert [score.name for score in finding.scores[:8]] == list(OPTIONS)
    assert sum(scores[name].value for name in OPTIONS) == pytest.approx(1)
    assert scores["happiness"].value == pytest.approx(0.8)
    assert scores["happiness"].passes
    assert not scores["neutral"].passes
    assert scores["happiness"].threshold_source == "fixed rule, not calibrated"
    assert "0.80" in finding.summary
    assert "neutral (0.10)" in finding.summary
    assert [region.label for region in finding.regions] == ["face"]
    assert str(finding.regions[0].box) in finding.summary
    assert finding.model is not None
    assert finding.model.id == "witness"
    assert "Expression shown in the picture, not emotion felt." in finding.caveats
    assert model.asked == [(EXPRESSION_QUESTION, (192, 192, 3))]
    assert model.options == [OPTIONS]


@pytest.mark.parametrize("probabilities", [{"sadness": 0.35, "fear": 0.2}, {"sadness": 0.46, "fear": 0.42}],
                         ids=["under 0.4", "no lead"])
def test_what_is_not_clear_is_unsure_between_two(through: Through, witness: Any,
                                                 probabilities: dict[str, float]) -> None:
    finding = ask(through(witness(weighs=weights(**probabilities))))
    assert finding.answer == "unsure"
    assert finding.summary.startswith("Unsure")
    for name, value in probabilities.items():
        assert f"{name} ({value:.2f})" in finding.summary
    assert not all(score.passes for score in finding.scores if score.name in ("sadness", "lead over the next "
                                                                              "expression"))


@given(st.lists(st.floats(-200, 0), min_size=8, max_size=8))
def test_softmax_is_a_distribution_that_keeps_the_order(values: list[float]) -> None:
    probabilities = softmax(values)
    assert sum(probabilities) == pytest.approx(1)
    assert max(probabilities) == probabilities[values.index(max(values))]
    assert softmax([value - 700 for value in values]) == pytest.approx(probabilities)


@pytest.mark.parametrize("values", [[0.0], [math.nan] * 8, [-math.inf] * 8, []])
def test_what_is_no_weighing_is_an_error(values: list[float]) -> None:
    with pytest.raises(EngineError):
        softmax(values)


def test_a_server_that_cannot_weigh_is_asked_in_words(through: Through, witness: Any) -> None:
    model = witness(says="She looks quite joyful!")
    finding = ask(through(model))
    assert finding.answer == "happiness"
    assert finding.scores == ()
    assert any("no score" in caveat for caveat in finding.caveats)
    assert [question for question, _ in model.asked] == [EXPRESSION_QUESTION] * 2


def test_words_that_name_no_expression_abstain(through: Through, witness: Any) -> None:
    finding = ask(through(witness(says="It is a portrait.")))
    assert finding.state is State.abstained
    assert finding.regions


def test_several_words_are_said_to_be_several(through: Through, witness: Any) -> None:
    finding = ask(through(witness(says="surprised or happy")))
    assert finding.answer == "surprise"
    assert any("several" in caveat for caveat in finding.caveats)


def test_without_a_model_that_sees_it_is_not_possible(through: Through, witness: Any) -> None:
    for context in (through(), through(witness())):
        finding = ask(context)
        assert finding.state is State.not_possible
        assert finding.answer is None


def test_no_face_and_two_alike_abstain_without_asking(through: Through, witness: Any) -> None:
    model = witness(weighs=weights(fear=0.9))
    for image in ("image_3", "image_2"):
        assert ask(through(model), image).state is State.abstained
    assert model.asked == []


def test_one_of_two_faces_is_named(through: Through, witness: Any) -> None:
    finding = ask(through(witness(weighs=weights(fear=0.9))), "image_2", face=2)
    assert finding.answer == "fear"
    assert "face 2 of 2" in finding.summary
    assert finding.regions[0].box.x1 > 512


# Free answers

@pytest.mark.parametrize(("label", "word"), [(label, word) for label in LABELS for word in (label, *SYNONYMS[label])])
def test_every_synonym_maps_to_its_class(label: str, word: str) -> None:
    assert map_answer(word) == label
    assert map_answer(f"**Answer:** The person looks {word.upper()}.") == label
    assert map_answer(f"not {word}") is None


def test_no_word_means_two_classes() -> None:
    words = [word for label in LABELS for word in (label, *SYNONYMS[label])] + list(AMBIGUOUS)
    assert len(set(words)) == len(words)
    assert set(SYNONYMS) == set(LABELS)


@pytest.mark.parametrize("word", AMBIGUOUS)
def test_ambiguous_words_are_mapped_on_request_only(word: str) -> None:
    assert read_answer(word).label is None
    assert read_answer(word, with_ambiguous=True).label == AMBIGUOUS[word]


@pytest.mark.parametrize(("text", "label", "multi"), [
    ("Happy.", "happiness", False), ("<answer>Furious</answer>", "anger", False),
    ("**Answer:**\n Sad\nbecause of the mouth", "sadness", False), ("not happy but sad", "sadness", False),
    ("neither happy nor sad, neutral", "neutral", False), ("She smiles", "happiness", False),
    ("He grinned", "happiness", False), ("not a very happy face", None, False), ("She isn't angry", None, False),
    ("happy or surprised", "happiness", True), ("wide eyed", "surprise", False), ("unhappy", "sadness", False),
    ("Sad: the mouth is turned down", "sadness", False), ("no expression", None, False), ("", None, False),
    ("happy\nThe reason: not sad but serious", "happiness", False), ("surprisingly neutral", "neutral", False),
])
def test_answers_in_free_words(text: str, label: str | None, multi: bool) -> None:
    reading = read_answer(text)
    assert (reading.label, reading.multi) == (label, multi)


@given(st.text(max_size=200))
def test_any_text_maps_to_a_class_or_none(text: str) -> None:
    assert map_answer(text) in (*LABELS, None)
