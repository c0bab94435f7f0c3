"""FaceShield's ablation at small scale: does a second picture of SAVP maps help, and does token masking?

    python -m visagent.finetune.ablation --views runs/views --test test-optical --out runs/ablation

trains the photo alone, with SAVP maps, and with maps and PVTM, each on the same questions for as many steps, with
three seeds; then PVTM with the paper's other shares, k of 10, 20 and 30 % and p of 5, 10, 20 and 30 %, with the first
seed. `visagent.finetune.ablation_model` says what is frozen and what is learned anew. Every finished run is a line in
`results.jsonl`; run again to go on, from the last checkpoint of a run that was stopped. At the end `table.md` holds
the paper's columns. Each view of the test folder is asked all four tasks, localisation only where there is an attack.

The numbers of such small runs are no copy of the paper's: another model, other pictures, simulated attacks.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Idefics3ForConditionalGeneration, PreTrainedTokenizerBase

from visagent.agent.boxes import BoxSpace
from visagent.agent.engines.loading import load_model
from visagent.datasets.nano_examples import BOX_SCALE, SpoofLabel, spoof_answer, spoof_question
from visagent.errors import EngineError, run_command
from visagent.evaluation.attack_errors import attack_errors
from visagent.evaluation.boxes import share_located
from visagent.finetune.ablation_model import AblationModel, SeenViews, see_views
from visagent.finetune.curriculum import label_of
from visagent.finetune.loop import Epochs, train
from visagent.finetune.nano_model import build_tower
from visagent.finetune.pvtm import MASK, RETAIN, TokenMasking
from visagent.finetune.views import ViewSet, open_views
from visagent.settings import load_settings
from visagent.tools.spoof.words import read_words
from visagent.vision.crop import VIEW_SIDE

TASKS: Final[Mapping[str, str]] = {
    "coarse": "spoof.verdict", "fine": "spoof.attack", "reasoning": "spoof.reasons", "localisation": "spoof.where",
}
"""The paper's four tasks, and the intent of the questions that ask them."""
COLUMNS: Final[Mapping[str, str]] = {
    "coarse_acc": "coarse ACC", "coarse_hter": "coarse HTER", "fine_acc": "fine ACC",
    "reasoning_acc": "reasoning ACC", "reasoning_hter": "reasoning HTER", "ap40": "AP@40", "ap50": "AP@50",
}
SEEDS: Final = (0, 1, 2)
_ASKED_TOGETHER = 32
_MINUTES_BETWEEN_CHECKPOINTS = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """One training: the photo alone or with SAVP maps, PVTM's shares (None: without), and the seed."""

    savp: bool
    retain: float | None
    mask: float | None
    seed: int

    @property
    def variant(self) -> str:
        """What the run shows and does, without its seed."""
        if self.retain is None or self.mask is None:
            return "RGB + SAVP" if self.savp else "RGB"
        return f"RGB + SAVP + PVTM, k {self.retain:.0%}, p {self.mask:.0%}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What all runs of a comparison share.

    Attributes:
        steps: Of training.
        batch: Questions in a step, each about another view.
        rate: Highest learning rate of AdamW.
        train_views: Views to learn from.
        test_views: Views to be asked about.
        model: Digest of the model's weights.
        tower: "shipped", or "untaught": random blocks behind filters of cosine and Gabor waves.
    """

    steps: int
    batch: int
    rate: float
    train_views: int
    test_views: int
    model: str
    tower: str


@dataclass(frozen=True, slots=True)
class Split:
    """Views that were drawn from a split, by number, and what the tower makes of them."""

    views: ViewSet
    chosen: NDArray[np.int64]
    seen: SeenViews

    def label(self, row: int) -> SpoofLabel:
        """What is known of the view in a row of `seen`."""
        return label_of(self.views, int(self.chosen[row]))


def planned_runs() -> list[Run]:
    """The three variants with every seed, then the other shares with the first."""
    runs = [Run(savp, retain, mask, seed) for seed in SEEDS
            for savp, retain, mask in ((False, None, None), (True, None, None), (True, RETAIN, MASK))]
    shares = [(RETAIN, mask) for mask in (0.10, 0.20, 0.30)] + [(retain, MASK) for retain in (0.20, 0.30)]
    return runs + [Run(True, retain, mask, SEEDS[0]) for retain, mask in shares]


def train_run(model: AblationModel, run: Run, budget: Budget, split: Split, checkpoint: Path) -> float:
    """Train a fresh model, or go on from the checkpoint.

    Runs of one seed see the same views and questions in the same order, whatever they show of a view.

    Returns:
        The mean loss of the last steps, at most 20; NaN if there was no step left.
    """
    epochs = Epochs(len(split.chosen), budget.batch)
    losses: list[float] = []

    def loss_of(step: int) -> torch.Tensor:
        rows = epochs.batch(run.seed * 1000 * len(epochs) + step).tolist()
        rng = Random(f"{run.seed} {step}")
        asked = []
        for row in rows:
            question, intent = spoof_question(rng)
            asked.append(model.ask(question, spoof_answer(split.label(row), intent)))
        if model.masking is not None:
            model.masking.reseed(run.seed * 1_000_000 + step)
        loss = model.loss(asked, split.seen.batch(rows, run.savp))
        losses.append(loss.item())
        return loss

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=budget.rate, weight_decay=0.0)
    train(model, [optimizer], loss_of, steps=budget.steps, checkpoint=checkpoint,
          minutes=_MINUTES_BETWEEN_CHECKPOINTS, report=lambda _: f"loss {statistics.mean(losses[-20:]):.3f}")
    return statistics.mean(losses[-20:]) if losses else float("nan")


def question_of(task: str, number: int) -> str:
    """The question of a task about the view with this number: always the same one."""
    rng = Random(f"{task} {number}")
    while True:
        question, intent = spoof_question(rng)
        if intent == TASKS[task]:
            return question


def ask_all(model: AblationModel, split: Split) -> dict[str, list[str | None]]:
    """The answers to each task for every view; None where localisation is not asked, the face being live."""
    model.eval()
    said: dict[str, list[str | None]] = {}
    for task in TASKS:
        rows = [row for row in range(len(split.chosen)) if task != "localisation" or split.label(row).box is not None]
        said[task] = [None] * len(split.chosen)
        for start in range(0, len(rows), _ASKED_TOGETHER):
            part = rows[start : start + _ASKED_TOGETHER]
            asked = [model.ask(question_of(task, row)) for row in part]
            for row, text in zip(part, model.answer(asked, split.seen.batch(part, model.savp)), strict=True):
                said[task][row] = text
    return said


def score(labels: Sequence[SpoofLabel], said: Mapping[str, Sequence[str | None]]) -> dict[str, float]:
    """The paper's metrics, shares of 0 to 1; an answer that cannot be read is wrong.

    Args:
        labels: Of the views.
        said: Of `ask_all`.
    """
    truth = [label.attack for label in labels]
    words = {task: [read_words(text or "") for text in texts] for task, texts in said.items()}
    coarse = attack_errors(truth, [one.verdict for one in words["coarse"]])
    reasoning = attack_errors(truth, [one.verdict for one in words["reasoning"]])
    fine = [one.verdict == "live" if kind is None else one.attack == kind
            for kind, one in zip(truth, words["fine"], strict=True)]
    side, space = float(VIEW_SIDE), BoxSpace(scale=float(BOX_SCALE))
    right, named = [], []
    for label, text in zip(labels, said["localisation"], strict=True):
        if label.box is not None:
            x1, y1, x2, y2 = (corner * side for corner in label.box)
            right.append((x1, y1, x2, y2))
            named.append(next(iter(space.read(text or "", VIEW_SIDE, VIEW_SIDE).boxes), None))
    return {
        "coarse_acc": coarse.accuracy.value, "coarse_hter": coarse.hter, "fine_acc": sum(fine) / len(fine),
        "reasoning_acc": reasoning.accuracy.value, "reasoning_hter": reasoning.hter,
        "ap40": share_located(right, named, 0.4).value, "ap50": share_located(right, named, 0.5).value,
    }


def table(results: Sequence[Mapping[str, Any]], budget: Budget) -> str:
    """The results of one budget as Markdown, in percent: mean and standard deviation over the seeds."""
    lines = [f"| variant | seeds | {' | '.join(COLUMNS.values())} |", "|---" * (2 + len(COLUMNS)) + "|"]
    for variant in dict.fromkeys(run.variant for run in planned_runs()):
        mine = [result["scores"] for result in results if Run(**result["run"]).variant == variant]
        if mine:
            cells = [_mean_and_spread([100 * scores[name] for scores in mine]) for name in COLUMNS]
            lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join([
        *lines, "",
        f"Percent, mean and standard deviation over the seeds. {budget.steps} steps of {budget.batch} questions on "
        f"{budget.train_views} views; {budget.test_views} views of the test split; tower: {budget.tower}. "
        "All attacks are simulated.", ""])


def finished(path: Path, budget: Budget) -> list[dict[str, Any]]:
    """The results in a file that were made with this budget, in their order."""
    if not path.exists():
        return []
    results = [json.loads(line) for line in path.read_text().splitlines()]
    return [result for result in results if result["budget"] == asdict(budget)]


def run_all(
    nano: Idefics3ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    runs: Sequence[Run],
    budget: Budget,
    splits: tuple[Split, Split],
    out: Path,
) -> str:
    """Do the runs that are not in `out / "results.jsonl"` yet; the table of all, which is also written to `table.md`.

    Args:
        nano: The model that every run begins with; it is not changed.
        tokenizer: nano's.
        runs: What to do, in order.
        budget: What they share.
        splits: What they train on, and what they are tested on.
        out: Where results and checkpoints go.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / "results.jsonl"
    taught, tested = splits
    for run in runs:
        if asdict(run) in [result["run"] for result in finished(file, budget)]:
            continue
        masking = None
        if run.retain is not None and run.mask is not None:
            masking = TokenMasking(nano.lm_head.in_features, retain=run.retain, mask=run.mask)
        model = AblationModel(copy.deepcopy(nano), tokenizer, savp=run.savp, masking=masking, seed=run.seed)
        checkpoint = out / f"{_key(run, budget)}.safetensors"
        start = time.monotonic()
        loss = train_run(model, run, budget, taught, checkpoint)
        trained = time.monotonic()
        said = ask_all(model, tested)
        labels = [tested.label(row) for row in range(len(tested.chosen))]
        result = {"run": asdict(run), "budget": asdict(budget), "variant": run.variant, "loss": round(loss, 4),
                  "train_seconds": round(trained - start), "test_seconds": round(time.monotonic() - trained),
                  "scores": {name: round(value, 5) for name, value in score(labels, said).items()}}
        _add_line(file, result)
        checkpoint.unlink(missing_ok=True)
    text = table(finished(file, budget), budget)
    (out / "table.md").write_text(text)
    return text


