"""Liveness first: before a face is recognised, the spoof tool's networks screen it for a presentation attack.

The two networks with calibrated scores are asked, not the vision-language model: a gate must be fast and give the same
answer to the same picture. What they call a spoof is refused. Where they are unsure, or the face is too small to be
screened, recognition goes on but its answer is at most "unsure".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from visagent.evidence import ModelIdentity, Score
from visagent.tools.contract import ToolContext
from visagent.tools.spoof.specialist import load_specialist
from visagent.tools.spoof.surroundings import load_surroundings
from visagent.tools.spoof.verdict import decide
from visagent.tools.spoof.view import screening_view
from visagent.tools.subject import ChosenFace, limits_of

SCREENED = "Screened for presentation attacks first (simulated training data): no certified liveness."


@dataclass(frozen=True, slots=True)
class Screening:
    """What screening one face gave.

    Attributes:
        verdict: `live`, `spoof`, or `unsure` if the networks differ or could not judge.
        reason: One clause on why it is not `live`; empty if it is.
        scores: The networks' scores against their thresholds.
        witnesses: The networks.
    """

    verdict: Literal["live", "spoof", "unsure"]
    reason: str = ""
    scores: tuple[Score, ...] = ()
    witnesses: tuple[ModelIdentity, ...] = ()


def screen(chosen: ChosenFace, context: ToolContext) -> Screening:
    """Screen one face. Raises WeightsError."""
    shortcomings = chosen.quality.shortcomings(limits_of("spoof"))
    if shortcomings:
        return Screening("unsure", f"it could not be screened for presentation attacks ({'; '.join(shortcomings)})")
    picture, face = chosen.picture, chosen.face
    specialist, surroundings = context.models.get(load_specialist), context.models.get(load_surroundings)
    opinion = specialist.look(screening_view(picture.rgb, face.box, face.turns).rgb)
    enclosure = surroundings.look(picture.rgb, face.box, face.turns)
    scores = [Score(name="attack score", value=opinion.score, threshold=opinion.threshold,
                    threshold_source=specialist.operating_point.source, model=specialist.identity.id)]
    witnesses = [specialist.identity]
    if enclosure is not None:
        scores.append(Score(name="border score", value=enclosure.score, threshold=enclosure.threshold,
                            threshold_source=surroundings.operating_point.source, model=surroundings.identity.id))
        witnesses.append(surroundings.identity)
    answer = decide(opinion.verdict, None, "none" if enclosure is None else enclosure.border)
    reason = ""
    if answer == "spoof":
        enclosed = enclosure is not None and enclosure.border != "none"
        reason = f"the border of a {enclosure.carrier} encloses it" if enclosed and enclosure is not None \
            else f"its attack score is {opinion.score:.2f}, threshold {opinion.threshold:.2f}"
    elif answer != "live":
        reason = "the networks that screen for presentation attacks do not agree that it is live"
    verdict: Literal["live", "spoof", "unsure"] = "live" if answer == "live" else \
        "spoof" if answer == "spoof" else "unsure"
    return Screening(verdict, reason, tuple(scores), tuple(witnesses))
