"""Input fields made from a tool's own schema, so that a new tool has a page and a question without code of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from visagent.tools.contract import Tool
from visagent.verbs import PlainField, plain_fields


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a tool's input that is no picture.

    Attributes:
        name: Its name in the input.
        component: Where the person fills it in.
        kind: Of its value; see `PlainField`.
    """

    name: str
    component: gr.components.Component
    kind: str


def fields_of(tool: Tool[Any], *, prefix: str) -> list[Field]:
    """Make the components, in the current Gradio context.

    Args:
        tool: Whose input.
        prefix: Begins the element ids.
    """
    return [Field(plain.name, _component(plain, f"{prefix}-{tool.name}-{plain.name}"), plain.kind)
            for plain in plain_fields(tool.input_model)]


def arguments_of(fields: Iterable[Field], values: Sequence[object]) -> dict[str, object]:
    """What the person filled in, for the tool, which checks it; empty fields are left out."""
    given: dict[str, object] = {}
    for field, value in zip(fields, values, strict=True):
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        given[field.name] = value.strip() if isinstance(value, str) else value
    return given


def filled(fields: Iterable[Field], arguments: Mapping[str, object]) -> list[object]:
    """The fields' values for these arguments; what is not given is empty, a yes or no its own default."""
    values: list[object] = []
    for field in fields:
        value = arguments.get(field.name, field.component.value if field.kind == "boolean" else None)
        as_it_is = value is None or field.kind in ("boolean", "choice")
        values.append(value if as_it_is else str(value))
    return values


def _component(plain: PlainField, element: str) -> gr.components.Component:
    label = plain.name.replace("_", " ").capitalize()
    if plain.kind == "choice":
        return gr.Dropdown(list(plain.choices), value=plain.default, label=label, info=plain.description,
                           elem_id=element)
    if plain.kind == "boolean":
        return gr.Checkbox(value=bool(plain.default), label=label, info=plain.description, elem_id=element)
    # A number field of Gradio cannot be empty: it would show 0.
    return gr.Textbox(value=None if plain.default is None else str(plain.default), label=label,
                      info=plain.description, elem_id=element, max_lines=2, max_length=plain.longest)
