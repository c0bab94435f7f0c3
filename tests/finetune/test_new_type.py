"""The experiment with a new attack type: its set, what it counts, and a small run of it from end to end."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from visagent.datasets.attacks.techniques import TRAIN
from visagent.datasets.nano_examples import SPOOF_QUESTION, SpoofLabel
from visagent.datasets.sources import FacePicture
from visagent.errors import SettingsError
from visagent.finetune import new_type
from visagent.finetune.new_type import Share, Shown, make_views, measure, run, write_samples
from visagent.finetune.sft_data import read_split
from visagent.settings import Settings
from visagent.tools.contract import Look

from ..agent.tiny_model import build_tiny_model
from ..datasets.conftest import faces

__all__ = ["faces"]  # a fixture
NEW = "tattoo"


@pytest.fixture
def people(faces: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people, the portrait and its mirror image, with made landmarks."""
    scene, other, points = faces
    pictures = [FacePicture(face.astype(np.uint8), "utkface", key, False)
                for face, key in ((scene, "a"), (other, "b"))]
    monkeypatch.setattr(new_type, "people_of", lambda *_: (pictures, np.stack([points, points])))


class Scripted:
    """Says one thing after another."""

    class identity:
        id = "scripted"

    def __init__(self, *said: str) -> None:
        self._said = iter(said)

    def look(self, question: str, views: list[np.ndarray]) -> Look:
        assert question == SPOOF_QUESTION and len(views) == 1
        return Look(text=next(self._said))


def shown(kind: str | None, renderer: str) -> Shown:
    return Shown(np.zeros((192, 192, 3), np.uint8), SpoofLabel(kind, (), None), renderer)  # type: ignore[arg-type]


def test_the_shares_are_of_what_they_say() -> None:
    views = [shown(NEW, "optical"), shown(NEW, "optical"), shown(NEW, "optical"), shown(None, "layered"),
             shown(None, "optical"), shown("print", "layered"), shown("print", "optical"), shown("replay", "optical")]
    engine = Scripted("Spoof: tattoo attack.", "Spoof: print attack.", "Live.", "Live.", "Spoof: tattoo attack.",
                      "Spoof: print attack.", "Spoof: replay attack.", "what?")
    assert measure(engine, views, NEW) == {  # type: ignore[arg-type]
        "tattoo: called a spoof": Share(2, 3), "tattoo: named": Share(1, 3),
        "live, layered: called live": Share(1, 1), "live, optical: called live": Share(0, 1),
        "known types, layered: called a spoof": Share(1, 1), "known types, layered: named": Share(1, 1),
        "known types, optical: called a spoof": Share(1, 2), "known types, optical: named": Share(0, 2),
        "all others: taken for tattoo": Share(1, 5)}
    assert str(Share(8, 10)) == "0.800 (0.490 to 0.943; 8/10)"  # Wilson's, 95 %
    assert str(Share(0, 0)) == "-"


def test_live_and_known_types_are_drawn_by_both_renderers(people: None) -> None:
    views = make_views(Path(), "train", NEW, count=3, replay=14)
    drawn = Counter((view.label.attack is None, view.label.attack == NEW, view.renderer) for view in views)
    assert drawn == {(False, True, "optical"): 3, (True, False, "layered"): 7, (True, False, "optical"): 7,
                     (False, False, "layered"): 7, (False, False, "optical"): 7}
    known = {view.label.attack for view in views} - {None, NEW}
    assert len(known) == 7
    again = make_views(Path(), "train", NEW, count=3, replay=14)
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(views, again, strict=True))


def test_a_transparent_mask_is_new_to_a_model_that_knows_all_eleven_types(people: None) -> None:
    views = make_views(Path(), "train", new_type.TRANSPARENT_MASK, count=2, replay=22)
    fresh = [view.label for view in views if view.label.attack == new_type.TRANSPARENT_MASK]
    assert len(fresh) == 2 and all("plastic shine" in label.clues and label.box for label in fresh)
    optical = {view.label.attack for view in views if view.renderer == "optical"} - {None}
    assert optical == set(new_type.NEW_TYPES)
    assert new_type.CLEAR not in TRAIN.rigid


def test_the_samples_hold_the_views_and_their_true_answers(people: None, fresh_accelerate: None, tmp_path: Path
                                                           ) -> None:
    views = make_views(Path(), "dev", NEW, count=4, replay=0)
    write_samples(views, tmp_path / "dev.parquet")
    rows = list(read_split(tmp_path, "dev"))
    assert len(rows) == 4 * new_type.QUESTIONS
    asked = [row["messages"][0]["content"][-1]["text"] for row in rows]
    assert asked.count(SPOOF_QUESTION) >= 4
    assert all("Spoof: tattoo attack." in row["messages"][1]["content"][0]["text"] for row in rows)


@pytest.mark.slow
def test_a_small_run_from_end_to_end(people: None, fresh_accelerate: None, tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "tiny-vlm")
    recipe = tmp_path / "small.yaml"
    recipe.write_text(f"model: {model}\nmethod: lora\nlora: {{rank: 4, alpha: 8}}\nbatch: 8\nepochs: 1\n")
    settings = Settings(device="cpu")
    table = run(NEW, Path(), tmp_path / "out", settings, recipe=str(recipe), pictures=8, replay=8, test=2)
    assert "| tattoo: named | 0.000" in table and "8 pictures of tattoo" in table
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["after"]["live, optical: called live"]["trials"] == 1
    assert (tmp_path / "out" / "run" / "small" / "adapter_config.json").is_file()
    with pytest.raises(SettingsError, match="no attack type"):
        run("moustache", Path(), tmp_path / "out", settings, recipe=str(recipe))
