"""The contract. Every tool in `TOOLS` passes these by being in it; nothing here knows a tool by name."""

from __future__ import annotations

import math
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import Field

import visagent
from visagent.errors import EngineError, UnknownPicture, VisagentError
from visagent.evidence import Finding, ModelIdentity, State
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools import TOOLS
from visagent.tools.contract import ImageId, Look, Tool, ToolContext, ToolInput
from visagent.tools.models import Models
from visagent.tools.recognition.access import open_gallery

IMAGE_PATTERN = r"^image_[0-9]+$"
HOST_FOLDERS = {str(Path.home()), str(Path(visagent.__file__).parent), sys.prefix, tempfile.gettempdir(),
                "site-packages"}
PICTURES = ("astronaut", "blank", "noise", "tiny_face", "small")

every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


# Stand-ins for a vision-language model

class Onlooker:
    """Says the same words about everything, and weighs options by their order."""

    identity = ModelIdentity(id="onlooker", digest=None)

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        assert question.strip()
        for view in views:
            assert view.dtype == np.uint8
            assert view.ndim == 3
            assert view.shape[2] == 3
        return Look(text="It is a live face [1, 1, 9, 9].", boxes=((1.0, 1.0, 9.0, 9.0),))

    def score_options(self, question: str, views: Sequence[np.ndarray], options: Sequence[str]) -> list[float]:
        assert len(set(options)) == len(options) > 1
        return [-1.0 - number for number in range(len(options))]


class Rambler(Onlooker):
    """Answers beside the point, with boxes far outside the view, or none that are boxes."""

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        return Look(text="As a model \u202e I ...", boxes=((-50.0, -50.0, 9e6, 9e6), (5.0, 5.0, 5.0, 5.0)))


class Broken(Onlooker):
    """Loads, then fails."""

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        raise EngineError("The model failed.")

    def score_options(self, question: str, views: Sequence[np.ndarray], options: Sequence[str]) -> list[float]:
        raise EngineError("The model failed.")


# A session of pictures, and arguments for any tool from its schema

@pytest.fixture
def store(astronaut: np.ndarray) -> PictureStore:
    """`image_1` the astronaut, then the others of PICTURES."""
    store = PictureStore()
    store.add(picture_from_array(astronaut))
    store.add(picture_from_array(np.full((160, 200, 3), 127, np.uint8)))
    store.add(picture_from_array(np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)))
    tiny = np.full((200, 240, 3), 200, np.uint8)
    tiny[40:120, 60:140] = np.asarray(Image.fromarray(astronaut).resize((80, 80), Image.Resampling.BOX))
    store.add(picture_from_array(tiny))
    store.add(picture_from_array(np.zeros((16, 16, 3), np.uint8)))
    assert len(store.ids()) == len(PICTURES)
    return store


def resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return root["$defs"][schema["$ref"].rsplit("/", 1)[1]] | {k: v for k, v in schema.items() if k != "$ref"}
    for alternative in schema.get("anyOf", ()):
        if alternative.get("type") != "null":
            return resolve(alternative, root) | {k: v for k, v in schema.items() if k != "anyOf"}
    return schema


def fields(tool: Tool[Any]) -> dict[str, dict[str, Any]]:
    root = tool.input_model.model_json_schema()
    return {name: resolve(schema, root) for name, schema in root["properties"].items()}


def names_picture(schema: dict[str, Any]) -> bool:
    items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
    return IMAGE_PATTERN in (schema.get("pattern"), items.get("pattern"))


def arguments(tool: Tool[Any], *ids: str) -> dict[str, object]:
    """Arguments that name `ids` in turn; optional fields are left out unless they name a picture."""
    turn = iter([*ids, *["image_1"] * 8])
    made: dict[str, object] = {}
    for name, schema in fields(tool).items():
        if schema.get("pattern") == IMAGE_PATTERN:
            made[name] = next(turn)
        elif names_picture(schema):
            made[name] = [next(turn) for _ in range(max(schema.get("minItems", 1), 1))]
        elif name in tool.input_model.model_json_schema().get("required", ()):
            if "enum" in schema:
                made[name] = schema["enum"][0]
            else:
                made[name] = {"string": "face", "integer": schema.get("minimum", 1), "boolean": True,
                              "number": schema.get("minimum", 1.0), "array": []}[schema["type"]]
    return made


def takes_pictures(tool: Tool[Any]) -> bool:
    return any(names_picture(schema) for schema in fields(tool).values())


