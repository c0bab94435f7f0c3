"""Fixtures of the agent's tests: a tiny model, a tool that needs no model, and its findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from visagent.agent.engines import open_engine
from visagent.agent.engines.local import LocalEngine
from visagent.evidence import Box, Finding, Region, Score
from visagent.media import Picture, picture_from_array
from visagent.settings import Settings
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput

from .tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny-vlm")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Iterator[LocalEngine]:
    engine = open_engine(Settings(model=str(tiny_folder), device="cpu"))
    assert isinstance(engine, LocalEngine)
    yield engine
    engine.close()


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def picture(noise: np.ndarray) -> Picture:
    return picture_from_array(noise)


class ScreenInput(ToolInput):
    """Which picture."""

    image: ImageId


def spoof_finding(image: str = "image_1") -> Finding:
    return Finding(
        tool="spoof", answer="spoof", images=(image,),
        summary=f"Presentation-attack screening of {image}: spoof, by replay; attack score 0.831 (threshold 0.500).",
        scores=(Score(name="attack score", value=0.8312, threshold=0.5, threshold_source="development split"),),
        regions=(Region(label="glare", image=image, box=Box(x1=12.2, y1=30, x2=58, y2=50)),),
        caveats=("This is screening of one picture, not certified liveness.",))


def _screen(request: ScreenInput, context: ToolContext) -> Finding:
    context.pictures.get(request.image)
    return spoof_finding(request.image)


@pytest.fixture
def screen() -> Tool[ScreenInput]:
    return Tool(name="spoof", description="Live or spoof?", input_model=ScreenInput, run=_screen)
