"""What tests of single tools share: pictures, a scripted vision-language model, and a context that holds both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from visagent.errors import EngineError
from visagent.evidence import ModelIdentity
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import Look, ToolContext
from visagent.tools.models import Models
from visagent.vision.detect import load_face_detector


@dataclass
class Witness:
    """A vision-language model that says what it is told to say; None makes that call fail."""

    says: str | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    weighs: Sequence[float] | None = None
    name: str = "witness"
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    options: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(id=self.name)

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        self.asked.append((question, views[0].shape))
        if self.says is None:
            raise EngineError("The model failed.")
        return Look(self.says, self.boxes)

    def score_options(self, question: str, views: Sequence[np.ndarray], options: Sequence[str]) -> list[float]:
        self.asked.append((question, views[0].shape))
        self.options.append(tuple(options))
        if self.weighs is None:
            raise EngineError("The server gives no log-probabilities.")
        return list(self.weighs)


@pytest.fixture
def witness() -> type[Witness]:
    """The scripted vision-language model."""
    return Witness


@pytest.fixture
def scene(astronaut: np.ndarray) -> PictureStore:
    """`image_1`: the astronaut; `image_2`: she twice, side by side; `image_3`: nobody."""
    store = PictureStore()
    for rgb in (astronaut, np.concatenate([astronaut, astronaut], 1), np.full((200, 240, 3), 127, np.uint8)):
        store.add(picture_from_array(rgb))
    return store


@pytest.fixture
def through(scene: PictureStore, specialists: Models) -> Callable[..., ToolContext]:
    """`through(witness)`: the scene with that vision-language model, or none; the face detector is loaded once."""
    def make(model: Witness | None = None) -> ToolContext:
        class Shared(Models):
            def get(self, load: Any, *arguments: Any) -> Any:
                shared = load is load_face_detector
                return specialists.get(load, *arguments) if shared else super().get(load, *arguments)

        return ToolContext(pictures=scene, models=Shared(None if model is None else lambda: model),
                           settings=Settings())
    return make
