"""What tests of single tools share: pictures, a scripted vision-language model, and a context that holds both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visagent.errors import EngineError
from visagent.evidence import ModelIdentity
from visagent.media import PictureStore, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import Look, ToolContext
from visagent.tools.models import Models
from visagent.tools.spoof import specialist as specialist_module
from visagent.tools.spoof import surroundings as surroundings_module
from visagent.vision.detect import load_face_detector

SOURCE = "refuses one in a hundred live views of a made-up split"
BORDER_SOURCE = "refuses one in fifty live scenes of a made-up split"


@dataclass
class Witness:
    """A vision-language model that says what it is told to say; None makes that call fail."""

    says: str | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    weighs: Sequence[float] | None = None
    name: str = "witness"
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)
    options: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(id=self.name)

    def look(self, question: str, views: Sequence[np.ndarray], *, max_tokens: int = 96) -> Look:
        self.asked.append((question, views[0].shape))
        self.seen.extend(views)
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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`install(spoof=True)`: an untrained specialist that calls every view a spoof, or live; its mask is as told.

    `border` is what the surroundings network beside it sees around every face: a screen, or nothing.
    """
    import torch

    from visagent.tools.spoof.network import SpoofNetwork, Vocabulary, save_network
    from visagent.tools.spoof.surroundings_network import SurroundingsNetwork
    from visagent.tools.spoof.surroundings_network import save_network as save_surroundings

    def surround(folder: Path, border: str) -> None:
        network = SurroundingsNetwork()
        with torch.no_grad():
            network.kinds.weight.zero_()
            network.kinds.bias.copy_(torch.tensor([0.0, {"none": -4.0, "likely": 1.0, "certain": 4.0}[border], -9.0]))
            for layer in (network.fine_mask, network.coarse_mask):
                layer.weight.zero_()
                layer.bias.fill_(2.0)
        save_surroundings(network, folder)
        point = {"threshold": 0.0, "certain": 3.0, "scale": 1.0, "offset": 0.0, "source": BORDER_SOURCE}
        (folder / "operating_point.json").write_text(json.dumps(point))

    def make(*, spoof: bool, attacked: bool = True, clues: bool = True, attack: str = "replay", border: str = "none",
             **changes: object) -> Path:
        network = SpoofNetwork(Vocabulary(("print", "replay"), ("halftone dots", "glare on a screen"))).eval()
        with torch.no_grad():
            network.types.weight.zero_()
            network.types.bias.copy_(torch.tensor([0.0, 1.0 + (attack == "print"), 1.0 + (attack == "replay")]))
            for layer, present in ((network.mask, attacked), (network.clues, clues)):
                layer.weight.zero_()
                layer.bias.fill_(2.0 if present else -2.0)
        save_network(network, tmp_path)
        point = {"threshold": 0.0 if spoof else 6.0, "scale": 1.0, "offset": -0.5, "source": SOURCE} | changes
        (tmp_path / "operating_point.json").write_text(json.dumps(point))
        monkeypatch.setattr(specialist_module, "locate", lambda name: tmp_path)
        around = tmp_path / "around"
        around.mkdir(exist_ok=True)
        surround(around, border)
        monkeypatch.setattr(surroundings_module, "locate", lambda name: around)
        return tmp_path
    return make
