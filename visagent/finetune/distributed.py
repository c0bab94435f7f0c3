"""One run on several processes, by accelerate: DDP (each process holds the model) or FSDP (they share it)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from visagent.errors import SettingsError
from visagent.finetune.sft_recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def start(recipe: Recipe, device: str = "auto") -> Accelerator:
    """This process's part in the run.

    `accelerate launch` starts one process on a machine without GPUs whatever it is asked for, and says nothing; a run
    would then see half of the data and take it for all. So the recipe's number of processes is held against the real
    one.

    Args:
        recipe: Its `processes` and `precision` count.
        device: `auto`, `cpu` or `cuda`, as in the settings.

    Raises:
        SettingsError: The run was started with another number of processes, or a way of sharing that does not fit.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # The vector that replaces masked tokens has no gradient in a batch in which none is masked.
    spare = DistributedDataParallelKwargs(find_unused_parameters=recipe.pvtm is not None)
    accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available(), kwargs_handlers=[spare],
                              mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    if accelerator.num_processes != recipe.processes:
        raise SettingsError(
            f"The recipe asks for {recipe.processes} processes and the run has {accelerator.num_processes}; start it "
            f"with: torchrun --nproc_per_node {recipe.processes} -m visagent finetune sft ... (accelerate launch "
            "starts only one where there is no GPU).")
    if is_sharded(accelerator) and recipe.method == "qlora":
        raise SettingsError("Weights in 4 bits cannot be shared between processes (FSDP); use accelerate-ddp.yaml, or "
                            "method lora.")
    return accelerator


def is_first() -> bool:
    """Whether this process speaks for all of them."""
    return os.environ.get("RANK", "0") == "0"


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the processes share one model's weights (FSDP)."""
    return bool(accelerator.distributed_type.value == "FSDP")
