"""`visagent finetune`: train from the command line, ask what came out, merge it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from visagent.agent.engines import open_engine
from visagent.agent.engines.loading import load_model
from visagent.cli import app
from visagent.finetune.sft_recipe import shipped_recipes
from visagent.settings import Settings

from .agent.tiny_model import build_tiny_model
from .finetune.conftest import fresh_accelerate, spoof_set

__all__ = ["fresh_accelerate", "spoof_set"]  # fixtures

RECIPE = """\
model: {model}
method: lora
lora: {{rank: 4, alpha: 8, dropout: 0}}
train_projector: {projector}
batch: 4
epochs: 2
rate: 0.005
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[bool], Path]:
    """Writes a recipe for a tiny model."""
    def write(projector: bool) -> Path:
        model = build_tiny_model(tmp_path / "tiny-vlm")
        file = tmp_path / "faces.yaml"
        file.write_text(RECIPE.format(model=model, projector=str(projector).lower()))
        return file

    return write


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["finetune", *map(str, arguments)], prog_name="visagent")
    return done.exit_code, done.stdout, done.stderr


def test_train_ask_and_merge(recipe: Callable[[bool], Path], spoof_set: Callable[[int], Path], tmp_path: Path) -> None:
    """The merged model says what model and adapter say together, also where the projector was trained."""
    out = tmp_path / "run"
    status, said, _ = run("sft", "--recipe", recipe(True), "--data", spoof_set(8), "--out", out, "--device", "cpu")
    assert status == 0
    assert f"Saved: {out / 'faces'}" in said and "before" in said
    assert "merge" in (out / "report.md").read_text()

    model, adapter, merged = tmp_path / "tiny-vlm", out / "faces", tmp_path / "merged"
    view = np.random.default_rng(5).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    options = ["Live.", "Spoof."]
    engines = [Settings(model=str(model), device="cpu"), Settings(model=str(model), adapter=adapter, device="cpu")]
    plain, adapted = (open_engine(one).score_options("Live or spoof?", [view], options) for one in engines)
    assert adapted != pytest.approx(plain, abs=1e-3)

    assert run("merge", "--model", model, "--adapter", adapter, "--out", merged)[0] == 0
    whole = open_engine(Settings(model=str(merged), device="cpu"))
    assert whole.score_options("Live or spoof?", [view], options) == pytest.approx(adapted, abs=1e-3)
    assert json.loads((merged / "visagent.json").read_text())["view"] == "face"
    weights = [load_model(Settings(model=str(folder), device="cpu")).model.state_dict() for folder in (model, merged)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] if "vision_model" in name)
    status, _, error = run("merge", "--model", model, "--adapter", adapter, "--out", merged)
    assert status == 1 and "exists" in error


def test_an_error_ends_with_1_one_line_and_no_trace(recipe: Callable[[bool], Path], tmp_path: Path) -> None:
    for arguments, says in (
            (("--recipe", "no-such", "--data", tmp_path), "faceshield-nano-lora"),
            (("--recipe", recipe(False), "--data", tmp_path), "train.parquet is not in the data folder")):
        status, said, error = run("sft", *arguments, "--out", tmp_path / "run", "--device", "cpu")
        assert (status, said) == (1, "")
        assert error.startswith("visagent: ") and error.count("\n") == 1 and says in error
    assert not (tmp_path / "run").exists()


def test_another_model_can_be_named(spoof_set: Callable[[int], Path], tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "other")
    status, _, error = run("sft", "--recipe", "faceshield-nano-lora", "--data", spoof_set(16), "--model", model,
                           "--out", tmp_path / "run", "--device", "cpu")
    assert status == 0, error
    assert "Fine-tuned from other" in (tmp_path / "run" / "report.md").read_text()
    assert (tmp_path / "run" / "faceshield-nano-lora" / "adapter_config.json").is_file()


def test_help_is_light_and_names_what_there_is() -> None:
    code = ("import sys\nfrom typer.testing import CliRunner\nfrom visagent.cli import app\n"
            "print(CliRunner().invoke(app, ['finetune', 'sft', '--help']).stdout)\n"
            "assert not {'torch', 'transformers', 'datasets', 'peft', 'accelerate'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("--recipe", "--data", "--out", "--model", "--device", "--debug", "torchrun"):
        assert word in done.stdout
    assert "faceshield-nano-lora" in done.stdout and "faceshield-nano-lora" in shipped_recipes()
