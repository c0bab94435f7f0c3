"""Checkpoints without pickle: weights, the optimizers' moments and the step, in one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn


def save_checkpoint(path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: int) -> None:
    """Write a checkpoint; the old one stays whole until the new one is complete."""
    tensors = {f"model.{name}": _plain(value) for name, value in model.state_dict().items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{number}.{index}.{name}"] = _plain(torch.as_tensor(value))
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"step": str(step)})
    part.replace(path)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in row-major order: safetensors refuses others (the recipes keep convolutions channels-last)."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def load_checkpoint(path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Put a checkpoint's weights and moments in place; the step to go on with, 0 if there is no checkpoint."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith(f"optimizer.{number}."):
                _, _, index, field = name.split(".", 3)
                state["state"].setdefault(int(index), {})[field] = value
        optimizer.load_state_dict(state)
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
