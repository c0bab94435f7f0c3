"""Supervised fine-tuning of a vision-language model of transformers, on one machine: alignment, LoRA, QLoRA, full.

    python -m visagent.finetune.sft --recipe faceshield-nano-lora --data my-spoof-set --out runs/mine

(`visagent finetune sft` is the same.) The data folder holds `train.parquet` and `dev.parquet`
(`visagent.finetune.sft_data`). A run that was stopped goes on where it was when it is started again, with the very
losses that it would have had. Into the run's folder go the adapter (or the model) that was best on the dev split, the
recipe with every value written out, `metrics.jsonl`, `report.md` and `curves.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from visagent.agent.engines.loading import LoadedModel, load_model
from visagent.errors import SettingsError, run_command
from visagent.finetune.checkpoint import load_checkpoint, save_checkpoint
from visagent.finetune.distributed import is_first, is_sharded, start
from visagent.finetune.loop import Epochs
from visagent.finetune.sft_data import Collator, read_split
from visagent.finetune.sft_model import (
    Learner,
    inner_model,
    make_learnable,
    masked_tokens,
    masking_for,
    optimizer_for,
    save_result,
)
from visagent.finetune.sft_recipe import Recipe, read_recipe
from visagent.finetune.sft_report import Outcome, write_report
from visagent.settings import Settings, load_settings

if TYPE_CHECKING:
    from accelerate import Accelerator

MINUTES_BETWEEN_CHECKPOINTS = 5.0
CLIP = 1.0
"""Largest norm of the gradient."""


def fine_tune(recipe: Recipe, data: Path, out: Path, settings: Settings) -> Outcome:
    """Train by a recipe until its steps are done, or until the dev split says stop.

    Args:
        recipe: What is trained, and how.
        data: Folder with `train.parquet` and `dev.parquet`.
        out: The run's folder; one that was stopped goes on.
        settings: `device` and `offline` count; the model is the recipe's.

    Raises:
        SettingsError: The recipe does not fit the data, the processes, or the run that is in the folder already.
        PictureError: A picture cannot be read.
        WeightsError: The model is missing, or in a refused format.
        EngineError: transformers cannot load it, or the parts to train are not found.
    """
    accelerator = start(recipe, settings.device)
    train, dev = read_split(data, "train"), read_split(data, "dev", recipe.dev_samples)
    steps = recipe.steps(len(train))
    if len(dev) < recipe.processes:
        raise SettingsError(f"The dev split has fewer samples than there are processes ({recipe.processes}).")
    log = _Log.open(out, recipe, accelerator.is_main_process)

    loaded = load_model(settings.model_copy(update={
        "model": recipe.model, "adapter": None, "load_in_4bit": recipe.method == "qlora"}))
    model: Any = make_learnable(loaded.model.float() if recipe.precision == "fp32" and recipe.method != "qlora"
                                else loaded.model, recipe)
    collator = Collator(loaded.processor, savp=recipe.savp, ends=_ends(loaded),
                        longest=model.config.get_text_config().max_position_embeddings)
    learner = Learner(model, masking_for(model, recipe, loaded.folder))
    optimizer = optimizer_for(learner, recipe)
    prepared, stepper = accelerator.prepare(learner, optimizer)
    parameters = [p for p in prepared.parameters() if p.requires_grad]
    learning = nn.ParameterList(parameters)

    checkpoint = out / "checkpoint.safetensors"
    first = load_checkpoint(checkpoint, learning, [optimizer])
    accelerator.wait_for_everyone()  # until all have read the log
    log.go_back(first)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # what a schedule that begins in the middle looks for
    schedule = get_cosine_schedule_with_warmup(optimizer, round(recipe.warm_up * steps), steps, last_epoch=first - 1)
    batches = _batches(train, collator, recipe, first, steps, accelerator.process_index)

    def look(step: int) -> None:
        """Weigh the dev split, and keep what is best on it."""
        log.write(step, dev_loss=_dev_loss(prepared, dev, collator, recipe, accelerator))
        if step and log.best_step == step:
            learned = _gathered(learner, frozen_too=recipe.adapter is None)
            if accelerator.is_main_process:
                save_result(learner, learned, loaded, recipe, out / recipe.name)
        accelerator.wait_for_everyone()

    def keep(step: int) -> None:
        """Write a checkpoint. One shared by FSDP has only parts of each weight in a process, and none is written."""
        if accelerator.is_main_process and not is_sharded(accelerator):
            save_checkpoint(checkpoint, learning, [optimizer], step)

    with masked_tokens(learner, loaded.processor.tokenizer.all_special_ids):
        if not log.looks:
            look(0)
        saved = time.monotonic()
        bar = tqdm(range(first, steps), initial=first, total=steps, mininterval=5, unit="step",
                   disable=not accelerator.is_main_process)
        for step in bar:
            if log.should_stop(recipe.patience):
                break
            began = time.monotonic()
            prepared.train()
            total, pictures = torch.zeros((), device=accelerator.device), 0
            for part in range(recipe.accumulate):
                # Dropout and masks hang on the step alone, so that a run that goes on draws what it would have drawn.
                seed = ((recipe.seed * 1_000_003 + step) * recipe.accumulate + part) * recipe.processes
                torch.manual_seed(seed + accelerator.process_index)
                if learner.masking is not None:
                    learner.masking.reseed(seed + accelerator.process_index)
                batch, shown = next(batches)
                pictures += shown * recipe.processes
                last = part + 1 == recipe.accumulate
                with nullcontext() if last else accelerator.no_sync(prepared):
                    loss = prepared(**_to(batch, accelerator.device)) / recipe.accumulate
                    accelerator.backward(loss)
                total += loss.detach()
            norm = accelerator.clip_grad_norm_(parameters, CLIP)
            stepper.step()
            schedule.step()
            stepper.zero_grad()
            value = float(accelerator.reduce(total, "mean"))
            log.write(step + 1, loss=value, rate=schedule.get_last_lr()[0], norm=float(norm), pictures=pictures,
                      seconds=time.monotonic() - began)
            bar.set_postfix(loss=f"{value:.3f}", dev=f"{log.looks[-1][1]:.3f}", refresh=False)
            due = (step + 1) % recipe.evaluate_every == 0 or step + 1 == steps
            if due:
                look(step + 1)
            if due or time.monotonic() - saved > 60 * MINUTES_BETWEEN_CHECKPOINTS:
                keep(step + 1)
                saved = time.monotonic()
    outcome = Outcome(recipe=recipe, identity=loaded.identity, train=len(train), dev=len(dev), steps=steps,
                      learned=sum(p.numel() for p in parameters), all=inner_model(model).num_parameters(),
                      device=str(accelerator.device), rows=tuple(log.rows), folder=out / recipe.name)
    if accelerator.is_main_process:
        write_report(outcome, out)
    accelerator.wait_for_everyone()
    return outcome


@dataclass
class _Log:
    """`metrics.jsonl`: a line per step and per look at the dev split; only the main process writes."""

    file: Path
    writes: bool
    rows: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def open(cls, out: Path, recipe: Recipe, writes: bool) -> _Log:
        """The log of a new run, or of one that goes on. Raises SettingsError if that had another recipe."""
        written, text = out / "recipe.yaml", recipe.to_yaml()
        if writes and written.is_file() and written.read_text(encoding="utf-8") != text:
            raise SettingsError("The folder holds a run of another recipe (see its recipe.yaml); give another --out.")
        log = cls(out / "metrics.jsonl", writes)
        if log.file.is_file():
            log.rows = [json.loads(line) for line in log.file.read_text().splitlines() if line.endswith("}")]
        if writes:
            out.mkdir(parents=True, exist_ok=True)
            written.write_text(text, encoding="utf-8")
        return log

    def go_back(self, step: int) -> None:
        """Forget what came after the checkpoint of that step."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        if self.writes:
            self.file.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def write(self, step: int, **values: float) -> None:
        self.rows.append({"step": step, **values})
        if self.writes:
            with self.file.open("a") as stream:
                stream.write(json.dumps(self.rows[-1]) + "\n")

    @property
    def looks(self) -> list[tuple[int, float]]:
        """Step and loss of each look at the dev split."""
        return [(int(row["step"]), row["dev_loss"]) for row in self.rows if "dev_loss" in row]

    @property
    def best_step(self) -> int:
        """The step of the lowest loss on the dev split, the first look, before any step, apart."""
        return min(((loss, step) for step, loss in self.looks if step), default=(0.0, 0))[1]

    def should_stop(self, patience: int | None) -> bool:
        """Whether that many looks in a row were no better than one before them."""
        later = [step for step, _ in self.looks if step > self.best_step]
        return patience is not None and len(later) >= patience


