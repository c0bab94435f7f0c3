"""The tool `spoof`: is this a live face or a presentation attack, of which type, why, and where?

Two voices judge the same face view: the specialist network with its calibrated score, and the vision-language model in
its own words. Where they agree, that is the answer, and the words give the reasons. Where they disagree the answer is
"unsure" and the summary says who says what; they are never averaged. Where there are no words the specialist decides.
A third network looks at what stands around the face: the border of a screen or sheet is an attack, however live the
face looks (`visagent.tools.spoof.verdict`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visagent.errors import EngineError
from visagent.evidence import Artifact, Box, Finding, ModelIdentity, Region, Score, Vote
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.spoof.shown import show_face, show_surroundings
from visagent.tools.spoof.specialist import PRESENT, Opinion, Specialist, load_specialist
from visagent.tools.spoof.surroundings import Enclosure, Surroundings, load_surroundings
from visagent.tools.spoof.verdict import decide, summarise
from visagent.tools.spoof.view import screening_view
from visagent.tools.spoof.words import Words, read_words
from visagent.tools.subject import ChosenFace, FaceNumber, choose_face
from visagent.vision.crop import View

SPOOF_QUESTION: Final = "Is this a live face or a spoof? Why? Show me where."
"""What the vision-language model is asked; visagent-nano is trained on these words."""

SCREENING: Final = "Presentation-attack screening of one picture, not certified liveness."
TOO_CLOSE: Final = ("The picture ends close to the face: whether a screen's or sheet's border encloses it was not "
                    "looked at.")
BUNDLED: Final = ("visagent-nano",)
"""Vision-language models that were trained on simulated attacks, as the specialist was."""

SILENCE: Final = Words(None, None, "")
MOST_BOXES = 3
MOST_CLUES = 5


class SpoofInput(ToolInput):
    """Which face of which picture."""

    image: ImageId
    face: FaceNumber = None


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the vision-language model said of the view.

    Attributes:
        words: Verdict, type and reasons.
        boxes: Attacked areas in pixels of the picture.
        identity: Which model it is; None if none was asked.
        shortcoming: Why there is no verdict; None if there is one.
    """

    words: Words
    boxes: tuple[Box, ...] = ()
    identity: ModelIdentity | None = None
    shortcoming: str | None = None


def run_spoof(request: SpoofInput, context: ToolContext) -> Finding:
    """Judge one face. Raises UnknownPicture, WeightsError."""
    chosen = choose_face(request.image, request.face, context, "spoof")
    if isinstance(chosen, Finding):
        return chosen
    specialist = context.models.get(load_specialist)
    view = screening_view(chosen.picture.rgb, chosen.face.box, chosen.face.turns)
    opinion = specialist.look(view.rgb)
    surroundings = context.models.get(load_surroundings)
    enclosure = surroundings.look(chosen.picture.rgb, chosen.face.box, chosen.face.turns)
    testimony = _ask(context, view, chosen)
    answer = decide(opinion.verdict, testimony.words.verdict, "none" if enclosure is None else enclosure.border)
    areas = (*_border(chosen, enclosure), *_areas(chosen, view, opinion, testimony))
    drawn: tuple[Artifact, ...] = ()
    if context.draws:
        judges = [identity.id for identity in (specialist.identity, testimony.identity) if identity is not None]
        drawn = (*show_face(chosen, view, opinion, judges, context),
                 *(show_surroundings(chosen, enclosure, surroundings, context) if enclosure is not None else ()))
    return Finding(
        tool="spoof", answer=answer,
        summary=summarise(answer, chosen, opinion, testimony.words, enclosure, areas),
        images=(chosen.image_id,), scores=_scores(opinion, specialist, enclosure, surroundings),
        regions=(_face(chosen), *areas), artifacts=drawn, model=specialist.identity,
        witnesses=(*((testimony.identity,) if testimony.identity else ()),
                   *((surroundings.identity,) if enclosure else ())),
        votes=_votes(opinion, specialist, testimony, enclosure, surroundings), caveats=_caveats(testimony, enclosure))


def _ask(context: ToolContext, view: View, chosen: ChosenFace) -> Testimony:
    if not context.models.has_vision_language_model:
        return Testimony(SILENCE, shortcoming="No language model was asked: the verdict is the specialist's alone.")
    try:
        model = context.models.vision_language_model()
        look = model.look(SPOOF_QUESTION, [view.rgb])
    except EngineError:
        return Testimony(SILENCE, shortcoming="The language model failed: the verdict is the specialist's alone.")
    words = read_words(look.text)
    boxes = tuple(box for corners in look.boxes if (box := _in_picture(corners, view, chosen)))
    shortcoming = None if words.verdict else ("The language model's words hold no clear verdict: this one is the "
                                              "specialist's alone.")
    return Testimony(words, boxes[:MOST_BOXES], model.identity, shortcoming)


