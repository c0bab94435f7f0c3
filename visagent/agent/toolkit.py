"""The tools as the model sees them: one JSON schema each, and one LangChain tool that returns a finding as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, create_model

from visagent.evidence import Finding
from visagent.tools.contract import Tool, ToolContext, ToolInput


def function_schema(name: str, description: str, input_model: type[BaseModel]) -> dict[str, Any]:
    """An OpenAI function schema. The same for every engine, and for the training of visagent-nano.

    Pydantic's generated titles are left out: they say nothing that the names do not, and cost a small model context.
    """
    parameters = _without_titles(input_model.model_json_schema())
    parameters.pop("description", None)  # the docstring of the input class, meant for programmers
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def tool_schema(tool: Tool[Any]) -> dict[str, Any]:
    """The OpenAI function schema of a tool, without what only the person may fill in."""
    return function_schema(tool.name, tool.description, input_for_model(tool))


def input_for_model(tool: Tool[Any]) -> type[BaseModel]:
    """The tool's input as a model sees it: without the fields that are left to the person."""
    if not tool.left_to_person:
        return tool.input_model
    kept = {name: (field.annotation, field) for name, field in tool.input_model.model_fields.items()
            if name not in tool.left_to_person}
    shown: type[BaseModel] = create_model(  # type: ignore[call-overload]
        tool.input_model.__name__, __base__=ToolInput, __doc__=tool.input_model.__doc__, **kept)
    return shown


def finding_text(finding: Finding) -> str:
    """What the model reads of a finding: the summary, and in a note what it must know to not over-read it."""
    return f"{finding.summary}\nNote: {' '.join(finding.caveats)}" if finding.caveats else finding.summary


def langchain_tool(tool: Tool[Any], context: ToolContext) -> BaseTool:
    """The tool for LangChain: text for the model, and the finding's JSON as artifact. No pixels, no objects."""

    def run(**arguments: object) -> tuple[str, dict[str, Any]]:
        finding = tool.call(dict(arguments), context)
        return finding_text(finding), finding.model_dump(mode="json")

    return StructuredTool.from_function(func=run, name=tool.name, description=tool.description,
                                        args_schema=input_for_model(tool), response_format="content_and_artifact",
                                        infer_schema=False)


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "properties":
            # Here the keys are names of fields: one of them may well be called "title".
            cleaned[key] = {name: _without_titles(field) for name, field in value.items()}
        elif isinstance(value, Mapping):
            cleaned[key] = _without_titles(value)
        elif isinstance(value, list):
            cleaned[key] = [_without_titles(item) if isinstance(item, Mapping) else item for item in value]
        else:
            cleaned[key] = value
    return cleaned
