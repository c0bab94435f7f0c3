"""The loop that all recipes share: a rate that rises and falls, progress, checkpoints and going on from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from visagent.finetune.checkpoint import load_checkpoint, save_checkpoint

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def train(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    loss_of: Callable[[int], torch.Tensor],
    *,
    steps: int,
    checkpoint: Path,
    report: Callable[[int], str],
    minutes: float = 5.0,
    warm_up: float = 0.06,
    clip: float | None = 1.0,
) -> None:
    """Train until `steps` steps are done, those of an earlier run included.

    Args:
        model: What is trained; on its device already.
        optimizers: Of its parameters; the learning rates they hold are the peaks of the cycle.
        loss_of: The loss of a step, by the step's number.
        steps: Steps in all. With no step left, nothing happens.
        checkpoint: File to go on from if it is there; written every few minutes and at the end.
        report: Called with the number of steps done after every checkpoint; what it returns is printed.
        minutes: Between checkpoints.
        warm_up: Share of the steps in which the learning rate rises.
        clip: Largest norm of the gradient; None does not clip.
    """
    first = load_checkpoint(checkpoint, model, optimizers)
    if first >= steps:
        return
    schedules = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # what a schedule that begins in the middle looks for
        rising = round(warm_up * steps)
        schedules.append(get_cosine_schedule_with_warmup(optimizer, rising, steps, last_epoch=first - 1))
    saved = time.monotonic()
    for step in (bar := tqdm(range(first, steps), initial=first, total=steps, mininterval=10)):
        model.train()
        loss = loss_of(step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if step + 1 == steps or time.monotonic() - saved > 60 * minutes:
            save_checkpoint(checkpoint, model, optimizers, step + 1)
            tqdm.write(f"step {step + 1}: {report(step + 1)}")
            saved = time.monotonic()


def muon(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of a transformer's layers, AdamW for everything else; frozen parameters are left out."""
    learned = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in learned if ".layers." in name and p.ndim == 2]
    others = [p for name, p in learned if not (".layers." in name and p.ndim == 2)]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, weight_decay=0.05, betas=(0.9, 0.98)),
    ]


class Epochs:
    """Batches that show every example once before any is shown again; the same seed gives the same batches.

    Args:
        count: Examples.
        size: Examples in a batch; what is left over at the end of an epoch is not shown in it.
    """

    def __init__(self, count: int, size: int) -> None:
        self._count, self._size = count, size
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._count // self._size

    def batch(self, step: int) -> NDArray[np.int64]:
        """The numbers of the examples of a step, in rising order."""
        epoch, place = divmod(step, len(self))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng(epoch).permutation(self._count)
        return np.sort(self._order[place * self._size : (place + 1) * self._size])


def channels_last(network: ModuleT) -> ModuleT:
    """The network with its weights laid out as the processor's convolutions want them: a third faster."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return network


def train_convolutions(
    network: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    report: Callable[[int], str],
    *,
    steps: int,
    rate: float,
    checkpoint: Path,
) -> None:
    """`train` as the small convolutional networks want it: AdamW, a long warm-up, no clipping."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    train(network, [optimizer], loss_of, steps=steps, checkpoint=checkpoint, report=report, warm_up=0.3, clip=None)
