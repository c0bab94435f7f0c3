"""The page "Compare": two pictures side by side, with landmarks, and the score on its calibrated scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from visagent.errors import VisagentError
from visagent.evidence import Finding
from visagent.tools import tool_by_name
from visagent.tools.contract import ToolContext
from visagent.tools.recognition.access import calibration_of
from visagent.tools.subject import find_faces
from visagent.ui.evidence_view import Points, evidence_html, render
from visagent.ui.house import CAMERA, House, Upload

LOWEST, HIGHEST = 0.8, 1.0
"""Similarities that the scale shows; lower ones stand at its left end."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the scale, in percent of its width, and what stands there."""

    place: float
    text: str


def build_compare_page(house: House) -> list[gr.components.Component]:
    """Lay out the page and wire it, in the current Gradio context; gives what shows pictures or findings."""
    gr.Markdown("Do two pictures show the same person? The similarity is held against the threshold of your "
                "calibration.")
    with gr.Row():
        first, second = (gr.Image(label=label, sources=["upload", "webcam", "clipboard"], height=260, buttons=[],
                                  webcam_options=CAMERA, elem_id=element)
                         for label, element in (("First picture", "va-first"), ("Second picture", "va-second")))
    run = gr.Button("Compare", variant="primary", elem_id="va-compare")
    result = gr.HTML("", elem_id="va-compared")

    def compare(one: Upload, other: Upload, request: gr.Request) -> str:
        visitor = house.visitor(request)
        if not one or not other:
            return render("problem.html", text="Put a picture into both places first.")
        try:
            pictures = [house.picture(visitor, upload) for upload in (one, other)]
        except VisagentError as error:
            return render("problem.html", text=str(error))
        finding, store = house.call(tool_by_name("verify"), pictures, {})
        context = house.context(store)
        return scale_html(finding, context) + evidence_html("The same person?", [finding], store,
                                                            landmarks=landmarks_on(context), panel="compare")

    run.click(compare, [first, second], result, preprocess=False, api_visibility="private", concurrency_limit=None,
              show_progress="minimal")
    return [first, second, result]


def scale_html(finding: Finding, context: ToolContext) -> str:
    """The similarity among "different", "unsure" and "same", with the calibration's thresholds; empty without one."""
    score = next((score for score in finding.scores if score.name == "similarity"), None)
    if score is None or score.threshold is None:
        return ""
    calibration = calibration_of(context)
    marks = [Mark(_place(point.threshold), f"false-match rate {point.target_fmr:g}: {point.threshold:.3f}")
             for point in calibration.points]
    return render("scale.html", answer=finding.answer, value=score.value, place=_place(score.value), marks=marks,
                  same=_place(score.threshold), threshold=score.threshold,
                  different=_place(min(calibration.different_below, score.threshold)), lowest=LOWEST,
                  highest=HIGHEST, data=calibration.data)


def landmarks_on(context: ToolContext) -> Callable[[str], Points]:
    """The 68 landmarks of all faces of a picture, by its id."""
    def points(image: str) -> Points:
        return [(float(x), float(y)) for face in find_faces(image, context) for x, y in face.landmarks68]
    return points


def _place(similarity: float) -> float:
    return 100 * min(1.0, max(0.0, (similarity - LOWEST) / (HIGHEST - LOWEST)))
