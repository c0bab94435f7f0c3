"""The tool contract: a tool is defined once and appears on every surface.

A `Tool` is a name, a description, a strict Pydantic input model and a function from that input and a `ToolContext` to
a `Finding`. The agent, the command line and every later surface are made from these four things and hold no logic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from visagent.errors import VisagentError
from visagent.evidence import Artifact, ArtifactKind, Box, Finding, ModelIdentity, not_possible

if TYPE_CHECKING:
    import numpy as np

    from visagent.media import PictureStore
    from visagent.settings import Settings
    from visagent.tools.models import Models

ImageId = Annotated[
    str, Field(pattern=r"^image_[0-9]+$", description="Id of a picture of this session, e.g. image_1.")
]
ClipId = Annotated[str, Field(pattern=r"^clip_[0-9]+$", description="Id of a clip of this session, e.g. clip_1.")]

STRIPPED = StringConstraints(strip_whitespace=True)
"""For names and other words that a person or a model may put a space around."""


class ToolInput(BaseModel):
    """Base of every tool's input: no extra keys, and every field described."""

    model_config = ConfigDict(extra="forbid", frozen=True)


InputT = TypeVar("InputT", bound=ToolInput)


@dataclass(frozen=True, slots=True)
class Look:
    """What a vision-language model said about one view.

    Attributes:
        text: Its words, boxes written in pixels of the view it was shown.
        boxes: The boxes of `text`, `(x1, y1, x2, y2)` in pixels of that view.
    """

    text: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()


class VisionLanguageModel(Protocol):
    """The part of an engine that a tool may use: look at views and answer, or weigh closed answers."""

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        ...

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        """Answer a question about views, each RGB uint8 `[H, W, 3]`. Raises EngineError."""
        ...

    def score_options(self, question: str, views: Sequence[np.ndarray], options: Sequence[str]) -> list[float]:
        """Log-likelihood of each option as the whole answer, from one prefill. Raises EngineError."""
        ...


Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


def untold(what: str, done: int, of: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may reach: the session's pictures, the loaded models, the settings. No file system, and no network
    but servers that the settings name.

    Attributes:
        pictures: The session's pictures, and what tools made of them.
        models: The loaded models.
        settings: Where everything is, and the limits.
        draws: Whether somebody will look at what a tool draws beside its answer. Elsewhere (a thousand pictures in a
            row, an evaluation) a tool draws nothing, and its finding has no artifacts.
        progress: Told by tools that take long what they do, how much of it is done, and of how much.
    """

    pictures: PictureStore
    models: Models
    settings: Settings
    draws: bool = False
    progress: Progress = untold

    def keep(self, rgb: np.ndarray, kind: ArtifactKind, description: str, *, image: str | None = None,
             box: Box | None = None) -> Artifact:
        """Keep what a tool drew, uint8 `[H, W, 3]`; the other arguments are those of `Artifact`.

        Raises:
            NotAPicture: Another shape or type.
        """
        return Artifact(handle=self.pictures.add_artifact(rgb), kind=kind, description=description, image=image,
                        box=box)


@dataclass(frozen=True, slots=True)
class Tool(Generic[InputT]):
    """One tool.

    Attributes:
        name: Snake case; also the verb and the agent's name for it.
        description: What it answers, for people and for models. One or two sentences.
        input_model: Strict input; pictures are ids.
        run: The work. Face outcomes are findings; it raises only `VisagentError`.
        writes: True if it changes stored data; the agent then asks the person first.
        discloses: True if it tells what is stored of people; the agent then asks the person first, too.
        left_to_person: Optional fields that only the person may fill in, when asked: a model does not see them.
        needs_setting: Name of the setting without which it has nothing to ask; an agent then does not offer it.
    """

    name: str
    description: str
    input_model: type[InputT]
    run: Callable[[InputT, ToolContext], Finding]
    writes: bool = False
    discloses: bool = False
    left_to_person: tuple[str, ...] = ()
    needs_setting: str | None = None

    @property
    def title(self) -> str:
        """Its name for people: "Private identify"."""
        return self.name.replace("_", " ").capitalize()

    @property
    def asks_first(self) -> bool:
        """Whether a person must agree before an agent may call it."""
        return self.writes or self.discloses

    def is_set_up(self, settings: Settings) -> bool:
        """Whether the settings name what it needs."""
        return self.needs_setting is None or getattr(settings, self.needs_setting) is not None

    def call(self, arguments: dict[str, object], context: ToolContext) -> Finding:
        """Validate `arguments`, run, and turn every documented failure into a finding: this never raises those."""
        try:
            request = self.input_model.model_validate(arguments)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}" for e in error.errors())
            return not_possible(self.name, f"the request does not fit this tool ({problems})")
        try:
            return self.run(request, context)
        except VisagentError as error:
            return not_possible(self.name, str(error))
