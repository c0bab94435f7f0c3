"""Checkpoints without pickle: weights, the optimizer's moments and the step, in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint; the old one stays whole until the new one is complete."""
    tensors = {f"model.{name}": value.detach().clone() for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value).clone() for name, value in state.items()}
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata={"step": str(step)})
    part.replace(path)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put a checkpoint's weights and moments in place; the step to go on with, 0 if there is no checkpoint."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    state = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".", 2)
            state["state"].setdefault(int(index), {})[field] = value
    optimizer.load_state_dict(state)
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
