"""What an identification answers, and how it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from visagent.settings import Settings
from visagent.tools.identify.assignment import Candidate
from visagent.tools.recognition.calibration import Calibration, Threshold
from visagent.tools.recognition.liveness import Screening
from visagent.tools.subject import ChosenFace

CAVEATS: Final = (
    "A match is not proof of identity: relatives, look-alikes and people unlike those in the calibration data are "
    "confused more often.",
)


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer, whom it is about, and why it is not a plain one."""

    answer: Literal["known", "unsure", "unknown"]
    person: str | None = None
    reason: str = ""


def decide(candidate: Candidate, screening: Screening | None, accept: Threshold, review: Threshold) -> Decision:
    """Known from the threshold on, if live and nobody else passes too; unsure from the review threshold on."""
    if candidate.person is None or candidate.score is None or candidate.score < review.value:
        return Decision("unknown")
    if candidate.score < accept.value:
        return Decision("unsure", candidate.person, "the similarity is between the two thresholds")
    if candidate.runner_up is not None and candidate.runner_up.score >= accept.value:
        return Decision("unsure", candidate.person, "two people are alike enough")
    if screening is not None and screening.verdict != "live":
        return Decision("unsure", candidate.person, screening.reason)
    return Decision("known", candidate.person)


def summarise(decision: Decision, candidate: Candidate, names: Mapping[str, str], face: ChosenFace, accept: Threshold,
              review: Threshold, templates: int, claimed: bool) -> str:
    """One or two sentences; names of the gallery stand in quotation marks, for they are data."""
    whom = "The face" if face.count == 1 else f"Face {face.number}"
    where = f"{whom} at {face.face.box} in {face.image_id}"
    among = "one comparison" if claimed and templates == 1 else f"{templates:,} templates"
    if candidate.score is None:
        return f"{where} is unknown: nobody else is in the gallery."
    score = f"similarity {candidate.score:.3f}, threshold {accept.value:.3f} for {among}"
    name = f'"{names[decision.person]}"' if decision.person and decision.person in names else "somebody"
    other = candidate.runner_up.person if candidate.runner_up is not None else None
    if decision.answer == "known":
        text = f"{where} is {name} ({score})."
    elif decision.answer == "unknown":
        text = f"{where} is not known: " if not claimed else f"{where} is not the person that was named: "
        text += f"the most similar person has a {score}; from {review.value:.3f} it would be unsure."
    elif decision.reason == "two people are alike enough" and other in names:
        text = f'{where} may be {name} or "{names[str(other)]}": both are alike enough ({score}). Unsure.'
    else:
        text = f"{where} may be {name}, unsure: {decision.reason} ({score}, unsure from {review.value:.3f})."
    if candidate.taken in names:
        text += f' "{names[str(candidate.taken)]}", who is more alike, is another face of the picture.'
    return text


def threshold_source(accept: Threshold, templates: int, claimed: bool, calibration: Calibration, settings: Settings
                     ) -> str:
    """Where the threshold comes from: rate, gallery size, data and date."""
    rate = f"false-match rate {settings.wanted_fmr:.2%} wanted of one claim" if claimed else \
        f"false-positive identification rate {settings.wanted_fpir:.1%} wanted"
    fitted = ", extrapolated by a generalised Pareto tail" if accept.extrapolated else ""
    return (f"{rate} with {templates:,} templates, so a false-match rate of {accept.fmr:.2g} of each comparison"
            f"{fitted}; set on one half of the people of: {calibration.data} ({calibration.development.non_mated:,} "
            f"comparisons, {calibration.date})")
