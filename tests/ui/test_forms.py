"""Forms: the fields of every tool come from its own schema, and what was filled in goes back to the tool."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import gradio as gr
import pytest
from pydantic import BaseModel, Field

from visagent.evidence import Finding
from visagent.media import PictureStore
from visagent.settings import Settings
from visagent.tools import TOOLS, tool_by_name
from visagent.tools.contract import STRIPPED, ImageId, Tool, ToolContext, ToolInput
from visagent.tools.models import Models
from visagent.ui.forms import Field as FormField
from visagent.ui.forms import arguments_of, fields_of, filled
from visagent.verbs import picture_fields


class Place(BaseModel):
    """Something with fields of its own."""

    street: str


class Everything(ToolInput):
    """One field of each kind."""

    image: ImageId
    image_b: ImageId
    images: list[ImageId]
    some_name: Annotated[str, STRIPPED, Field(min_length=1, max_length=40, description="Whom it is about.")]
    nickname: Annotated[str | None, Field(max_length=20, description="Another name.")] = None
    greeting: str = "hello"
    count: int = 3
    maybe_count: Annotated[int | None, Field(ge=1, description="How many.")] = None
    share: float = 0.25
    maybe_share: float | None = None
    careful: Annotated[bool, Field(description="Look twice.")] = True
    quick: bool = False
    colour: Literal["red", "green"] = "green"
    maybe_colour: Literal["red", "green"] | None = None
    place: Place | None = None
    places: tuple[str, ...] = ()
    either: int | str = 1
    mapping: dict[str, int] | None = None


NAMES = ["some_name", "nickname", "greeting", "count", "maybe_count", "share", "maybe_share", "careful", "quick",
         "colour", "maybe_colour"]


def _run(request: Everything, context: ToolContext) -> Finding:
    return Finding(tool="everything", answer="done", summary=request.model_dump_json())


EVERYTHING = Tool("everything", "Takes everything.", Everything, _run)


def made(tool: Tool[Any], prefix: str = "va-test") -> list[FormField]:
    return fields_of(tool, prefix=prefix)


@pytest.fixture(scope="module")
def fields() -> list[FormField]:
    return made(EVERYTHING)


def by_name(fields: list[FormField]) -> dict[str, Any]:
    return {field.name: field.component for field in fields}


def shown(fields: list[FormField]) -> list[object]:
    """What the page shows before anybody has touched it."""
    return [field.component.value for field in fields]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_field_of_every_tool_that_is_no_picture_can_be_filled_in(tool: Tool[Any]) -> None:
    pictures = picture_fields(tool.input_model)
    expected = [name for name in tool.input_model.model_fields if name not in pictures.single
                and name not in (pictures.several, pictures.clip)]
    fields = made(tool)
    assert [field.name for field in fields] == expected
    assert len({field.component.elem_id for field in fields}) == len(fields)
    for field in fields:
        described = tool.input_model.model_fields[field.name].description
        assert by_name(fields)[field.name].info == described and described


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_an_untouched_form_asks_for_the_tools_own_defaults(tool: Tool[Any]) -> None:
    fields = made(tool)
    given = arguments_of(fields, shown(fields))
    for name, value in given.items():
        assert value == tool.input_model.model_fields[name].default
    left_out = {field.name for field in fields} - set(given)
    assert all(tool.input_model.model_fields[name].default is None or tool.input_model.model_fields[name].is_required()
               for name in left_out)


def test_the_dialogue_of_a_tool_that_asks_first_holds_what_only_the_person_may_say() -> None:
    for tool in TOOLS:
        assert set(tool.left_to_person) <= {field.name for field in made(tool)}
    assert {"person", "purpose", "consent"} <= {field.name for field in made(tool_by_name("enrol"))}
    assert [field.name for field in made(tool_by_name("forget"))] == ["person"]
    assert made(tool_by_name("faces")) == []


def test_fields_come_in_order_without_pictures_and_without_what_has_no_simple_field(fields: list[FormField]) -> None:
    assert [field.name for field in fields] == NAMES


def test_each_kind_has_its_component(fields: list[FormField]) -> None:
    kinds = {field.name: (field.kind, type(field.component)) for field in fields}
    assert kinds == {
        "some_name": ("string", gr.Textbox), "nickname": ("string", gr.Textbox), "greeting": ("string", gr.Textbox),
        "count": ("integer", gr.Textbox), "maybe_count": ("integer", gr.Textbox),
        "share": ("number", gr.Textbox), "maybe_share": ("number", gr.Textbox),
        "careful": ("boolean", gr.Checkbox), "quick": ("boolean", gr.Checkbox),
        "colour": ("choice", gr.Dropdown), "maybe_colour": ("choice", gr.Dropdown)}


def test_defaults_are_filled_in(fields: list[FormField]) -> None:
    assert dict(zip(NAMES, shown(fields), strict=True)) == {
        "some_name": None, "nickname": None, "greeting": "hello", "count": "3", "maybe_count": None, "share": "0.25",
        "maybe_share": None, "careful": True, "quick": False, "colour": "green", "maybe_colour": None}


def test_choices_lengths_labels_and_ids_are_the_schemas(fields: list[FormField]) -> None:
    components = by_name(fields)
    for name in ("colour", "maybe_colour"):
        assert [value for _, value in components[name].choices] == ["red", "green"]
    assert (components["some_name"].max_length, components["nickname"].max_length) == (40, 20)
    assert components["greeting"].max_length is None
    assert components["some_name"].label == "Some name" and components["some_name"].info == "Whom it is about."
    assert components["nickname"].info == "Another name." and components["careful"].info == "Look twice."
    assert components["maybe_count"].elem_id == "va-test-everything-maybe_count"
    assert made(EVERYTHING, "va-other")[0].component.elem_id == "va-other-everything-some_name"


def test_what_is_filled_in_reaches_the_tool(fields: list[FormField]) -> None:
    values = [" Ada\n", "", "  ", "7", None, "0.5", "", False, True, "red", None]
    given = arguments_of(fields, values)
    assert given == {
        "some_name": "Ada", "count": "7", "share": "0.5", "careful": False, "quick": True, "colour": "red"}
    context = ToolContext(PictureStore(), Models(), Settings())
    pictures = {"image": "image_1", "image_b": "image_2", "images": ["image_3"]}
    request = Everything.model_validate_json(EVERYTHING.call({**given, **pictures}, context).summary)
    assert (request.some_name, request.nickname, request.greeting) == ("Ada", None, "hello")
    assert (request.count, request.share, request.careful, request.quick) == (7, 0.5, False, True)
    assert (request.colour, request.maybe_colour) == ("red", None)


@pytest.mark.parametrize("value", [None, "", " ", "\n\t", "\u2003"])
def test_empty_fields_are_left_out(value: str | None, fields: list[FormField]) -> None:
    assert arguments_of(fields, [value] * len(fields)) == {}


def test_a_no_and_a_zero_are_not_empty(fields: list[FormField]) -> None:
    assert arguments_of(fields[-4:], [False, 0, "0", "x"]) == {
        "careful": False, "quick": 0, "colour": "0", "maybe_colour": "x"}


def test_as_many_values_as_fields_are_needed(fields: list[FormField]) -> None:
    with pytest.raises(ValueError, match="zip"):
        arguments_of(fields, [None] * (len(fields) - 1))


def test_a_call_fills_the_form_and_comes_back_unchanged(fields: list[FormField]) -> None:
    call: dict[str, object] = {
        "some_name": "Ada", "nickname": "A.", "greeting": "hi", "count": 5, "maybe_count": 2, "share": 0.75,
        "maybe_share": 1.5, "careful": False, "quick": True, "colour": "red", "maybe_colour": "green"}
    values = filled(fields, {**call, "image": "image_1", "place": {"street": "x"}})
    assert values == ["Ada", "A.", "hi", "5", "2", "0.75", "1.5", False, True, "red", "green"]
    back = arguments_of(fields, values)
    pictures = {"image": "image_1", "image_b": "image_1", "images": []}
    assert Everything.model_validate({**back, **pictures}) == Everything.model_validate({**call, **pictures})


def test_what_a_call_does_not_say_is_empty_and_a_yes_or_no_its_default(fields: list[FormField]) -> None:
    assert filled(fields, {"some_name": "Ada", "nickname": None}) == [
        "Ada", None, None, None, None, None, None, True, False, None, None]
    assert arguments_of(fields, filled(fields, {"some_name": "Ada"})) == {
        "some_name": "Ada", "careful": True, "quick": False}


@pytest.mark.parametrize(("name", "call"), [
    ("enrol", {"images": ["image_1"], "person": "Ada", "face": 2, "require_live": False}),
    ("enrol", {"images": ["image_1"], "person": "Ada"}), ("forget", {"person": "Ada"}), ("people", {}),
    ("people", {"person": "Ada"})])
def test_the_calls_of_tools_that_ask_first_come_back_unchanged(name: str, call: dict[str, object]) -> None:
    tool = tool_by_name(name)
    fields = made(tool)
    back = arguments_of(fields, filled(fields, call))
    assert tool.input_model.model_validate({**call, **back}) == tool.input_model.model_validate(call)
