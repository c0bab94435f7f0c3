"""The tool `drift`: do the mated scores that the gallery has kept change over the months?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from visagent.errors import AnalysisError
from visagent.evidence import Finding, Score, abstain
from visagent.tools.contract import Tool, ToolContext, ToolInput
from visagent.tools.drift.components import estimate_components
from visagent.tools.drift.scores import ScoreTable, make_scores
from visagent.tools.drift.verdict import RULE, judge
from visagent.tools.recognition.access import gallery_of, identity_of, record

if TYPE_CHECKING:
    from visagent.gallery import Gallery

RESAMPLES = 500
CENSORED = ("Scores of searches are kept only where the person was recognised: low scores are missing, so that ageing "
            "looks smaller than it is. Scores of claims (\"is this Ada?\") are kept down to clearly different.")


class DriftInput(ToolInput):
    """Nothing: all scores of the gallery."""


def gallery_scores(gallery: Gallery) -> ScoreTable:
    """The mated scores that a gallery has kept, people by the beginnings of their ids.

    Raises:
        AnalysisError: There are none.
    """
    kept = list(gallery.sightings())
    if not kept:
        raise AnalysisError("The gallery has kept no mated scores yet; they come with every identification "
                            "(setting keep_scores).")
    moments: list[datetime] = [sighting.at for _, sighting in kept]
    return make_scores([person[:12] for person, _ in kept], moments, [sighting.score for _, sighting in kept],
                       [sighting.device or "" for _, sighting in kept])


def run_drift(request: DriftInput, context: ToolContext) -> Finding:
    """Answer the BEZ question for the gallery. Raises GalleryError, WeightsError, AuditError."""
    gallery = gallery_of(context)
    record(context, "drift", decision="analysed")
    try:
        estimate = estimate_components(gallery_scores(gallery), resamples=RESAMPLES)
    except AnalysisError as error:
        return abstain("drift", f"{str(error)[0].lower()}{str(error)[1:]}")
    verdict = judge(estimate)
    found, (low, _) = estimate.components, estimate.intervals["ratio"]
    said = {"unsure": "Unsure whether scores vary more between days or over the whole period."}.get(
        verdict.answer, f"{verdict.answer[0].upper()}{verdict.answer[1:]}.")
    return Finding(
        tool="drift", answer=verdict.answer, summary=f"{said} {verdict.sentence}",
        scores=(Score(name="ratio of day-to-day to whole-period variation, lower limit", value=low, threshold=1.0,
                      threshold_source=f"1 means as much; rule: {RULE}"),
                Score(name="drift per year", value=found.drift),
                Score(name="day-to-day standard deviation", value=found.day_to_day),
                Score(name="people", value=estimate.people), Score(name="scores", value=estimate.captures)),
        model=identity_of(gallery.contract), caveats=(CENSORED,))


DRIFT = Tool(
    name="drift",
    description="Says whether the match scores that the gallery has kept drift over the months, or only vary from day "
                "to day (the BEZ question).",
    input_model=DriftInput,
    run=run_drift,
)
