"""Gallery, calibration, fairness and drift from the command line, from nothing to the last report."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image, ImageOps
from typer.testing import CliRunner

from visagent.cli import app
from visagent.cli.gallery import open_own_gallery
from visagent.datasets.embedding_table import make_table, read_table, write_table
from visagent.datasets.sphere_groups import SphereGroup, draw_groups
from visagent.gallery.records import NewSample
from visagent.settings import load_settings
from visagent.tools.recognition.calibration import Calibration
from visagent.vision.encoder import of_length_one, open_encoder

PORTRAIT = files("visagent") / "assets" / "astronaut.jpg"
ENROL = ["--purpose", "a test", "--consent", "form 7", "--no-require-live"]


def run(words: list[str], *, status: int = 0, typed: str | None = None) -> Result:
    result = CliRunner().invoke(app, words, input=typed)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a gallery and a portrait in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISAGENT_GALLERY", str(tmp_path / "gallery"))
    (tmp_path / "ada.jpg").write_bytes(PORTRAIT.read_bytes())
    (tmp_path / "words").write_text("correct horse battery staple\n")
    return tmp_path


def test_a_person_s_whole_life_in_the_gallery(home: Path) -> None:
    assert "Nobody is enrolled" in run(["gallery", "list"]).stdout
    run(["enrol", "ada.jpg", "--person", "Ada", *ENROL])
    with Image.open(home / "ada.jpg") as picture:
        ImageOps.mirror(picture).save(home / "mirror.jpg")
    assert "Ada" in run(["enrol", "mirror.jpg", "--person", "Augusta", *ENROL]).output, "she is there under this name"
    with open_own_gallery(load_settings({})) as found:
        ada = next(found.templates())[2]
        near = of_length_one(ada[None] + 0.02 * np.random.default_rng(0).standard_normal((1, 128)))[0]
        found.enrol("Augusta", [NewSample(near, "picture")], purpose="a test", consent="form 7")
        found.enrol("Bob", [NewSample(np.eye(128, dtype=np.float32)[0], "bob")], purpose="a test", consent="form 8")
    assert {json.loads(line)["name"] for line in run(["gallery", "list", "--json"]).stdout.splitlines()} \
        == {"Ada", "Augusta", "Bob"}
    assert "do not look like one person" not in run(["gallery", "merge", "Augusta", "Ada", "--yes"]).output
    assert "2 samples" in run(["gallery", "rename", "Ada", "Ada Lovelace"]).stdout + run(["gallery", "list"]).stdout
    told = json.loads(run(["gallery", "show", "ada lovelace"]).stdout)
    assert told["consent"] == "form 7" and len(told["samples"]) == 2
    assert "Ada Lovelace" in run(["identify", "ada.jpg", "--no-require-live"]).stdout
    run(["gallery", "export", "copy.visagent", "--passphrase-file", "words"])
    assert b"Ada" not in (home / "copy.visagent").read_bytes()
    run(["gallery", "rotate-key", "--yes"])
    run(["forget", "--person", "Ada Lovelace"])
    run(["enrol", "ada.jpg", "--person", "Ada", *ENROL])
    assert "do not look like one person" in run(["gallery", "merge", "Bob", "Ada", "--yes"]).output
    run(["forget", "--person", "Ada"])
    assert "Nobody is enrolled" in run(["gallery", "list"]).stdout
    assert "2 people and 3 samples" in run(["gallery", "import", "copy.visagent", "--passphrase-file", "words"]).stdout
    assert "Ada Lovelace" in run(["identify", "ada.jpg", "--no-require-live"]).stdout
    assert "none changed" in run(["audit", "verify"]).stdout
    acts = [json.loads(line)["act"] for line in run(["audit", "show"]).stdout.splitlines()]
    assert [act for act in ("merge", "rename", "export", "rotate-key", "forget", "import") if act not in acts] == []


def test_a_small_picture_is_kept_and_dropped_at_the_person_s_word(home: Path) -> None:
    run(["enrol", "ada.jpg", "--person", "Ada", *ENROL])
    assert json.loads(run(["gallery", "show", "Ada"]).stdout)["thumbnail"] is None
    assert "small picture" in run(["enrol", "ada.jpg", "--person", "Ada", "--keep-thumbnail", *ENROL]).stdout
    jpeg = base64.b64decode(json.loads(run(["gallery", "show", "Ada"]).stdout)["thumbnail"])
    assert jpeg.startswith(b"\xff\xd8\xff") and len(jpeg) < 30_000
    assert "of ada is removed" in run(["gallery", "drop-thumbnail", "ada"]).stdout
    assert json.loads(run(["gallery", "show", "Ada"]).stdout)["thumbnail"] is None
    assert "No picture of Ada is kept" in run(["gallery", "drop-thumbnail", "Ada"]).stdout
    entries = [json.loads(line) for line in run(["audit", "show"]).stdout.splitlines()]
    dropped = [entry for entry in entries if entry["act"] == "drop-thumbnail"]
    assert [entry["decision"] for entry in dropped] == ["removed", "none kept"]
    assert {entry["person"] for entry in dropped} == {entries[0]["person"]} and dropped[0]["by"] == "command line"


@pytest.mark.parametrize("words", [
    ["gallery", "show", "Nobody"], ["gallery", "drop-thumbnail", "Nobody"], ["gallery", "rename", "Nobody", "Ada"],
    ["gallery", "merge", "Nobody", "Ada", "--yes"], ["gallery", "rotate-key"],
    ["gallery", "import", "ada.jpg", "--passphrase-file", "words"],
    ["gallery", "export", "copy", "--passphrase-file", "none"], ["gallery", "export", "copy"],
    ["gallery", "re-encode", "--module", "none", "--into", "fair"], ["calibrate", "none", "--out", "x.json"],
    ["embed", "none", "--out", "x.parquet"], ["fairness", "report", "ada.jpg"], ["drift", "report", "ada.jpg"],
    ["drift", "report"],
])
def test_what_cannot_be_done_is_one_line(home: Path, words: list[str]) -> None:
    result = run(words, status=1)
    assert len(result.output.strip().splitlines()) <= 3 and result.output.strip()


@pytest.mark.slow
def test_from_pictures_to_a_fair_gallery(home: Path) -> None:
    for person, change in (("ada", ImageOps.mirror), ("bob", ImageOps.autocontrast)):
        (home / "people" / person).mkdir(parents=True)
        with Image.open(home / "ada.jpg") as picture:
            change(picture).save(home / "people" / person / "1.jpg")
    shown = run(["embed", "people", "--out", "few.parquet", "--workers", "1"]).stdout
    assert "2 of 2 pictures embedded" in shown
    contract = open_encoder().contract
    assert read_table(home / "few.parquet").contract == contract
    assert "3 groups" in run(["fairness", "simulate", "--out", "three.csv", "--people", "9", "--pictures", "2"]).stdout
    assert set(read_table(home / "three.csv").groups.tolist()) == {"a", "b", "c"}
    drawn = draw_groups((SphereGroup("a", 150, 0.0, 125.0), SphereGroup("b", 150, 40.0, 165.0)), pictures=4, seed=2)
    write_table(make_table(drawn.embeddings, drawn.identities.tolist(), drawn.groups.tolist(), contract),
                home / "many.parquet")

    run(["calibrate", "many.parquet", "--out", "thresholds.json", "--data-name", "made-up people"])
    made = Calibration.model_validate_json((home / "thresholds.json").read_text())
    assert made.data == "made-up people" and made.contract == contract and len(made.points) >= 2
    report = run(["fairness", "report", "many.parquet", "--far", "0.01", "--resamples", "20", "--json"]).stdout
    assert {row["group"] for row in json.loads(report, parse_constant=pytest.fail)["rows"]} == {"a", "b"}
    shown = run(["fairness", "train", "many.parquet", "--out", "fair", "--epochs", "2", "--far", "0.01"]).stdout
    assert "before" in shown and "after" in shown

    run(["enrol", "ada.jpg", "--person", "Ada", *ENROL])
    assert "1 people re-encoded" in run(["gallery", "re-encode", "--module", "fair", "--into", "fairer"]).stdout
    other = CliRunner().invoke(app, ["gallery", "list", "--collection", "fairer"])
    assert other.exit_code == 1 and "the encoder in use is" in other.output, other.output


def test_drift_from_a_simulation_to_a_page(home: Path) -> None:
    run(["drift", "simulate", "--out", "scores.csv", "--people", "40", "--days", "8"])
    assert "Report: " in run(["drift", "report", "scores.csv", "--out", "page"]).stdout
    page = (home / "page" / "report.html").read_text()
    assert "<svg" in page or "data:image" in page
    found = json.loads(run(["drift", "report", "scores.csv", "--out", "page", "--json"]).stdout)
    assert found["answer"] in ("day-to-day exceeds whole period", "whole period exceeds day-to-day", "unsure")


def test_the_chat_exports_at_a_command_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from visagent.agent.engines.scripted import ScriptedEngine

    monkeypatch.setattr("visagent.agent.agent.open_engine", lambda settings: ScriptedEngine(script=[]))
    result = CliRunner().invoke(app, ["ask", "--chat"], input="/export\n/export copy.visagent\n/help\n")
    assert "Write /export FILE." in result.output and "passphrase" in result.output, "no terminal: nobody to ask"
    assert not (home / "copy.visagent").exists() and "/export FILE" in result.output