def check(finding: Finding, tool: Tool[Any], store: PictureStore) -> None:
    """What every finding of every tool keeps, whatever the picture."""
    assert finding.tool == tool.name
    assert Finding.model_validate_json(finding.to_json()) == finding
    assert finding.summary.strip()
    assert len(finding.summary) < 1500
    assert set(finding.images) <= set(store.ids())
    handles = {artifact.handle for artifact in finding.artifacts}
    for artifact in finding.artifacts:
        assert store.artifact(artifact.handle).dtype == np.uint8
        assert artifact.description[0].isupper() and artifact.description.endswith("."), "it is a caption"
        if artifact.image is not None and artifact.box is not None:
            height, width = store.pixels(artifact.image).shape[:2]
            assert artifact.box.x1 < width and artifact.box.y1 < height and artifact.box.x2 > 0 and artifact.box.y2 > 0
    for region in finding.regions:
        if region.image.startswith("image_"):
            width, height = store.get(region.image).width, store.get(region.image).height
        else:
            assert region.image in handles
            height, width = store.artifact(region.image).shape[:2]
        assert 0 <= region.box.x1 < region.box.x2 <= width, region
        assert 0 <= region.box.y1 < region.box.y2 <= height, region
    if finding.state is State.answered:
        assert finding.images or not takes_pictures(tool)
        for score in finding.scores:
            assert score.model or finding.model or score.threshold is None, "a verdict names its model"
    for text in strings(finding.model_dump()):
        assert "array(" not in text
        assert not re.search(r"(-?\d+\.\d+[,\s]+){8}", text), "an embedding or array in words"
        assert not re.search(r"(?<![\w.)])/\w+/|[A-Z]:\\", text), f"a host path: {text}"
        assert not any(folder in text for folder in HOST_FOLDERS)
        assert "Traceback" not in text


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from strings(part)
    elif isinstance(value, (list, tuple)):
        assert len(value) < 500
        for part in value:
            yield from strings(part)
    else:
        assert value is None or isinstance(value, (bool, int)) or math.isfinite(value)  # type: ignore[arg-type]


def context(store: PictureStore, specialists: Models, see: Callable[[], Onlooker] | None) -> ToolContext:
    """The session, with specialists loaded once for all tests and `see` as the vision-language model."""
    class Shared(Models):
        def get(self, load: Any, *arguments: Any) -> Any:
            own = load is see or load is open_gallery  # a gallery is of one test
            return super().get(load, *arguments) if own else specialists.get(load, *arguments)

    return ToolContext(pictures=store, models=Shared(see), settings=Settings(), draws=True)


# Every tool

def test_there_are_tools_and_their_names_are_their_own() -> None:
    assert TOOLS
    assert len({tool.name for tool in TOOLS}) == len(TOOLS)


