"""The tool `expression`: which of eight expressions does a face show?

Zero-shot expression recognition by visual question answering: the vision-language model is asked a closed question,
and the log-likelihood of each answer is turned into a probability over the eight. A model that cannot weigh answers is
asked the same question in words, and the words are mapped (`synonyms.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from visagent.errors import EngineError
from visagent.evidence import Finding, Region, Score, abstain, not_possible
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput, VisionLanguageModel
from visagent.tools.expression.synonyms import LABELS, read_answer
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.vision.crop import VIEW_SIDE, ByteImage, take_view

EXPRESSION_QUESTION: Final = ("What expression does this face show? Answer in a single word: neutral, happiness, "
                              "surprise, sadness, anger, disgust, fear or contempt.")
"""The closed question; visagent-nano is trained on these words."""
OPTIONS: Final = LABELS
"""The closed answers, in the question's order."""

LEAST_PROBABILITY = 0.4
LEAST_LEAD = 0.08
RULE: Final = "fixed rule, not calibrated"
SHOWN_NOT_FELT: Final = "Expression shown in the picture, not emotion felt."


class ExpressionInput(ToolInput):
    """Which face of which picture."""

    image: ImageId
    face: FaceNumber = None


def run_expression(request: ExpressionInput, context: ToolContext) -> Finding:
    """Name the expression of one face. Raises UnknownPicture, WeightsError, EngineError."""
    chosen = choose_face(request.image, request.face, context, "expression")
    if isinstance(chosen, Finding):
        return chosen
    if not context.models.has_vision_language_model:
        return not_possible("expression", "naming an expression needs a vision-language model; choose one with "
                                          "--model and --engine.", images=(chosen.image_id,))
    model = context.models.vision_language_model()
    view = take_view(chosen.picture.rgb, chosen.face.box, size=VIEW_SIDE, turns=chosen.face.turns).rgb
    try:
        probabilities = softmax(model.score_options(EXPRESSION_QUESTION, [view], OPTIONS))
    except EngineError:
        return _in_words(chosen, model, view)
    return _by_probability(chosen, model, probabilities)


def softmax(log_likelihoods: Sequence[float]) -> tuple[float, ...]:
    """Probabilities over `OPTIONS`. Raises EngineError if these are not eight numbers."""
    if len(log_likelihoods) != len(OPTIONS) or any(math.isnan(value) for value in log_likelihoods):
        raise EngineError("The model did not weigh the answers.")
    top = max(log_likelihoods)
    if math.isinf(top):
        raise EngineError("The model finds no answer possible.")
    weights = [math.exp(value - top) for value in log_likelihoods]
    return tuple(weight / sum(weights) for weight in weights)


def _by_probability(chosen: ChosenFace, model: VisionLanguageModel, probabilities: Sequence[float]) -> Finding:
    first, second = sorted(range(len(OPTIONS)), key=lambda index: -probabilities[index])[:2]
    lead = probabilities[first] - probabilities[second]
    likeliest = f"{OPTIONS[first]} ({probabilities[first]:.2f})"
    next_one = f"{OPTIONS[second]} ({probabilities[second]:.2f})"
    if probabilities[first] < LEAST_PROBABILITY or lead < LEAST_LEAD:
        answer = "unsure"
        said = (f"Unsure: {chosen.name} may show {likeliest} or {next_one}; an answer needs a probability of at least "
                f"{LEAST_PROBABILITY:.2f} and a lead of at least {LEAST_LEAD:.2f}.")
    else:
        answer = OPTIONS[first]
        said = (f"{answer.capitalize()}: {chosen.name} shows {answer} with a probability of "
                f"{probabilities[first]:.2f}, next comes {next_one}.")
    scores = [Score(name=name, value=value, threshold=LEAST_PROBABILITY, threshold_source=RULE)
              for name, value in zip(OPTIONS, probabilities, strict=True)]
    scores.append(Score(name="lead over the next expression", value=lead, threshold=LEAST_LEAD, threshold_source=RULE))
    return Finding(tool="expression", answer=answer, summary=f"{said} {_where(chosen)}", images=(chosen.image_id,),
                   scores=tuple(scores), regions=(_face(chosen),), model=model.identity, caveats=(SHOWN_NOT_FELT,))


def _in_words(chosen: ChosenFace, model: VisionLanguageModel, view: ByteImage) -> Finding:
    """The answer of a model that cannot weigh answers. Raises EngineError."""
    reading = read_answer(model.look(EXPRESSION_QUESTION, [view], max_tokens=16).text)
    if reading.label is None:
        return abstain("expression", "the language model's answer names none of the eight expressions.",
                       images=(chosen.image_id,), regions=(_face(chosen),), caveats=(SHOWN_NOT_FELT,))
    caveats = [SHOWN_NOT_FELT, "This model cannot weigh answers: its word is given, and there is no score."]
    if reading.multi:
        caveats.append("It named several expressions; the first is given.")
    return Finding(tool="expression", answer=reading.label,
                   summary=f"{reading.label.capitalize()}: {chosen.name} shows {reading.label}, in the language "
                           f"model's words. {_where(chosen)}",
                   images=(chosen.image_id,), regions=(_face(chosen),), model=model.identity, caveats=tuple(caveats))


def _where(chosen: ChosenFace) -> str:
    return f"Face at {chosen.face.box} in {chosen.image_id}."


def _face(chosen: ChosenFace) -> Region:
    return chosen.region("face" if chosen.count == 1 else chosen.name)


EXPRESSION = Tool(
    name="expression",
    description="Names the expression that a face shows: neutral, happiness, surprise, sadness, anger, disgust, fear, "
                "contempt or unsure.",
    input_model=ExpressionInput,
    run=run_expression,
)
