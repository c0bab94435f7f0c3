"""Weights of small networks on disk: half precision, safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

FILE = "model.safetensors"


def write_half(network: nn.Module, folder: Path, *, without: str | None = None) -> None:
    """Write a network's weights as `model.safetensors` (float16) into a folder, which is made.

    Args:
        network: Whose weights.
        folder: Where.
        without: A part of the network that is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: (value.half() if value.is_floating_point() else value).contiguous()
               for name, value in network.state_dict().items()
               if without is None or not name.startswith(f"{without}.")}
    save_file(tensors, folder / FILE)


def read_half(network: nn.Module, folder: Path) -> None:
    """Give a network the weights that `write_half` wrote, in single precision.

    Raises:
        OSError, KeyError, ValueError, RuntimeError: They are not there, or do not fit.
    """
    try:
        tensors = load_file(folder / FILE)
    except SafetensorError as error:
        raise ValueError("the file is damaged") from error
    network.load_state_dict({name: value.float() if value.is_floating_point() else value
                             for name, value in tensors.items()})