@every_tool
def test_a_tool_is_named_and_described(tool: Tool[Any]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{2,30}", tool.name)
    assert 20 <= len(tool.description) <= 400
    assert issubclass(tool.input_model, ToolInput)


@every_tool
def test_its_schema_is_strict_and_every_field_described(tool: Tool[Any]) -> None:
    root = tool.input_model.model_json_schema()
    for schema in [root, *root.get("$defs", {}).values()]:
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
    for name, schema in fields(tool).items():
        assert len(schema.get("description", "")) >= 10, f"{name} is not described"


@every_tool
def test_its_pictures_are_ids(tool: Tool[Any]) -> None:
    for name, schema in fields(tool).items():
        if re.search(r"image|picture|photo|probe|reference|first|second", name):
            assert names_picture(schema), f"{name} takes something else than image ids"
        assert not re.search(r"path|url|file|folder|uri", name)
        assert schema.get("format") not in ("path", "file-path", "directory-path", "uri", "binary", "base64")


@every_tool
@pytest.mark.parametrize("wrong", [
    {}, {"surprise": 1}, {"image": "/etc/passwd"}, {"image": "image_1", "surprise": 1}, {"images": "image_1; rm"},
    {"image": None}, {"image": 7}, {"images": []}, {"images": [["image_1"]]}, {"image": "image_1\nimage_2"},
    {"image_a": "https://example.org/a.jpg", "image_b": "image_1"},
])
def test_wrong_arguments_are_a_finding(tool: Tool[Any], wrong: dict[str, object], store: PictureStore) -> None:
    if not wrong and not tool.input_model.model_json_schema().get("required"):
        pytest.skip("it needs no arguments")
    finding = tool.call(dict(wrong), ToolContext(pictures=store, models=Models(), settings=Settings()))
    assert finding.state is State.not_possible
    check(finding, tool, store)


@every_tool
def test_a_picture_that_was_never_added_is_a_finding(tool: Tool[Any], store: PictureStore) -> None:
    if not takes_pictures(tool):
        pytest.skip("it takes no picture")
    asked = arguments(tool, "image_77", "image_78")
    if "purpose" in fields(tool):
        asked |= {"purpose": "a test", "consent": "none needed"}
    finding = tool.call(asked, ToolContext(pictures=store, models=Models(), settings=Settings()))
    assert finding.state is State.not_possible
    assert "image_77" in finding.summary
    check(finding, tool, store)


@every_tool
def test_one_argument_too_many_is_refused(tool: Tool[Any], store: PictureStore) -> None:
    asked = arguments(tool, "image_1", "image_1") | {"extra": "image_1"}
    finding = tool.call(asked, ToolContext(pictures=store, models=Models(), settings=Settings()))
    assert finding.state is State.not_possible
    assert "extra" in finding.summary


@every_tool
@pytest.mark.slow
@pytest.mark.parametrize(("picture", "see"), [
    *((picture, Onlooker) for picture in PICTURES), ("astronaut", Rambler), ("astronaut", Broken), ("astronaut", None),
])
def test_any_picture_gives_a_finding(tool: Tool[Any], picture: str, see: Callable[[], Onlooker] | None,
                                     store: PictureStore, specialists: Models) -> None:
    image_id = f"image_{PICTURES.index(picture) + 1}"
    finding = tool.call(arguments(tool, image_id, "image_1"), context(store, specialists, see))
    check(finding, tool, store)
    if finding.state is not State.not_possible and takes_pictures(tool):
        assert image_id in finding.images
    if picture in ("blank", "noise", "small") and takes_pictures(tool):
        # There is no face: a count may answer so, a verdict may not be made up.
        assert finding.state is not State.answered or finding.answer == "0"


@every_tool
@pytest.mark.slow
def test_the_same_question_has_the_same_answer(tool: Tool[Any], store: PictureStore, specialists: Models) -> None:
    first, second = (tool.call(arguments(tool, "image_1", "image_1"), context(store, specialists, Onlooker))
                     for _ in range(2))
    assert first.model_copy(update={"artifacts": ()}) == second.model_copy(update={"artifacts": ()})


@every_tool
@pytest.mark.slow
def test_where_nobody_looks_it_draws_nothing_and_says_the_same(tool: Tool[Any], store: PictureStore,
                                                               specialists: Models) -> None:
    seen = context(store, specialists, Onlooker)
    drawn = tool.call(arguments(tool, "image_1", "image_1"), seen)
    for artifact in drawn.artifacts:
        assert store.artifact(artifact.handle).size
    unseen = tool.call(arguments(tool, "image_1", "image_1"), replace(seen, draws=False))
    assert unseen == drawn.model_copy(update={"artifacts": ()})
    assert store.add_artifact(np.zeros((1, 1, 3), np.uint8)) == f"artifact_{len(drawn.artifacts) + 1}"


@every_tool
@pytest.mark.slow
def test_the_pictures_stay_as_they_were(tool: Tool[Any], store: PictureStore, specialists: Models) -> None:
    before = {image_id: store.get(image_id).rgb.copy() for image_id in store.ids()}
    tool.call(arguments(tool, "image_1", "image_1"), context(store, specialists, Onlooker))
    assert store.ids() == tuple(before)
    assert all(np.array_equal(store.get(image_id).rgb, rgb) for image_id, rgb in before.items())


# The contract itself, on a tool of its own

class Greeting(ToolInput):
    image: ImageId
    times: Annotated[int, Field(ge=1, le=3, description="How often to greet.")] = 1


def greeting(run: Callable[[Greeting, ToolContext], Finding]) -> Tool[Greeting]:
    return Tool(name="greet", description="Greets whoever is in the picture.", input_model=Greeting, run=run)


@pytest.fixture
def bare(session: PictureStore) -> ToolContext:
    return ToolContext(pictures=session, models=Models(), settings=Settings())


def test_valid_arguments_reach_the_tool(bare: ToolContext) -> None:
    tool = greeting(lambda request, _: Finding(tool="greet", answer="hello " * request.times, summary="Greeted.",
                                               images=(request.image,)))
    assert tool.call({"image": "image_1", "times": 2}, bare).answer == "hello hello "


@pytest.mark.parametrize(("wrong", "names"), [
    ({"image": "photo.jpg"}, "image"), ({"image": "image_1", "times": 9}, "times"),
    ({"image": "image_1", "mode": "x"}, "mode"), ({}, "image"),
])
def test_arguments_that_do_not_fit_are_named(bare: ToolContext, wrong: dict[str, object], names: str) -> None:
    def never(request: Greeting, context: ToolContext) -> Finding:
        raise AssertionError("ran")

    finding = greeting(never).call(wrong, bare)
    assert finding.state is State.not_possible
    assert f"{names}:" in finding.summary
    assert "photo.jpg" not in finding.summary


@pytest.mark.parametrize("error", [EngineError("The model failed."), UnknownPicture("There is no image_9.")])
def test_documented_failures_become_findings(bare: ToolContext, error: VisagentError) -> None:
    def fails(request: Greeting, context: ToolContext) -> Finding:
        raise error

    finding = greeting(fails).call({"image": "image_1"}, bare)
    assert finding.state is State.not_possible
    assert str(error) in finding.summary


def test_a_programming_error_is_not_hidden(bare: ToolContext) -> None:
    def buggy(request: Greeting, context: ToolContext) -> Finding:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        greeting(buggy).call({"image": "image_1"}, bare)
