"""The one-line verbs: pictures in, findings out, for any tool."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import visagent
from visagent import verbs
from visagent.errors import DamagedPicture, EngineError, NotAPicture, PictureError
from visagent.evidence import Finding, State, abstain
from visagent.media import load_picture
from visagent.settings import Settings
from visagent.tools import TOOLS
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput
from visagent.tools.models import Models


class One(ToolInput):
    """One picture and a word."""

    image: ImageId
    word: str = "light"


class Two(ToolInput):
    """Two pictures."""

    first: ImageId
    second: ImageId


class Several(ToolInput):
    """Any number of pictures."""

    images: list[ImageId]


def brightness(request: One, context: ToolContext) -> Finding:
    """Abstains on black, answers with the mean."""
    mean = context.pictures.get(request.image).rgb.mean()
    if mean == 0:
        return abstain("brightness", "it is black", images=(request.image,))
    return Finding(tool="brightness", answer=f"{request.word} {mean:.0f}", summary="Mean.", images=(request.image,))


def order(request: Two, context: ToolContext) -> Finding:
    """Which of the two is brighter; tells the order of the pictures."""
    first, second = (context.pictures.get(name).rgb.mean() for name in (request.first, request.second))
    return Finding(tool="order", answer="first" if first > second else "second", summary="Order.")


def count(request: Several, context: ToolContext) -> Finding:
    """How many pictures were given."""
    return Finding(tool="count", answer=str(len(request.images)), summary="Count.")


BRIGHTNESS: Tool[One] = Tool("brightness", "How bright a picture is.", One, brightness)
ORDER: Tool[Two] = Tool("order", "Which of two pictures is brighter.", Two, order)
COUNT: Tool[Several] = Tool("count", "How many pictures there are.", Several, count)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """gray.png (mean 100), light.png (200), black.png, broken.jpg, and a text file."""
    for name, value in (("gray", 100), ("light", 200), ("black", 0)):
        Image.fromarray(np.full((40, 60, 3), value, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_verb_takes_paths_bytes_files_and_pictures(folder: Path) -> None:
    run = verbs.verb(BRIGHTNESS)
    path = folder / "gray.png"
    data = path.read_bytes()
    for source in (path, str(path), data, io.BytesIO(data), load_picture(path)):
        assert run(source).answer == "light 100"
    assert run.__name__ == "brightness"
    assert run.__doc__ == BRIGHTNESS.description


def test_a_verb_passes_further_fields_and_refuses_unknown_ones(folder: Path) -> None:
    run = verbs.verb(BRIGHTNESS)
    assert run(folder / "gray.png", arguments={"word": "mean"}).answer == "mean 100"
    refused = run(folder / "gray.png", arguments={"wrod": "mean"})
    assert refused.state is State.not_possible
    assert "wrod" in (refused.reason or "")


def test_an_unreadable_picture_is_a_typed_error_in_python(folder: Path) -> None:
    run = verbs.verb(BRIGHTNESS)
    with pytest.raises(NotAPicture):
        run(folder / "notes.txt")
    with pytest.raises(DamagedPicture):
        run(folder / "broken.jpg")
    with pytest.raises(PictureError):
        run(folder / "absent.png")


@pytest.mark.parametrize(("tool", "given", "message"), [
    (BRIGHTNESS, 0, "looks at 1 picture; 0 given"), (BRIGHTNESS, 2, "looks at 1 picture; 2 given"),
    (ORDER, 1, "looks at 2 pictures; 1 given"), (ORDER, 3, "looks at 2 pictures; 3 given"),
    (COUNT, 0, "at least 1 picture"),
])
def test_the_wrong_number_of_pictures_is_a_type_error(tool: Tool[ToolInput], given: int, message: str,
                                                      folder: Path) -> None:
    with pytest.raises(TypeError, match=message):
        verbs.verb(tool)(*[folder / "gray.png"] * given)


def test_pictures_reach_the_tool_in_order(folder: Path) -> None:
    assert verbs.verb(ORDER)(folder / "light.png", folder / "gray.png").answer == "first"
    assert verbs.verb(ORDER)(folder / "gray.png", folder / "light.png").answer == "second"
    assert verbs.verb(COUNT)(*[folder / "gray.png"] * 3).answer == "3"


def outcomes(tool: Tool[ToolInput], *names: str) -> list[verbs.Outcome]:
    return list(verbs.each(tool, names, settings=Settings(), models=Models()))


def test_each_reports_the_bad_picture_and_goes_on(folder: Path) -> None:
    names = [str(folder / name) for name in ("gray.png", "notes.txt", "broken.jpg", "absent.png", "black.png",
                                             "light.png")]
    found = outcomes(BRIGHTNESS, *names)
    assert [outcome.inputs for outcome in found] == [(name,) for name in names]
    assert [outcome.finding.state for outcome in found] == [
        State.answered, State.not_possible, State.not_possible, State.not_possible, State.abstained, State.answered]
    assert "JPEG, PNG" in (found[1].finding.reason or "")
    assert all(outcome.finding.tool == "brightness" for outcome in found)
    assert not any(str(folder) in outcome.finding.to_json() for outcome in found)


def test_each_compares_the_first_with_every_other(folder: Path) -> None:
    gray, light, black = (str(folder / f"{name}.png") for name in ("gray", "light", "black"))
    found = outcomes(ORDER, gray, light, black)
    assert [outcome.inputs for outcome in found] == [(gray, light), (gray, black)]
    assert [outcome.finding.answer for outcome in found] == ["second", "first"]


def test_each_names_the_bad_one_of_a_pair(folder: Path) -> None:
    [outcome] = outcomes(ORDER, str(folder / "gray.png"), str(folder / "broken.jpg"))
    assert (outcome.finding.reason or "").startswith("broken.jpg: ")
    assert str(folder) not in outcome.finding.to_json()


def test_each_gives_a_list_tool_everything_at_once(folder: Path) -> None:
    [outcome] = outcomes(COUNT, *[str(folder / "gray.png")] * 20)
    assert outcome.finding.answer == "20"


def test_each_refuses_too_few_pictures_before_any_work(folder: Path) -> None:
    for tool, names in ((BRIGHTNESS, []), (ORDER, [str(folder / "gray.png")]), (COUNT, [])):
        with pytest.raises(ValueError, match="needs at least"):
            outcomes(tool, *names)  # type: ignore[arg-type]


def test_expand_puts_pictures_in_place_of_folders_and_patterns(folder: Path) -> None:
    (folder / "sub").mkdir()
    Image.new("RGB", (20, 20)).save(folder / "sub" / "deep.png")
    inside = [str(folder / name) for name in ("black.png", "broken.jpg", "gray.png", "light.png")]
    assert verbs.expand([str(folder)]) == inside
    assert verbs.expand([str(folder / "*g*t.png")]) == [str(folder / "light.png")]
    assert verbs.expand([str(folder / "**" / "deep.png")]) == [str(folder / "sub" / "deep.png")]
    assert verbs.expand(["as it is.jpg", str(folder / "gray.png")]) == ["as it is.jpg", str(folder / "gray.png")]


def test_an_empty_folder_or_pattern_is_reported_not_lost(tmp_path: Path) -> None:
    names = verbs.expand([str(tmp_path), str(tmp_path / "*.jpg")])
    assert names == [str(tmp_path), str(tmp_path / "*.jpg")]
    reasons = [outcome.finding.reason for outcome in outcomes(BRIGHTNESS, *names)]
    assert "folder holds no" in (reasons[0] or "")
    assert "No picture matches" in (reasons[1] or "")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    odd = tmp_path / "photo[1].png"
    Image.new("RGB", (20, 20), "white").save(odd)
    assert verbs.expand([str(odd)]) == [str(odd)]
    assert outcomes(BRIGHTNESS, str(odd))[0].finding.answer == "light 255"


def test_every_tool_is_a_verb() -> None:
    for tool in TOOLS:
        assert getattr(verbs, tool.name).__name__ == tool.name
        assert tool.name in dir(verbs)
        fields = verbs.picture_fields(tool.input_model)
        assert fields.looks or tool.name in ("people", "forget", "drift", "fairness")
    assert visagent.spoof.__name__ == "spoof"
    with pytest.raises(AttributeError, match="nothing_like_it"):
        verbs.nothing_like_it  # noqa: B018


def test_models_open_the_engine_of_the_settings_only_when_a_tool_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Settings] = []

    def open_engine(settings: Settings) -> None:
        opened.append(settings)
        raise EngineError("no engine in this test")

    monkeypatch.setattr("visagent.agent.engines.open_engine", open_engine)
    settings = Settings(model="some-model")
    models = verbs.open_models(settings)
    assert not opened
    with pytest.raises(EngineError):
        models.vision_language_model()
    assert opened == [settings]
