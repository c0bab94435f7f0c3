"""The page "Tools": each tool by itself, with fields made from its own schema. A new tool appears by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from visagent.errors import VisagentError
from visagent.tools import TOOLS
from visagent.tools.contract import Tool
from visagent.ui.evidence_view import evidence_html, render
from visagent.ui.forms import arguments_of, fields_of
from visagent.ui.house import CAMERA, House, Upload
from visagent.verbs import picture_fields


def build_tools_page(house: House) -> list[gr.components.Component]:
    """Lay out the page and wire it, in the current Gradio context; gives what shows pictures or findings."""
    showing: list[gr.components.Component] = []
    with gr.Tabs(elem_id="va-tools"):
        for tool in TOOLS:
            with gr.Tab(tool.title, id=tool.name, elem_id=f"va-tool-{tool.name}"):
                showing += _panel(house, tool)
    return showing


def _panel(house: House, tool: Tool[Any]) -> list[gr.components.Component]:
    pictures = picture_fields(tool.input_model)
    gr.Markdown(tool.description)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            single: list[gr.components.Component] = [
                gr.Image(label=name.replace("_", " ").capitalize(), sources=["upload", "webcam", "clipboard"],
                         height=220, buttons=[], webcam_options=CAMERA, elem_id=f"va-tool-{tool.name}-{name}")
                for name in pictures.single]
            several = gr.File(label="Pictures", file_count="multiple", file_types=["image"], height=160,
                              elem_id=f"va-tool-{tool.name}-pictures") if pictures.several else None
            if pictures.clip:
                single = [gr.File(label="Clip", file_count="single", file_types=["video"], height=120,
                                  elem_id=f"va-tool-{tool.name}-clip")]
            fields = fields_of(tool, prefix="va-tool")
            run = gr.Button(f"Run {tool.title.lower()}", variant="primary", elem_id=f"va-run-{tool.name}")
        with gr.Column(scale=6, min_width=300):
            result = gr.HTML("", elem_id=f"va-result-{tool.name}")

    def call(values: Mapping[Any, Any], request: gr.Request) -> str:
        visitor = house.visitor(request)
        uploads: list[Upload] = [values[image] for image in single]
        if several is not None:
            uploads += values[several] or []
        if any(upload is None for upload in uploads) or (several is not None and not values[several]):
            return render("problem.html", text=f"Put in the {'clip' if pictures.clip else 'pictures'} first.")
        try:
            take = house.picture if pictures.clip is None else house.clip
            given: list[Any] = [take(visitor, upload) for upload in uploads]
        except VisagentError as error:
            return render("problem.html", text=str(error))
        arguments = arguments_of(fields, [values[field.component] for field in fields])
        finding, store = house.call(tool, given, arguments)
        return evidence_html(tool.title, [finding], store, panel=tool.name)

    def call_alone(request: gr.Request) -> str:
        return call({}, request)

    inputs: set[Any] = {*single, *([several] if several is not None else []), *(field.component for field in fields)}
    run.click(call if inputs else call_alone, inputs or None, result, preprocess=False, api_visibility="private",
              concurrency_id="tool", concurrency_limit=2, show_progress="minimal")
    return [*single, *([several] if several is not None else []), result]
