"""What all pages share: settings, models, visitors and their uploads, and how a page calls a tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from visagent.agent.agent import CLIP_FRAMES
from visagent.clips import pictures_in, read_bytes
from visagent.errors import PictureError
from visagent.evidence import Finding
from visagent.media import Picture, PictureStore
from visagent.settings import Settings
from visagent.tools.contract import Tool, ToolContext
from visagent.tools.models import Models
from visagent.ui.badges import Badges
from visagent.ui.sessions import Sessions
from visagent.ui.uploads import Uploads
from visagent.ui.visitors import Visitor, Visitors
from visagent.verbs import picture_fields

CAMERA = gr.WebcamOptions(mirror=False)
"""What the camera sees is taken as it is: left and right, and words in the picture, stay as they are."""

Upload = Mapping[str, Any] | None
"""A file as the browser names it: `path` is the place that the upload was answered with."""


@dataclass(frozen=True, slots=True)
class House:
    """One running page.

    Attributes:
        settings: Which model to ask, where the gallery is, the limits.
        models: The loaded models.
        visitors: Who is here.
        uploads: What they have uploaded.
        badges: Tells whose request one is.
        sessions: Whose pages are whose.
    """

    settings: Settings
    models: Models
    visitors: Visitors
    uploads: Uploads
    badges: Badges
    sessions: Sessions

    def visitor(self, request: gr.Request) -> Visitor:
        """Whose request this is. Raises gr.Error for a request without an id, which the page itself never sends."""
        visitor = self.badges.read(request.headers.get("cookie", ""))
        if visitor is None:
            raise gr.Error("Your browser keeps no cookie of this page; allow it and load the page again.")
        return self.visitors.of(visitor)

    def pictures(self, visitor: Visitor, upload: Upload, *, keep: bool = False) -> list[tuple[Picture, str]]:
        """An uploaded picture, or the frames of an uploaded clip, each with what it shows.

        Args:
            visitor: Who uploaded it.
            upload: The file.
            keep: Leave the file for another look at it.

        Raises:
            PictureError: It is no picture or clip, or too large; the upload is deleted all the same.
        """
        path = str((upload or {}).get("path", ""))
        return shown_in((self.uploads.read if keep else self.uploads.take)(visitor.id, path))

    def picture(self, visitor: Visitor, upload: Upload) -> Picture:
        """One uploaded picture, which stays uploaded. Raises PictureError; a clip is refused."""
        found = self.pictures(visitor, upload, keep=True)
        if len(found) != 1:
            raise PictureError("This is a clip; a picture is needed here.")
        return found[0][0]

    def clip(self, visitor: Visitor, upload: Upload) -> bytes:
        """One uploaded clip, which stays uploaded. Raises ClipError; a picture is refused."""
        return read_bytes(self.uploads.read(visitor.id, str((upload or {}).get("path", ""))))

    def call(self, tool: Tool[Any], pictures: Sequence[Picture | bytes], arguments: Mapping[str, object]
             ) -> tuple[Finding, PictureStore]:
        """Run a tool as its verb does on pictures or a clip, and give its finding with the pictures it speaks of."""
        fields = picture_fields(tool.input_model)
        store = PictureStore(max_pictures=max(1, len(pictures)))
        ids = [store.add_clip(given) if isinstance(given, bytes) else store.add(given) for given in pictures]
        return tool.call({**arguments, **fields.fill(ids)}, self.context(store)), store

    def context(self, pictures: PictureStore) -> ToolContext:
        """What a tool may reach."""
        return ToolContext(pictures=pictures, models=self.models, settings=self.settings, draws=True)


def shown_in(data: bytes) -> list[tuple[Picture, str]]:
    """A picture, or the frames of a clip, each with what it shows. Raises PictureError."""
    return [(picture, "" if time is None else f"the clip at {time:.1f} s")
            for picture, time in pictures_in(data, CLIP_FRAMES)]
