"""What a fine-tuning run leaves for its reader: `report.md` and `curves.png`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visagent.evidence import ModelIdentity
from visagent.finetune.sft_recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of fine-tuning.

    Attributes:
        recipe: Its recipe.
        identity: The model it began with.
        train: Samples of the training split.
        dev: Samples of the dev split that were weighed at every look.
        steps: Steps that the recipe asks for.
        learned: Numbers that learn.
        all: Numbers in the model, adapter included.
        device: Where it ran.
        rows: Of each step `step`, `loss`, `rate`, `norm`, `pictures`, `seconds`; of each look `step`, `dev_loss`.
        folder: The adapter or model that was best on the dev split.
    """

    recipe: Recipe
    identity: ModelIdentity
    train: int
    dev: int
    steps: int
    learned: int
    all: int
    device: str
    rows: tuple[Mapping[str, float], ...]
    folder: Path

    @property
    def losses(self) -> list[tuple[float, float]]:
        """Step and training loss of every step."""
        return [(row["step"], row["loss"]) for row in self.rows if "loss" in row]

    @property
    def looks(self) -> list[tuple[float, float]]:
        """Step and loss of every look at the dev split; the first is that of the model as it was."""
        return [(row["step"], row["dev_loss"]) for row in self.rows if "dev_loss" in row]

    @property
    def best(self) -> tuple[float, float]:
        """Step and dev loss of what was saved."""
        return min((look for look in self.looks if look[0]), key=lambda look: look[1])

    @property
    def pictures_per_second(self) -> float:
        """Training pictures (SAVP's maps not counted) over the time of the steps, looks and checkpoints left out."""
        steps = [row for row in self.rows if "pictures" in row]
        return sum(row["pictures"] for row in steps) / sum(row["seconds"] for row in steps)


def write_report(outcome: Outcome, out: Path) -> None:
    """Write `report.md` and `curves.png` into the run's folder."""
    draw_curves(outcome.losses, outcome.looks).savefig(out / "curves.png")
    recipe, identity = outcome.recipe, outcome.identity
    done = int(outcome.losses[-1][0])
    step, loss = outcome.best
    before = outcome.looks[0][1]
    seconds = sum(row.get("seconds", 0.0) for row in outcome.rows)
    ended = "all steps" if done == outcome.steps else "an early stop: the dev split's loss fell no more"
    lines = [
        f"# {recipe.name}", "",
        f"Fine-tuned from {identity.id}" + (f" (weights {identity.digest})" if identity.digest else "") + ".", "",
        "| | |", "|---|---|",
        f"| stage and method | {recipe.stage}, {recipe.method} |",
        f"| numbers that learned | {outcome.learned:,} of {outcome.all:,} |",
        f"| samples | {outcome.train} to train on, {outcome.dev} of the dev split |",
        f"| steps | {done} of {outcome.steps}, {recipe.step_samples} samples each; ended by {ended} |",
        f"| loss on the dev split | {before:.4f} before, {loss:.4f} at step {step:.0f} (saved) |",
        f"| throughput | {outcome.pictures_per_second:.1f} pictures a second, {recipe.processes} process(es) on "
        f"{outcome.device} |",
        f"| time of the steps | {seconds:.0f} s |", "",
    ]
    if loss >= before:
        lines += ["**No look was better than the model as it was.** Try a lower rate, or more data.", ""]
    lines += ["![Loss over steps](curves.png)", "", *_how_to_use(recipe), "", "Recipe, every value written out:", "",
              f"```yaml\n{recipe.to_yaml()}```", ""]
    (out / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _how_to_use(recipe: Recipe) -> list[str]:
    question = 'visagent ask photo.jpg "Is this a live face or a spoof? Why? Show me where."'
    if recipe.adapter is None:
        return ["Ask it, or serve the folder with vLLM as any model (docs/vllm.md):", "",
                f"```\n{question} --model {recipe.name}\n```"]
    lines = ["Ask it:", "", f"```\n{question} --model {recipe.model} --adapter {recipe.name}\n```", ""]
    if recipe.train_projector:
        return [*lines, "vLLM cannot serve this adapter by name, because it changes the projector too; merge it into "
                        "the model first (docs/finetuning.md)."]
    return [*lines, f"Serve it by name from vLLM: `--enable-lora --max-lora-rank {recipe.adapter.rank} --lora-modules "
                    f"{recipe.name}=FOLDER` (docs/vllm.md)."]


def draw_curves(training: Curve, dev: Curve) -> Figure:
    """Losses over steps: in training, their running mean over a twentieth of the run, and on the dev split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    plot = figure.subplots()
    losses = np.array([loss for _, loss in training])
    steps = np.array([step for step, _ in training])
    window = max(1, len(losses) // 20)
    plot.plot(steps, losses, color="#becde6", linewidth=1)
    plot.plot(steps[window - 1:], np.convolve(losses, np.ones(window) / window, "valid"), color="#0072b2",
              label="training")
    plot.plot([step for step, _ in dev], [loss for _, loss in dev], "o-", color="#d55e00", label="dev split")
    # One wild first step must not flatten all others.
    top = float(np.percentile([*losses, *(loss for _, loss in dev)], 98)) * 1.1
    plot.set(xlabel="step", ylabel="loss per answer", ylim=(0, top or 1.0))
    plot.grid(color="0.9")
    plot.legend()
    return figure
