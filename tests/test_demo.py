"""`visagent demo`: what the first minute with visagent looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from visagent.agent.engines.scripted import ScriptedEngine
from visagent.cli import app
from visagent.demo import QUESTION, demo_photo
from visagent.evidence import Box, Finding, ModelIdentity, Region, Score
from visagent.tools.contract import ImageId, Tool, ToolContext, ToolInput

CALL = '<tool_call>{"name": "spoof", "arguments": {"image": "image_1"}}</tool_call>'


class SpoofInput(ToolInput):
    """One picture."""

    image: ImageId


def spoof(request: SpoofInput, context: ToolContext) -> Finding:
    """What the real tool says of a live face, in short."""
    score = Score(name="attack score", value=0.125, threshold=0.5, threshold_source="chosen for the test")
    region = Region(label="face", image=request.image, box=Box(x1=170, y1=60, x2=280, y2=190))
    return Finding(tool="spoof", answer="live", summary=f"Live face at {region.box}: {score}.",
                   images=(request.image,), scores=(score,), regions=(region,), model=ModelIdentity(id="specialist"))


SPOOF: Tool[SpoofInput] = Tool("spoof", "Live or spoof.", SpoofInput, spoof)


def test_the_bundled_photo_is_the_public_domain_portrait(astronaut: np.ndarray) -> None:
    photo = demo_photo()
    assert (photo.width, photo.height, photo.notes) == (512, 512, ())
    difference = np.abs(photo.rgb.astype(int) - astronaut.astype(int)).mean()
    assert difference < 4, "the portrait of scikit-image, but for JPEG"


def test_the_demo_answers_shows_evidence_saves_and_says_how_to_go_on(tmp_path: Path,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(script=[CALL, "This is a live face at [170, 60, 280, 190]; the attack score is 0.125."])
    monkeypatch.setattr("visagent.agent.agent.open_engine", lambda settings: engine)
    monkeypatch.setattr("visagent.tools.TOOLS", (SPOOF,))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["demo"], prog_name="visagent")
    assert result.exit_code == 0, result.output
    text = result.stdout
    order = [text.index(words) for words in (QUESTION, "spoof(image=image_1)", "This is a live face", "spoof: live",
                                             "0.500", "Picture saved: visagent-answers",
                                             "How to go on", "visagent ask photo.jpg")]
    assert order == sorted(order)
    assert sum(line.startswith("  visagent ") for line in text.splitlines()) == 3
    assert all(len(line) <= 80 for line in text.splitlines())
    [saved] = (tmp_path / "visagent-answers").iterdir()
    with Image.open(saved) as drawn:
        assert not np.array_equal(np.asarray(drawn.convert("RGB")), demo_photo().rgb)


@pytest.mark.slow
@pytest.mark.weights
def test_the_demo_works_with_the_shipped_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"], prog_name="visagent")
    assert result.exit_code == 0, result.output
    assert "spoof: live" in result.stdout
    assert list((tmp_path / "visagent-answers").glob("*-image_1.png"))
