"""What a model is shown of a picture."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image

from visagent.agent.views import (
    MAX_FACE_SIDE,
    MAX_SIDE,
    ViewKind,
    Views,
    decode_part,
    image_part,
    letter_squared,
    message_of,
    pictures_of,
    reduced,
)
from visagent.clip_shelf import ClipShelf
from visagent.errors import UnknownPicture
from visagent.media import PictureStore, picture_from_array
from visagent.tools.models import Models


def shown(kind: ViewKind, rgb: np.ndarray, models: Models) -> np.ndarray:
    store = PictureStore()
    name = store.add(picture_from_array(rgb))
    (message,) = Views(kind, store, models).attach([message_of("Who?", [name])])
    part: Any = message.content[1]
    return np.asarray(decode_part(part))


def test_a_picture_survives_the_message_unchanged(noise: np.ndarray) -> None:
    part = image_part(noise)
    assert np.array_equal(np.asarray(decode_part(part)), noise)
    assert part["mime_type"] == "image/png"


def test_the_face_view_is_a_square_around_the_biggest_face(astronaut: np.ndarray, specialists: Models) -> None:
    view = shown("face", astronaut, specialists)
    assert view.shape[0] == view.shape[1] <= MAX_FACE_SIDE
    assert view.shape[0] < 300 < astronaut.shape[0]  # the face is about 100 pixels wide


def test_without_a_face_the_whole_picture_is_made_square(noise: np.ndarray, specialists: Models) -> None:
    view = shown("face", noise, specialists)
    assert view.shape == (80, 80, 3)
    assert np.array_equal(view[10:70], noise)
    assert np.array_equal(view[0], noise[0]) and np.array_equal(view[-1], noise[-1])


def test_the_picture_view_is_the_whole_picture_reduced() -> None:
    assert shown("picture", np.zeros((700, 2048, 3), np.uint8), Models()).shape == (350, MAX_SIDE, 3)
    assert reduced(np.zeros((30, 40, 3), np.uint8), MAX_SIDE).shape == (30, 40, 3)
    assert reduced(np.zeros((2, 5000, 3), np.uint8), MAX_SIDE).shape == (1, MAX_SIDE, 3)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (1, 9)])
def test_letter_squaring_keeps_every_pixel(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    square = letter_squared(rgb)
    side = max(shape)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    assert square.shape == (side, side, 3)
    assert np.array_equal(square[top:top + shape[0], left:left + shape[1]], rgb)


def test_a_forgotten_picture_stays_an_id_and_other_turns_stay_text(noise: np.ndarray) -> None:
    store = PictureStore()
    name = store.add(picture_from_array(noise))
    views = Views("picture", store, Models())
    messages = [message_of("Who?", [name]), AIMessage("Nobody."), HumanMessage("Sure?")]
    asked, answer, again = views.attach(messages)
    assert len(asked.content) == 3 and answer is messages[1] and again.content == "Sure?"
    assert pictures_of(messages[0]) == (name,) and messages[0].content == "Who?"
    store.clear()
    views.clear()
    assert views.attach(messages)[0].content == "Who?"


def test_pixels_of_another_format_are_not_decoded() -> None:
    import base64
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="BMP")
    with pytest.raises(Exception, match="cannot identify"):
        decode_part({"base64": base64.b64encode(buffer.getvalue()).decode()})


def test_a_model_that_is_offered_clips_hears_which_pictures_are_of_one(noise: np.ndarray) -> None:
    shelf = ClipShelf(max_bytes=10)
    store = PictureStore(shelf=shelf)
    frames = [replace(picture_from_array(noise), clip=b"the clip") for _ in range(2)]
    ids = store.add_all([*frames, picture_from_array(noise)])
    said = "clip_1: image_1, image_2 are frames of it"

    def told(chosen: list[str], *, names_clips: bool) -> list[str]:
        views = Views("picture", store, Models(), names_clips=names_clips)
        (message,) = views.attach([message_of("When?", chosen)])
        return [part["text"] for part in message.content if isinstance(part, dict) and part["type"] == "text"]

    assert said in told(ids, names_clips=True) and said not in told(ids, names_clips=False)
    assert said not in told(ids[2:], names_clips=True)
    shelf.put(b"of somebody else")  # takes the room: the conversation goes on, only the clip is gone
    assert told(ids, names_clips=True)
    with pytest.raises(UnknownPicture, match="attach it again"):
        store.clip("clip_1")