def _in_picture(corners: tuple[float, float, float, float], view: View, chosen: ChosenFace) -> Box | None:
    """Corners in pixels of the view as a box of the picture, clipped to both; None if nothing is left."""
    side = float(view.rgb.shape[0])
    inside = _clipped(corners, side, side)
    if inside is None:
        return None
    box = view.to_picture(inside)
    return _clipped((box.x1, box.y1, box.x2, box.y2), float(chosen.picture.width), float(chosen.picture.height))


def _clipped(corners: tuple[float, float, float, float], width: float, height: float) -> Box | None:
    x1, x2 = (min(max(x, 0.0), width) for x in (corners[0], corners[2]))
    y1, y2 = (min(max(y, 0.0), height) for y in (corners[1], corners[3]))
    return Box(x1=x1, y1=y1, x2=x2, y2=y2) if x1 < x2 and y1 < y2 else None


def _face(chosen: ChosenFace) -> Region:
    return chosen.region("face" if chosen.count == 1 else chosen.name)


def _border(chosen: ChosenFace, enclosure: Enclosure | None) -> tuple[Region, ...]:
    """What the border encloses, if there is one."""
    if enclosure is None or enclosure.border == "none" or enclosure.box is None:
        return ()
    return (Region(label=f"enclosed by a {enclosure.carrier}", image=chosen.image_id, box=enclosure.box),)


def _areas(chosen: ChosenFace, view: View, opinion: Opinion, testimony: Testimony) -> tuple[Region, ...]:
    """The attacked areas according to whoever says that it is a spoof, the language model's first."""
    areas: list[Region] = []
    if testimony.words.verdict == "spoof":
        label = "attacked area" if opinion.is_spoof else "attacked area (language model)"
        areas += [Region(label=label, image=chosen.image_id, box=box) for box in testimony.boxes]
    if opinion.is_spoof and opinion.box is not None:
        corners = opinion.box.x1, opinion.box.y1, opinion.box.x2, opinion.box.y2
        if box := _in_picture(corners, view, chosen):
            areas.append(Region(label="attacked area (specialist)", image=chosen.image_id, box=box))
    return tuple(areas)


def _scores(opinion: Opinion, specialist: Specialist, enclosure: Enclosure | None, surroundings: Surroundings
            ) -> tuple[Score, ...]:
    scores = [Score(name="attack score", value=opinion.score, threshold=opinion.threshold,
                    threshold_source=specialist.operating_point.source)]
    if enclosure is not None:
        scores.append(Score(name="border score", value=enclosure.score, threshold=enclosure.threshold,
                            threshold_source=surroundings.operating_point.source))
    if opinion.is_spoof:
        scores += [Score(name=f"clue: {clue}", value=value, threshold=PRESENT,
                         threshold_source="more likely present than not; fixed rule, not calibrated")
                   for clue, value in list(opinion.clues.items())[:MOST_CLUES]]
    return tuple(scores)


def _votes(opinion: Opinion, specialist: Specialist, testimony: Testimony, enclosure: Enclosure | None,
           surroundings: Surroundings) -> tuple[Vote, ...]:
    """What each network says; the surroundings speak only where they see a border."""
    votes = [Vote(model=specialist.identity, answer=opinion.verdict)]
    if testimony.identity is not None and testimony.words.verdict is not None:
        votes.append(Vote(model=testimony.identity, answer=testimony.words.verdict))
    if enclosure is not None and enclosure.border != "none":
        votes.append(Vote(model=surroundings.identity, answer="spoof"))
    return tuple(votes)


def _caveats(testimony: Testimony, enclosure: Enclosure | None) -> tuple[str, ...]:
    bundled = testimony.identity is not None and testimony.identity.id in BUNDLED
    simulated = f"The {'models were' if bundled else 'specialist was'} trained on simulated attacks."
    return tuple(filter(None, (testimony.shortcoming, None if enclosure else TOO_CLOSE, SCREENING, simulated)))


SPOOF = Tool(
    name="spoof",
    description="Says whether a face is live or a spoof (a presentation attack: print, replay, mask ...), of which "
                "type, why, and which area is attacked.",
    input_model=SpoofInput,
    run=run_spoof,
)
