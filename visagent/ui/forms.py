"""Input fields made from a tool's own schema, so that a new tool has a page and a question without code of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from visagent.tools.contract import Tool
from visagent.verbs import picture_fields


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a tool's input that is no picture.

    Attributes:
        name: Its name in the input.
        component: Where the person fills it in.
        kind: Its JSON type.
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
    pictures = picture_fields(tool.input_model)
    fields = []
    whole = tool.input_model.model_json_schema()
    for name, schema in whole["properties"].items():
        if name in pictures.single or name == pictures.several:
            continue
        kinds = [whole["$defs"][kind["$ref"].rsplit("/", 1)[1]] if "$ref" in kind else kind
                 for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        if len(kinds) == 1 and (field := _field(name, schema, kinds[0], f"{prefix}-{tool.name}-{name}")) is not None:
            fields.append(field)
    return fields


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
        as_it_is = value is None or field.kind in ("boolean", "enum")
        values.append(value if as_it_is else str(value))
    return values


def _field(name: str, schema: Mapping[str, Any], kind: Mapping[str, Any], element: str) -> Field | None:
    label, info = name.replace("_", " ").capitalize(), schema.get("description", "")
    default = schema.get("default")
    if "enum" in kind:
        return Field(name, gr.Dropdown(list(kind["enum"]), value=default, label=label, info=info, elem_id=element),
                     "enum")
    match kind.get("type"):
        case "boolean":
            return Field(name, gr.Checkbox(value=bool(default), label=label, info=info, elem_id=element), "boolean")
        case "string" | "integer" | "number":  # a number field of Gradio cannot be empty: it would show 0
            return Field(name, gr.Textbox(value=None if default is None else str(default), label=label, info=info,
                                          elem_id=element, max_lines=2, max_length=kind.get("maxLength")),
                         kind["type"])
    return None
