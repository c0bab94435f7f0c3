"""What the person's own words settle in a call of a small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage

import visagent
from visagent.agent.meant import as_meant, call_in_words
from visagent.media import PictureStore, load_picture, picture_from_array
from visagent.settings import Settings
from visagent.tools import TOOLS
from visagent.tools.contract import ToolContext
from visagent.tools.models import Models

ASTRONAUT = Path(visagent.__file__).parent / "assets" / "astronaut.jpg"
BY_NAME = {tool.name: tool for tool in TOOLS}


def context_of(*faces: int) -> ToolContext:
    """A session with one picture for each number of faces, side by side."""
    pictures = PictureStore()
    portrait = load_picture(ASTRONAUT).rgb
    for count in faces:
        pictures.add(picture_from_array(np.hstack([portrait] * count)))
    settings = Settings(engine="scripted")
    return ToolContext(pictures, Models(settings), settings)


@pytest.fixture(scope="module")
def two() -> ToolContext:
    return context_of(2)


@pytest.fixture(scope="module")
def three() -> ToolContext:
    return context_of(3)


def settled(said: str, context: ToolContext, name: str = "spoof", **arguments: Any) -> tuple[str, dict[str, Any]]:
    return as_meant(name, arguments or {"image": "image_1"}, BY_NAME,
                    [HumanMessage("Is the right one real?"), AIMessage("Live."), HumanMessage(said)], context)


@pytest.mark.parametrize(("said", "face"), [
    ("is the left one real or is it a screen replay", 1),
    ("Does the woman on the left look happy?", 1),
    ("and the one on the right?", 2),
    ("What about the rightmost face?", 2),
    ("Is the second person live?", 2),
    ("Is face 2 live?", 2),
    ("Check person number 1", 1),
])
def test_the_face_that_the_words_point_to_is_meant(said: str, face: int, two: ToolContext) -> None:
    assert settled(said, two) == ("spoof", {"image": "image_1", "face": face})


@pytest.mark.parametrize("said", [
    "This is obviously real, right?", "He left the room. Is he live?", "Is the photo on the left real?",
    "Is the left picture a fake?", "Is the one on the left or the one on the right live?", "Is it real right now?",
    "Is the middle one live?",  # of two
])
def test_words_that_point_to_no_one_face_settle_nothing(said: str, two: ToolContext) -> None:
    assert settled(said, two) == ("spoof", {"image": "image_1"})


def test_the_sides_of_three(three: ToolContext) -> None:
    assert [settled(said, three)[1].get("face") for said in (
        "the man on the left?", "the man in the middle?", "the man on the right?")] == [1, 2, 3]


def test_what_the_model_said_stays(two: ToolContext) -> None:
    assert settled("the left one?", two, image="image_1", face=2) == ("spoof", {"image": "image_1", "face": 2})


def test_an_only_face_needs_no_number() -> None:
    assert settled("the woman on the left?", context_of(1)) == ("spoof", {"image": "image_1"})


def test_a_tool_without_faces_is_given_none(two: ToolContext) -> None:
    assert settled("Where is the left one?", two, "faces", image="image_1") == ("faces", {"image": "image_1"})


def test_two_people_of_the_only_picture_are_compared(two: ToolContext, three: ToolContext) -> None:
    call = {"image_a": "image_1", "image_b": "image_2"}
    both = {"image_a": "image_1", "image_b": "image_1", "face_a": 1, "face_b": 2}
    assert settled("Are these two the same person?", two, "verify", **call) == ("verify", both)
    assert settled("Are these the same person?", three, "verify", **call) == ("verify", call)  # which two?
    assert settled("Same person?", context_of(1), "verify", **call) == ("verify", call)  # the second is missing
    assert settled("Same person?", context_of(2, 1), "verify", **call) == ("verify", call)


@pytest.mark.parametrize(("said", "tool"), [
    ("Who is this? Keep it private.", "private_identify"), ("Who is she, without showing her to anybody?",
                                                            "private_identify"),
    ("Identify him without ever revealing the picture", "private_identify"), ("Who is this?", "identify"),
    ("Who is the man without a hat that the picture shows?", "identify"),
    ("Without glasses I cannot see who this is: who is it?", "identify"),
])
def test_who_asks_in_private_is_answered_in_private(said: str, tool: str) -> None:
    assert settled(said, context_of(1), "identify", image="image_1") == (tool, {"image": "image_1"})


@pytest.mark.parametrize("said", ["Remember him as Tom, he agreed.", "Please add Tom to the gallery", "Enroll Tom!"])
def test_who_asks_to_keep_is_not_asked_to_forget(said: str) -> None:
    context = context_of(1, 1)
    assert settled(said, context, "forget", person="Tom") == ("enrol", {"images": ["image_2"], "person": "Tom"})


@pytest.mark.parametrize("said", [
    "Forget Tom.", "Remove Tom; I added him by mistake", "Do not keep Tom any more", "Please don't remember Tom",
    "Take Tom out of the gallery", "Tom, vergiss ihn"])
def test_who_asks_to_forget_is_heard(said: str) -> None:
    assert settled(said, context_of(1), "forget", person="Tom") == ("forget", {"person": "Tom"})


def test_nobody_is_kept_without_a_picture() -> None:
    assert settled("Remember Tom", context_of(), "forget", person="Tom") == ("forget", {"person": "Tom"})


@pytest.mark.parametrize(("said", "classes"), [
    ("Was there a micro-expression? When, and where on the face?", None), ("Micro expressions, five classes?", "5"),
    ("did something flash across her face?", None), ("For a split second, did she smile?", None),
    ("Is there an involuntary movement of the mouth?", None), ("What is the micro-expression in it?", None),
    ("what micro-expression does he show", None)])
def test_who_asks_of_a_clip_for_what_is_brief_means_micro_expressions(said: str, classes: str | None) -> None:
    context = context_of(1)
    context.pictures.add_clip(b"one")
    context.pictures.add_clip(b"another")
    wanted = {"clip": "clip_2"} | ({"classes": classes} if classes else {})
    assert call_in_words(said, {"micro_expression"}, context) == ("micro_expression", wanted)


@pytest.mark.parametrize("said", ["What expression does she show?", "Is this a live face?",
                                  "What is a micro-expression?", "what are micro-expressions",
                                  "What's micro emotion?"])
def test_other_questions_about_a_clip_are_left_to_the_model(said: str) -> None:
    context = context_of(1)
    context.pictures.add_clip(b"one")
    assert call_in_words(said, {"micro_expression"}, context) is None


def test_of_a_picture_only_the_word_itself_means_them() -> None:
    context = context_of(1)
    assert call_in_words("Is it a brief expression?", {"micro_expression"}, context) is None
    assert call_in_words("Is it a micro-expression?", {"micro_expression"}, context) == (
        "micro_expression", {"clip": "clip_1"})


def test_words_make_no_call_of_a_tool_that_the_model_knows() -> None:
    assert call_in_words("Is it a micro-expression?", {"private_identify"}, context_of(1)) is None