def _batches(rows: Any, collator: Collator, recipe: Recipe, first: int, steps: int, process: int
             ) -> Iterator[tuple[dict[str, torch.Tensor], int]]:
    """From a step on, this process's batches with their numbers of pictures, `accumulate` of them for each step."""
    epochs = Epochs(len(rows), recipe.step_samples)
    order = []
    for step in range(first, steps):
        mine = epochs.batch(step)[process::recipe.processes].tolist()
        order += [mine[at:at + recipe.batch] for at in range(0, len(mine), recipe.batch)]

    def together(chosen: Sequence[Any]) -> tuple[dict[str, torch.Tensor], int]:
        return collator(chosen), sum(len(row["images"]) for row in chosen)

    return iter(DataLoader(rows, batch_sampler=order, collate_fn=together, num_workers=recipe.workers))


@torch.no_grad()
def _dev_loss(prepared: nn.Module, rows: Any, collator: Collator, recipe: Recipe, accelerator: Accelerator) -> float:
    """The mean loss of the dev split's samples; every process takes as many of them."""
    prepared.eval()
    mine = range(accelerator.process_index, len(rows) // recipe.processes * recipe.processes, recipe.processes)
    total = torch.zeros((), device=accelerator.device)
    for at in range(0, len(mine), recipe.batch):
        chosen = [rows[index] for index in mine[at:at + recipe.batch]]
        total += prepared(**_to(collator(chosen), accelerator.device)) * len(chosen)
    return float(accelerator.reduce(total / len(mine), "mean"))


def _gathered(learner: Learner, *, frozen_too: bool) -> dict[str, torch.Tensor]:
    """What learns (and what does not), by name, whole on every process also where FSDP has divided it."""
    return {name: (p.full_tensor() if isinstance(p, DTensor) else p).detach()
            for name, p in learner.named_parameters() if frozen_too or p.requires_grad}


def _ends(loaded: LoadedModel) -> list[str]:
    """The tokens that end an answer, as text: the tokenizer's own, then those that generation stops at."""
    tokenizer = loaded.processor.tokenizer
    stops = loaded.model.generation_config.eos_token_id
    numbers = [tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])]
    return [tokenizer.convert_ids_to_tokens(number) for number in numbers if number is not None]


def _to(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in batch.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recipe", required=True, help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and dev.parquet")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default=None)
    options = parser.parse_args(arguments)
    outcome = fine_tune(read_recipe(options.recipe), options.data, options.out,
                        load_settings({"device": options.device}))
    if is_first():
        print(f"The report is {options.out / 'report.md'}; the result is {outcome.folder}.")


if __name__ == "__main__":
    run_command(main)