def open_split(
    nano: Idefics3ForConditionalGeneration, folder: Path, split: str, count: int, cache: Path, digest: str
) -> Split:
    """Draw views of a split and encode them. Raises PictureError if there are none."""
    views = open_views(folder / split)
    chosen = np.sort(np.random.default_rng(0).permutation(len(views))[:count])
    return Split(views, chosen, see_views(nano, views, chosen, cache, digest))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="folder of packed views, with a folder per split")
    parser.add_argument("--test", default="test", help="the folder of views to ask about")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="visagent-nano")
    parser.add_argument("--tower", choices=["shipped", "untaught"], default="shipped")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--train-views", type=int, default=6000)
    parser.add_argument("--test-views", type=int, default=600)
    parser.add_argument("--first", type=int, default=None, help="do only this many of the runs")
    options = parser.parse_args(arguments)
    loaded = load_model(load_settings({"model": options.model, "device": "cpu"}))
    nano, digest = loaded.model, loaded.identity.digest
    if not isinstance(nano, Idefics3ForConditionalGeneration) or digest is None:
        raise EngineError("The ablation trains a model of nano's architecture (Idefics3); give the folder of one.")
    if options.tower == "untaught":
        views = open_views(options.views / "train")
        torch.manual_seed(0)
        nano.model.vision_model = build_tower(views.screened(np.arange(min(256, len(views))))).train(False)
    splits = [open_split(nano, options.views, split, count, options.out / "tokens", f"{digest} {options.tower}")
              for split, count in (("train", options.train_views), (options.test, options.test_views))]
    budget = Budget(options.steps, options.batch, options.rate, len(splits[0].chosen), len(splits[1].chosen), digest,
                    options.tower)
    print(run_all(nano, loaded.processor.tokenizer, planned_runs()[: options.first], budget, (splits[0], splits[1]),
                  options.out))


def _key(run: Run, budget: Budget) -> str:
    """A file name for a run under a budget."""
    said = json.dumps([asdict(run), asdict(budget)], sort_keys=True)
    return f"checkpoint-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _add_line(file: Path, result: Mapping[str, Any]) -> None:
    """Add a result; whoever stops the program leaves the old file or the new one, never half a line."""
    before = file.read_text() if file.exists() else ""
    part = file.with_suffix(".part")
    part.write_text(before + json.dumps(result) + "\n")
    part.replace(file)


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    run_command(main)
