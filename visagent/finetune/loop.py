"""The loop that all recipes share: one cycle of the learning rate, progress, checkpoints and going on from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

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
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: one_cycle(first + done, steps, warm_up))
        for optimizer in optimizers
    ]
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


def one_cycle(step: int, steps: int, warm_up: float) -> float:
    """The learning rate of a step as a share of its peak: up from 1/25 and down to nearly 0, both along a cosine.

    Smith and Topin, 2018 (arXiv:1708.07120), in the form of PyTorch's `OneCycleLR`, which cannot begin in the middle.
    """
    top = warm_up * steps - 1
    if step <= top:
        start, end, share = 1 / 25, 1.0, step / max(top, 1)
    else:
        start, end, share = 1.0, 1 / 25e4, (step - top) / (steps - 1 - top)
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


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
