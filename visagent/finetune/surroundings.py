"""Train the network that looks at what stands around a face (`visagent.tools.spoof.surroundings`).

    python -m visagent.datasets.surroundings --data ../shared/data --out runs/surroundings --split train
    python -m visagent.datasets.surroundings --data ../shared/data --out runs/surroundings --split dev --count 2000
    python -m visagent.finetune.surroundings --views runs/surroundings --out runs/spoof-surroundings

Recipe: cross-entropy on live, screen or sheet, binary cross-entropy on the enclosed cells; half of the batches
mirrored, each view with its light and colours changed; AdamW. Two thresholds are fixed on the development split (other
people), by how many of its live views they refuse: from the first on a border is likely, from the second on it is
certain. Run again with the same folder to go on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from visagent.datasets.surroundings.packed import WideViews, read_wide_views
from visagent.errors import run_command
from visagent.finetune.loop import Epochs, channels_last, train_convolutions
from visagent.finetune.spoof_specialist import operating_point
from visagent.tools.spoof.network import as_input
from visagent.tools.spoof.surroundings import NAME, judge
from visagent.tools.spoof.surroundings_network import SurroundingsNetwork, save_network


def training_loss(network: SurroundingsNetwork, views: WideViews, chosen: NDArray[np.int64], rng: np.random.Generator
                  ) -> torch.Tensor:
    """The loss of one batch, a scalar."""
    inputs, masks = as_input(views.views[chosen]), torch.from_numpy(views.masks[chosen])
    if rng.random() < 0.5:
        inputs, masks = inputs.flip(3), masks.flip(2)
    inputs = _other_light(inputs, rng).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(inputs)
    kinds = torch.from_numpy(views.kinds[chosen])
    return (nn.functional.cross_entropy(output.kinds.float(), kinds, label_smoothing=0.02)
            + 0.5 * nn.functional.binary_cross_entropy_with_logits(output.mask.float(), masks))


def _other_light(inputs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each view with its own contrast, brightness and colour cast; some without colour."""
    count = len(inputs)
    gain = rng.uniform(0.75, 1.25, (count, 1, 1, 1)) * rng.normal(1, 0.06, (count, 3, 1, 1))
    shift = rng.normal(0, 0.12, (count, 1, 1, 1))
    changed = inputs * torch.from_numpy(gain.astype(np.float32)) + torch.from_numpy(shift.astype(np.float32))
    gray = torch.from_numpy((rng.random((count, 1, 1, 1)) < 0.1).astype(np.float32))
    return (changed * (1 - gray) + changed.mean(1, keepdim=True) * gray).clamp(-1, 1)


def enclosure_scores(network: SurroundingsNetwork, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Log-odds of an enclosed face of views `[N, 96, 96, 3]`, as the tool takes them; float32 `[N]`."""
    network.eval()
    return np.array([judge(network, view)[0] for view in views], np.float32)


def quick_scores(network: SurroundingsNetwork, views: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same from each view as it is: twice as fast, a little worse."""
    network.eval()
    with torch.inference_mode():
        return np.concatenate([network(as_input(views[start:start + 128])).score.numpy()
                               for start in range(0, len(views), 128)])


def fix_threshold(network: SurroundingsNetwork, dev: WideViews, likely: float, certain: float) -> dict[str, object]:
    """The operating point whose two thresholds refuse these shares of the live views of the development split."""
    enclosed = dev.kinds > 0
    source = (f"development split of composed scenes with UTKFace heads ({int((~enclosed).sum())} live views, "
              f"{int(enclosed.sum())} attacks, people of neither training nor test): BPCER {likely:.1%}; certain from "
              f"BPCER {certain:.1%} on")
    scores = enclosure_scores(network, dev.views)
    return operating_point(scores, enclosed, likely) | {
        "certain": operating_point(scores, enclosed, certain)["threshold"], "source": source}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--likely", type=float, default=0.02,
                        help="share of live views that the first threshold refuses")
    parser.add_argument("--certain", type=float, default=0.005, help="the same of the second threshold")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    views, dev = read_wide_views(options.views / "train"), read_wide_views(options.views / "dev")
    network = channels_last(SurroundingsNetwork())
    epochs = Epochs(len(views), options.batch)
    options.out.mkdir(parents=True, exist_ok=True)

    def loss_of(step: int) -> torch.Tensor:
        return training_loss(network, views, epochs.batch(step), np.random.default_rng(step))

    def report(_: int) -> str:
        return f"dev AUC {roc_auc_score(dev.kinds > 0, quick_scores(network, dev.views)):.4f}"

    train_convolutions(network, loss_of, report, steps=len(epochs) * options.epochs, rate=options.rate,
                       checkpoint=options.out / "checkpoint.safetensors")
    network.eval()
    save_network(network, options.out / NAME)
    point = fix_threshold(network, dev, options.likely, options.certain)
    (options.out / NAME / "operating_point.json").write_text(json.dumps(point, indent=1) + "\n")


if __name__ == "__main__":
    run_command(main)
