"""What a model is shown of a picture, and how the pixels get into a message.

Pixels are attached to a single call of the model and never stored in the conversation: there, a picture is its id.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from langchain_core.messages import BaseMessage, HumanMessage
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from visagent.media import PictureStore
    from visagent.tools.models import Models

ViewKind = Literal["face", "picture"]
MAX_SIDE = 1024
MAX_FACE_SIDE = 448


def message_of(text: str, ids: Sequence[str]) -> HumanMessage:
    """A user turn as the conversation keeps it: the question, and the ids of the pictures that came with it."""
    return HumanMessage(text, additional_kwargs={"pictures": list(ids)})


def pictures_of(message: BaseMessage) -> tuple[str, ...]:
    """The ids of the pictures that came with a user turn."""
    return tuple(message.additional_kwargs.get("pictures", ()))


def image_part(rgb: NDArray[np.uint8]) -> dict[str, Any]:
    """A picture, uint8 `[H, W, 3]`, as a LangChain content block. PNG: every engine sees the very same pixels."""
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, format="PNG", compress_level=1)
    return {"type": "image", "base64": base64.b64encode(buffer.getvalue()).decode("ascii"), "mime_type": "image/png"}


def decode_part(part: dict[str, Any]) -> Image.Image:
    """The picture of a content block made by `image_part`."""
    return Image.open(BytesIO(base64.b64decode(part["base64"])), formats=("PNG",)).convert("RGB")


def picture_question(question: str, views: Sequence[NDArray[np.uint8]], *,
                     names: Sequence[str] | None = None) -> HumanMessage:
    """One user turn with pixels: each picture behind its name (`image_1`, ... by default), then the question."""
    labels = names if names is not None else [f"image_{number}" for number in range(1, len(views) + 1)]
    parts: list[str | dict[str, Any]] = []
    for label, view in zip(labels, views, strict=True):
        parts += [{"type": "text", "text": label}, image_part(view)]
    return HumanMessage([*parts, {"type": "text", "text": question}])


class Views:
    """The views of a session's pictures, each made once.

    Args:
        kind: `face`: the square around the biggest face, or the whole picture made square if there is none;
            `picture`: the whole picture, at most 1024 pixels wide and high.
        pictures: The session's pictures.
        models: Where the face detector is.
        names_clips: Whether a model is told which pictures are frames of a clip, and the clip's id; of use to models
            that are offered a tool for clips.
    """

    def __init__(self, kind: ViewKind, pictures: PictureStore, models: Models, *, names_clips: bool = False) -> None:
        self._names_clips = names_clips
        self._kind = kind
        self._pictures = pictures
        self._models = models
        self._made: dict[str, dict[str, Any]] = {}

    def attach(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """The messages with the pixels of their pictures, in user turns only. A forgotten picture stays a mere id."""
        known = set(self._pictures.ids())
        return [self._with_pixels(message, known) if isinstance(message, HumanMessage) else message
                for message in messages]

    def clear(self) -> None:
        """Forget every view."""
        self._made.clear()

    def _with_pixels(self, message: HumanMessage, known: set[str]) -> HumanMessage:
        ids = [name for name in pictures_of(message) if name in known]
        if not ids:
            return HumanMessage(message.text)
        parts: list[str | dict[str, Any]] = []
        for name in ids:
            if name not in self._made:
                self._made[name] = image_part(self._view(self._pictures.get(name).rgb))
            parts += [{"type": "text", "text": name}, self._made[name]]
        if self._names_clips:
            parts += [{"type": "text", "text": f"{clip}: {', '.join(frames)} are frames of it"}
                      for clip, frames in self._clips_of(ids)]
        return HumanMessage([*parts, {"type": "text", "text": message.text}])

    def _clips_of(self, ids: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """The clips that some of these pictures are frames of, with their frames."""
        found = [(clip, self._pictures.frames_of(clip)) for clip in self._pictures.clip_ids()]
        return [(clip, frames) for clip, frames in found if set(frames) & set(ids)]

    def _view(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._kind == "picture":
            return reduced(rgb, MAX_SIDE)
        from visagent.vision.crop import FACE_VIEW_MARGIN, take_view
        from visagent.vision.detect import detect_faces, load_face_detector

        faces = detect_faces(rgb, self._models.get(load_face_detector))
        if not faces:
            return reduced(letter_squared(rgb), MAX_FACE_SIDE)
        biggest = max(faces, key=lambda face: (face.box.x2 - face.box.x1) * (face.box.y2 - face.box.y1))
        return reduced(take_view(rgb, biggest.box, margin=FACE_VIEW_MARGIN, turns=biggest.turns).rgb, MAX_FACE_SIDE)


def reduced(rgb: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """The picture, made smaller if a side is over `max_side`; never made bigger."""
    height, width = rgb.shape[:2]
    if max(height, width) <= max_side:
        return rgb
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def letter_squared(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The whole picture in the middle of a square. Its edge is repeated outwards: bars would look like a frame."""
    height, width = rgb.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return np.pad(rgb, ((top, side - height - top), (left, side - width - left), (0, 0)), mode="edge")
